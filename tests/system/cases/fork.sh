# Processes that are forked in the middle of a purge: parent and child go on with their copies of the state.

forks() { run_host "${EAGER[@]}" "$(host fork_churn)" "$@" held; }

test_fork() { forks fork "$(sized 30 3)"; }
test_fork_by_default_settings() { unpoisoned "the other one is the same then" && run_host "$(host fork_churn)" fork 20; }
test_fork_with_threads_beside() { forks threads "$(sized 15 3)"; }
test_fork_of_a_fork() { forks nested "$(sized 15 3)"; }
test_raw_clone() { forks clone "$(sized 30 3)"; }
test_vfork() { forks vfork "$(sized 60 3)"; }
test_posix_spawn() { forks spawn "$(sized 60 3)"; }

test_commands_started_from_lua() {
	cat >commands.lua <<-'END'
		local workload = require("workload")
		local survivors = workload.peak(workload.sized(100000), 500)
		workload.collect()
		for i = 1, 60 do
		  local pipe = io.popen("echo " .. i)
		  assert(pipe:read("*n") == i)
		  pipe:close()
		  assert(os.execute("exit 3") == 3 * 256)
		  local more = workload.peak(3000, 100)
		end
		print("verified", workload.verify(survivors))
	END
	run_host "${EAGER[@]}" "$LUAJIT" commands.lua
}

# A copy that was made behind fork's back may have malloc's lock from a thread that is not in it: starting a thread, which
# allocates, would wait for ever. So there is none, and the pages stay.
test_no_thread_in_a_raw_copy_of_a_threaded_process() {
	local how
	for how in _Fork clone; do
		expect_equal "$(run_host "${EAGER[@]}" "$(host raw_child)" $how 2)" "threads 1" "the child of $how"
	done
}
test_thread_in_a_raw_copy_of_a_process_without_others() {
	need_library
	local how
	for how in _Fork clone; do
		expect_equal "$(run_host "${EAGER[@]}" "$(host raw_child)" $how 0)" "threads 2" "the child of $how"
	done
}
