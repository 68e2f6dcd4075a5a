# resty.ljtrim: statistics and control from Lua, in nginx and without.

. "$TEST_SYSTEM/cases/nginx.bash"

# Nothing is purged for an hour but at somebody's word.
LAZY=(LJTRIM_INTERVAL_MS=3600000 LJTRIM_DECAY_MS=3600000 LJTRIM_MIN_RECLAIM=1G LJTRIM_MAX_CPU_PCT=0.01)

# run_lua LUA: a chunk in a plain luajit, preloaded or not as the rest.
run_lua() {
	[ -n "$LUAJIT" ] || skip "luajit is not installed"
	with_library LUA_PATH="$TEST_SYSTEM/../../lualib/?.lua;$LUA_PATH" \
		"$LUAJIT" -e "local ljtrim = require('resty.ljtrim') $1"
}

# Lua that leaves a heap behind its peak and its purge, and the library paused: its figures stand still.
STILL='
	local t = {}
	for i = 1, 3e5 do t[i] = {i} end
	t = nil
	assert(ljtrim.trim{collect = true, max_ms = 10000} > 0)
	assert(ljtrim.pause(5000))
'

### Each function

test_every_function_answers_in_a_worker() {
	local worker
	need_library
	start_nginx "${LAZY[@]}"
	worker=$(ask pid)
	ask peak >/dev/null
	expect_like "$(in_worker 'return ljtrim.available()')" '[0-9]*.[0-9]*.[0-9]*' "version"
	expect_equal "$(in_worker 'return ljtrim.trim{max_bytes=1, max_ms=10000}')" 4096 "trim, which looks"
	expect_equal "$(in_worker 'local s = ljtrim.stats() return s.pid, s.paused, #s.arena, s.total.mapped > '$(sized 200000000)',
		s.total.mapped == s.total.purgeable + s.total.floor, s.arena[1].segments > 0, s.mode')" \
		"$worker false 1 true true true native" "stats"
	expect_like "$(in_worker 'return ljtrim.metrics()')" "*ljtrim_mapped_bytes{pid=\"$worker\"}*" "metrics"
	expect_equal "$(in_worker 'return ljtrim.get("decay_ms")')" 3600000 "option"
	expect_equal "$(in_worker 'return ljtrim.set("decay_ms", 500)')" true "set"
	expect_equal "$(in_worker 'return ljtrim.set("LJTRIM_DECAY_MS", "400")')" true "set"
	expect_equal "$(in_worker 'return ljtrim.get("Decay_ms")')" 400 "option"
	expect_equal "$(in_worker 'return ljtrim.set("min_reclaim", "2M"), ljtrim.set("max_cpu_pct", 0.5),
		ljtrim.set("stats_at_exit", false), ljtrim.get("min_reclaim"), ljtrim.get("max_cpu_pct")')" \
		"true true true 2M 0.5" "options"
	expect_equal "$(in_worker 'return ljtrim.trim{max_ms=10000} > 0')" true "trim"
	expect_equal "$(in_worker 'return ljtrim.pause(5000)')" true "pause"
	expect_equal "$(in_worker 'return ljtrim.stats().paused, ljtrim.trim()')" "true nil paused" "trim while paused"
	expect_equal "$(in_worker 'return ljtrim.pause(10000), ljtrim.resume(), ljtrim.resume()')" "true 1 0" "resume"
	expect_equal "$(in_worker 'return ljtrim.resume()')" "nil not paused" "resume"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(1)')" true "heartbeat"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(1)')" true "the same heartbeat again"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(2)')" "nil a heartbeat of 1 s is there already" "another"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(0)')" true "no heartbeat"
	expect_equal "$(in_worker 'return ljtrim.dump()')" true "dump"
	wait_until 5 grep -q 'page floor .*purgeable' error.log err || fail "no dump in the error log"
	expect_equal "$(ask verify)" "verified 100" "answer"
	library_may_speak=yes quit_nginx
}

test_wrong_arguments() {
	local call
	need_library
	for call in 'trim(7)' 'trim{max_ms=0}' 'trim{max_ms=60001}' 'trim{max_ms="1"}' 'trim{max_bytes=-1}' 'trim{max_bytes=0/0}' \
		'trim{max_bytes=0.5}' 'set()' 'set("decay_ms")' 'set("decay_ms", {})' 'set(1, 1)' 'get()' 'pause(-1)' 'pause("x")' \
		'metrics(1)' 'publish()' 'publish("d", 0)' 'publish("d")' 'heartbeat()' 'heartbeat(0.01)' 'heartbeat(-1)' 'heartbeat(1e9)'; do
		expect_like "$(run_lua "print(pcall(function() return ljtrim.$call end))" 2>&1)" 'false*expected, got*' "$call"
	done
	expect_equal "$(LJTRIM_DECAY_MS=1000 run_lua 'print(ljtrim.set("decay_ms", "soon"))')" \
		"nil	LJTRIM_DECAY_MS=soon is not allowed (a number of milliseconds from 0 to 3600000); keeping 1000" "value"
	expect_equal "$(run_lua 'print(ljtrim.set("decay_ms", -1) == nil, ljtrim.set("decay_ms", 1e17) == nil)')" \
		"true	true" "values"
	expect_equal "$(run_lua 'print(ljtrim.set("decay", 1))')" \
		"nil	LJTRIM_DECAY is not a variable of this version (did you mean LJTRIM_DECAY_MS?); ignoring it" "name"
	expect_like "$(run_lua 'print(ljtrim.set("mode", "observe"))')" "nil	LJTRIM_MODE is fixed when the process starts*" "mode"
	expect_equal "$(run_lua 'print(ljtrim.get("no_such"))')" "nil	no such option" "name"
	expect_equal "$(run_lua 'print(ljtrim.trim())')" "nil	no Lua heap of this process has grown" "trim"
	expect_equal "$(run_lua 'print(ljtrim.heartbeat(1))')" "nil	no ngx.timer.every here" "heartbeat"
	expect_equal "$(run_lua 'print(ljtrim.set(("x"):rep(10000), "1") == nil, ljtrim.set("decay_ms", ("9"):rep(10000)) == nil)')" \
		"true	true" "long arguments"
}

test_says_so_where_nothing_is_preloaded() {
	local call
	without_library
	for call in 'publish("d", 1)' available stats metrics dump trim pause resume 'get "decay_ms"' 'set("decay_ms", 1)' 'trim{collect=true}'; do
		[[ "$call" == *[\"{]* ]] || call+="()"
		expect_equal "$(run_lua "print(ljtrim.$call)")" "nil	libljtrim is not preloaded" "$call"
	done
	start_nginx
	expect_equal "$(in_worker 'return ljtrim.available()')" "nil libljtrim is not preloaded" "version"
	expect_equal "$(in_worker 'return ljtrim.metrics()')" "nil libljtrim is not preloaded" "metrics"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(1)')" true "heartbeat"
	quit_nginx
}

test_answers_where_the_library_is_off_or_observes() {
	need_library
	expect_equal "$(LJTRIM_ENABLE=0 run_lua 'print(ljtrim.stats().arenas, ljtrim.trim())')" \
		"0	nil	no Lua heap of this process has grown" "off"
	expect_equal "$(LJTRIM_MODE=observe run_lua 'local t = {} for i = 1, 2e5 do t[i] = {i} end print(ljtrim.trim())')" \
		"nil	LJTRIM_MODE is observe" "observing"
}

test_statistics_are_the_same_in_every_format() {
	need_library
	export "${LAZY[@]}"
	expect_equal "$(run_lua "$STILL"'
		local s, metrics, n = ljtrim.stats(), ljtrim.metrics(), 0
		for name, metric in pairs{mapped = "mapped_bytes", live = "live_bytes", resident = "resident_bytes",
			floor = "page_floor_bytes", purgeable = "purgeable_bytes", purged = "purged_bytes_total",
			purge_calls = "purge_calls_total", looks = "looks_total"} do
			local value = metrics:match("\nljtrim_" .. metric .. "{[^}]*} (%S+)\n")
			assert(tonumber(value) == s.total[name], name .. " " .. tostring(value) .. " " .. tostring(s.total[name]))
			n = n + 1
		end
		print(n, s.total.purged > 1e6)')" "8	true" "figures"
}

# Figures that stand still between two looks from Lua must be those that a look from outside tells in between: this
# process reads itself from outside, through a child.
test_lua_tells_what_is_read_from_outside_in_the_same_instant() {
	need_library
	[ -x "$LJT_TOOL" ] || skip "the command ljtrim is not built"
	export "${LAZY[@]}"
	expect_equal "$(run_lua "$STILL"'
		local decode = require("cjson").decode
		local before = ljtrim.stats()
		local outside = decode(assert(io.popen("'"$LJT_TOOL"' stats " .. before.pid .. " --json")):read("*a"))
		local after = ljtrim.stats()
		local function compare(what, a, b, c)
			local n = 0
			for key, value in pairs(a) do
				if type(value) ~= "table" and value == b[key] and not key:find("^time_") then
					n = n + 1
					assert(c[key] == value, what .. key .. ": " .. tostring(c[key]) .. " outside, " .. tostring(value))
				end
			end
			return n
		end
		assert(compare("", before, after, outside) >= 8)
		assert(compare("total.", before.total, after.total, outside.total) >= 30)
		assert(compare("arena.", before.arena[1], after.arena[1], outside.arena[1]) >= 30)
		print(before.total.purged > 1e6, #outside.arena)')" "true	1" "figures"
}

test_module_and_library_are_of_one_version() {
	need_library
	run_lua 'assert(ljtrim._VERSION == ljtrim.available())'
	grep -q '^main_module = lualib/resty/ljtrim.lua$' "$TEST_SYSTEM/../../dist.ini" || fail "dist.ini names another module"
}

test_module_and_header_declare_the_same() {
	run_lua '
		local ffi = require("ffi")
		local function declarations(text)
			local found = {}
			for d in text:gmatch("\n%s*([%w_][^\n;#]-ljtrim_%w+%b());") do found[#found + 1] = d:gsub("%s+", " ") end
			table.sort(found)
			return table.concat(found, "\n")
		end
		local function read(path) local f = assert(io.open(path)) local s = f:read("*a") f:close() return s end
		local root = os.getenv("TEST_SYSTEM") .. "/../../"
		local header = declarations(read(root .. "preload/ljtrim.h"):gsub("/%*.-%*/", ""))
		local module = declarations(read(root .. "lualib/resty/ljtrim.lua"))
		ffi.cdef(header:gsub("\n", ";\n") .. ";")
		assert(select(2, header:gsub("\n", "")) == 7, header)
		assert(header == module, header .. "\n---\n" .. module)'
}

test_every_vm_of_its_own_loads_the_module() {
	need_library
	need_command wrk
	code_cache=off
	start_nginx "${EAGER[@]}"
	for _ in {1..20}; do
		expect_equal "$(in_worker 'return ljtrim.set("decay_ms", 0), ljtrim.stats().paused')" "true false" "answer"
	done
	expect_equal "$(in_worker 'return ljtrim.pause(10000), ljtrim.resume()')" "true 0" "answer"
	quit_nginx
}

test_one_worker_answers_for_all() {
	local pid old
	need_library
	workers=3
	init_worker='published = { require("resty.ljtrim").publish("ljtrim", 0.1) }'
	start_nginx "${EAGER[@]}"
	expect_equal "$(in_worker 'return published[1], ljtrim.publish("ljtrim", 1)')" "true nil published there already" "publish"
	expect_equal "$(in_worker 'return ljtrim.metrics("none")')" "nil no lua_shared_dict none" "a dictionary that is not there"
	wait_until 5 metrics_tell_of 3 || fail "of $(pids_in metrics | wc -l) workers: $(head -n 3 metrics)"
	for pid in $(workers_of "$master"); do pids_in metrics | grep -qx "$pid" || fail "nothing of $pid"; done
	expect_wellformed metrics
	old=$(pids_in metrics)
	kill -HUP "$master"
	for pid in $old; do wait_until 15 is_gone "$pid" || fail "worker $pid does not leave"; done
	wait_until 15 worker_count_is "$master" 3 || fail "the new workers do not come"
	wait_until 5 metrics_tell_of 3 || fail "of $(pids_in metrics | wc -l) workers after a reload"
	for pid in $old; do ! pids_in metrics | grep -qx "$pid" || fail "$pid is gone and still there"; done
	expect_wellformed metrics
	quit_nginx
}
# The new workers write first, then the old ones leave: they delete nothing but their own.
test_figures_of_new_workers_outlive_the_old_ones() {
	local pid old
	need_library
	workers=3
	init_worker='require("resty.ljtrim").publish("ljtrim", 60)'
	start_nginx
	wait_until 5 metrics_tell_of 3 || fail "of $(pids_in metrics | wc -l) workers"
	old=$(pids_in metrics)
	kill -HUP "$master"
	for pid in $old; do wait_until 15 is_gone "$pid" || fail "worker $pid does not leave"; done
	metrics_tell_of 3 || fail "of $(pids_in metrics | wc -l) workers after a reload"
	quit_nginx
}
pids_in() { sed -n 's/.*{pid="\([0-9]*\)".*/\1/p' "$1" | sort -u; }
metrics_tell_of() {
	in_worker 'return ljtrim.metrics("ljtrim")' >metrics
	[ "$(pids_in metrics | wc -l)" = "$1" ]
}
# Each family once, HELP and TYPE first, no sample twice. (promtool knows more, where it is.)
expect_wellformed() {
	awk '/^$/ { next }
		/^# HELP / { if (seen[$3]++) bad = $0; family = $3; next }
		/^# TYPE / { if ($3 != family || typed[$3]++) bad = $0; next }
		index($1, family) != 1 || !typed[family] || sample[$1]++ { bad = $0 }
		END { if (bad != "") print bad; exit bad != "" }' "$1" >bad || fail "metrics: $(cat bad)"
	if command -v promtool >/dev/null; then promtool check metrics <"$1" >promtool.out 2>&1 || fail "promtool: $(cat promtool.out)"; fi
}

### Trim

test_trim_reaches_the_floor() {
	unpoisoned "half of what is given back stays resident"
	local worker excess
	need_library
	start_nginx "${LAZY[@]}"
	worker=$(ask pid)
	ask peak >/dev/null
	sleep 0.5
	expect_at_least "$(rss_kb "$worker")" 200000 "RSS before, KiB"
	expect_equal "$(in_worker 'return ljtrim.trim{max_ms=10000} > 2e8')" true "trim"
	excess=$(arena_excess_kb "$worker") || fail "the worker can't be inspected"
	expect_at_most "$excess" 0 "KiB beyond the floor and its allowance"
	expect_at_most "$(rss_kb "$worker")" 40000 "RSS, KiB"
	expect_equal "$(ask verify)" "verified 100" "answer"
	quit_nginx
}

test_trim_collects_where_it_is_told_to() {
	local worker
	need_library
	start_nginx "${LAZY[@]}"
	worker=$(ask pid)
	in_worker 'require("keeper").litter('$(sized 200000)')' >/dev/null
	in_worker 'return ljtrim.trim{max_ms=10000, collect=true}' >/dev/null
	rss_below "$worker" 40000 || fail "RSS $(rss_kb "$worker") KiB, below 40000 KiB expected"
	quit_nginx
}

test_trim_keeps_its_bounds() {
	unpoisoned "half of what is given back stays resident"
	local worker before
	need_library
	start_nginx "${LAZY[@]}"
	worker=$(ask pid)
	ask peak >/dev/null
	before=$(rss_kb "$worker")
	expect_equal "$(in_worker 'return ljtrim.trim{max_ms=10000, max_bytes=20000000}')" 20000768 "bytes purged"
	sleep 0.3
	expect_at_least "$(rss_kb "$worker")" $((before - 22000)) "RSS after 20 MB, KiB"
	# No more time than it was given, on a thread of nginx's: 2 ms are not enough for 200 MB.
	expect_equal "$(in_worker 'ngx.update_time() local start, n = ngx.now(), ljtrim.trim{max_ms=2}
		ngx.update_time() return n >= 0 and n < 1e8, ngx.now() - start < 0.3')" "true true" "within 2 ms"
	sleep 0.3
	expect_at_least "$(rss_kb "$worker")" 100000 "RSS after 2 ms, KiB"
	expect_equal "$(in_worker 'return ljtrim.trim{wait=false, max_ms=10000}')" 0 "in the background"
	expect_fall "$worker" 40000
	expect_equal "$(ask verify)" "verified 100" "answer"
	quit_nginx
}

test_controls_under_traffic() {
	local load calls=0 code
	need_library
	need_command wrk
	workers=2
	start_nginx "${EAGER[@]}"
	wrk --timeout 60s -t1 -c8 -d8s "http://127.0.0.1:$port/work" >wrk.out &
	load=$!
	while is_running "$load"; do
		for code in 'ljtrim.trim{max_ms=20}' 'ljtrim.stats().total.mapped' 'ljtrim.metrics()' 'ljtrim.set("decay_ms", 10)' \
			'ljtrim.pause()' 'ljtrim.trim{wait=false}' 'ljtrim.set("decay_ms", 0)' 'ljtrim.resume()' 'ljtrim.heartbeat(0.1)' \
			'ljtrim.trim{collect=true, max_bytes=100000}'; do
			in_worker "return $code" >answer || fail "$code: $(cat answer)"
			calls=$((calls + 1))
		done
		ask burst >/dev/null
	done
	wait "$load"
	expect_flawless_load
	expect_at_least "$calls" 20 "calls"
	ask verify | grep -q verified || fail "survivors are damaged"
	quit_nginx
}

### Pause

test_pause_stops_purging_and_resume_goes_on() {
	local worker before
	need_library
	start_nginx "${EAGER[@]}"
	worker=$(ask pid)
	expect_equal "$(in_worker 'return ljtrim.pause(10000)')" true "pause"
	ask peak >/dev/null
	before=$(rss_kb "$worker")
	for _ in {1..20}; do ask work >/dev/null; done
	sleep 1
	expect_at_least "$(rss_kb "$worker")" $((before * 9 / 10)) "RSS while paused, KiB"
	expect_equal "$(in_worker 'return ljtrim.resume()')" 0 "resume"
	expect_fall "$worker" 40000
	expect_equal "$(in_worker 'return ljtrim.pause(10000)')" true "pause in the trough"
	before=$(in_worker 'return ljtrim.stats().total.purged')
	ask peak >/dev/null
	sleep 0.5
	expect_equal "$(in_worker 'return ljtrim.stats().total.purged')" "$before" "bytes purged while paused"
	expect_equal "$(in_worker 'return ljtrim.resume()')" 0 "resume"
	expect_fall "$worker" 40000 "after the second"
	ask verify | grep -q 'verified 100' || fail "survivors are damaged"
	quit_nginx
}

test_workers_inherit_what_the_master_has_paused_and_set() {
	need_library
	init='local l = require("resty.ljtrim") l.pause() l.set("decay_ms", 77)'
	start_nginx
	expect_equal "$(in_worker 'return ljtrim.stats().paused, ljtrim.get("decay_ms"), ljtrim.resume(), ljtrim.stats().paused')" \
		"true 77 0 false" "worker"
	quit_nginx
}

### Heartbeat

test_heartbeat_makes_a_totally_idle_worker_recede() {
	local worker
	need_library
	start_nginx
	worker=$(ask pid)
	in_worker 'require("keeper").litter('$(sized 300000)')' >/dev/null
	sleep 3
	expect_at_least "$(rss_kb "$worker")" "$(sized 150000)" "RSS without a heartbeat, KiB"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(0.5)')" true "heartbeat"
	expect_fall "$worker" 40000
	expect_equal "$(in_worker 'return require("workload").verify(require("keeper").survivors)')" 100 "survivors"
	quit_nginx
}

# Where LuaJIT hands on what a finalizer raises, to whoever has driven the collector. Not where nginx does: nobody catches it there.
test_heartbeat_goes_on_after_a_finalizer_has_failed() {
	local worker
	start_nginx LJTRIM_GC_NUDGE=off
	worker=$(ask pid)
	in_worker '
		require("keeper").litter('$(sized 300000)')
		for _ = 1, 3 do
			getmetatable(newproxy(true)).__gc = function()
				if debug.getinfo(2, "S") and pcall(ngx.get_phase) and ngx.get_phase() == "timer" then error("in a finalizer") end
			end
		end' >/dev/null
	expect_equal "$(in_worker 'return ljtrim.heartbeat(0.5)')" true "heartbeat"
	expect_fall "$worker" 40000
	sleep 2 # finalizers come last in a cycle
	in_worker 'require("keeper").litter('$(sized 300000)')' >/dev/null
	expect_fall "$worker" 40000
	quit_nginx
}

test_heartbeat_has_nothing_to_do_in_the_end() {
	local worker before
	start_nginx
	worker=$(ask pid)
	in_worker 'return ljtrim.heartbeat(0.1)' >/dev/null
	ask burst >/dev/null
	sleep 3
	before=$(cpu_ticks "$worker")
	sleep 5
	expect_at_most $(($(cpu_ticks "$worker") - before)) 5 "ticks of 10 ms in 5 s of 50 beats"
	quit_nginx
}
cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

test_heartbeat_leaves_a_stopped_collector_alone() {
	start_nginx
	in_worker 'collectgarbage("stop") return ljtrim.heartbeat(0.1)' >/dev/null
	in_worker 'require("keeper").litter(20000)' >/dev/null
	sleep 1.5
	expect_equal "$(in_worker 'return collectgarbage("count") > 10000')" true "garbage is still there"
	in_worker 'collectgarbage("restart")' >/dev/null
	wait_until 10 collected || fail "$(in_worker 'return collectgarbage("count")') KiB"
	quit_nginx
}
collected() { [ "$(in_worker 'return collectgarbage("count") < 5000')" = true ]; }

test_heartbeat_ends_with_its_worker() {
	local old
	start_nginx
	old=$(ask pid)
	in_worker 'return ljtrim.heartbeat(0.1)' >/dev/null
	in_worker 'require("keeper").litter('$(sized 100000)')' >/dev/null
	sleep 0.15 # it may be collecting now, or not: either must end
	kill -HUP "$master"
	wait_until 10 is_gone "$old" || fail "the old worker did not end"
	expect_equal "$(in_worker 'return ljtrim.heartbeat(3600)')" true "heartbeat"
	quit_nginx
}

test_heartbeat_says_where_there_are_no_timers() {
	init='heartbeat_result = { require("resty.ljtrim").heartbeat(1) }'
	start_nginx
	expect_like "$(in_worker 'return heartbeat_result[1], heartbeat_result[2]')" "nil no timer: *" "in init_by_lua"
	quit_nginx
}
