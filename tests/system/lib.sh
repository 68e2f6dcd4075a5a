# What the system tests share. Read by every test's own shell, which runs in the test's directory under set -eu.

### Verdicts

# fail WHY: ends the test. The first reason is the one that is told.
fail() {
	[ -s "$TEST_DIR/reason" ] || printf '%s\n' "$*" >"$TEST_DIR/reason"
	echo "FAILED: $*"
	exit 1
}

skip() {
	printf '%s\n' "$*" >"$TEST_DIR/reason"
	exit 77
}

need_library() { [ -n "$LJT_SO" ] || skip "nothing is preloaded"; }
need_command() { command -v "$1" >/dev/null || skip "$1 is not installed"; }

### Processes under test

# Poisoned: every test once more, with $TEST_DEBUG (make test-poisoned). What is claimed is filled with a pattern, of two
# batches one is purged besides, and each unit proves the whole heap: whoever relies on a byte of it shows.

: "${TEST_DEBUG=}"

# unpoisoned WHY: skips a test that can't hold then, or that would only do again what it has done.
unpoisoned() { [ -z "$TEST_DEBUG" ] || skip "not poisoned: $1"; }

# sized COUNT [PART]: how many objects a large heap is made of, how often something is done; poisoned an eighth or another
# part of it, for a heap is proven at each unit. workload.sized is the same for Lua.
sized() { if [ -z "$TEST_DEBUG" ]; then echo "$1"; else echo $(($1 / ${2-8})); fi; }

# pace INTERVAL_MS DECAY_MS: settings of a test that goes at its own pace. Poisoned, all go at the same.
pace() { [ -n "$TEST_DEBUG" ] || echo "LJTRIM_INTERVAL_MS=$1 LJTRIM_DECAY_MS=$2"; }

# without_library: for tests that look at what is not preloaded.
without_library() {
	unpoisoned "nothing is preloaded"
	LJT_SO=''
}

# Works all the time: purges begin as soon as there is something to purge.
EAGER=(LJTRIM_INTERVAL_MS=1 LJTRIM_DECAY_MS=0 LJTRIM_MAX_CPU_PCT=100 LJTRIM_MIN_RECLAIM=0)
LUAJIT=$(command -v luajit || true)
started=()

# with_library [VARIABLE=VALUE ...] COMMAND [ARG ...]: runs a command with libljtrim preloaded.
with_library() { env ${LJT_SO:+LD_PRELOAD="$LJT_SO"} "$@"; }

# start [VARIABLE=VALUE ...] COMMAND [ARG ...]: the same in the background; sets $pid; output goes to out and err.
start() {
	: >out # what the host before has said is not to be taken for this one's: it may be a moment until it opens them
	: >err
	env ${LJT_SO:+LD_PRELOAD="$LJT_SO"} "$@" >out 2>err &
	pid=$!
	started+=("$pid")
}

start_plain() { LJT_SO='' start "$@"; }

# finish: waits for what start started, and demands that it succeeded in silence.
finish() {
	local status=0
	wait "$pid" || status=$?
	[ $status = 0 ] || fail "the host ended with status $status: $(tail -n 3 err)"
	expect_silence err
}

# run_host [VARIABLE=VALUE ...] COMMAND [ARG ...]: start and finish in one.
run_host() {
	start "$@"
	finish
	cat out
}

# host NAME: the path of one of our small hosts.
host() { echo "$LJT_HOSTS/$1"; }

# For those that run something in the host `sandbox`.
need_seccomp() { "$(host sandbox)" none 0 true 2>/dev/null || skip "seccomp filters are not allowed here"; }

on_exit() {
	local p
	for p in "${started[@]}"; do kill -KILL "$p" 2>/dev/null || true; done
	if declare -F stop_nginx >/dev/null; then stop_nginx; fi
}
trap on_exit EXIT
trap 'exit 143' TERM INT

### Expectations

# expect_silence FILE: libljtrim has nothing to say when all is well.
expect_silence() {
	if grep -q 'ljtrim:' "$1"; then
		fail "the library spoke: $(grep -m1 'ljtrim:' "$1")"
	fi
}

# expect_quiet_but FILE MAXIMUM: some occasions deserve a line, none deserves more than MAXIMUM.
expect_quiet_but() {
	local lines
	lines=$(grep -c 'ljtrim:' "$1") || true
	[ "$lines" -le "$2" ] || fail "$lines lines from the library, at most $2 expected: $(grep -m1 'ljtrim:' "$1")"
}

expect_equal() { [ "$1" = "$2" ] || fail "$3: '$1', '$2' expected"; }
expect_like() { [[ "$1" == $2 ]] || fail "$3: '$1', '$2' expected"; } # a pattern
expect_at_most() { [ "$1" -le "$2" ] || fail "$3: $1, at most $2 expected"; }
expect_at_least() { [ "$1" -ge "$2" ] || fail "$3: $1, at least $2 expected"; }

# wait_until SECONDS COMMAND [ARG ...]: true as soon as the command is. On a busy machine that may be late: the limit is for
# what never comes, and no less than a minute.
wait_until() {
	local seconds=$(($1 < 60 ? 60 : $1))
	shift
	within "$seconds" "$@"
}

# within SECONDS COMMAND [ARG ...]: the same, and the seconds are meant.
within() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -le $deadline ] || return 1
		sleep 0.05
	done
}

# wait_for_line SECONDS TEXT: until the host that start started has printed a line that begins with TEXT.
wait_for_line() {
	wait_until "$1" host_printed_or_ended "$2" || true
	grep -q "^$2" out || fail "the host did not get as far as '$2': $(tail -n 2 out err)"
}
host_printed_or_ended() { grep -q "^$1" out || is_gone "$pid"; }

### What /proc tells

# status_of PID FIELD: a field of /proc/PID/status without its unit; nothing when the process is gone.
status_of() { sed -n "s/^$2:[[:space:]]*\([0-9]*\).*/\1/p" "/proc/$1/status" 2>/dev/null || true; }
rss_kb() { status_of "$1" VmRSS; }

# rss_below PID KB: or three quarters of the highest that it ever was, poisoned: half of what is free stays resident.
rss_below() {
	local now limit=$2
	now=$(rss_kb "$1")
	[ -n "$now" ] || return 1
	[ -z "$TEST_DEBUG" ] || limit=$(($(status_of "$1" VmHWM) * 3 / 4))
	[ "$now" -lt "$limit" ]
}

# expect_fall PID KB [WHAT]: its RSS falls below that, WHAT: in the trough. It may take a minute: on a noisy machine what was
# given back until now may have cost all of the CPU budget. Where it has not, the library says what it does.
expect_fall() {
	wait_until 90 rss_below "$1" "$2" && return
	if is_running "$1"; then
		grep -H . "/proc/$1/task"/*/{comm,wchan,syscall} 2>&1 | sed "s,^/proc/$1/task/,," || true
		[ -z "$LJT_SO" ] || kill -USR2 "$1"
		sleep 2
		tail -n 40 err error.log 2>/dev/null | grep -v '^$' || true
	fi
	fail "RSS has not fallen: $(rss_kb "$1") KiB ${3-in the trough}, below $2 KiB expected"
}

is_running() {
	[ -e "/proc/$1/status" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}
is_gone() { ! is_running "$1"; }

# reclaimer_of PID: the number of the thread named ljtrim, if there is one.
reclaimer_of() {
	local task
	for task in "/proc/$1/task"/*; do
		if [ "$(cat "$task/comm" 2>/dev/null)" = ljtrim ]; then
			basename "$task"
			return
		fi
	done
}
has_reclaimer() { [ -n "$(reclaimer_of "$1")" ]; }

# arena_excess_kb PID: what the arenas hold beyond the larger of 105% of their page floor and 1 MiB above it, told by
# an independent walk of the heap. Fails where the process could not be walked.
arena_excess_kb() {
	"$LJT_TOOL" inspect "$1" --csv 2>/dev/null | awk -F, '
		{ floor = $7 / 1024; slack = floor / 20; if (slack < 1024) slack = 1024
		  printf "%d\n", $8 / 1024 - floor - slack; told = 1 }
		END { exit !told }'
}

is_near_its_floor() {
	local excess
	if [ -n "$TEST_DEBUG" ]; then
		rss_below "$1" 0
		return
	fi
	excess=$(arena_excess_kb "$1") && [ "$excess" -le 0 ]
}

# expect_floor PID SECONDS: else fails, with all that the command and the library (on $TEST_DIR/err) know of it.
expect_floor() {
	local excess
	wait_until "$2" is_near_its_floor "$1" && return
	excess=$(arena_excess_kb "$1") || fail "the arenas can't be measured"
	"$LJT_TOOL" inspect "$1" || true
	kill -USR2 "$1"
	wait_until 10 grep -q '^symbols' "$TEST_DIR/err" || true
	cat "$TEST_DIR/err"
	fail "KiB above the page floor and its margin: $excess, at most 0 expected"
}
