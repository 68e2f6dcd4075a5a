# A state that stays small costs no thread; a reclaimer with nothing to do sleeps.

test_small_luajit_has_no_thread() {
	start "$LUAJIT" -e 'local p = require("process"); print("ready"); io.flush(); for i = 1, 200 do p.sleep_ms(10) end'
	wait_for_line 5 ready
	sleep 1
	expect_equal "$(status_of "$pid" Threads)" 1 "threads"
	finish
}

test_grown_luajit_has_a_thread_that_sleeps_when_idle() {
	local task before after
	need_library
	start "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 200000):1000" idle "$TEST_DIR/finish"
	wait_for_line 30 trough
	wait_until 5 has_reclaimer "$pid" || fail "no thread named ljtrim"
	expect_fall "$pid" 25000
	sleep 5 # what is left of the decay
	task=$(reclaimer_of "$pid")
	wait_until 60 wakes_up_at_most 4 || fail "it woke up $((after - before)) times in 3 s without anything to do"
	expect_equal "$(status_of "$pid" Threads)" 2 "threads"
	touch finish
	finish
}

wakes_up_at_most() {
	before=$(status_of "$pid/task/$task" voluntary_ctxt_switches)
	sleep 3
	after=$(status_of "$pid/task/$task" voluntary_ctxt_switches)
	[ $((after - before)) -le "$1" ]
}

test_thread_blocks_the_signals_of_the_host() {
	local task blocked
	need_library
	start "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" idle "$TEST_DIR/finish"
	wait_until 20 has_reclaimer "$pid" || fail "no thread named ljtrim"
	task=$(reclaimer_of "$pid")
	blocked=$(sed -n 's/^SigBlk:[[:space:]]*//p' "/proc/$pid/task/$task/status")
	# HUP 1, INT 2, USR1 10, USR2 12, ALRM 14, TERM 15, CHLD 17
	expect_equal "$((16#$blocked & 0x16a03))" "$((0x16a03))" "signals that the reclaimer blocks"
	touch finish
	finish
}
