# System calls that fail, resources that are not there: the host computes what it computes without the library, which
# loses at most its own service and has one line to say about it. tests/unit/test_faults.c has the calls one by one, at
# the Nth time; here the real library meets the real refusal, each time.

SELFCHECK=$TEST_SYSTEM/lua/selfcheck.lua SCARCE=$TEST_SYSTEM/lua/scarce.lua
injected=0

# same_as_plain LINES COMMAND [ARG ...]: the same output and status with the library, and at most LINES lines of it.
same_as_plain() {
	local lines=$1 status=0
	shift
	LJT_SO='' with_library "$@" >plain.out 2>plain.err || fail "without the library: status $?: $(tail -n 2 plain.err)"
	with_library "${EAGER[@]}" "${settings[@]}" "$@" >loaded.out 2>loaded.err || status=$?
	expect_equal $status 0 "status under $*: $(tail -n 2 loaded.err)"
	cmp plain.out loaded.out || fail "different under $*: $(diff plain.out loaded.out | head -n 2)"
	expect_quiet_but loaded.err "$lines"
	injected=$((injected + 1))
}
settings=(LJTRIM_LOG_LEVEL=warn)

# each_error CALL NUMBER ...: this call always fails, with each of these errors.
each_error() {
	local call=$1 number
	need_seccomp
	shift
	for number in "$@"; do same_as_plain 1 "$(host sandbox)" "$call" "$number" "$LUAJIT" "$SELFCHECK" 1; done
	record "$call" $injected
}

# record NAME COUNT: a line of build/results/faults.csv, where unit tests leave theirs.
record() {
	mkdir -p "$BUILD/results"
	(
		flock 9
		grep -v "^system_$1," "$BUILD/results/faults.csv" >faults.csv || true
		echo "system_$1,$2" | cat faults.csv - >faults.new
		cat faults.new >"$BUILD/results/faults.csv"
	) 9<>"$BUILD/results/faults.csv"
}

# EPERM 1, ENOENT 2, ESRCH 3, EINTR 4, EIO 5, EBADF 9, EAGAIN 11, ENOMEM 12, EACCES 13, EFAULT 14, EXDEV 18, EINVAL 22, EMFILE 24,
# ENOSPC 28, EROFS 30, ENOSYS 38, ELOOP 40, EDQUOT 122
test_madvise() { each_error madvise 1 5 9 11 12 13 22; }
test_process_madvise() { each_error process_madvise 1 3 9 12 14 22 38; }
test_mincore() { each_error mincore 1 11 12 14 22 38; }
test_membarrier() { each_error membarrier 1 22 38; }
test_process_vm_readv() { each_error process_vm_readv 1 3 12 14 22 38; }
test_prctl() { each_error prctl 1 14 22; }
test_statx() { each_error statx 2 12 13 38; }
test_no_thread_can_be_had() { each_error thread 1 11 12 22; }
test_threads_by_clone_alone() { need_seccomp && same_as_plain 0 "$(host sandbox)" thread 38 "$LUAJIT" "$SELFCHECK" 1; }

test_statistics_file_can_not_be_made() {
	settings=(LJTRIM_STATS_FILE="$TEST_DIR/stats")
	each_error create 1 2 12 13 24 28 30 40 122
	! [ -e stats ] || fail "the file is there"
}
test_statistics_file_can_not_be_renamed() {
	settings=(LJTRIM_STATS_FILE="$TEST_DIR/stats")
	each_error rename 1 5 12 13 18 28 30
}

test_disk_is_full() {
	settings=(LJTRIM_LOG=/dev/full LJTRIM_STATS_AT_EXIT=1 LJTRIM_STATS_FILE=/dev/full/stats LJTRIM_FOO=1)
	same_as_plain 3 "$LUAJIT" "$SELFCHECK" 1
	mkdir tiny
	unshare -m true 2>/dev/null || skip "no tmpfs can be mounted here"
	cat >within.sh <<-'END'
		mount -t tmpfs -o size=4k tiny tiny && head -c 4096 /dev/zero >tiny/full 2>/dev/null || true
		exec "$@"
	END
	settings=(LJTRIM_LOG="$TEST_DIR/tiny/log" LJTRIM_STATS_AT_EXIT=1 LJTRIM_STATS_FILE="$TEST_DIR/tiny/stats" LJTRIM_FOO=1)
	same_as_plain 3 unshare -m sh within.sh "$LUAJIT" "$SELFCHECK" 1
	record disk_full $injected
}

# A pipe that nobody reads, as a log and as stderr: the host waits for no one for long, and misses its lines.
test_pipe_that_nobody_reads() {
	mkfifo pipe
	exec 8<>pipe
	head -c 65536 /dev/zero >&8
	settings=(LJTRIM_LOG="$TEST_DIR/pipe" LJTRIM_STATS_AT_EXIT=1 LJTRIM_FOO=1)
	same_as_plain 1 "$LUAJIT" "$SELFCHECK" 1
	settings=(LJTRIM_LOG="$TEST_DIR/nowhere/log" LJTRIM_FOO=1)
	"$LUAJIT" "$SELFCHECK" 1 >plain.out
	cat >unread.py <<-'END'
		import os, sys
		r, w = os.pipe()
		os.set_blocking(w, False)
		try:
		    while True: os.write(w, b"x" * 4096)
		except BlockingIOError: pass
		os.dup2(w, 2)
		os.environ["LD_PRELOAD"] = sys.argv[1]
		os.execvp(sys.argv[2], sys.argv[2:])
	END
	need_command python3
	env "${EAGER[@]}" "${settings[@]}" LJTRIM_STATS_AT_EXIT=1 python3 unread.py "$LJT_SO" "$LUAJIT" "$SELFCHECK" 1 >loaded.out || fail "status $?"
	cmp plain.out loaded.out || fail "different with a stderr that nobody reads"
	exec 8>&-
	record pipe_full $((injected + 1))
}

test_no_descriptors_left() { same_as_plain 1 "$LUAJIT" "$SCARCE" files && record no_descriptors 1; }
test_no_mappings_left() { same_as_plain 1 "$LUAJIT" "$SCARCE" maps && record no_mappings 1; }
test_no_address_space_left() { same_as_plain 1 "$LUAJIT" "$SCARCE" memory && record no_address_space 8; }

# A group whose limit the program comes near: under pressure it is purged more eagerly.
test_memory_limit() {
	. "$TEST_SYSTEM/../../scripts/cgroup.bash"
	cgroup_begin memory && cgroup_make faults || skip "no control group: $cgroup_why"
	cgroup_set "$cgroup" limit $((64 << 20)) || { cgroup_end && skip "no limit can be set"; }
	cat >within.sh <<-'END'
		echo $$ >"$1/cgroup.procs"
		shift
		exec "$@"
	END
	( same_as_plain 1 sh within.sh "$cgroup" "$LUAJIT" "$SELFCHECK" 2 ) || { cgroup_end; exit 1; }
	cgroup_end
	record memory_limit 1
}
