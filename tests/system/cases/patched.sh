# LJTRIM_MODE=patched: the library's own allocator serves the VM. With TEST_MODE=patched all other groups run that
# way, too; here is what must not be missing from a normal run.

export LJTRIM_MODE=patched

# As in correctness.sh, on a statically linked LuaJIT where there is one.
test_same_answers() {
	need_library
	"$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 3 >plain.out
	run_host "${EAGER[@]}" "$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 3 >loaded.out
	cmp plain.out loaded.out || fail "different: $(diff plain.out loaded.out | head -n 2)"
}

test_200_states_on_8_threads() { run_host "${EAGER[@]}" "$(host many_states)" 200 8 300; }
test_closed_in_the_middle_of_a_purge() { run_host "${EAGER[@]}" "$(host close_states)" "$(sized 800 3)" held; }
test_fork() { run_host "${EAGER[@]}" "$(host fork_churn)" fork "$(sized 10 3)" held; }
test_fork_with_threads_beside() { run_host "${EAGER[@]}" "$(host fork_churn)" threads 5 held; }

# Whoever sets LuaJIT's function back has a heap that it can go on with.
plays() {
	local status=0
	start "${EAGER[@]}" "$(host allocf_games)" "$1"
	wait "$pid" || status=$?
	cat out err
	expect_equal "$status" 0 "status of the host"
	expect_quiet_but err 1
}
test_allocf_set_back() { plays set-back; }
test_allocf_wrapped_and_unwrapped() { plays unwrap; }
test_allocf_flipped_a_thousand_times() { plays flip; }

test_worker_of_nginx_breathes() {
	. "$TEST_SYSTEM/cases/nginx.sh"
	test_worker_breathes
}

test_heap_of_a_silent_vm_falls_to_its_floor() {
	need_library
	start "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 200000):100" idle "$TEST_DIR/finish"
	wait_for_line 60 trough
	expect_floor "$pid" 20
	"$LJT_TOOL" inspect "$pid" --csv >inspected
	touch finish
	finish
	grep -q "^verified $(sized 2000)" out || fail "survivors were not verified"
	cat inspected
	# What is parked is no part of the floor.
	awk -F, '$7 ~ /^[0-9]/ { if ($7 > 40 * 2 ^ 20) exit 1; told = 1 } END { exit !told }' inspected ||
		fail "the floor holds what is parked"
}

# No look comes within the hour. A fall is only watched for while the VM is not quiet: with no decay that is 0.1 s. Native
# mode is lj_alloc's trimming alone, which is not what is tested.
test_segments_that_a_fall_leaves_free_wait_for_no_look() {
	need_library
	start LJTRIM_INTERVAL_MS=3600000 LJTRIM_DECAY_MS=1000 LJTRIM_DEBUG=verify "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" strings:300000 light "$TEST_DIR/finish"
	wait_for_line 60 trough
	local peak
	peak=$(awk '$1 == "peak" { print $2 }' out)
	expect_fall "$pid" $((peak / 3))
	touch finish
	finish
	grep -q '^verified 0' out || fail "$(tail -n 1 out)"
}

test_dump_says_that_the_allocator_is_ours() {
	need_library
	LJTRIM_STATS_AT_EXIT=1 run_dump
	grep -q '^mode patched (LJTRIM_MODE)' err || fail "$(grep '^mode' err)"
	grep -q ', patched, .* parked$' err || fail "$(grep '^arena' err)"
}
run_dump() {
	cat >work.lua <<-'END'
		local workload = require("workload")
		survivors = workload.peak(60000, 100)
		workload.collect()
		for i = 1, 30 do workload.peak(2000, 100) end
		assert(workload.verify(survivors) == 600)
		os.exit(0)
	END
	with_library "${EAGER[@]}" "$LUAJIT" work.lua 2>err
}

test_vm_without_gc64_is_left_to_lj_alloc() {
	need_library
	need_command luajittex
	start "$(command -v luajittex)" --luaonly "$TEST_SYSTEM/lua/selfcheck.lua" 1
	wait "$pid" || fail "luajittex: $(tail -n 2 err)"
	expect_quiet_but err 1
	! grep -q 'ljtrim:' err || grep -q 'not built with GC64' err || fail "$(grep 'ljtrim:' err)"
}

### VMs that have it from their first byte on

newstate() { run_host "${EAGER[@]}" "${@:3}" "$(host nolua_plugin)" "$(host "$1".so)" "$2"; }
test_system_allocator_is_replaced_at_birth() {
	need_library
	expect_equal "$(newstate plugin_newstate system)" "served by libljtrim, by neither" allocator
}
test_internal_allocator_is_replaced_at_birth() {
	need_library
	expect_equal "$(newstate plugin_newstate sentinel)" "served by libljtrim, by neither" allocator
}
test_own_allocator_is_left_alone() {
	expect_equal "$(newstate plugin_newstate own)" "served by the plugin, by its own" allocator
	run_host "${EAGER[@]}" "$(host own_allocator)"
}
test_no_vm_is_born_with_it_in_other_modes() {
	local mode
	for mode in auto native observe off; do
		expect_equal "$(newstate plugin_newstate system LJTRIM_MODE=$mode)" "served by the plugin, by mem_alloc" "$mode: allocator"
	done
}
test_refused_at_birth_the_vm_keeps_its_own() {
	start "${EAGER[@]}" "$(host nolua_plugin)" "$(host plugin_newstate.so)" refusing
	wait "$pid" || fail "$(tail -n 2 err)"
	expect_equal "$(cat out)" "served by the plugin, by mem_alloc" allocator
	expect_quiet_but err 1
	[ -z "$LJT_SO" ] || grep -q 'keeps its own allocator' err || fail "no line says so"
}
test_other_lua_gets_what_is_passed() { expect_equal "$(newstate plugin_otherlua -)" "passed on" outcome; }
