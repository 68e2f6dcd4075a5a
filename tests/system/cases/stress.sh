# Allocator calls on many VMs from many threads, states that wander, children, cancellations and jumps, while everything
# is purged as soon as possible: the short form of `make stress`.

# survives LIBRARY [VARIABLE=VALUE ...] ARG ...: no byte is other than it should be, the library is silent.
survives() {
	local library=$1
	shift
	if [ -n "$LJT_SO" ]; then
		[ -e "$library" ] || skip "$library was not built"
		local LJT_SO=$library
	fi
	run_host "${EAGER[@]}" "$@" --results results.csv
	grep -q '^stress: nothing damaged' out || fail "the host did not get to its end"
	[ -z "$LJT_SO" ] || expect_at_least "$(sed -n 's/^purged_bytes,//p' results.csv)" 100000 "bytes purged" # 20 MB as a rule; a busy machine may starve the reclaimer
	expect_at_least "$(sed -n 's/^jump_out_of_call,//p' results.csv)" 4 "jumps out of an allocator call"
}

test_10_million_operations() { survives "$LJT_SO" "$(host stress)" --operations 1e7 --threads 3; }
test_one_state_a_thread() { survives "$LJT_SO" "$(host stress)" --operations 2e6 --threads 4 --states 1; }
test_delays_within_the_protocol() { survives "$BUILD/delays/libljtrim.so" "$(host stress)" --operations 1e6 --threads 3; }
test_poisoned_and_verified() {
	unpoisoned "it always is"
	need_library
	survives "$LJT_SO" LJTRIM_DEBUG=poison,verify "$(host stress)" --operations 1e6 --threads 2 --states 2
}
test_on_our_own_allocator() { survives "$LJT_SO" LJTRIM_MODE=patched "$(host stress)" --operations 2e6 --threads 3; }
test_on_our_own_allocator_poisoned_and_verified() {
	unpoisoned "it always is"
	need_library
	survives "$LJT_SO" LJTRIM_MODE=patched LJTRIM_DEBUG=poison,verify "$(host stress)" --operations 1e6 --threads 2 --states 2
}

# The process ends while its threads are in their VMs and the reclaimer is at work: handlers and destructors run beside them.
test_exits_in_the_middle() {
	local i
	for i in {1..10}; do
		run_host "${EAGER[@]}" LJTRIM_STATS_AT_EXIT="$((i % 2))" LJTRIM_LOG="$TEST_DIR/log" "$(host stress)" --operations "${i}e5" \
			--threads 3 --leave 1
		grep -q '^stress: left' out || fail "the host did not get to its end"
	done
}
