# What docs/SECURITY.md promises. Several need root, to be somebody else for a moment.

NOBODY=65534
need_root() {
	[ "$(id -u)" = 0 ] || skip "not root: nobody else to be"
	need_command setpriv
}
as_nobody() { setpriv --reuid=$NOBODY --regid=$NOBODY --clear-groups "$@"; }

# Lua that stays until the file `finish` is there.
STAYS='print("here") io.stdout:flush() while not io.open("finish") do os.execute("sleep 0.05") end'

# shared_directory: one in which everybody may write, in the test's own.
shared_directory() {
	mkdir shared
	chmod 777 . shared
	printf 'precious\n' >victim
}

# logs_nothing_into FILE WHY: the line of a mistyped variable goes to stderr, with the reason; FILE stays as it is.
logs_nothing_into() {
	local before
	before=$(cat victim)
	with_library LJTRIM_LOG="$TEST_DIR/$1" LJTRIM_FOO=1 "$LUAJIT" -e 'print(1)' >out 2>err || fail "luajit failed: $(cat err)"
	expect_equal "$(cat out)" 1 "output of the host"
	grep -q "^ljtrim: can't open the log .*($2); logging to stderr$" err || fail "unexpected: $(cat err)"
	grep -q '^ljtrim: LJTRIM_FOO' err || fail "the line is lost: $(cat err)"
	expect_equal "$(cat victim)" "$before" "somebody's file"
}

### Files

test_log_follows_no_symbolic_link() {
	need_library
	shared_directory
	ln -s ../victim shared/log
	logs_nothing_into shared/log 'it is a symbolic link'
	ln -s ../absent shared/dangling
	logs_nothing_into shared/dangling 'it is a symbolic link'
	[ ! -e absent ] || fail "a file was made through a dangling link"
}

test_log_is_no_other_name_of_a_file() {
	need_library
	shared_directory
	ln victim shared/log
	logs_nothing_into shared/log 'it has other names: hard links'
}

test_log_is_no_file_or_pipe_of_another_user() {
	need_library
	need_root
	shared_directory
	: >shared/log
	mkfifo shared/pipe
	chmod 666 shared/*
	chown $NOBODY shared/*
	logs_nothing_into shared/log 'it belongs to another user'
	expect_equal "$(cat shared/log)" "" "what another user reads"
	exec 3<>shared/pipe # somebody reads it
	logs_nothing_into shared/pipe 'it belongs to another user'
	! read -r -t 0.1 line <&3 || fail "another user reads: $line"
}

test_files_are_for_their_owner_alone() {
	need_library
	umask 0
	start "${EAGER[@]}" LJTRIM_LOG="$PWD/log.%p" LJTRIM_STATS_FILE="$PWD/%p.prom" LJTRIM_FOO=1 "$LUAJIT" \
		"$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" light "$TEST_DIR/finish"
	wait_for_line 60 trough
	wait_until 20 test -e "$pid.prom" || fail "no statistics"
	expect_equal "$(stat -c %a "$pid.prom")" 600 "mode of the statistics"
	expect_equal "$(stat -c %a "log.$pid")" 600 "mode of the log"
	touch finish
	finish
}

test_statistics_replace_what_lies_in_their_way() {
	need_library
	shared_directory
	ln -s ../victim shared/stats
	ln victim shared/other
	start "${EAGER[@]}" LJTRIM_STATS_FILE="$PWD/shared/stats" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" \
		light "$TEST_DIR/finish"
	wait_for_line 60 trough
	wait_until 20 test ! -L shared/stats || fail "no statistics"
	expect_equal "$(stat -c '%F %h %a' shared/stats)" "regular file 1 600" "what is there now"
	touch finish
	finish
	expect_equal "$(cat victim)" precious "somebody's file"
}

test_path_has_no_format_but_the_pid() {
	need_library
	local path
	for path in '%s' '%n%n' 'log.%d' 'log.%' 'log.%%p' '%1$p'; do
		with_library LJTRIM_LOG="$PWD/$path" "$LUAJIT" -e 'print(1)' >out 2>err || fail "luajit failed: $(cat err)"
		expect_equal "$(cat out)" 1 "output of the host"
		expect_equal "$(grep -c '^ljtrim: LJTRIM_LOG=.*is not allowed' err)" 1 "complaints about $path: $(cat err)"
	done
	expect_equal "$(ls)" "$(printf 'err\nout\ntest.log')" "files"
}

# The first line opens the log: until there is one, nothing is made; then whoever writes it, with what rights it has then.
test_log_is_opened_with_the_rights_of_who_writes_to_it() {
	need_library
	need_root
	chmod 777 .
	cat >drop.lua <<-'END'
		local ffi = require("ffi")
		ffi.cdef("int setresuid(unsigned, unsigned, unsigned); int setresgid(unsigned, unsigned, unsigned); int kill(int, int); int getpid(void);")
		local t = {}
		for i = 1, 40000 do t[i] = { i, ("x"):rep(100) .. i } end
		assert(not io.open(arg[1], "r"), "the log is there already")
		assert(ffi.C.setresgid(65534, 65534, 65534) == 0 and ffi.C.setresuid(65534, 65534, 65534) == 0)
		ffi.C.kill(ffi.C.getpid(), 12)
		for i = 1, 2000 do
			local f = io.open(arg[1], "r")
			if f and f:read(1) then print("logged") return end
			if f then f:close() end
			os.execute("sleep 0.01")
		end
	END
	run_host LJTRIM_LOG="$PWD/log" "$LUAJIT" -joff drop.lua "$PWD/log" >said
	expect_equal "$(cat said)" logged "what the host found"
	expect_equal "$(stat -c '%u %a' log)" "$NOBODY 600" "owner and mode of the log"
}

### Privileges

# A program that raises its privileges and names the library itself: the only way in, as ld.so ignores LD_PRELOAD there.
test_environment_is_ignored_where_privileges_are_raised() {
	need_library
	need_root
	need_command gcc
	cp "$LJT_SO" libljtrim.so
	chmod 755 . libljtrim.so
	gcc $(pkg-config --cflags luajit) "$TEST_SYSTEM/hosts/run_lua.c" -o raised -Wl,--no-as-needed ./libljtrim.so \
		-Wl,-rpath,"$PWD" $(pkg-config --libs luajit) || skip "nothing to link with"
	cat >secure.lua <<-'END'
		local ffi = require("ffi")
		ffi.cdef("unsigned long getauxval(unsigned long);")
		local t = {}
		for i = 1, 40000 do t[i] = { i, ("x"):rep(100) .. i } end
		print(tonumber(ffi.C.getauxval(23)))
	END
	mkdir logs
	chmod 777 logs
	as_nobody env LJTRIM_FOO=1 LJTRIM_LOG="$PWD/logs/%p" LJTRIM_STATS_AT_EXIT=1 LJTRIM_STATS_FILE="$PWD/logs/%p.prom" \
		./raised secure.lua >out 2>err || fail "$(cat err)"
	expect_equal "$(cat out)" 0 "AT_SECURE without privileges"
	[ -n "$(ls logs)" ] || fail "the library is not in it"
	rm -f logs/*
	chmod 4755 raised
	as_nobody env LJTRIM_FOO=1 LJTRIM_LOG="$PWD/logs/%p" LJTRIM_STATS_AT_EXIT=1 LJTRIM_STATS_FILE="$PWD/logs/%p.prom" \
		./raised secure.lua >out 2>err || fail "$(cat err)"
	[ "$(cat out)" = 1 ] || skip "set-user-ID has no effect in this file system"
	expect_equal "$(ls logs)" "" "files"
	expect_equal "$(cat err)" "" "stderr"
}

test_signals_and_figures_are_not_for_other_users() {
	need_library
	need_root
	start "${EAGER[@]}" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" light "$TEST_DIR/finish"
	wait_for_line 60 trough
	! as_nobody bash -c "kill -USR2 $pid" 2>said || fail "another user may ask for a dump"
	grep -q 'not permitted' said || fail "unexpected: $(cat said)"
	if [ -x "$LJT_TOOL" ]; then
		cp "$LJT_TOOL" ljtrim
		chmod 755 . ljtrim
		wait_until 20 ./ljtrim stats "$pid" >/dev/null || fail "root may not read"
		! as_nobody ./ljtrim stats "$pid" >said 2>&1 || fail "another user reads: $(cat said)"
		grep -q 'may not read' said || fail "unexpected: $(cat said)"
	fi
	touch finish
	finish
}

# Nothing to connect to, nothing to write to: the host has the descriptors that it has without us.
test_no_descriptor_is_kept_open() {
	need_library
	local with
	start "${EAGER[@]}" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" light "$TEST_DIR/finish"
	wait_for_line 60 trough
	wait_until 20 has_reclaimer "$pid" || fail "no reclaimer"
	with=$(descriptors)
	touch finish
	finish
	rm finish
	start_plain "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" sessions:100000:1000 light "$TEST_DIR/finish"
	wait_for_line 60 trough
	expect_equal "$with" "$(descriptors)" "descriptors"
	touch finish
	finish
}
descriptors() { (cd "/proc/$pid/fd" && for n in *; do echo "$n $(readlink "$n")"; done) | sed 's/:\[[0-9]*\]//'; }

### Code

test_objects_have_no_writable_code_and_are_bound_at_once() {
	need_library
	need_command readelf
	local object
	for object in "$LJT_SO" "${LJT_SO%.so}-symtab.so" "$LJT_TOOL"; do
		[ -e "$object" ] || continue
		readelf -lW "$object" >segments
		readelf -dW "$object" >dynamic
		! awk '$1 == "LOAD" && /W/ && / R?WE /' segments | grep -q . || fail "$object: a segment is writable and executable"
		! grep 'LOAD.*RWE' segments || fail "$object: a segment is writable and executable"
		grep -q 'GNU_STACK.* RW ' segments || fail "$object: the stack is executable"
		grep -q GNU_RELRO segments || fail "$object: no relro"
		grep -Eq 'BIND_NOW|FLAGS.*NOW' dynamic || fail "$object: bound lazily"
		! grep -Eq 'TEXTREL|R(UN)?PATH' dynamic || fail "$object: relocations in its code, or a path to search"
	done
}

# code_without_a_file PID: executable memory that comes from no file, or that is writable as well.
code_without_a_file() {
	awk '$2 ~ /x/ && ($2 ~ /w/ || $6 == "" || $6 ~ /^\[anon/) && $6 != "[vdso]" && $6 != "[vsyscall]"' "/proc/$1/maps"
}

test_process_gets_no_code_that_is_no_file() {
	need_library
	start "${EAGER[@]}" "$LUAJIT" -joff "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" light "$TEST_DIR/finish"
	wait_for_line 60 trough
	wait_until 20 has_reclaimer "$pid" || fail "no reclaimer"
	expect_equal "$(code_without_a_file "$pid")" "" "code without a file"
	grep -q 'libljtrim.so' "/proc/$pid/maps" || fail "the library is not there"
	touch finish
	finish
	# The same eye sees the code of LuaJIT's own compiler.
	rm finish
	start "$LUAJIT" -e "local x = 0 for i = 1, 1e6 do x = x + i % 7 end $STAYS"
	wait_for_line 30 here
	[ -n "$(code_without_a_file "$pid")" ] || fail "compiled code was overlooked"
	touch finish
	finish
}

### The command

# A process chooses its own name: no terminal is to obey it.
test_name_of_a_process_is_not_obeyed_by_the_terminal() {
	unpoisoned "nothing is preloaded"
	[ -x "$LJT_TOOL" ] || skip "no ljtrim"
	start_plain "$LUAJIT" -e 'local ffi = require("ffi") ffi.cdef("int prctl(int, const char *);")
		ffi.C.prctl(15, "\27[31m\7red")'" $STAYS"
	wait_for_line 20 here
	grep -q 'red' "/proc/$pid/comm" || fail "it has another name"
	local format
	for format in --csv --json ''; do
		"$LJT_TOOL" inspect "$pid" $format >said 2>&1 || true
		[ "$format" = --csv ] || grep -q red said || fail "it is not named: $(cat said)"
		! grep -q "$(printf '[\033\007]')" said || fail "control characters: $(cat -v said)"
	done
	touch finish
	finish
	printf '\033[31mred' >/proc/$$/comm
	"$LJT_TOOL" inspect $$ --csv >said 2>&1 || true
	grep -q 'red) has no LuaJIT arena' said || fail "unexpected: $(cat -v said)"
	! grep -q "$(printf '\033')" said || fail "control characters: $(cat -v said)"
}

# start_as_nginx ROOT WORD ...: a luajit in this root directory ('': ours) that calls itself nginx's master, started with
# these words.
start_as_nginx() {
	local root=$1
	shift
	need_command python3
	[ -e "$TEST_DIR$root/nginx" ] || cp "$(readlink -f "$LUAJIT")" "$TEST_DIR$root/nginx"
	start_plain python3 -c 'import os, sys
directory, root, title = sys.argv[1:]
os.chdir(directory + root)
if root: os.chroot(".")
os.execv("./nginx", [title, "-e", """local ffi = require("ffi") ffi.cdef("int poll(void *, unsigned long, int);")
	print("here") io.stdout:flush() while true do ffi.C.poll(nil, 0, 1000) end"""])' \
		"$TEST_DIR" "$root" "nginx: master process nginx $*"
	wait_for_line 20 here
}

# diagnose: what the doctor says of the process, into `found`. The time limit is there for what never ends.
diagnose() {
	local status=0
	timeout 60 "$LJT_TOOL" doctor "$pid" >found 2>&1 || status=$?
	[ $status -le 1 ] || fail "the doctor ended with status $status: $(tail -n 2 found)"
	! grep -q "$(printf '[\033\007]')" found || fail "control characters: $(cat -v found)"
	tr -s ' \n' ' ' <found >said # lines are wrapped
}

# says TEXT WHAT: the doctor, in one line or more.
says() { grep -qF -- "$1" said || fail "$2: '$1' is not in $(grep -A 9 nginx found)"; }

test_doctor_reads_no_configuration_that_has_no_end() {
	unpoisoned "nothing is preloaded"
	[ -x "$LJT_TOOL" ] || skip "no ljtrim"
	local path
	mkfifo pipe
	start_as_nginx '' -c "$TEST_DIR/nginx.conf"
	for path in /dev/zero "$TEST_DIR/pipe" "$TEST_DIR"; do
		ln -s "$path" nginx.conf
		diagnose
		says "nginx.conf cannot be read (not a regular file)" "$path as the main file"
		rm nginx.conf
		printf 'include %s;\nenv LD_PRELOAD;\n' "$path" >nginx.conf
		diagnose
		says "not all of it was read: $path cannot be read (not a regular file)" "as an include"
		says "'env LD_PRELOAD;' is there" "what follows"
		rm nginx.conf
	done
}

# With a bound on depth alone these are 20^8 reads.
test_doctor_reads_files_that_include_each_other_once() {
	unpoisoned "nothing is preloaded"
	[ -x "$LJT_TOOL" ] || skip "no ljtrim"
	local i
	mkdir conf.d
	for i in {1..20}; do echo "include conf.d/*.conf; include nginx.conf;" >conf.d/$i.conf; done
	echo 'include conf.d/*.conf; env LD_PRELOAD;' >nginx.conf
	start_as_nginx '' -c "$TEST_DIR/nginx.conf"
	diagnose
	says "'env LD_PRELOAD;' is there" "behind the circle"
	! grep -q 'not all of it' said || fail "something was left out: $(cat found)"
}

test_doctor_is_not_led_out_of_a_root() {
	unpoisoned "nothing is preloaded"
	[ -x "$LJT_TOOL" ] || skip "no ljtrim"
	need_root
	local library include
	mkdir -p root/etc outside "root$TEST_DIR/outside"
	ldd "$(readlink -f "$LUAJIT")" | grep -o '/[^ ]*' | while read -r library; do
		mkdir -p "root${library%/*}"
		cp -L "$library" "root$library"
	done
	# What the links lead to is a directory outside, and another one inside.
	echo 'env LD_PRELOAD;' | tee outside/theirs.conf >"root$TEST_DIR/outside/ours.conf"
	ln -s "$TEST_DIR/outside" root/etc/absolute
	ln -s "../../../../../../../../../../../../../..$TEST_DIR/outside" root/etc/up
	ln -s "$TEST_DIR/outside/theirs.conf" root/etc/file
	start_as_nginx /root -c /etc/nginx.conf
	for include in 'absolute/*.conf' 'up/*.conf' 'a*/o*' up/ours.conf; do
		echo "include $include;" >root/etc/nginx.conf
		diagnose
		says "'env LD_PRELOAD;' is there" "inside, as $include"
	done
	for include in file absolute/theirs.conf 'up/t*.conf'; do
		echo "include $include;" >root/etc/nginx.conf
		diagnose
		says "'env LD_PRELOAD;' is missing" "outside, as $include"
	done
}

test_doctor_says_nothing_that_a_terminal_obeys() {
	unpoisoned "nothing is preloaded"
	[ -x "$LJT_TOOL" ] || skip "no ljtrim"
	start_as_nginx '' -c "$(printf '/none/\033[31m\007red')"
	diagnose
	says '/none/?[31m?red cannot be read' "the path"
}

# A system call that changes another process, or a file opened for writing, is the end of the command.
test_command_writes_to_no_process_and_to_no_file() {
	unpoisoned "the command does the same"
	need_library
	need_seccomp
	[ -x "$LJT_TOOL" ] || skip "no ljtrim"
	local words call status
	start "${EAGER[@]}" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" sessions:100000:1000 light "$TEST_DIR/finish"
	wait_for_line 60 trough
	wait_until 20 "$LJT_TOOL" stats "$pid" >/dev/null || fail "no statistics"
	for words in "inspect $pid --max-stop 0" "inspect $pid --no-stop" "stats $pid" 'top --once'; do
		"$(host sandbox)" write kill "$LJT_TOOL" $words >said 2>&1 || fail "$words: status $?, $(tail -n 2 said)"
	done
	"$(host sandbox)" write kill "$LJT_TOOL" doctor "$pid" >said 2>&1 || [ $? = 1 ] || fail "doctor: $(tail -n 2 said)"
	grep -q '^ok *libljtrim *loaded from' said || fail "doctor: $(cat said)"
	touch finish
	finish
	# Whoever does one of them is killed.
	for call in 'process_vm_writev(0, nil, 0, nil, 0, 0)' 'ptrace(4, 0, nil, nil)' 'ptrace(5, 0, nil, nil)' \
		'ptrace(6, 0, nil, nil)' 'ptrace(0x4205, 0, nil, nil)' 'open("/proc/self/mem", 1)' 'open("/proc/self/mem", 2)'; do
		status=0
		"$(host sandbox)" write kill "$LUAJIT" -e 'local ffi = require("ffi") ffi.cdef[[
			long process_vm_writev(int, void *, unsigned long, void *, unsigned long, unsigned long);
			long ptrace(int, int, void *, void *); int open(const char *, int, ...);]] ffi.C.'"$call" || status=$?
		expect_equal $status 159 "status of $call"
	done
}
