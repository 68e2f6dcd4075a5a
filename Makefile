# libljtrim: plain GNU make, no configure. `make help` lists the targets.
#
# Variables: V=1 shows the commands; WERROR=1 makes warnings errors (CI does); PREFIX and DESTDIR as usual;
# BUILD=dir builds elsewhere; NODEPS=1 keeps `make test`, `make demo` and `make check-all` from installing Debian packages.

CC           = gcc
AR           = gcc-ar
CLANG        = clang-14
CLANG_FORMAT = clang-format-14
CLANG_TIDY   = clang-tidy-14
PREFIX       = /usr/local
BUILD       ?= build

.DEFAULT_GOAL = all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules --no-print-directory

Q   = $(if $(filter 1,$(V)),,@)
say = @printf '  %-5s %s\n' '$(1)' '$(2)'

# ---- Flags ----

# An empty _GNU_SOURCE, so that a file that defines it once more for itself does not clash.
BASE_CPPFLAGS = -D_GNU_SOURCE= -include preload/older_libc.h -Ipreload -Isymtab -MMD -MP
BASE_CFLAGS   = -std=gnu11 -O2 -g -fvisibility=hidden -Wall -Wextra -Wundef -Wstrict-prototypes \
                -Wmissing-prototypes -Wshadow $(if $(filter 1,$(WERROR)),-Werror)

# The preloaded object runs before and inside everything else: its thread-local variables must not need an
# allocation on first use (initial-exec), its own calls must not be bound lazily (now), what it needs must be
# there at link time (defs), and as a gate may lead into it, it is never unmapped (nodelete).
PRELOAD_CFLAGS  = -fPIC -ftls-model=initial-exec -fno-plt
# max-page-size: the wiped pages (gate.h) are aligned to the largest page; without it .bss becomes a segment that
# debuggers and valgrind do not understand.
PRELOAD_LDFLAGS = -shared -Wl,-z,max-page-size=65536 -Wl,-soname,libljtrim.so \
                  -Wl,--version-script,preload/libljtrim.map \
                  -Wl,-z,defs,-z,relro,-z,now,-z,nodelete,-z,noexecstack,--as-needed
# Parts of libc that were files of their own before glibc 2.34; since then nothing is needed of them.
LIBC_PARTS      = -lpthread -ldl

# What needs more than libc. It is opened with RTLD_LOCAL and closed again: nothing of it is seen by the host.
SYMTAB_LDFLAGS  = -shared -Wl,-soname,libljtrim-symtab.so -Wl,--version-script,symtab/libljtrim-symtab.map \
                  -Wl,-z,defs,-z,relro,-z,now,-z,noexecstack,--as-needed
# libunwind-generic unwinds copies of stacks; of itself, it would be plain libunwind.
SYMTAB_LIBS     = -lelf -llzma -lz -lunwind-generic $(LIBC_PARTS)

TOOL_LDFLAGS    = -pie -Wl,-z,relro,-z,now,--as-needed

# LuaJIT itself is wanted by tests alone. Asked when a recipe needs it: `make test` installs it first.
LUAJIT_CFLAGS    = $(shell pkg-config --cflags luajit)
LUAJIT_LIBS      = $(shell pkg-config --libs luajit)
CRITERION_CFLAGS = $(shell pkg-config --cflags criterion)
CRITERION_LIBS   = $(shell pkg-config --libs criterion)

# $(call compile,flags) and $(call link,flags,libraries): the recipes of an object and of what is made of objects.
define compile
$(call say,CC,$<)
@mkdir -p $(@D)
$(Q)$(CC) $(BASE_CPPFLAGS) $(CPPFLAGS) $(BASE_CFLAGS) $(1) $(CFLAGS) -c $< -o $@
endef

define link
$(call say,LD,$@)
@mkdir -p $(@D)
$(Q)$(CC) $(1) $(LDFLAGS) $(filter %.o %.a,$^) $(2) -o $@
endef

# Fail in words: $(call need_files,files,what) where no source is there yet, $(call need_program,path).
need_files   = @$(if $(strip $(1)),true,echo "make: $(2): no source file is there yet" >&2; exit 1)
comma        := ,
need_program = @test -x $(1) || { echo "make: $(1) is not there yet" >&2; exit 1; }

# ---- What is built ----

PRELOAD      := $(wildcard preload/*.c)
SYMTAB       := $(wildcard symtab/*.c)
TOOLS        := $(wildcard tools/*.c)
UNIT_TESTS   := $(wildcard tests/unit/*.c)
FUZZED       := $(wildcard tests/fuzz/*.c)
# Of the command, what reads what others have written: it is fuzzed, and replayed by the unit tests.
READERS      := $(addprefix tools/,arena_state.c arenas.c nginx_conf.c object.c permission.c remote.c stats_reader.c walk.c)
# These define mmap and friends, and hook them up when loaded: not inside a test binary.
UNIT_PRELOAD := $(filter-out preload/interpose%.c preload/entry.c,$(PRELOAD))
# Of the command, what is a function of its arguments.
UNIT_TOOLS   := tools/curve.c tools/picture.c $(wildcard tools/canvas*.c)
HOSTS        := $(wildcard tests/system/hosts/*.c)
PLUGINS      := $(wildcard tests/system/hosts/plugin_*.c)
HOST_BINS    := $(patsubst tests/system/hosts/%.c,$(BUILD)/hosts/%,$(filter-out $(PLUGINS),$(HOSTS))) \
                $(patsubst tests/system/hosts/%.c,$(BUILD)/hosts/%.so,$(PLUGINS)) \
                $(patsubst %,$(BUILD)/hosts/%_static,run_lua allocf_games)
LUA_FILES    := $(wildcard lualib/resty/*.lua tests/system/lua/*.lua tests/soak/*.lua)
MAN_PAGES    := $(wildcard docs/*.[1-8])
FORMATTED    := $(wildcard $(addsuffix /*.[ch],preload symtab tools tests/unit tests/unit/runner \
                tests/fuzz tests/system/hosts bench/tools))

.PHONY: all hosts help deps test test-unit test-system test-poisoned check-asan check-ubsan check-tsan fuzz check-model bench duel demo \
        format check-format check-lua check-patches tidy install uninstall clean

all: $(BUILD)/libljtrim.so $(BUILD)/libljtrim-symtab.so $(BUILD)/ljtrim  ## build the library and the ljtrim command (the default)

hosts: $(HOST_BINS)  ## build the programs that the system tests preload into

$(BUILD)/preload/%.o: preload/%.c Makefile
	$(call compile,$(PRELOAD_CFLAGS))

$(BUILD)/libljtrim.so: $(PRELOAD:%.c=$(BUILD)/%.o) preload/libljtrim.map Makefile
	$(call need_files,$(PRELOAD),preload/)
	$(call link,$(PRELOAD_LDFLAGS),$(LIBC_PARTS))

# The same with pauses at marked points of the protocol (preload/delay.h), for make stress.
$(BUILD)/delays/preload/%.o: preload/%.c Makefile
	$(call compile,$(PRELOAD_CFLAGS) -DLJT_DELAYS)

$(BUILD)/delays/libljtrim.so: $(PRELOAD:%.c=$(BUILD)/delays/%.o) preload/libljtrim.map Makefile
	$(call link,$(PRELOAD_LDFLAGS),$(LIBC_PARTS))

$(BUILD)/symtab/%.o: symtab/%.c Makefile
	$(call compile,-fPIC)

$(BUILD)/libljtrim-symtab.so: $(SYMTAB:%.c=$(BUILD)/%.o) symtab/libljtrim-symtab.map Makefile
	$(call link,$(SYMTAB_LDFLAGS),$(SYMTAB_LIBS))

# As an archive, what the command shares with the library (layout, options) comes without a list of names.
$(BUILD)/parts.a: $(UNIT_PRELOAD:%.c=$(BUILD)/%.o)
	$(call say,AR,$@)
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/tools/%.o: tools/%.c Makefile
	$(call compile,-fPIE)

$(BUILD)/ljtrim: $(TOOLS:%.c=$(BUILD)/%.o) $(SYMTAB:%.c=$(BUILD)/%.o) $(BUILD)/parts.a
	$(call need_files,$(TOOLS),tools/)
	$(call link,$(TOOL_LDFLAGS),$(SYMTAB_LIBS))

# Hosts call LuaJIT's API; one that only loads plugins must not need LuaJIT, hence --as-needed.
host_libs = -Wl,--as-needed $(LUAJIT_LIBS) -ldl -lpthread -lm

$(BUILD)/hosts/%.o: tests/system/hosts/%.c Makefile
	$(call compile,-fPIC -fvisibility=default $(LUAJIT_CFLAGS))

$(BUILD)/hosts/plugin_%.so: $(BUILD)/hosts/plugin_%.o
	$(call link,-shared,$(host_libs))

$(BUILD)/hosts/%: $(BUILD)/hosts/%.o
	$(call link,,$(host_libs))

# LuaJIT inside the program, with its symbols, as programs that bring their own LuaJIT have it.
$(BUILD)/hosts/%_static: $(BUILD)/hosts/%.o
	$(call link,-Wl$(comma)-E,$(patsubst -l%,-l:lib%.a,$(filter -lluajit%,$(LUAJIT_LIBS))) -ldl -lm)

# ---- Unit tests, plain and under each sanitizer ----

# $(call unit_tests,DIR,BINARY,FLAGS,RUNNER SOURCE,LIBS): the tests and the library's sources in one binary.
define unit_tests
$(BUILD)/$(1)/preload/%.o: preload/%.c Makefile
	$$(call compile,-DLJT_UNIT_TEST -fPIE $(3))

$(BUILD)/$(1)/symtab/%.o: symtab/%.c Makefile
	$$(call compile,-fPIE $(3))

$(BUILD)/$(1)/tools/%.o: tools/%.c Makefile
	$$(call compile,-fPIE $(3))

$(BUILD)/$(1)/tests/unit/%.o: tests/unit/%.c Makefile
	$$(call compile,-DLJT_UNIT_TEST -DLJT_LIBRARY='"$(abspath $(BUILD))/libljtrim.so"' \
	    -DLJT_SYMTAB_LIBRARY='"$(abspath $(BUILD))/libljtrim-symtab.so"' -DLJT_CORPUS='"$(abspath tests/fuzz/corpus)"' -Itests/fuzz -fPIE -fvisibility=default $(3) \
	    $$(LUAJIT_CFLAGS) $$(CRITERION_CFLAGS))

$(BUILD)/$(1)/tests/fuzz/%.o: tests/fuzz/%.c Makefile
	$$(call compile,-Itools -fPIE $(3))

$(BUILD)/$(2): $(patsubst %.c,$(BUILD)/$(1)/%.o,$(UNIT_PRELOAD) $(SYMTAB) $(UNIT_TOOLS) $(READERS) $(FUZZED)) \
               $(patsubst %.c,$(BUILD)/$(1)/tests/unit/%.o,$(notdir $(UNIT_TESTS)) $(4))
	$$(call need_files,$(UNIT_TESTS),tests/unit/)
	$$(call link,-pie $(3),$(5) $$(LUAJIT_LIBS) $$(SYMTAB_LIBS) -ldl -lpthread -lm)
endef

SANITIZE = -fno-omit-frame-pointer -fno-sanitize-recover=all

# $(call stress_host,DIR,FLAGS): the program that stresses heaps with the library in it, all of it, in place of a preload: what
# a sanitizer's run time stands in front of (mmap, sigaction) is then still ours first, and the programs it starts need none.
# EARLY is called by the run time before it is able to look at what is done: that is left to the unit tests. ThreadSanitizer
# is told there what it then does not see.
EARLY = preload/interpose.c preload/kernel.c

define stress_host
$(BUILD)/$(1)/early/%.o: %.c Makefile
	$$(call compile,-DLJT_UNIT_TEST -fPIE $(if $(findstring thread,$(2)),-DLJT_TSAN))

$(BUILD)/$(1)/tests/system/hosts/%.o: tests/system/hosts/%.c Makefile
	$$(call compile,-fPIE -fvisibility=default $(2) $$(LUAJIT_CFLAGS))

$(BUILD)/$(1)/stress: $(patsubst %.c,$(BUILD)/$(1)/%.o,$(filter-out $(EARLY),$(PRELOAD))) $(EARLY:%.c=$(BUILD)/$(1)/early/%.o) \
                      $(BUILD)/$(1)/tests/system/hosts/stress.o
	$$(call link,-pie -Wl$$(comma)-E $(2),$$(LUAJIT_LIBS) -ldl -lpthread -lm)
endef

$(eval $(call unit_tests,unit,test-unit,,,$$(CRITERION_LIBS)))
$(eval $(call unit_tests,asan,asan/test-unit,$(SANITIZE) -fsanitize=address,,$$(CRITERION_LIBS)))
$(eval $(call unit_tests,ubsan,ubsan/test-unit,$(SANITIZE) -fsanitize=undefined,,$$(CRITERION_LIBS)))
# Criterion's own runner does not start under TSan (Snaipe/Criterion issue 274): a small one stands in for it.
$(eval $(call unit_tests,tsan,tsan/test-unit,$(SANITIZE) -fsanitize=thread,runner/plain_runner.c,))
$(foreach kind,asan-address ubsan-undefined tsan-thread,$(eval $(call stress_host,$(firstword $(subst -, ,$(kind))),$(SANITIZE) -fsanitize=$(lastword $(subst -, ,$(kind))))))
# The same without a sanitizer: where Criterion's runner can't be had (make check-arm64).
$(eval $(call unit_tests,plain,plain/test-unit,,runner/plain_runner.c,))

# ---- Tests: each target's last line is `N passed, N failed`, and `, N skipped` where some were ----

deps:  ## install the Debian packages that build, tests and demo need
	$(if $(filter 1,$(NODEPS)),,$(Q)scripts/install-deps)

test: deps  ## everything: unit tests, then system tests (both run, whatever the first says)
	$(Q)scripts/test-total '$(MAKE) test-unit' '$(MAKE) test-system'

test-unit: $(BUILD)/test-unit $(BUILD)/libljtrim.so $(BUILD)/libljtrim-symtab.so  ## unit tests (Criterion; arguments: ARGS='--filter gate/*')
	$(Q)scripts/test-total 'scripts/run-units $(BUILD)/test-unit $(ARGS)'

test-system: all hosts $(BUILD)/delays/libljtrim.so  ## system tests: real nginx, luajit and small hosts
	$(call need_program,tests/system/run)
	$(Q)BUILD='$(abspath $(BUILD))' tests/system/run $(ARGS)

test-poisoned: all hosts $(BUILD)/delays/libljtrim.so  ## system tests once more: what is claimed is filled with a pattern, each unit proves the heap
	$(Q)BUILD='$(abspath $(BUILD))' TEST_DEBUG=poison,verify tests/system/run $(ARGS)

check-asan check-ubsan check-tsan: check-%: $(BUILD)/%/test-unit $(BUILD)/libljtrim.so $(BUILD)/libljtrim-symtab.so
	$(Q)scripts/test-total 'scripts/run-units $(BUILD)/$*/test-unit $(ARGS)'
check-asan:   ## unit tests under AddressSanitizer
check-ubsan:  ## unit tests under UndefinedBehaviorSanitizer
check-tsan:   ## unit tests under ThreadSanitizer

# libFuzzer needs clang; the tests need neither, they replay the corpora.
FUZZ_SECONDS = 60
FUZZ         = $(basename $(notdir $(FUZZED)))
fuzz_cc      = $(CLANG) $(BASE_CPPFLAGS) -Itools -DLJT_FUZZER -std=gnu11 -O1 -g -fno-omit-frame-pointer \
               -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

$(BUILD)/fuzz/%.o: %.c Makefile
	$(call say,CLANG,$<)
	@mkdir -p $(@D)
	$(Q)$(fuzz_cc) $(if $(filter tests/fuzz/%,$<),-Dljt_fuzz_$(*F)=LLVMFuzzerTestOneInput) -c $< -o $@

$(BUILD)/fuzz-%: $(BUILD)/fuzz/tests/fuzz/%.o $(patsubst %.c,$(BUILD)/fuzz/%.o,$(UNIT_PRELOAD) $(SYMTAB) $(READERS))
	$(call say,LD,$@)
	$(Q)$(CLANG) -fsanitize=fuzzer,address,undefined -Wl,-z,noexecstack $^ $(SYMTAB_LIBS) -ldl -lpthread -o $@

fuzz: $(FUZZ:%=$(BUILD)/fuzz-%)  ## look for inputs that break a target of tests/fuzz (clang-14; FUZZ='heap config' FUZZ_SECONDS=60)
	$(Q)for t in $(FUZZ); do \
	    mkdir -p $(BUILD)/fuzz-found/$$t && echo "fuzz: $$t" && \
	    (cd $(BUILD) && ./fuzz-$$t -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=20 -print_final_stats=1 \
	        $(ARGS) fuzz-found/$$t $(abspath tests/fuzz/corpus)/$$t) || exit 1; \
	done

check-model:  ## check the gate's protocol with spin (the part that CI checks: ARGS=--quick)
	$(call need_program,tests/model/run)
	$(Q)BUILD='$(abspath $(BUILD))' tests/model/run $(ARGS)

.PHONY: check-mutants
check-mutants: all hosts $(BUILD)/test-unit $(BUILD)/tsan/test-unit $(BUILD)/delays/libljtrim.so  ## bugs sown on purpose, each to be caught by a named test (ARGS=WORD)
	$(Q)BUILD='$(abspath $(BUILD))' tests/mutants/run $(ARGS)

.PHONY: check-all
check-all: deps all  ## everything that takes an hour or so, and docs/RELIABILITY.md from its figures (ARGS='model hosts': only these)
	$(Q)BUILD='$(BUILD)' scripts/check-all $(ARGS)

.PHONY: stress
stress: all hosts $(BUILD)/delays/libljtrim.so  ## 10^9 operations on real heaps while they are purged (ARGS='--operations N --seed S --patched --delays')
	$(Q)BUILD='$(abspath $(BUILD))' tests/stress/run $(ARGS)

SANITIZED = --asan --ubsan --tsan
.PHONY: stress-sanitized
stress-sanitized: $(SANITIZED:--%=$(BUILD)/%/stress)  ## the same under each sanitizer (ARGS='--operations 1e7')
	$(Q)for s in $(SANITIZED); do BUILD='$(abspath $(BUILD))' tests/stress/run $$s --operations 3e6 $(ARGS) || exit 1; done

.PHONY: soak
soak: all  ## two nginx, plain and preloaded, in the same storm for half an hour (ARGS=--quick: 3 minutes)
	$(Q)BUILD='$(abspath $(BUILD))' tests/soak/run $(ARGS)

.PHONY: check-hosts
check-hosts: all hosts  ## nginx, neovim, DNS servers and other programs with LuaJIT inside (ARGS=NAME)
	$(Q)BUILD='$(abspath $(BUILD))' scripts/check-hosts $(ARGS)

.PHONY: check-arm64
check-arm64:  ## cross-build for arm64; unit tests and a LuaJIT under qemu's user mode
	$(Q)BUILD='$(abspath $(BUILD))' scripts/check-arm64 $(ARGS)

.PHONY: check-kernel
check-kernel: all hosts  ## memory pressure and huge pages on a Linux kernel of its own (cgroup v2), booted by qemu (ARGS='pressure/ thp/')
	$(Q)BUILD='$(abspath $(BUILD))' scripts/check-kernel $(ARGS)

bench: all hosts  ## measure against the plain process and against peers
	$(call need_program,bench/run)
	$(Q)bench/run $(ARGS)

duel: all  ## the OOM duel: nginx under a memory limit with and without the library (wants control groups)
	$(call need_program,scripts/oom-duel)
	$(Q)scripts/oom-duel $(ARGS)

demo: deps  ## the breathing curve: nginx with and without the library, a picture and a table
	$(call need_program,scripts/demo)
	$(Q)$(MAKE) all hosts
	$(Q)scripts/demo $(ARGS)

# ---- Care ----

format:  ## format the C files (clang-format-14)
	$(Q)$(CLANG_FORMAT) -i $(FORMATTED)

check-format:  ## say which C files are not formatted
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)

check-lua:  ## do the Lua files parse?
	$(Q)for f in $(LUA_FILES); do luajit -bl $$f >/dev/null || exit 1; done

check-patches:  ## do the bugs of check-mutants still fit the code?
	$(Q)for f in tests/mutants/*.patch; do patch -p1 -s -F0 --dry-run <$$f || { echo "$$f does not apply" >&2; exit 1; }; done

# A process a file: where one breaks down, or takes too long, the others go on.
tidy:  ## static analysis of preload/, symtab/ and tools/ (clang-tidy-14)
	$(Q)printf '%s\n' $(PRELOAD) $(SYMTAB) $(TOOLS) | xargs -P2 -I{} timeout 900 $(CLANG_TIDY) --quiet {} -- \
	    $(filter-out -M%,$(BASE_CPPFLAGS)) -std=gnu11 -Wall -Wextra

# cppcheck: see .cppcheck for what is suppressed. gcc -fanalyzer's leak is off: it takes a block for lost once only a pointer
# to a member of it is left (canvas_png.c, canvas_svg.c).
.PHONY: analyze analyze-quick
analyze: analyze-quick tidy  ## cppcheck, gcc -fanalyzer and clang-tidy-14 over preload/, symtab/ and tools/
analyze-quick:  ## the first two, which take half a minute
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --suppressions-list=.cppcheck \
	    --error-exitcode=1 -D_GNU_SOURCE= -D__x86_64__ -D__linux__ '-DElfW(type)=Elf64_\#\#type' \
	    -Ipreload -Isymtab -Itools preload symtab tools
	$(Q)printf '%s\n' $(PRELOAD) $(SYMTAB) $(TOOLS) | xargs -P2 -I{} $(CC) $(filter-out -M%,$(BASE_CPPFLAGS)) \
	    -std=gnu11 -O1 -fanalyzer -Wno-analyzer-malloc-leak -Werror -c {} -o /dev/null

# OpenResty looks in its own place: make install LUA_LIB_DIR=/usr/local/openresty/lualib
LUA_LIB_DIR ?= $(PREFIX)/share/lua/5.1

man_path = $(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page))

# Alert rules and the dashboard, for whoever runs Prometheus and Grafana; nothing of ours reads them.
CONTRIB      := $(wildcard contrib/*)
contrib_path = $(PREFIX)/share/libljtrim/$(notdir $(file))

install: all  ## install under $(DESTDIR)$(PREFIX)
	install -D -m 644 $(BUILD)/libljtrim.so '$(DESTDIR)$(PREFIX)/lib/libljtrim.so'
	install -D -m 644 $(BUILD)/libljtrim-symtab.so '$(DESTDIR)$(PREFIX)/lib/libljtrim-symtab.so'
	install -D -m 755 $(BUILD)/ljtrim '$(DESTDIR)$(PREFIX)/bin/ljtrim'
	install -D -m 644 preload/ljtrim.h '$(DESTDIR)$(PREFIX)/include/ljtrim.h'
	install -D -m 644 lualib/resty/ljtrim.lua '$(DESTDIR)$(LUA_LIB_DIR)/resty/ljtrim.lua'
	$(foreach file,$(CONTRIB),install -D -m 644 $(file) '$(DESTDIR)$(contrib_path)' &&) true
	$(foreach page,$(MAN_PAGES),install -D -m 644 $(page) '$(DESTDIR)$(man_path)' &&) true

uninstall:  ## remove what install has put there
	rm -f '$(DESTDIR)$(PREFIX)/lib/libljtrim.so' '$(DESTDIR)$(PREFIX)/lib/libljtrim-symtab.so' \
	    '$(DESTDIR)$(PREFIX)/bin/ljtrim' \
	    '$(DESTDIR)$(PREFIX)/include/ljtrim.h' '$(DESTDIR)$(LUA_LIB_DIR)/resty/ljtrim.lua' \
	    $(foreach file,$(CONTRIB),'$(DESTDIR)$(contrib_path)') \
	    $(foreach page,$(MAN_PAGES),'$(DESTDIR)$(man_path)')
	@rmdir '$(DESTDIR)$(PREFIX)/share/libljtrim' 2>/dev/null || true

.PHONY: deb
deb: all  ## a Debian package of what install installs, below $(BUILD) (needs dpkg-dev)
	$(Q)BUILD='$(BUILD)' scripts/make-deb

clean:  ## remove everything that was built
	rm -rf $(BUILD)

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*##* \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@sed -n '3,/^$$/s/^# //p' $(firstword $(MAKEFILE_LIST))

-include $(shell find $(BUILD) -mindepth 1 \( -name check-hosts -o -name arm64 -o -name kernel -o -name tree \) -prune -o -name "*.d" -type f -print 2>/dev/null)
