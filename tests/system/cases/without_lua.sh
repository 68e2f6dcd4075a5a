# Processes without LuaJIT: the library must cost nothing, say nothing and change nothing.

# same_as_plain COMMAND [ARG ...]: same output, same errors, same status.
same_as_plain() {
	local plain=0 loaded=0
	"$@" >plain.out 2>plain.err || plain=$?
	with_library "$@" >loaded.out 2>loaded.err || loaded=$?
	expect_equal "$loaded" "$plain" "status of $1"
	cmp plain.out loaded.out || fail "output of $1 differs"
	cmp plain.err loaded.err || fail "stderr of $1 differs: $(head -n 1 loaded.err)"
}

test_commands_behave_as_usual() {
	same_as_plain true
	same_as_plain false
	same_as_plain ls -l /usr/bin
	same_as_plain ls /there/is/no/such/file
	same_as_plain bash -c 'for i in 1 2 3; do echo $i | cat; done; (exit 3)'
	same_as_plain sort --parallel=4 -r /etc/passwd
	same_as_plain tar cf - "$TEST_SYSTEM"
}

test_python_behaves_as_usual() {
	need_command python3
	same_as_plain python3 -c 'import threading, mmap, subprocess
blocks = [bytearray(200000) for _ in range(500)]
threads = [threading.Thread(target=lambda: [bytearray(300000) for _ in range(200)]) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
m = mmap.mmap(-1, 131072); m[:4] = b"abcd"; m.resize(262144) if hasattr(m, "resize") else None
print(m[:4], sum(map(len, blocks)), subprocess.run(["echo", "child"], capture_output=True).stdout)'
}

test_compiler_behaves_as_usual() {
	need_command gcc
	echo 'int main(void) { return 7; }' >seven.c
	same_as_plain gcc -O2 -c seven.c -o seven.o
	gcc seven.c -o seven
	same_as_plain ./seven
}

test_no_thread_is_started() {
	start sleep 30
	sleep 0.5
	expect_equal "$(status_of "$pid" Threads)" 1 "threads"
	expect_silence err
}

test_no_signal_handler_is_installed() {
	local caught status=0
	start sleep 30
	sleep 0.3
	caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$pid/status")
	expect_equal "$((16#$caught & (1 << (12 - 1))))" 0 "SIGUSR2 is caught"
	kill -USR2 "$pid"
	wait "$pid" || status=$?
	expect_equal "$status" $((128 + 12)) "status after SIGUSR2"
}

test_mmap_family_keeps_its_contract() {
	local seed layout plain loaded
	for seed in 1 2 3; do
		plain=$("$(host nolua_mmap)" $seed)
		loaded=$(with_library "$(host nolua_mmap)" $seed)
		expect_equal "$loaded" "$plain" "results with seed $seed"
	done
	for layout in -R -L; do # addresses not at random; the legacy layout
		setarch $layout true || continue # a sandbox may forbid personality(2)
		loaded=$(with_library setarch $layout "$(host nolua_mmap)" $seed)
		expect_equal "$loaded" "$plain" "results with setarch $layout"
	done
}

# Another preload's functions are found by code of its own, which dlsym runs: mmap must do without what is not found yet.
test_mmap_family_keeps_its_contract_during_dlsym() {
	need_library
	local plain
	plain=$("$(host nolua_mmap)" 1)
	with_library LD_PRELOAD="$LJT_SO $(host plugin_in_dlsym.so)" "$(host nolua_mmap)" 1 >loaded
	expect_equal "$(tail -n 1 loaded)" "in dlsym: mmap munmap mremap" "looked for"
	expect_equal "$(sed '$d' loaded)" "$plain" "results"
}
