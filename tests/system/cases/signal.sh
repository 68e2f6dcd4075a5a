# SIGUSR2 asks for statistics.

test_luajit_dumps_statistics_and_lives() {
	local size
	need_library
	start "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 200000):$(sized 1000)" light "$TEST_DIR/finish"
	wait_for_line 30 trough
	wait_until 10 has_reclaimer "$pid" || fail "no reclaimer"
	kill -USR2 "$pid"
	wait_until 3 is_longer_than 0 || fail "no dump"
	size=$(wc -l <err)
	grep -q 'floor .*purgeable' err || fail "no page floor in the dump: $(head -n 3 err)"
	grep -q purged err || fail "no purged bytes in the dump"
	kill -USR2 "$pid"
	wait_until 10 is_longer_than $((2 * size - 3)) || fail "$(wc -l <err) lines after two dumps, $size after one"
	touch finish
	wait "$pid" || fail "luajit ended with status $?"
	grep -q '^verified 200' out || fail "survivors were not verified"
}

# Is the log longer than so many lines, and grows no more?
is_longer_than() {
	local lines
	lines=$(wc -l <err)
	[ "$lines" -gt "$1" ] && sleep 0.5 && [ "$(wc -l <err)" = "$lines" ]
}

# Nothing of such a host is ours; whoever asks is told so, and the signal does no harm.
test_host_with_its_own_allocator_is_named() {
	need_library
	start "$(host own_allocator)" 1000
	wait_for_line 30 ready
	kill -USR2 "$pid"
	wait "$pid" || fail "the host ended with status $?"
	expect_equal "$(grep -c "a program's own allocator is left alone" err)" 1 "lines about it"
	expect_quiet_but err 1
}

test_many_signals_do_no_harm() {
	need_library
	start "${EAGER[@]}" "$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 6
	sleep 0.3 # until the arena has grown; an early signal is the default action's, as without the library
	wait_until 5 has_reclaimer "$pid" || fail "no reclaimer"
	while kill -USR2 "$pid" 2>/dev/null && is_running "$pid"; do sleep 0.01; done
	wait "$pid" || fail "luajit ended with status $?"
	"$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 6 >plain.out
	cmp plain.out out || fail "different output"
}

test_own_handler_of_the_host_still_runs() {
	need_library
	start "$(host own_handler)"
	finish_with_dump
}

# Like finish, but the dump is welcome.
finish_with_dump() {
	wait "$pid" || fail "the host ended with status $?: $(tail -n 2 err)"
	grep -q 'floor .*purgeable' err || fail "no dump beside the host's handler: $(head -n 3 err)"
}

# signal() is glibc's own but for our signal: with siginterrupt a call is not begun again.
test_siginterrupt_is_heeded() {
	need_library
	cat >interrupted.lua <<-'END'
		local ffi = require("ffi")
		ffi.cdef("int abs(int); void (*signal(int, void (*)(int)))(int); int siginterrupt(int, int); unsigned alarm(unsigned); int pipe(int *); long read(int, void *, size_t);")
		local ends, byte = ffi.new("int[2]"), ffi.new("char[1]")
		assert(ffi.C.pipe(ends) == 0 and ffi.C.siginterrupt(14, 1) == 0)
		ffi.C.signal(14, ffi.cast("void (*)(int)", ffi.C.abs)) -- a handler that does nothing
		ffi.C.alarm(1)
		print(tonumber(ffi.C.read(ends[0], byte, 1)), ffi.errno())
	END
	with_library timeout 20 "$LUAJIT" interrupted.lua >out 2>err || fail "it was not interrupted: $(cat err)"
	expect_equal "$(cat out)" "-1	4" "what read said"
	expect_silence err
}
