# Statistics: the dump, LJTRIM_STATS_FILE, and what is read from outside.

. "$TEST_SYSTEM/cases/nginx.bash"

ljtrim() { "$LJT_TOOL" "$@"; }
need_tool() { [ -x "$LJT_TOOL" ] || skip "the command ljtrim is not built"; }

# start_trough [VARIABLE=VALUE ...]: a preloaded luajit behind its peak, silent, its free pages gone. Sets $pid.
start_trough() {
	rm -f out err
	start LJTRIM_MAX_CPU_PCT=100 $(pace 100 100) "$@" "$LUAJIT" \
		"$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" idle "$TEST_DIR/finish"
	wait_for_line 60 trough
	expect_fall "$pid" 30000
	settle "$pid"
}

# settle PID: until the figures stand still.
settle() {
	local before='' now i
	for ((i = 0; i < 100; i++)); do
		now=$(figures_of "$(ljtrim stats "$1" --json 2>&1)")
		[ "$now" != "$before" ] || [ -z "$now" ] || return 0
		before=$now
		sleep 0.4
	done
	fail "the figures never stand still"
}

# figures_of JSON: what must be the same however it is told: all but time and CPU, which move by themselves.
figures_of() {
	printf '%s' "$1" | "$LUAJIT" -e '
		local t = require("cjson").decode(io.read("*a"))
		local names = {}
		t.total.reclaimer_cpu_ns = nil
		for name, value in pairs(t.total) do names[#names + 1] = name .. "=" .. string.format("%.14g", value) end
		table.sort(names)
		print(table.concat(names, " "))'
}

# dump_of PID FILE: asks for a dump and prints what is new in FILE.
dump_of() {
	local before
	before=$(wc -c <"$2")
	kill -USR2 "$1"
	wait_until 5 grew_and_rests "$2" "$before" || fail "no dump"
	tail -c "+$((before + 1))" "$2"
}
grew_and_rests() {
	local size
	size=$(wc -c <"$1")
	[ "$size" -gt "$2" ] && sleep 0.2 && [ "$(wc -c <"$1")" = "$size" ]
}

# check_exposition FILE: a parser of Prometheus' text format with all that it demands of names, types and histograms.
check_exposition() {
	"$LUAJIT" "$TEST_SYSTEM/lua/exposition.lua" "$1" >parsed || fail "$1: $(head -n 3 parsed)"
	if command -v promtool >/dev/null; then
		promtool check metrics <"$1" >promtool 2>&1 || fail "promtool: $(head -n 3 promtool)"
	fi
}

# metric FILE NAME: its value there.
metric() { sed -n "s/^$2{[^}]*} //p" "$1"; }

### The same everywhere

test_quiet_nginx_worker_tells_the_same_in_every_way() {
	local worker json field
	local library_may_speak=yes
	need_tool
	need_library
	start_nginx LJTRIM_MAX_CPU_PCT=100 $(pace 100 100) \
		LJTRIM_STATS_FILE="$TEST_DIR/%p.prom" LJTRIM_LOG="$TEST_DIR/%p.log"
	worker=$(ask pid)
	ask peak >/dev/null
	ask collect >/dev/null 2>&1 || true
	settle "$worker"
	json=$(ljtrim stats "$worker" --json)
	ljtrim stats "$worker" --prometheus >outside.prom
	ljtrim stats "$worker" | sed -n '2,$p' >outside.txt
	: >>"$worker.log"
	dump_of "$worker" "$worker.log" >dump.txt
	cmp <(sed 's/reclaimer CPU .*//' outside.txt) <(sed 's/reclaimer CPU .*//' dump.txt) ||
		fail "the dump is not what is read: $(diff outside.txt dump.txt | head -n 4)"
	cmp <(grep -v reclaimer_cpu outside.prom) <(grep -v reclaimer_cpu "$worker.prom") ||
		fail "the file is not what is read: $(diff outside.prom "$worker.prom" | head -n 4)"
	check_exposition "$worker.prom"
	for field in mapped:mapped_bytes live:live_bytes resident:resident_bytes floor:page_floor_bytes \
		purged:purged_bytes_total looks:looks_total; do
		expect_equal "$(metric "$worker.prom" "ljtrim_${field#*:}")" \
			"$(printf '%s' "$json" | sed -n "s/^    \"${field%:*}\": \([0-9]*\).*/\1/p" | head -n 1)" "$field"
	done
	quit_nginx
	expect_equal "$(ls "$TEST_DIR" | grep -c '\.prom$')" 1 "files left of workers that are gone, and ours"
}

test_dump_in_each_format() {
	need_library
	start_trough LJTRIM_STATS_FORMAT=json
	dump_of "$pid" err >dump.json
	[ -n "$(figures_of "$(cat dump.json)")" ] || fail "not JSON: $(head -n 3 dump.json)"
	kill "$pid"
	start_trough LJTRIM_STATS_FORMAT=prometheus
	dump_of "$pid" err >dump.prom
	check_exposition dump.prom
	touch finish
	wait "$pid" || fail "luajit ended with status $?"
}

# The documentation has each key of the JSON and no other, and each metric.
test_documentation_has_what_is_told() {
	need_library
	need_tool
	start_trough
	ljtrim stats "$pid" --json >told.json
	ljtrim stats "$pid" --prometheus >told.prom
	"$LUAJIT" -e '
		local names = {}
		local function collect(t)
			for name, value in pairs(t) do
				if type(name) == "string" then names[name] = true end
				if type(value) == "table" then collect(value) end
			end
		end
		collect(require("cjson").decode(io.open("told.json"):read("*a")))
		for name in pairs(names) do print(name) end' | sort >told
	sed -n '/^## JSON/,/^## Prom/s/^| `\([a-z0-9_]*\)`.*/\1/p' "$TEST_SYSTEM/../../docs/STATS.md" | sort >documented
	cmp told documented || fail "docs/STATS.md: $(diff told documented | grep '^[<>]' | head -n 3 | tr '\n' ' ')"
	sed -n 's/^# TYPE \([a-z0-9_]*\) .*/\1/p' told.prom | sort >told
	sed -n 's/^| `\(ljtrim_[a-z0-9_]*\)`.*/\1/p' "$TEST_SYSTEM/../../docs/STATS.md" | sort >documented
	cmp told documented || fail "docs/STATS.md: $(diff told documented | grep '^[<>]' | head -n 3 | tr '\n' ' ')"
}

# Nothing in the dashboard or the alerts asks for a metric that is not there.
test_dashboard_and_alerts_ask_for_metrics_that_exist() {
	local contrib=$TEST_SYSTEM/../../contrib
	need_library
	need_tool
	start_trough
	ljtrim stats "$pid" --prometheus | sed -n 's/^\(ljtrim_[a-z0-9_]*\){.*/\1/p' | sort -u >exist
	"$LUAJIT" -e 'require("cjson").decode(io.read("*a"))' <"$contrib/grafana-dashboard.json" ||
		fail "the dashboard is not JSON"
	for file in grafana-dashboard.json alerts.yml; do
		# Names of alerts and of records are CamelCase.
		grep -oE '\bljtrim_[a-z0-9_]+' "$contrib/$file" | sort -u >asked
		[ -s asked ] || fail "$file asks for nothing"
		comm -23 asked exist >missing
		[ ! -s missing ] || fail "$file asks for $(tr '\n' ' ' <missing)"
	done
	if command -v promtool >/dev/null; then
		promtool check rules "$contrib/alerts.yml" >promtool || fail "alerts.yml: $(tail -n 3 promtool)"
	fi
	if command -v python3 >/dev/null && python3 -c 'import yaml' 2>/dev/null; then
		python3 -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))["groups"]' "$contrib/alerts.yml" ||
			fail "alerts.yml is not YAML"
	fi
}

### Hosts that do not answer

# dump_of_stuck HOW [VARIABLE=VALUE ...]
dump_of_stuck() {
	local how=$1
	shift
	need_library
	start "$@" "$(host stuck)" "$how"
	wait_for_line 30 stuck
	sleep 0.3 # the mutator is in
	dump_of "$pid" err >dump
	grep -q 'floor .*purgeable' dump || fail "no figures in the dump: $(head -n 3 dump)"
	dump_of "$pid" err >dump
	grep -q 'total: 1 arena' dump || fail "no second dump: $(head -n 3 dump)"
	if [ -x "$LJT_TOOL" ]; then
		ljtrim stats "$pid" >outside || fail "not read from outside"
	fi
	is_running "$pid" || fail "the host ended"
}

test_dump_of_a_host_in_an_endless_lua_loop() { dump_of_stuck loop; }
test_dump_of_a_host_that_waits_in_its_own_allocator() { dump_of_stuck wrapper; }
test_dump_of_a_host_that_waits_inside_the_gate() { dump_of_stuck inside LD_PRELOAD="$LJT_SO:$(host plugin_stall.so)"; }
test_dump_of_an_eager_reclaimer_and_a_host_inside_the_gate() {
	dump_of_stuck inside "${EAGER[@]}" LD_PRELOAD="$LJT_SO:$(host plugin_stall.so)"
}

test_stopped_host_is_read_from_outside() {
	local running stopped
	need_tool
	need_library
	start_trough
	running=$(ljtrim stats "$pid" | sed -n '2,$p')
	kill -STOP "$pid"
	stopped=$(ljtrim stats "$pid" | sed -n '2,$p')
	expect_equal "$stopped" "$running" "figures of the stopped host"
	ljtrim top --once >table
	awk -v p="$pid" '$1 == p' table | grep -q luajit || fail "not in the table: $(cat table)"
	kill -CONT "$pid"
	touch finish
	finish
}

### ljtrim stats, ljtrim top

# expect_error STATUS PATTERN COMMAND...
expect_error() {
	local status=0 expected=$1 pattern=$2
	shift 2
	"$@" >out.txt 2>err.txt || status=$?
	expect_equal "$status" "$expected" "exit status of $*"
	expect_equal "$(wc -l <err.txt)" 1 "lines on stderr"
	grep -q "$pattern" err.txt || fail "no '$pattern' in $(cat err.txt)"
	[ ! -s out.txt ] || fail "$* printed $(head -n 1 out.txt)"
}

test_stats_says_what_is_wrong() {
	need_tool
	need_library
	sleep 60 &
	started+=($!)
	expect_error 7 'not preloaded' ljtrim stats $!
	start sleep 60
	wait_until 5 has_library "$pid" || fail "not preloaded"
	expect_error 5 'has grown' ljtrim stats "$pid"
	sh -c 'exit 0' &
	wait $!
	expect_error 3 'no process' ljtrim stats $!
	expect_error 2 'which process' ljtrim stats
	expect_error 2 'wants seconds' ljtrim stats "$pid" --watch never
	expect_error 2 'neither' ljtrim stats "$pid" --yaml
	expect_error 2 'wants rss' ljtrim top --sort size
}
has_library() { grep -q libljtrim "/proc/$1/maps"; }

test_stats_of_another_users_process_names_the_capability() {
	need_tool
	need_library
	need_command setpriv
	[ "$(id -u)" = 0 ] || skip "not root"
	start_trough
	cp "$LJT_TOOL" ./ljtrim-copy
	chmod 755 ljtrim-copy . .. 2>/dev/null || true
	expect_error 4 CAP_SYS_PTRACE setpriv --reuid=65534 --clear-groups ./ljtrim-copy stats "$pid"
	setpriv --reuid=65534 --clear-groups ./ljtrim-copy top --once >table || fail "top failed"
	grep -q 'may not be read: .*CAP_SYS_PTRACE' table || fail "top does not say what is missing: $(tail -n 1 table)"
}

# A worker that has not called into its VM yet must not show its master's figures as its own.
test_forked_child_does_not_pass_for_its_parent() {
	local worker
	need_tool
	need_library
	start $(pace 50 1000) "$LUAJIT" -e '
		local ffi = require("ffi")
		ffi.cdef "int fork(void); unsigned sleep(unsigned); int getpid(void);"
		local process, workload = require("process"), require("workload")
		local survivors = workload.peak(50000, 100)
		local fork, sleep = ffi.C.fork, ffi.C.sleep -- looked up now: the child is not to allocate
		sleep(1)
		local child = fork()
		if child == 0 then sleep(60) os.exit(0) end
		io.write("child ", child, "\n")
		io.flush()
		ffi.C.sleep(60)'
	wait_for_line 30 child
	worker=$(sed -n 's/^child //p' out)
	started+=("$worker")
	ljtrim stats "$pid" >/dev/null || fail "the parent has no figures"
	expect_error 5 'has grown' ljtrim stats "$worker"
}

# A library that is newer or older than the command.
test_stats_of_another_version_is_read_by_name_or_refused() {
	need_tool
	cp "$(host plugin_page.so)" libljtrim.so
	LJT_SO=$PWD/libljtrim.so
	start sleep 60
	wait_until 5 has_library "$pid" || fail "not preloaded"
	ljtrim stats "$pid" --json >told.json 2>told.err || fail "not read: $(cat told.err)"
	grep -q 'does not have [0-9]* of the figures' told.err || fail "not a word of what is missing: $(cat told.err)"
	expect_equal "$(figures_of "$(cat told.json)" | grep -o ' \(mapped\|resident\|purged\)=[0-9]*' | tr -d '\n')" \
		" mapped=5242880 purged=0 resident=1048576" "figures"
	grep -q '"version": "9.0??x"' told.json || fail "what the process says is not cleaned: $(grep version told.json)"
	start PAGE_LAYOUT=2 sleep 60
	wait_until 5 has_library "$pid" || fail "not preloaded"
	expect_error 1 'layout 2, 1 is known here' ljtrim stats "$pid"
	ljtrim top --once >table
	grep -q '^1 more with a libljtrim that this ljtrim' table || fail "top: $(tail -n 2 table)"
}

test_process_in_another_pid_namespace() {
	local outer
	need_tool
	need_library
	need_command unshare
	unshare -p -f true 2>/dev/null || skip "may not make a PID namespace"
	cat >inner.sh <<-SCRIPT
		exec env LD_PRELOAD=$LJT_SO $(pace 100 100) \
			$LUAJIT $TEST_SYSTEM/lua/peak.lua sessions:50000:1000 idle $TEST_DIR/finish
	SCRIPT
	unshare -p -f bash inner.sh >out 2>err &
	pid=$!
	started+=("$pid")
	wait_for_line 60 trough
	outer=$(pgrep -P "$pid")
	wait_until 10 ljtrim stats "$outer" >told || fail "not read"
	grep -q "^process $outer (luajit)" told || fail "who is it: $(head -n 1 told)"
	grep -q 'statistics of pid 1$' told || fail "not as it knows itself: $(sed -n 2p told)"
	ljtrim top --once | awk -v p="$outer" '$1 == p' | grep -q luajit || fail "not in the table"
	touch finish
	wait "$pid" || fail "luajit ended with status $?"
}

test_watch_repeats_until_the_process_ends() {
	need_tool
	need_library
	start_trough
	ljtrim stats "$pid" --watch 1 >told &
	started+=($!)
	wait_until 10 told_times 2 || fail "told once"
	touch finish
	finish
	wait "${started[-1]}" || fail "its status is $?"
	! grep -q "$(printf '\033')" told || fail "escapes in a file"
}
told_times() { [ "$(grep -c 'statistics of pid' told)" -ge "$1" ]; }

test_top_draws_in_place_on_a_terminal() {
	need_tool
	need_library
	need_command script
	start_trough
	# 60 columns, 5 rows
	timeout 6 script -qfec "stty cols 60 rows 5; exec $LJT_TOOL top --interval 1" drawn >/dev/null </dev/null || true
	expect_at_least "$(grep -c 'PID NAME' drawn)" 2 "tables"
	grep -q "$(printf '\033\[H')" drawn || fail "not in place"
	sed 's/\x1b\[[HJK]//g; s/\r//g' drawn | grep -v '^Script' >plain
	expect_at_most "$(awk '{ if (length > n) n = length } END { print n }' plain)" 60 "characters in a line"
}

test_top_sorts_and_watches() {
	local first second
	need_tool
	need_library
	start_trough
	first=$pid
	start_trough
	second=$pid
	ljtrim top --once --sort pid >table
	expect_equal "$(awk -v a="$first" -v b="$second" '$1 == a || $1 == b { print $1 }' table | sort -n | tr '\n' ' ')" \
		"$(printf '%s\n' "$first" "$second" | sort -n | tr '\n' ' ')" "both"
	ljtrim top --once --sort floor | awk -v a="$first" -v b="$second" '$1 == a || $1 == b { print $1 }' >order
	expect_equal "$(wc -l <order)" 2 "lines"
	expect_at_most "$(awk '{ if (length > n) n = length } END { print n }' table)" 132 "characters in a line"
	timeout 6 "$LJT_TOOL" top --interval 1 >tables || true
	expect_at_least "$(grep -c '^ *PID' tables)" 2 "tables"
	! grep -q "$(printf '\033')" tables || fail "escapes in a file"
}

### LJTRIM_STATS_FILE

test_full_disk_costs_a_line_and_keeps_the_last_file() {
	need_library
	need_command unshare
	[ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null || skip "may not mount"
	mkdir disk
	cat >full.sh <<-SCRIPT
		mount -t tmpfs -o size=64k none disk || exit 77
		exec env LD_PRELOAD=$LJT_SO $(pace 100 100) LJTRIM_STATS_FILE=$TEST_DIR/disk/s.json \
			$LUAJIT $TEST_SYSTEM/lua/peak.lua sessions:$(sized 100000):1000 light $TEST_DIR/finish
	SCRIPT
	unshare -m bash full.sh >out 2>err &
	pid=$!
	started+=("$pid")
	wait_until 60 test -s "/proc/$pid/root/$TEST_DIR/disk/s.json" || { [ -e /proc/$pid ] || skip "may not mount"; fail "no file"; }
	local disk=/proc/$pid/root/$TEST_DIR/disk
	head -c 100000 /dev/zero >"$disk/filler" 2>/dev/null || true
	wait_until 20 grep -q "can't write the statistics" err || fail "not a word about the full disk"
	sleep 1
	expect_equal "$(grep -c ljtrim: err)" 1 "lines"
	grep -q 'no space left' err || fail "no reason: $(cat err)"
	[ -n "$(figures_of "$(cat "$disk/s.json")")" ] || fail "the last file is not whole"
	expect_equal "$(ls "$disk" | tr '\n' ' ')" "filler s.json " "files"
	rm "$disk/filler"
	cp "$disk/s.json" before.json
	wait_until 20 differs before.json "$disk/s.json" || fail "it is not written again"
	touch finish
	wait "$pid" || fail "luajit ended with status $?"
}
differs() { ! cmp -s "$1" "$2"; }

test_file_is_not_written_while_nothing_changes() {
	need_library
	start_trough LJTRIM_STATS_FILE="$TEST_DIR/s.json"
	expect_equal "$(stat -c %a s.json)" 600 "mode"
	wait_until 30 rests_for_3_seconds s.json || fail "the file of a silent VM is written again and again"
	touch finish
	finish
	[ -e s.json ] || fail "a JSON file stays"
}

rests_for_3_seconds() {
	local before
	before=$(stat -c '%i %y' "$1")
	sleep 3
	[ "$(stat -c '%i %y' "$1")" = "$before" ]
}

test_file_of_a_host_that_exits() {
	need_library
	start_trough LJTRIM_STATS_FILE="$TEST_DIR/%p.prom"
	[ -s "$pid.prom" ] || fail "no file"
	touch finish
	finish
	[ ! -e "$pid.prom" ] || fail "series of a process that is gone"
	rm finish
	start_trough LJTRIM_STATS_FILE="$TEST_DIR/%p.prom" LJTRIM_STATS_AT_EXIT=1
	touch finish
	wait "$pid" || fail "luajit ended with status $?"
	check_exposition "$pid.prom"
}
