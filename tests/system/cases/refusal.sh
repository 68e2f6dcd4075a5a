# Where it can't do its work the library says so in one line, and the host runs as if it were not there; where it can do without
# what is forbidden it does its work.

# refuses WHY INTERPRETER ...: the host ends well, at its peak, with one line.
refuses() {
	local why=$1
	shift
	rm -f finish
	start "${EAGER[@]}" "$@" "$TEST_SYSTEM/lua/peak.lua" sessions:100000:1000 light "$TEST_DIR/finish"
	wait_for_line 60 trough
	sleep 0.5
	expect_at_least "$(rss_kb "$pid")" 50000 "KiB in the trough"
	[ -z "${single_threaded-yes}" ] || expect_equal "$(status_of "$pid" Threads)" 1 threads
	touch finish
	wait "$pid" || fail "the host ended with status $?: $(tail -n 3 err)"
	grep -q '^verified' out || fail "the host did not get to its end"
	if [ -n "$LJT_SO" ]; then
		expect_equal "$(grep -c '^ljtrim:' err)" 1 "lines from the library: $(head -n 3 err)"
		grep -q "^ljtrim: .*$why.*" err || fail "unexpected line: $(grep '^ljtrim:' err)"
	fi
}

# works_under CALL ACTION: the library does without this call, in silence.
works_under() {
	rm -f finish
	start "${EAGER[@]}" "$(host sandbox)" "$@" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" light "$TEST_DIR/finish"
	wait_for_line 30 trough
	[ -z "$LJT_SO" ] || expect_fall "$pid" 20000 "in the trough under $*"
	touch finish
	finish
}

test_works_where_membarrier_is_an_error() {
	need_seccomp
	works_under membarrier 1  # EPERM
	works_under membarrier 38 # ENOSYS
}
test_works_where_membarrier_kills() {
	need_seccomp
	works_under membarrier kill
	works_under membarrier kill-thread
}
test_works_where_process_vm_readv_is_an_error() { need_seccomp && works_under process_vm_readv 1; }
test_works_where_process_vm_readv_kills() { need_seccomp && works_under process_vm_readv kill; }
test_works_where_process_madvise_kills() { need_seccomp && works_under process_madvise kill; }
test_works_where_prctl_kills() { need_seccomp && works_under prctl kill; }

# A daemon reads its configuration in Lua, forks, and shuts the child in: what kills there was not forbidden before.
test_child_that_shuts_itself_in_is_not_killed() {
	need_seccomp
	local call
	for call in membarrier process_vm_readv process_madvise getrusage statx prctl; do
		run_host "${EAGER[@]}" "$(host late_sandbox)" "$call"
	done
	with_library "${EAGER[@]}" "$(host late_sandbox)" mincore 2>err || fail "mincore: $(cat err)"
	[ -z "$LJT_SO" ] || grep -q 'a seccomp filter kills .*left alone' err || fail "another line: $(cat err)"
}

test_sandbox_that_kills_for_mincore_is_told() {
	need_seccomp
	refuses 'seccomp filter kills .*left alone' "$(host sandbox)" mincore kill "$LUAJIT"
}
test_sandbox_that_kills_for_madvise_is_told() {
	need_seccomp
	refuses 'seccomp filter kills .*left alone' "$(host sandbox)" madvise kill "$LUAJIT"
}
test_sandbox_that_leaves_no_way_to_read_a_heap_is_told() {
	need_seccomp
	refuses 'seccomp filter kills for process_vm_readv and mincore.*left alone' \
		"$(host sandbox)" process_vm_readv kill "$(host sandbox)" mincore kill "$LUAJIT"
}
# Where no child can be had to try it with, nothing is tried.
test_sandbox_that_allows_no_child_is_told() {
	need_seccomp
	refuses 'seccomp filter .*no child.*left alone' "$(host sandbox)" clone 11 "$LUAJIT"
}

# Success, and nothing done: what an emulator does that ignores advice.
test_kernel_that_ignores_dontneed_is_told() {
	need_seccomp
	refuses 'MADV_DONTNEED does not give back zeroed pages.*left alone' "$(host sandbox)" madvise 0 "$LUAJIT"
}

test_kernel_that_refuses_dontneed_is_told() {
	need_seccomp
	refuses 'MADV_DONTNEED does not give back zeroed pages.*left alone' "$(host sandbox)" madvise 22 "$LUAJIT"
}

test_locked_memory_is_told() {
	echo 'return' >nothing.lua
	LJT_SO='' with_library "$(host run_locked)" nothing.lua 2>/dev/null || skip "memory can't be locked here"
	refuses 'locked memory.*left alone' "$(host run_locked)"
}

test_valgrind_is_told() {
	need_command valgrind
	local result=0
	with_library valgrind --tool=none --log-file="$TEST_DIR/valgrind.log" "$LUAJIT" -joff -e '
		local t = {}
		for i = 1, 30000 do t[i] = { i, ("x"):rep(100) .. i } end
		t = nil
		collectgarbage()
		print("done")' >out 2>err || result=$?
	expect_equal "$result" 0 "status of the host: $(tail -n 3 err valgrind.log)"
	expect_equal "$(cat out)" done output
	[ -z "$LJT_SO" ] || expect_equal "$(cat err)" "ljtrim: valgrind watches the memory of this process; Lua VMs are left alone" stderr
}

test_unknown_layout_is_told() {
	start "${EAGER[@]}" "$(host nolua_plugin)" "$(host plugin_alien.so)" none
	wait "$pid" || fail "the host ended with status $?: $(cat err)"
	expect_equal "$(cat out)" intact "the alien's memory"
	[ -z "$LJT_SO" ] || [[ "$(cat err)" =~ ^ljtrim:\ the\ layout\ of\ LuaJIT.*plugin_alien.so\ is\ not\ known.*left\ alone$ ]] ||
		fail "unexpected: $(cat err)"
}
