# Rows, samples, and the order in which things are measured. Read by bench/run.
#
# A row is one figure: an id, what may be claimed of it, its unit and its name. A sample is one value of a row, for a
# variant in a round:
#   plain      the process as it is
#   again      the same once more, under another label, in the same round: the A/A comparison
#   preloaded  with the library
#   beside     what the row is to be held against: page floor, a thread that looks at the clock, bare madvise
#   others     peers, and other settings of ours (peers.bash)
# Values of one round make a pair, whatever drifts between rounds.

# begin_group NAME, end_group: the samples between them replace those of the group's last run, if there are any.
begin_group() {
	group=$1
	: >"$work/rows" >"$work/samples"
}

end_group() {
	[ -s "$work/samples" ] || return 0
	{
		printf 'measured\t%s\t%s\n' "$(git describe --always --dirty 2>/dev/null || echo unknown)" "$quick"
		sed 's/^/row\t/' "$work/rows"
		sed 's/^/sample\t/' "$work/samples"
	} >"$out/$group.tsv"
}

# wanted MEASURE: is this measure of the group to be run?
wanted() {
	if [ -n "$only" ]; then
		[[ $group.$1 =~ $only ]] || return 1
	else
		[[ $group != @(soak|hour) ]] || return 1
	fi
	echo "bench: $group.$1" >&2
}

# row ID CLAIM UNIT NAME. CLAIM is one of
#   figure       nothing is claimed
#   ratio:R      preloaded / plain is at most R (for R below 1: at least R)
#   counted:R    the same of what is counted, not timed: no interval, the greatest ratio is held against R, where no two plain
#                values are more than 0.5% apart
#   more:V       preloaded is at most V more than plain: of the differences, as ratio:R of the ratios
#   noise:W      preloaded / plain is not to be told from 1, and its interval and that of A/A are narrower than W: 0.1 for
#                rates and medians, 0.25 for tails, which scatter more
#   lower:VARIANT  VARIANT is below preloaded in every round, of three at least
#   below:V      the median is at most V
#   least:V      the median is at least V
#   tail:V       the same of a p99.9; of under 1000 entries (row .count) it would be their maximum: nothing is claimed
#   never:V      no value is above V
#   floor        at most 2% or 1 MiB above what is beside it, whichever is more
#   beside:+V    no value is above the median of what is beside it, and V
#   beside:R     the median is at most R times the median of what is beside it
# With ` of VARIANT` behind it, it is claimed of that variant in place of preloaded.
row() { printf '%s\t%s\t%s\t%s\n' "$group.$1" "$2" "$3" "$4" >>"$work/rows"; }

# sample ID VARIANT ROUND VALUE
sample() { printf '%s\t%s\t%s\t%s\n' "$group.$1" "$2" "$3" "$4" >>"$work/samples"; }

# rounds DEFAULT QUICK: 1 to the number of rounds. In a multiple of six each of three variants has each place equally often.
rounds() {
	local n=$1
	[ $quick = no ] || n=$2
	seq "${pairs:-$n}"
}

# size FULL QUICK: the size that this run uses
size() {
	if [ $quick = yes ]; then echo "$2"; else echo "$1"; fi
}

# order ROUND [VARIANT ...]: the variants in this round's order; each is first, middle and last equally often.
order() {
	local i round=$1 all=("${@:2}") turned=()
	((${#all[@]})) || all=("${variants[@]}")
	local n=${#all[@]}
	for ((i = 0; i < n; i++)); do turned+=("${all[(i + round) % n]}"); done
	if ((round / n % 2)); then
		for ((i = n - 1; i >= 0; i--)); do echo "${turned[i]}"; done
	else
		printf '%s\n' "${turned[@]}"
	fi
}

# The first and the last processor that we may use: 0-3,8 for example.
processor=$(sed -n 's/^Cpus_allowed_list:\s*\([0-9]*\).*/\1/p' /proc/self/status)
other_processor=$(sed -n 's/^Cpus_allowed_list:\(.*[^0-9]\)\([0-9]*\)$/\2/p' /proc/self/status)

# timed_round ROUND WALL_ID CPU_ID COMMAND...: one run of a command for each variant, all at once, in turns. The environment may
# come before the command, and `host` is the variant's own (host_of).
timed_round() {
	local round=$1 wall_id=$2 cpu_id=$3 variant command commands=()
	shift 3
	for variant in $(order "$round"); do
		command=("$@")
		[ "$1" != host ] || command=($(host_of "$variant") "${@:2}")
		commands+=(-- $(environment_of "$variant") "${command[@]}")
	done
	take_turns "$round" "$wall_id" "$cpu_id" "${commands[@]}"
}

# take_turns ROUND WALL_ID CPU_ID -- COMMAND... -- COMMAND...: on one processor, 20 ms each (tools/turns.c); one command for
# each variant, in this round's order.
take_turns() {
	local round=$1 wall_id=$2 cpu_id=$3 variant wall cpu
	shift 4
	taskset -c "$processor" "$out/turns" 20 "$@" >"$work/turns" || die "$* failed"
	for variant in $(order "$round"); do
		read -r wall cpu
		sample "$wall_id" "$variant" "$round" "$wall"
		sample "$cpu_id" "$variant" "$round" "$cpu"
	done <"$work/turns"
}

# wait_for_line FILE LINE SECONDS
wait_for_line() {
	local tries=$(($3 * 20))
	until grep -q "^$2" "$1" 2>/dev/null; do
		((tries-- > 0)) || die "no '$2' in $3 s: $(tail -n 2 "$1")"
		sleep 0.05
	done
}

# thread_of PID: the reclaimer's thread in a process; nothing if there is none.
thread_of() { grep -lx ljtrim "/proc/$1/task/"*/comm 2>/dev/null | cut -d/ -f5; }

# thread_ns PID TID: the processor time of a thread, from the scheduler.
thread_ns() { cut -d' ' -f1 "/proc/$1/task/$2/schedstat"; }

# threads_ns [-r] PID...: that of all threads of these processes, or of their reclaimers alone.
threads_ns() {
	local which=tasks_of pid tid
	if [ "$1" = -r ]; then
		which=thread_of
		shift
	fi
	for pid in "$@"; do
		for tid in $($which "$pid"); do thread_ns "$pid" "$tid"; done
	done | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}
tasks_of() { ls "/proc/$1/task"; }

# nudges_in FILE: the collections that the library has begun, from the dump
nudges_in() { awk '/ nudges/ { print $2; exit }' "$1"; }
