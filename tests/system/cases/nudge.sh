# The collector nudge: a worker that has dropped its peak and become quiet gives the memory back by itself.

# quiet [VARIABLE=VALUE ...] PIECES CHUNK SECONDS: a peak of 250 MB in plain luajit; sets $dropped, and waits until RSS is below 40 MB.
# Sets $allocated: the bytes that the VM had allocated by then; returns 1 if it did not fall.
quiet() {
	local env=() fell=0
	while [[ $1 == *=* ]]; do env+=("$1") && shift; done
	start "${env[@]}" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$TEST_DIR/log" "$LUAJIT" "$TEST_SYSTEM/lua/quiet.lua" "$(sized 350000)" "$(sized 5000)" \
		"$1" "$TEST_DIR/finish" "$2"
	wait_for_line 60 dropped
	dropped=$(sed -n 's/^dropped //p' out)
	expect_at_least "$dropped" "$(sized 200000000)" "bytes dropped"
	within "$3" rss_below "$pid" 40000 || fell=1
	allocated=$(awk '/^trough/ { n = $2 } END { print n + 0 }' out)
	echo "dropped $dropped, allocated $allocated since, RSS $(rss_kb "$pid") KiB"
	touch finish
	finish
	grep -q '^verified 70' out || fail "survivors were not verified"
	return $fell
}
nudges() { awk '/ nudges/ { print $2; exit }' log; }

test_a_quiet_worker_falls_after_its_peak_for_5_per_cent_of_it() {
	unpoisoned "what is allocated until it has fallen is measured, and a proof at each unit takes its time"
	need_library
	# Not the CPU budget's patience: on a machine that others use a purge may cost five times as much, and RSS falls as much later.
	quiet LJTRIM_MAX_CPU_PCT=20 10 "" 200 || fail "RSS has not fallen"
	expect_at_most "$allocated" $((dropped / 20)) "bytes allocated meanwhile"
	expect_at_least "$(nudges)" 1 nudges
}

test_one_that_is_off_does_not() {
	need_library
	if quiet LJTRIM_GC_NUDGE=off 10 "" "$(sized 12 3)"; then fail "RSS fell without a nudge: the test shows nothing"; fi
	expect_equal "$(nudges)" 0 nudges
}

test_a_stopped_collector_stays_stopped() {
	need_library
	if quiet 10 "collectgarbage('stop')" "$(sized 12 3)"; then fail "RSS fell"; fi
	expect_equal "$(nudges)" 0 nudges
}

test_a_long_pause_is_respected() {
	need_library
	if quiet 10 "collectgarbage('setpause', 1000)" "$(sized 12 3)"; then fail "RSS fell"; fi
	expect_equal "$(nudges)" 0 nudges
}

# Everything that lives is found at each step of cycles that are begun again and again.
test_survivors_of_eager_nudges_are_intact() {
	need_library
	cat >eager.lua <<-'END'
		local process, workload = require("process"), require("workload")
		local survivors = workload.peak(20000, 20)
		local finalized = 0
		for i = 1, 400 do
		  local proxy = newproxy(true)
		  getmetatable(proxy).__gc = function() finalized = finalized + 1; pcall(error, { ("x"):rep(i) }) end
		  survivors[i * 20] = workload.session(i * 20)
		  if i % 20 == 0 then workload.peak(500, 1000) end
		  process.sleep_ms(25)
		end
		io.write("verified ", workload.verify(survivors), " finalized ", finalized, "\n")
	END
	run_host LJTRIM_GC_NUDGE=on "${EAGER[@]}" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$TEST_DIR/log" "$LUAJIT" eager.lua
	expect_at_least "$(nudges)" 3 nudges
	expect_at_least "$(awk '/^verified/ { print $4 }' out)" 100 "finalizers run"
}
