# How long the VM waits in the gate's slow path, as the library's own histogram has it, with a thread beside it
# that only looks at the clock, for as long a time and in windows as long as the median wait. Then the same with
# VM and reclaimer on one processor, where the whole run is compared with plain, too. A run of a few seconds at default settings
# has a few hundred entries, and its first ones prove the heap and start the thread; a run with an eager reclaimer has
# as many thousand.

# dumped_waits FILE: count p50 p99 p99.9 max, in ns
dumped_waits() {
	awk '$1 == "waits" {
		scale["ns"] = 1; scale["us"] = 1e3; scale["ms"] = 1e6; scale["s"] = 1e9
		printf "%d", $2
		for (i = 4; i <= 13; i += 3) printf " %.0f", $i * scale[$(i + 1)]
		print ""
		exit
	}' "$1"
}

# note_waits ID VARIANT ROUND COUNT P50 P99 P99.9 MAX
note_waits() {
	local id=$1 variant=$2 round=$3 i=4 quantile
	[ "$variant" = beside ] || sample "$id.count" "$variant" "$round" "$4"
	for quantile in p50 p99 p99.9 max; do
		i=$((i + 1))
		sample "$id.$quantile" "$variant" "$round" "$(awk "BEGIN { print ${!i} / 1000 }")"
	done
}

declare_waits() {
	row "$1.count" figure "" "$2: entries into the slow path"
	row "$1.p50" figure us "$2: wait, median"
	row "$1.p99" figure us "$2: wait, p99"
	row "$1.p99.9" "$3" us "$2: wait, p99.9"
	row "$1.max" "$4" us "$2: wait, longest"
}

# watched_run ID ROUND PREFIX COMMAND...: the waits of one run, and the clock beside it.
watched_run() {
	local id=$1 round=$2 prefix=$3 dump=$work/dump waits wall cpu rss
	shift 3
	rm -f "$dump"
	read -r wall cpu rss < <($prefix "$out/timed" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump" \
		$(environment_of preloaded) "$@") || die "$* failed"
	[ -s "$dump" ] || die "no statistics at the end of: $*"
	waits=$(dumped_waits "$dump")
	note_waits "$id" preloaded "$round" $waits
	set -- $waits
	note_waits "$id" beside "$round" $($prefix "$out/clockwatch" "$wall" $(($2 > 1000 ? $2 : 1000)))
}

# waits ROUNDS NAME TITLE COMMAND...: of its own accord; the environment may come before the command.
waits() {
	local times=$1 name=$2 title=$3 round
	shift 3
	wanted "$name" || return 0
	declare_waits "$name" "$title" tail:50 never:1000
	for round in $(rounds "$times" 1); do
		watched_run "$name" "$round" "" "$@"
	done
}

# pinned NAME TITLE COMMAND...: on one processor. The waits are those of runs that have it to themselves; how long it takes, beside
# plain, is asked in turns, which slow a run down by their number: so they do to the library's clock.
pinned() {
	local name=$1.pinned title="$2, one processor" round ms=$((1000 * ${#variants[@]}))
	shift 2
	wanted "$name" || return 0
	declare_waits "$name" "$title" figure never:2000
	row "$name.wall" ratio:1.03 s "$title: wall time"
	row "$name.cpu" ratio:1.03 s "$title: user + system time"
	for round in $(rounds 4 1); do
		watched_run "$name" "$round" "taskset -c $processor" "$@"
	done
	for round in $(rounds 18 1); do
		timed_round "$round" "$name.wall" "$name.cpu" LJTRIM_INTERVAL_MS=$ms LJTRIM_DECAY_MS=$ms "$@"
	done
}

eager=(LJTRIM_INTERVAL_MS=1 LJTRIM_DECAY_MS=0 LJTRIM_MAX_CPU_PCT=100 LJTRIM_MIN_RECLAIM=0)
sawtooth=(luajit bench/workloads/sawtooth.lua)
churn=(luajit bench/workloads/sessions.lua "$(size 500 100)")

waits 2 sawtooth "peaks and troughs" "${sawtooth[@]}" "$(size 4 1)" "$(size 100 40)"
waits 4 eager "the same, eager reclaimer" "${eager[@]}" "${sawtooth[@]}" "$(size 2 1)" "$(size 100 40)"
waits 2 sessions "session churn" "${churn[@]}"
waits 2 strings "string churn" luajit bench/workloads/strings.lua "$(size 8 2)"

# The same bounds whatever the heap's size, and however many pieces it is in; once each.
heap=(luajit bench/workloads/heap.lua)
waits 1 heap-64m "a heap of 64 MB" "${heap[@]}" sessions:90000:100 "$(size 6 2)"
waits 1 heap-1g "a heap of 1 GB" "${heap[@]}" "sessions:$(size 1400000 200000):100" "$(size 6 2)"
waits 1 runs "100,000 free runs" "${heap[@]}" "runs:$(size 100000 20000)" "$(size 6 2)"
if [ $full = yes ]; then
	waits 1 heap-8g "a heap of 8 GB" "${heap[@]}" sessions:11500000:100 60
	waits 1 runs-1m "a million free runs" "${heap[@]}" runs:1000000 60
fi

pinned sawtooth "peaks and troughs" "${sawtooth[@]}" 1 "$(size 100 40)"
pinned sessions "session churn" "${churn[@]}"
