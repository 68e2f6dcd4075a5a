# Processes that are forked in the middle of a purge: parent and child go on with their copies of the state.

forks() { run_host "${EAGER[@]}" "$(host fork_churn)" "$@"; }

test_fork() { forks fork 30; }
test_fork_by_default_settings() { run_host "$(host fork_churn)" fork 20; }
test_fork_with_threads_beside() { forks threads 15; }
test_fork_of_a_fork() { forks nested 15; }
test_raw_clone() { forks clone 30; }
test_vfork() { forks vfork 60; }
test_posix_spawn() { forks spawn 60; }

test_commands_started_from_lua() {
	cat >commands.lua <<-'END'
		local workload = require("workload")
		local survivors = workload.peak(100000, 500)
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
