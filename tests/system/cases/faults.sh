# System calls that fail, resources that are not there: the host computes what it computes without the library, which
# loses at most its own service and has one line to say about it. tests/unit/test_faults.c and test_file_faults.c have the
# calls of the kernel's table one by one, at the Nth time; here the real library meets the refusal of a real call, each time and
# at the Nth, among them those that are in no table.

SELFCHECK=$TEST_SYSTEM/lua/selfcheck.lua SCARCE=$TEST_SYSTEM/lua/scarce.lua
settings=(LJTRIM_LOG_LEVEL=warn)
command=("$LUAJIT" "$SELFCHECK" 1)
under=() # what stands before a command that has the library
runs=0 faults=0

need_filter() { "$(host failing)" none 0 1 none true 2>/dev/null || skip "seccomp filters that ask are not allowed here"; }

# same_as_plain LINES COMMAND [ARG ...]: the same output and status with the library as without, and LINES lines of it: 1, or 0-1.
same_as_plain() {
	local lines=$1 said status=0
	shift
	if [ "$*" != "${plain-}" ]; then
		LJT_SO='' with_library "$@" >plain.out 2>plain.err || fail "without the library: status $?: $(tail -n 2 plain.err)"
		plain=$*
	fi
	with_library "${EAGER[@]}" "${settings[@]}" "${under[@]}" "$@" >loaded.out 2>loaded.err || status=$?
	expect_equal $status 0 "status under ${under[*]} $*: $(tail -n 2 loaded.err)"
	cmp plain.out loaded.out || fail "different under ${under[*]} $*: $(diff plain.out loaded.out | head -n 2)"
	runs=$((runs + 1))
	[ -n "$LJT_SO" ] || return 0
	said=$(grep -c 'ljtrim:' loaded.err) || true
	[ "$said" -ge "${lines%-*}" ] && [ "$said" -le "${lines#*-}" ] ||
		fail "$said lines from the library under ${under[*]} $*, $lines expected: $(grep -m2 'ljtrim:' loaded.err)"
}

# struck CALL ERROR WHEN LINES: the command, while this call fails then. Sets $hits: how often it did.
struck() {
	under=("$(host failing)" "$1" "$2" "$3" "$TEST_DIR/hits")
	same_as_plain "$4" "${command[@]}"
	under=()
	read -r _ hits <hits
	faults=$((faults + hits))
	[ "$hits" != 0 ] || runs=$((runs - 1)) # there were not so many calls
}

# each_error CALL LINES ERROR ...: each of these errors, each time; the first of them also at the 1st, 2nd and 3rd time alone.
each_error() {
	local call=$1 lines=$2 error when
	need_filter
	shift 2
	for error in "$@"; do
		struck "$call" "$error" 1- "$lines"
		[ -z "$LJT_SO" ] || expect_at_least "$hits" 1 "calls of $call that failed"
		! declare -F check_line >/dev/null || check_line "$error"
	done
	for when in 1 2 3; do
		struck "$call" "$1" $when "0-${lines#*-}"
		[ "$hits" != 0 ] || break
	done
}

# record NAME [FAULTS]: how many runs there were, and how many faults in them if that can be told: lines of
# build/results/faults.csv, where unit tests leave theirs.
record() {
	mkdir -p "$BUILD/results"
	(
		flock 9
		grep -v "^system_[a-z]*_$1," "$BUILD/results/faults.csv" >faults.csv || true
		echo "system_runs_$1,$runs" >>faults.csv
		[ -z "${2-}" ] || echo "system_faults_$1,$2" >>faults.csv
		cat faults.csv >"$BUILD/results/faults.csv"
	) 9<>"$BUILD/results/faults.csv"
}

# EPERM 1, ENOENT 2, ESRCH 3, EINTR 4, EIO 5, EBADF 9, ECHILD 10, EAGAIN 11, ENOMEM 12, EACCES 13, EFAULT 14, EXDEV 18, EINVAL 22,
# EMFILE 24, ENOSPC 28, EROFS 30, ENOSYS 38, ELOOP 40, EDQUOT 122
test_madvise() { each_error madvise 1 1 5 9 11 12 13 22 && record madvise $faults; }
test_process_madvise() { each_error process_madvise 0 1 3 9 12 14 22 38 && record process_madvise $faults; }
test_mincore() { each_error mincore 1 1 11 12 14 22 38 && record mincore $faults; }
test_membarrier() { each_error membarrier 0 1 22 38 && record membarrier $faults; }
test_process_vm_readv() {
	each_error process_vm_readv 0 1 38 # mincore stands in
	each_error process_vm_readv 1 3 12 14 22
	record process_vm_readv $faults
}
test_statx() { each_error statx 0 2 12 13 38 && record statx $faults; }
test_getrusage() { each_error getrusage 0 14 22 && record getrusage $faults; }

# The children that try out what a filter kills for: one more where the first was killed.
test_trial_child() {
	each_error clone 1 11 12
	each_error wait4 1 10 22
	struck wait4 4 1 0
	command=("$(host sandbox)" process_vm_readv kill "${command[@]}")
	struck clone 11 2 1
	[ -z "$LJT_SO" ] || expect_equal "$hits" 1 "second children that could not be had"
	record trial_child $faults
}

# A parent and three children, each with a thread of its own.
test_prctl() {
	command=("$(host fork_churn)" fork 3)
	each_error prctl 0 1 14 22
	record prctl $faults
}
test_no_thread_can_be_had() {
	command=("$(host fork_churn)" fork 3)
	each_error thread 4 1 11 12 22
	each_error thread 0 38 # clone stands in
	record thread $faults
}

# told WHAT ERROR: the one line names what can't be done, the file and the reason.
told() {
	local why
	case $2 in
	1 | 13) why='permission denied' ;;
	2) why='no such directory' ;;
	5) why='input\/output error' ;;
	12) why='out of memory' ;;
	24) why='too many open files' ;;
	28 | 122) why='no space left' ;;
	30) why='read-only file system' ;;
	40) why='it is a symbolic link' ;;
	*) why="error $2" ;;
	esac
	[ -z "$LJT_SO" ] || expect_equal "$(grep ljtrim: loaded.err)" "ljtrim: can't $1 $TEST_DIR/stats (${why/\\/}); trying on in silence" "the line"
}
test_statistics_file_can_not_be_made() {
	settings=(LJTRIM_STATS_FILE="$TEST_DIR/stats")
	check_line() {
		told 'write the statistics to' "$1"
		! [ -e stats ] || fail "the file is there"
	}
	each_error create 1 1 2 12 13 24 28 30 40 122
	record create $faults
}
test_statistics_file_can_not_be_renamed() {
	settings=(LJTRIM_STATS_FILE="$TEST_DIR/stats")
	check_line() {
		told 'write the statistics to' "$1"
		[ -z "$(ls -d stats* 2>/dev/null)" ] || fail "something is left: $(ls -d stats*)"
	}
	each_error rename 1 1 5 12 13 18 28 30
	record rename $faults
}

test_disk_is_full() {
	settings=(LJTRIM_LOG=/dev/full LJTRIM_STATS_AT_EXIT=1 LJTRIM_STATS_FILE=/dev/full/stats LJTRIM_FOO=1)
	same_as_plain 1 "${command[@]}"
	[ -z "$LJT_SO" ] || expect_equal "$(cat loaded.err)" "ljtrim: can't write to the log /dev/full (no space left); lines are missing in it" stderr
	mkdir tiny
	unshare -m true 2>/dev/null || skip "no tmpfs can be mounted here"
	cat >within.sh <<-'END'
		mount -t tmpfs -o size=4k tiny tiny && head -c 4096 /dev/zero >tiny/full 2>/dev/null || true
		exec "$@"
	END
	settings=(LJTRIM_LOG="$TEST_DIR/tiny/log" LJTRIM_STATS_AT_EXIT=1 LJTRIM_STATS_FILE="$TEST_DIR/tiny/stats" LJTRIM_FOO=1)
	same_as_plain 1 unshare -m sh within.sh "${command[@]}"
	record disk_full
}

# A pipe that nobody reads, as a log and as stderr: the host waits for no one for long, and misses its lines.
test_pipe_that_nobody_reads() {
	mkfifo pipe
	exec 8<>pipe
	head -c 65536 /dev/zero >&8
	settings=(LJTRIM_LOG="$TEST_DIR/pipe" LJTRIM_STATS_AT_EXIT=1 LJTRIM_FOO=1)
	same_as_plain 1 "${command[@]}"
	settings=(LJTRIM_LOG="$TEST_DIR/nowhere/log" LJTRIM_FOO=1)
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
	env "${EAGER[@]}" "${settings[@]}" LJTRIM_STATS_AT_EXIT=1 python3 unread.py "$LJT_SO" "${command[@]}" >loaded.out || fail "status $?"
	cmp plain.out loaded.out || fail "different with a stderr that nobody reads"
	exec 8>&-
	runs=$((runs + 1))
	record pipe_full
}

test_no_descriptors_left() { same_as_plain 0 "$LUAJIT" "$SCARCE" files && record no_descriptors; }
test_no_mappings_left() { same_as_plain 0-1 "$LUAJIT" "$SCARCE" maps && record no_mappings; }
test_no_address_space_left() { same_as_plain 0-1 "$LUAJIT" "$SCARCE" memory && record no_address_space; }

# A group whose limit the program comes near: under pressure it is purged more eagerly.
test_memory_limit() {
	local limit=$((64 << 20)) peak
	. "$TEST_SYSTEM/../../scripts/cgroup.bash"
	cgroup_begin memory && cgroup_make faults || skip "no control group: $cgroup_why"
	cgroup_set "$cgroup" limit $limit || { cgroup_end && skip "no limit can be set"; }
	cat >within.sh <<-'END'
		[ -z "${LD_PRELOAD-}" ] || echo $$ >"$1/cgroup.procs" # the highest charge is to be that with the library
		shift
		exec "$@"
	END
	(same_as_plain 0 sh within.sh "$cgroup" "$LUAJIT" "$SCARCE" limit $limit) || { cgroup_end; exit 1; }
	peak=$(cgroup_get "$cgroup" peak)
	cgroup_end
	[ -z "$LJT_SO" ] || [ -z "$peak" ] || expect_at_least $((peak * 100 / limit)) 80 "percent of the limit that were reached"
	runs=1
	record memory_limit
}
