# Hostile neighbours: other preloads before and behind us, debuggers, freezers, one processor, next to no processor, and
# LuaJIT's code closed under its heap.

SELFCHECK=$TEST_SYSTEM/lua/selfcheck.lua

# beside LIBRARY [VARIABLE=VALUE ...]: in both orders of preloading, with this library, the host computes what it computes
# with that library alone, pages are purged, and nobody says a word.
beside() {
	local other=$1 order times purged
	shift
	need_library
	[ -e "$other" ] || skip "$other is not installed"
	env "$@" LD_PRELOAD="$other" "$LUAJIT" "$SELFCHECK" 2 >plain.out
	for order in "$other $LJT_SO" "$LJT_SO $other"; do
		env "${EAGER[@]}" "$@" LD_PRELOAD="$order" "$LUAJIT" "$SELFCHECK" 2 >loaded.out 2>err ||
			fail "status $? with $order: $(tail -n 2 err)"
		cmp plain.out loaded.out || fail "different with $order: $(diff plain.out loaded.out | head -n 2)"
		expect_silence err
		for times in 1 4; do # it may have been over before the reclaimer had its turn
			env "${EAGER[@]}" "$@" LD_PRELOAD="$order" "$(host stress)" --operations $(($(sized 2000000 4) * times)) --threads 2 \
				--results results.csv >out 2>err || fail "status $? with $order: $(tail -n 2 out err)"
			expect_silence err
			purged=$(sed -n 's/^purged_bytes,//p' results.csv)
			[ "$purged" -lt 100000 ] || break
		done
		expect_at_least "$purged" 100000 "bytes purged with $order"
	done
}

system_library() { ldconfig -p | sed -n "s,.*$1.* => ,,p" | head -n 1; }

test_jemalloc() { beside "$(system_library 'libjemalloc\.so\.2')"; }

test_malloc_tracer() {
	beside "$(host plugin_tracer.so)" TRACER_FILE="$TEST_DIR/traced"
	grep -q '^[1-9][0-9]* mallocs, [1-9]' traced || fail "the tracer has seen nothing"
}

# faked_time TIME: with clocks that run fast, slowly, or not at all. Ours is the kernel's: a page grows old in time.
faked_time() {
	local library
	library=$(find /usr/lib /usr/local/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
	beside "${library:-libfaketimeMT.so.1}" FAKETIME="$1"
}
test_faketime_fast() { faked_time '+0 x1000'; }
test_faketime_slow() { faked_time '-1d x0.1'; }
test_faketime_frozen() {
	faked_time '2020-02-02 02:02:02'
	start LD_PRELOAD="$LJT_SO $(find /usr/lib -name libfaketimeMT.so.1)" FAKETIME='2020-02-02 02:02:02' \
		$(pace 100 100) "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" light "$TEST_DIR/finish"
	wait_for_line 30 trough
	expect_fall "$pid" 20000
	touch finish
	finish
}

# under_stress: a host that stresses its heaps in the background, and does not end before it is told to.
under_stress() {
	start "${EAGER[@]}" "$(host stress)" --operations 1e6 --threads 3 --until "$TEST_DIR/end" --results results.csv
	wait_for_line 20 stress:
}
ends_undamaged() {
	touch end
	finish
	grep -q '^stress: nothing damaged' out || fail "the host did not get to its end"
	[ -z "$LJT_SO" ] || expect_at_least "$(sed -n 's/^purged_bytes,//p' results.csv)" 1000000 "bytes purged"
}

# while_stopped COMMAND [ARG ...]: the host under stress is stopped, wherever it is, for as long as that takes.
while_stopped() {
	kill -STOP "$pid"
	until is_stopped; do
		! is_gone "$pid" || fail "the host has ended: $(tail -n 2 out err)"
		sleep 0.01
	done
	"$@"
	kill -CONT "$pid"
}
is_stopped() { grep -q '^State:[[:space:]]*T' "/proc/$pid/status" 2>/dev/null; }

test_gdb_attached_and_detached() {
	need_command gdb
	under_stress
	local i
	for i in 1 2 3; do
		timeout 60 gdb -nx -batch -p "$pid" -ex 'thread apply all backtrace 1' -ex detach >gdb.out 2>&1 || true # what it says decides
		! grep -q 'ptrace: Operation not permitted' gdb.out || skip "gdb may not attach here: $(tail -n 1 gdb.out)"
		grep -q "^\[Inferior 1 (process $pid) detached\]" gdb.out || fail "gdb was not attached: $(tail -n 1 gdb.out)"
		expect_at_least "$(grep -c '^Thread [0-9]' gdb.out)" 4 "threads that gdb has seen"
	done
	ends_undamaged
}

test_stopped_for_two_seconds() {
	under_stress
	sleep 0.3
	while_stopped sleep 2
	ends_undamaged
}

# Stopped wherever it is, a hundred times.
test_stopped_again_and_again() {
	local i
	under_stress
	for i in {1..100}; do
		while_stopped sleep 0.00$((RANDOM % 10))
		sleep 0.00$((RANDOM % 10))
	done
	ends_undamaged
}

test_one_processor() {
	need_command taskset
	run_host "${EAGER[@]}" taskset -c "$(taskset -cp $$ | sed 's/.*[:,-] *//')" "$(host stress)" --operations 2e6 --threads 4
}

# What a small CPU quota does, for places where none can be set: 5 ms of 100.
test_frozen_most_of_the_time() {
	local i
	under_stress
	for i in {1..60}; do
		while_stopped sleep 0.095
		sleep 0.005
	done
	ends_undamaged
}

# Every thread of the process is frozen most of the time, with whatever it holds.
test_quota_of_five_percent() {
	. "$TEST_SYSTEM/../../scripts/cgroup.bash"
	cgroup_begin cpu && cgroup_make neighbours || skip "no control group: $cgroup_why"
	cgroup_set "$cgroup" quota 5000 || { cgroup_end && skip "no quota can be set"; }
	cat >within.sh <<-'END'
		echo $$ >"$1/cgroup.procs"
		shift
		exec "$@"
	END
	(run_host "${EAGER[@]}" sh within.sh "$cgroup" "$(host stress)" --operations 2e5 --threads 2) || { cgroup_end; exit 1; }
	cgroup_end
}

test_luajit_closed_under_its_heap() {
	cat >peak.lua <<-'END'
		keep, gone = {}, {}
		for i = 1, 40000 do
		  gone[i] = ("x"):rep(200) .. i
		  if i % 100 == 0 then keep[#keep + 1] = gone[i] end
		end
		gone = nil
		collectgarbage()
		collectgarbage()
		for i = 1, #keep do assert(keep[i] == ("x"):rep(200) .. i * 100) end
	END
	expect_equal "$(run_host "${EAGER[@]}" "$(host reopen)" "$(host plugin_lua.so)" 20 peak.lua)" "done" output
}
