# The command ljtrim: what it says about processes, and the processes that it starts.

. "$TEST_SYSTEM/cases/nginx.bash"

ljtrim() { "$LJT_TOOL" "$@"; }
need_tool() { [ -x "$LJT_TOOL" ] || skip "the command ljtrim is not built"; }

# start_peak SESSIONS KEEP_EVERY [VARIABLE=VALUE ...]: a luajit in the trough behind its peak. Sets $pid and $counted, the
# bytes that its collector counts.
start_peak() {
	local shape="$1 $2"
	shift 2
	cat >peak_and_count.lua <<-'LUA'
		local process, workload = require("process"), require("workload")
		local survivors = workload.peak(tonumber(arg[1]), tonumber(arg[2]))
		workload.collect()
		io.write("counted ", collectgarbage("count") * 1024, "\n")
		io.flush()
		while not process.exists(arg[3]) do process.sleep_ms(20) end
		print("verified " .. workload.verify(survivors))
	LUA
	start "$@" "$LUAJIT" peak_and_count.lua $shape "$TEST_DIR/finish"
	wait_for_line 60 counted
	counted=$(sed -n 's/^counted \([0-9]*\).*/\1/p' out)
}

# compute EXPRESSION: of `r`, the report in report.json.
compute() { python3 -c 'import json, sys; r = json.load(open("report.json")); print(eval(sys.argv[1]))' "$1"; }
report() { ljtrim inspect "$@" --json >report.json; }

# expect_true EXPRESSION WHAT: on the report.
expect_true() { expect_equal "$(compute "$1")" True "$2, $1, $(compute '{k: v for k, v in r.items() if k != "free_runs"}')"; }

# Another reader of the same heap: live, purgeable and resident bytes of the report's first arena, told by /proc/PID/mem.
count_independently() {
	python3 - "$1" "$(compute 'r["arenas"][0]["state"]')" <<-'PYTHON'
		import struct, sys
		pid, state = int(sys.argv[1]), int(sys.argv[2], 16)
		mem = open("/proc/%d/mem" % pid, "rb", 0)
		pagemap = open("/proc/%d/pagemap" % pid, "rb", 0)
		def words(at, n):
		    mem.seek(at)
		    return struct.unpack("<%dQ" % n, mem.read(8 * n))
		top = words(state + 32, 1)[0]
		base, size, following = words(state + 840, 3)
		live = purgeable = resident = 0
		while True:
		    end, c = base + size, base
		    stop = end - 64 if base <= top < end else end
		    pagemap.seek(base // 4096 * 8)
		    resident += sum(e >> 63 for e in struct.unpack("<%dQ" % (size // 4096), pagemap.read(size // 512)))
		    while c < stop:
		        head = words(c + 8, 1)[0]
		        if head == 11:
		            live -= 32
		            break
		        chunk = head & ~7
		        if head & 2:
		            live += chunk if c + 16 != state else 0
		        else:
		            first, last = (c + 64 + 4095) // 4096 * 4096, (c + chunk) // 4096 * 4096
		            purgeable += max(0, last - first)
		        c += chunk
		    if not following:
		        break
		    base, size, following = words(following, 3)
		print(live, purgeable, resident * 4096)
	PYTHON
}

# expect_close A B WHAT: within 1%.
expect_close() {
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a - b <= b / 100 && b - a <= b / 100) }' || fail "$3: $1, about $2 expected"
}

# expect_figures PID: the report agrees with others that count.
expect_figures() {
	local live purgeable resident
	read -r live purgeable resident < <(count_independently "$1")
	expect_close "$(compute 'r["total"]["live"]')" "$live" "live"
	expect_close "$(compute 'r["total"]["purgeable"]')" "$purgeable" "purgeable"
	expect_close "$(compute 'r["total"]["floor"]')" $(($(compute 'r["total"]["mapped"]') - purgeable)) "floor"
	expect_close "$(compute 'r["total"]["resident"]')" "$resident" "resident"
	expect_close "$(compute 'r["holders"]["all"]["rss"]')" \
		$((1024 * $(sed -n 's/^Rss: *\([0-9]*\).*/\1/p' "/proc/$1/smaps_rollup"))) "RSS"
	expect_true 'sum(h["rss"] for k, h in r["holders"].items() if k != "all") == r["holders"]["all"]["rss"]' "holders"
	expect_true 'r["complete"] and not r["approximate"] and r["stopped_us"] > 0' "an exact look"
}

### inspect

test_inspect_names_luajit_as_the_holder() {
	need_tool
	need_command python3
	without_library
	start_peak 400000 5000
	report "$pid" --max-stop 0
	expect_figures "$pid"
	expect_close "$(compute 'r["total"]["lua_heap"]')" "$counted" "what Lua counts"
	expect_true 'r["holders"]["luajit_arenas"]["rss"] > 0.95 * r["rss"]' "the holder"
	expect_true 'r["returnable"] > 0.9 * r["rss"]' "what libljtrim would return"
	ljtrim inspect "$pid" --max-stop 0 >text
	grep -q 'stopped for [0-9.]* [mu]s' text || fail "no stop time: $(head -n 1 text)"
	tr '\n' ' ' <text | grep -q "LuaJIT's allocator holds .* of free memory, .*: libljtrim would return" ||
		fail "the verdict: $(tail -n 2 text)"
	expect_at_most "$(awk '{ if (length > n) n = length } END { print n }' text)" 79 "characters in a line"
	touch finish
	finish
}

test_inspect_reads_a_plain_nginx_worker() {
	local worker
	need_tool
	need_command python3
	without_library
	start_nginx
	worker=$(ask pid)
	ask peak >/dev/null
	report "$worker" --max-stop 0
	expect_figures "$worker"
	expect_true 'r["verdict"].startswith("LuaJIT'"'"'s allocator holds")' "verdict"
	expect_equal "$(ask verify)" "verified 100" "answer"
	expect_equal "$(ask pid)" "$worker" "worker"
	quit_nginx
}

test_inspect_tells_what_the_library_has_returned() {
	need_library
	need_tool
	need_command python3
	start_peak "$(sized 150000)" 3000 "${EAGER[@]}" LJTRIM_GC_NUDGE=off # nothing is collected between two looks
	expect_floor "$pid" 20
	report "$pid" --max-stop 0
	expect_figures "$pid"
	expect_true 'r["libljtrim"] and r["verdict"].startswith("libljtrim is loaded and has returned")' "verdict"
	touch finish
	finish
}

test_inspect_says_when_it_is_not_luajit() {
	unpoisoned "nothing is preloaded"
	local status=0
	need_tool
	need_command python3
	start_plain python3 -c 'import time; x = [bytes(900) for i in range(60000)]; print("ready", flush=True); time.sleep(60)'
	wait_for_line 20 ready
	ljtrim inspect "$pid" >text || status=$?
	expect_equal "$status" 5 "status"
	grep -q "Not LuaJIT: glibc's heap holds most" text || fail "the verdict: $(tail -n 2 text)"
}

test_inspect_draws_valid_pictures() {
	need_tool
	need_command python3
	without_library
	start_peak 100000 1000
	ljtrim inspect "$pid" --map map.svg >/dev/null
	ljtrim inspect "$pid" --map map.png >/dev/null
	python3 - <<-'PYTHON' || fail "a picture is not valid"
		import struct, xml.etree.ElementTree as tree, zlib
		assert len(tree.parse("map.svg").getroot()) > 10
		png, at, data = open("map.png", "rb").read(), 8, b""
		assert png[:8] == b"\x89PNG\r\n\x1a\n"
		while at < len(png):
		    n, kind = struct.unpack(">I4s", png[at:at + 8])
		    body = png[at + 8:at + 8 + n]
		    assert zlib.crc32(kind + body) == struct.unpack(">I", png[at + 8 + n:at + 12 + n])[0]
		    if kind == b"IHDR": width, height = struct.unpack(">II", body[:8])
		    if kind == b"IDAT": data += body
		    at += 12 + n
		assert len(zlib.decompress(data)) == (width + 1) * height
	PYTHON
	local status=0
	ljtrim inspect "$pid" --map map.jpg 2>refused || status=$?
	expect_equal "$status" 2 "status for a kind of picture that there is not"
	touch finish
	finish
}

test_inspect_reads_a_busy_process_without_stopping_it() {
	unpoisoned "nothing is preloaded"
	need_tool
	need_command python3
	start_plain "$LUAJIT" -e 'local t = {} for i = 1, 1e5 do t[i] = { tostring(i) } end print("ready") io.flush()
		while true do local k = math.random(#t) t[k] = { string.rep("x", math.random(300)) .. k } end'
	wait_for_line 20 ready
	for _ in {1..4}; do
		report "$pid" --no-stop
		expect_true 'r["approximate"] and r["stops"] == 0' "approximate"
		expect_true '(lambda t: t["mapped"] > t["live"] > t["mapped"] / 8 and t["unknown"] < t["mapped"] / 8)(r["total"])' \
			"rough figures"
	done
	is_running "$pid" || fail "the process has ended"
}

test_inspect_lets_go_after_the_longest_stop() {
	unpoisoned "nothing is preloaded"
	need_tool
	need_command python3
	start_plain "$LUAJIT" -e 'local t = {} for i = 1, 2e6 do t[i] = { i } end print("ready") io.flush()
		local process = require("process") while true do process.sleep_ms(10) end'
	wait_for_line 60 ready
	report "$pid" --max-stop 1
	expect_true 'r["approximate"] and r["complete"]' "approximate"
	expect_true '(lambda t: t["mapped"] == t["live"] + t["free"] + t["overhead"] + t["unknown"])(r["total"])' "sum"
	report "$pid" --max-stop 0
	expect_true 'not r["approximate"]' "exact"
}

test_inspect_says_which_capability_is_missing() {
	unpoisoned "nothing is preloaded"
	local status=0
	need_tool
	need_command setpriv
	[ "$(id -u)" = 0 ] || skip "needs root"
	start_plain sleep 60
	cp "$LJT_TOOL" "$TEST_DIR/ljtrim"
	chmod 755 "$TEST_DIR/ljtrim"
	setpriv --reuid 65534 --regid 65534 --clear-groups "$TEST_DIR/ljtrim" inspect "$pid" 2>why || status=$?
	expect_equal "$status" 4 "status"
	grep -q 'CAP_SYS_PTRACE is missing' why || fail "said: $(cat why)"
}

# A /proc of our own, since hidepid is an option of the whole of it.
test_process_that_is_hidden_is_not_said_to_be_gone() {
	local command
	need_tool
	need_command setpriv
	[ "$(id -u)" = 0 ] || skip "needs root"
	cp "$LJT_TOOL" "$TEST_DIR/ljtrim"
	chmod 755 "$TEST_DIR/ljtrim"
	cat >inside <<'END'
mount -t proc -o hidepid=2 proc /proc || exit 77
for command; do
	setpriv --reuid 65534 --regid 65534 --clear-groups ./ljtrim $command $$ 2>&1 >/dev/null
	echo "status $?"
done
while umount -l /proc 2>/dev/null; do :; done
./ljtrim inspect 1 2>&1
END
	unshare --mount --pid --fork bash inside inspect stats doctor >said || { [ $? = 1 ] && [ -s said ]; } ||
		skip "no /proc of our own allowed" # nor, in a chroot, a mount namespace
	for command in inspect stats doctor; do
		expect_like "$(head -n 1 said)" '*hides it, hidepid*CAP_SYS_PTRACE is missing*' "$command"
		expect_equal "$(sed -n 2p said)" "status 4" "$command"
		sed -i 1,2d said
	done
	expect_equal "$(cat said)" "ljtrim: cannot look at process 1: /proc is not mounted here" "without /proc"
}

test_inspect_reaches_into_a_container() {
	unpoisoned "nothing is preloaded"
	local inner
	need_tool
	need_command python3
	unshare --pid --fork --mount-proc true 2>/dev/null || skip "no new PID namespace allowed"
	start_plain unshare --pid --fork --kill-child --mount-proc \
		"$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" sessions:100000:1000 idle "$TEST_DIR/finish"
	wait_for_line 30 trough
	inner=$(pgrep -P "$pid")
	report "$inner" --max-stop 0
	expect_true 'r["inner_pid"] == 1 and r["total"]["reclaimable"] > 1 << 20' "from outside"
	touch finish
	finish
}

### run

test_run_sets_the_variables_and_keeps_other_preloads() {
	need_library
	need_tool
	ljtrim run --decay-ms 500 --min-reclaim=2M --stats-at-exit -- env >variables
	grep -qx 'LJTRIM_DECAY_MS=500' variables || fail "no LJTRIM_DECAY_MS"
	grep -qx 'LJTRIM_MIN_RECLAIM=2M' variables || fail "no LJTRIM_MIN_RECLAIM"
	grep -qx 'LJTRIM_STATS_AT_EXIT=1' variables || fail "no LJTRIM_STATS_AT_EXIT"
	grep -q '^LD_PRELOAD=/.*libljtrim.so$' variables || fail "no LD_PRELOAD"
	LD_PRELOAD=/usr/lib/there-is-none.so "$LJT_TOOL" run --print >kept 2>/dev/null
	grep -q '^LD_PRELOAD=/.*libljtrim.so:/usr/lib/there-is-none.so$' kept || fail "$(cat kept)"
}

test_run_passes_the_status_on() {
	local status=0
	need_library
	need_tool
	ljtrim run -- bash -c 'exit 7' || status=$?
	expect_equal "$status" 7 "status"
	status=0
	ljtrim run -- /there/is/none 2>/dev/null || status=$?
	expect_equal "$status" 127 "status of what is not there"
}

test_run_refuses_before_it_runs_anything() {
	local words status
	need_library
	need_tool
	for words in '--decay-ms soon' '--decay-ms' '--decay-minutes 1' '--mode=fast'; do
		status=0
		ljtrim run $words -- touch ran 2>why || status=$?
		expect_equal "$status" 2 "status of '$words'"
		expect_equal "$(grep -c '^ljtrim: run: ' why)" 1 "lines about '$words': $(cat why)"
		[ ! -e ran ] || fail "it ran"
	done
}

### doctor

test_doctor_finds_luajit() {
	need_library
	need_tool
	ljtrim doctor -- "$LUAJIT" >found || [ $? = 1 ]
	grep -q '^ok *LuaJIT *LuaJIT 2' found || fail "not found: $(cat found)"
	grep -q '^ok *executable .*LD_PRELOAD works' found || fail "$(cat found)"
}

test_doctor_asks_to_load_the_library() {
	local status=0
	need_library
	need_tool
	start_plain "$LUAJIT" -e 'print("ready") io.flush() local process = require("process") while true do process.sleep_ms(9) end'
	wait_for_line 10 ready
	ljtrim doctor "$pid" >found || status=$?
	expect_equal "$status" 1 "status"
	grep -q '^todo *libljtrim *not loaded' found || fail "$(cat found)"
	grep -q 'GC64$' found || fail "GC64 is not read from the heap: $(cat found)"
	start "$LUAJIT" -e 'print("ready") io.flush() local process = require("process") while true do process.sleep_ms(9) end'
	wait_for_line 10 ready
	ljtrim doctor "$pid" >found || [ $? = 1 ]
	grep -q '^ok *libljtrim *loaded from' found || fail "$(cat found)"
}

test_doctor_reads_the_configuration_of_nginx() {
	local status=0
	need_tool
	start_nginx
	ljtrim doctor "$(ask pid)" >found || true
	grep -q "env LD_PRELOAD;' is there" found || fail "of a worker: $(cat found)"
	grep -q 'LuaJIT 2' found || fail "no LuaJIT: $(cat found)"
	sed -i '/^env LD_PRELOAD/d' nginx.conf
	ljtrim doctor -- "$NGINX" -p "$TEST_DIR" -c "$TEST_DIR/nginx.conf" >found || status=$?
	expect_equal "$status" 1 "status"
	grep -q "env LD_PRELOAD;' is missing" found || fail "$(cat found)"
	quit_nginx
}

test_doctor_leaves_others_alone() {
	need_library
	need_tool
	ljtrim doctor -- sleep 1 >found || [ $? = 1 ]
	grep -q '^note *LuaJIT *none' found || fail "$(cat found)"
	if grep -q nginx found; then fail "$(cat found)"; fi
}

test_doctor_sees_what_a_preload_cannot_enter() {
	local status=0
	need_tool
	need_command gcc
	echo 'int main(void) { return 0; }' >none.c
	gcc -static none.c -o static 2>/dev/null || skip "no static libc"
	ljtrim doctor -- ./static >found || status=$?
	expect_equal "$status" 1 "status of a static program"
	grep -q 'statically linked with libc' found || fail "$(cat found)"
	gcc none.c -o raised
	chmod 4755 raised
	status=0
	ljtrim doctor -- ./raised >found || status=$?
	expect_equal "$status" 1 "status of a setuid program"
	grep -q 'raised privileges' found || fail "$(cat found)"
}

### help

test_help_explains_every_option() {
	need_tool
	ljtrim help >all
	expect_at_least "$(grep -c '^  LJTRIM_' all)" 12 "options"
	ljtrim help decay-ms | grep -q '^LJTRIM_DECAY_MS' || fail "an option"
	ljtrim help inspect | grep -q -- '--max-stop' || fail "a subcommand"
	expect_at_most "$(awk '{ if (length > n) n = length } END { print n }' all)" 79 "characters in a line"
}
