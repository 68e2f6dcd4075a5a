# Environment variables: a bad one costs one line and nothing else.

# expect_one_line NEEDLE: luajit ran as usual, and stderr has precisely one line, from the library, that names NEEDLE.
expect_one_line() {
	expect_equal "$(cat out)" 1 "output of the host"
	expect_equal "$(wc -l <err)" 1 "lines on stderr"
	grep -q "^ljtrim: .*$1" err || fail "unexpected line: $(cat err)"
}

# luajit_with VARIABLE=VALUE ...: a luajit that prints 1.
luajit_with() { with_library "$@" "$LUAJIT" -e 'print(1)' >out 2>err || fail "luajit failed: $(cat err)"; }

test_bad_number_is_told_in_one_line() {
	need_library
	luajit_with LJTRIM_DECAY_MS=banana
	expect_one_line 'LJTRIM_DECAY_MS.*banana'
	luajit_with LJTRIM_DECAY_MS=-5
	expect_one_line LJTRIM_DECAY_MS
	luajit_with LJTRIM_INTERVAL_MS=99999999999999999999
	expect_one_line LJTRIM_INTERVAL_MS
}

test_bad_word_is_told_in_one_line() {
	need_library
	luajit_with LJTRIM_MODE=sometimes
	expect_one_line 'LJTRIM_MODE.*sometimes'
}

test_unknown_name_is_told_in_one_line() {
	need_library
	luajit_with LJTRIM_FOO=1
	expect_one_line LJTRIM_FOO
}

test_good_values_are_silent() {
	luajit_with LJTRIM_ENABLE=1 LJTRIM_MODE=auto LJTRIM_INTERVAL_MS=50 LJTRIM_DECAY_MS=0 LJTRIM_MAX_CPU_PCT=5
	expect_equal "$(cat out)" 1 "output of the host"
	expect_equal "$(cat err)" "" "stderr"
}

# stays_at_its_peak VARIABLE=VALUE ...: nothing is purged and survivors are intact.
stays_at_its_peak() {
	local now
	start "$@" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 200000):1000" light "$TEST_DIR/finish"
	wait_for_line 30 trough
	sleep 4
	now=$(rss_kb "$pid")
	expect_at_least "$now" "$(sized 100000)" "KiB in the trough"
}

test_disabled_is_silent_and_has_no_thread() {
	unpoisoned "the library is off"
	local setting
	for setting in LJTRIM_ENABLE=0 LJTRIM_MODE=off; do
		rm -f finish
		stays_at_its_peak $setting
		expect_equal "$(status_of "$pid" Threads)" 1 "threads with $setting"
		touch finish
		finish
	done
}

test_observe_never_purges() {
	stays_at_its_peak LJTRIM_MODE=observe $(pace 10 0)
	touch finish
	finish
}

test_log_goes_to_a_file() {
	need_library
	luajit_with LJTRIM_LOG="$TEST_DIR/log.%p" LJTRIM_FOO=1
	expect_equal "$(cat err)" "" "stderr"
	cat log.* | grep -q '^ljtrim: .*LJTRIM_FOO' || fail "nothing in the log file"
}
