# Idle collection (LJTRIM_IDLE_GC): a program that only waits for events collects its garbage meanwhile.

. "$TEST_SYSTEM/cases/nginx.bash"

SOON=(LJTRIM_IDLE_GC=1 $(pace 50 100) LJTRIM_MIN_RECLAIM=1M) # not for next to nothing: what one step ends may have finalized

# Without nudges: one whose cycle ends together with the host's work leaves nothing that the library could know to be garbage.
ALONE=("${SOON[@]}" LJTRIM_GC_NUDGE=off)

# idle_loop MODE [CHUNK]: sets $result, $errno, $took (ms), $interrupted, $before and $after (KB); with $variables
idle_loop() {
	run_host env "${ALONE[@]}" "${variables[@]}" "$(host idle_loop)" "$@" >told
	cat told
	read -r result errno took interrupted before after < <(awk '/^result/ { print $2, $4, $6, $8, $10, $12 }' told)
	expect_at_least "$before" 55000 "KB in use before"
}
variables=()

collected() { expect_at_most "$after" 5000 "KB in use after"; }
left_alone() { expect_at_least "$after" 55000 "KB in use after"; }

# Every function of the C library that waits for events.
WAITS=(epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect)
[ -z "$TEST_DEBUG" ] || WAITS=(epoll_wait select)

test_a_loop_collects_while_it_waits() {
	need_library
	local function seconds=3
	[ -z "$TEST_DEBUG" ] || seconds=10 # each unit proves a heap of 60 MB
	variables=(IDLE_SECONDS=$seconds)
	for function in "${WAITS[@]}"; do
		idle_loop loop '' "$function"
		collected
		expect_equal "$result $errno $interrupted" "1 0 0" "what $function said"
		expect_at_least "$took" $((seconds * 1000 - 1)) "ms waited"
		expect_at_most "$took" $((seconds * 1000 + 2500)) "ms waited"
	done
}

test_a_timeout_is_kept() {
	need_library
	local function
	for function in epoll_wait epoll_pwait2 ppoll select; do
		[[ " ${WAITS[*]} " == *" $function "* ]] || continue
		idle_loop timeout '' "$function"
		collected
		expect_equal "$result $errno $interrupted" "0 0 0" "what $function said"
		expect_at_least "$took" 699 "ms waited"
		expect_at_most "$took" 2000 "ms in the longest wait" # for 700
	done
}

test_an_event_ends_it() {
	need_library
	local function
	for function in epoll_wait poll select; do
		idle_loop early '' "$function"
		expect_equal "$result $errno $interrupted" "1 0 0" "what $function said"
		expect_at_most "$took" 2000 "ms waited for an event that came after 300"
	done
}

test_waits_keep_their_contract() {
	need_library
	local on
	"$(host waits)" >plain
	for on in 0 1; do
		with_library LJTRIM_IDLE_GC=$on "$(host waits)" >loaded
		diff plain loaded || fail "waits differ with LJTRIM_IDLE_GC=$on"
	done
}

test_finalizers_interrupt_the_wait_and_may_fail() {
	local seconds=3
	need_library
	[ -z "$TEST_DEBUG" ] || seconds=10 # as above
	start "${ALONE[@]}" IDLE_SECONDS=$seconds "$(host idle_loop)" loop "finalized = 0 for i = 1, 30 do local p = newproxy(true)
		getmetatable(p).__gc = function() finalized = finalized + 1; if i % 2 == 0 then error({}) end
		if i % 3 == 0 then coroutine.yield() end end end"
	wait "$pid" || fail "the host failed: $(cat err)"
	cat out err
	expect_equal "$(awk '/^finalized/ { print $2 }' out)" 30 "finalizers run"
	expect_at_least "$(awk '/^result/ { print $8 }' out)" 1 "interruptions"
	expect_at_most "$(awk '/^result/ { print $8 }' out)" 3 "interruptions"
	expect_at_most "$(awk '/^result/ { print $12 }' out)" 5000 "KB in use after"
	expect_quiet_but err 1
}

test_never_unless_asked_for() {
	need_library
	variables=(LJTRIM_IDLE_GC=0)
	idle_loop loop
	left_alone
}

test_never_while_lua_is_on_the_stack() {
	need_library
	idle_loop from_lua
	left_alone
	idle_loop from_coroutine
	left_alone
}

test_never_beside_other_threads() {
	need_library
	idle_loop threads
	left_alone
}

test_never_where_the_collector_is_stopped_or_slowed() {
	need_library
	idle_loop loop "collectgarbage('stop')"
	left_alone
	idle_loop loop "collectgarbage() collectgarbage('setpause', 400) collectgarbage() local t = {} for i = 1, 60000 do t[i] = ('z'):rep(1000) .. i end"
	left_alone
}

test_nginx_with_sockets_timers_and_failing_finalizers() {
	local worker
	need_library
	start_nginx "${SOON[@]}"
	worker=$(ask pid)
	for _ in 1 2; do
		expect_equal "$(ask garbage)" "garbage made" answer
		echo "after the peak: $(rss_kb "$worker") KiB, $(ask counts)"
		expect_fall "$worker" 40000
	done
	wait_until 10 counts_are_at_least 40 2 1 || fail "finalizers run, timers, finalizers that failed: $(ask counts), wanted 40, 2 and 1"
	expect_equal "$(ask verify)" "verified 100" answer
	expect_equal "$(ask pid)" "$worker" worker
	expect_at_most "$(grep -c 'ljtrim:' "$TEST_DIR/err" "$TEST_DIR/error.log" | awk -F: '{ n += $2 } END { print n }')" 1 lines
	library_may_speak=yes
	quit_nginx
}
counts_are_at_least() {
	local finalized fired failed
	read -r finalized fired failed < <(ask counts)
	[ "$finalized" -ge "$1" ] && [ "$fired" -ge "$2" ] && [ "$failed" -ge "$3" ]
}

# Its finalizers must not follow the pointer to a request that is long over.
test_nginx_finalizers_find_no_request() {
	local seen
	need_library
	start_nginx "${SOON[@]}"
	expect_equal "$(in_worker "
		local exdata, workload, seen = require('thread.exdata'), require('workload'), {}
		workload.peak(workload.sized(300000), workload.sized(3000))
		for _ = 1, 20 do
			local proxy = newproxy(true)
			getmetatable(proxy).__gc = function()
				local at = coroutine.running() and 'in a request' or 'between requests: ' .. tostring(exdata())
				seen[at] = (seen[at] or 0) + 1
			end
		end
		package.loaded.seen = seen
		return 'garbage made'")" "garbage made" answer
	expect_equal "$(ask filtered)" filtered answer
	wait_until 20 finalized_between_requests || fail "finalizers: $(seen_by_finalizers)"
	seen=$(seen_by_finalizers)
	expect_equal "${seen% *}" "between requests: cdata<void *>: NULL" "what finalizers have found, all of them (but for how many: $seen)"
	expect_equal "$(in_worker "return tostring(require('thread.exdata')() ~= nil)")" true "a request has one"
	quit_nginx
}
# Those that a request has run, as they may at any time, have one.
seen_by_finalizers() { in_worker "local all = {} for at, n in pairs(package.loaded.seen) do if at ~= 'in a request' then all[#all + 1] = at .. ' ' .. n end end return table.concat(all, ', ')"; }
finalized_between_requests() {
	sleep 1.5 # each question wakes the worker
	[[ "$(seen_by_finalizers)" == between* ]]
}
