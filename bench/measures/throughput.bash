# What the gate costs where a program does little but allocate, and what the patched allocator, beside native mode and the
# peers. And that the library's collections (LJTRIM_GC_NUDGE) are none of a busy program's business: it begins none there,
# and looking out for a quiet VM costs nothing.
#
# All variants run at once, in turns: a machine that is shared changes its speed from one second to the next, by half and more. And
# they run often: the same program is a few per cent faster or slower from one start to the next, by where its memory comes to
# lie. A run takes about a second, of which start and adoption are two milliseconds.

dump=$work/dump

throughput() {
	local name=$1 title=$2 round
	shift 2
	wanted "$name" || return 0
	row "$name.cpu" ratio:1.02 s "$title: user + system time"
	row "$name.wall" ratio:1.02 s "$title: wall time"
	row "$name.nudges" never:0 "" "$title: collections begun by the library"
	for round in $(rounds 42 4); do
		rm -f "$dump" # only what is preloaded writes one
		timed_round "$round" "$name.wall" "$name.cpu" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump" luajit "$@"
		sample "$name.nudges" preloaded "$round" "$(nudges_in "$dump")"
	done
}

# Peers at their own settings: there is nothing here that would be given back.
patched() {
	local name=patched-$1 title="patched allocator, $2" round variants peer
	shift 2
	wanted "$name" || return 0
	row "$name.cpu" "ratio:1.03 of preloaded-patched" s "$title: user + system time"
	row "$name.wall" "ratio:1.03 of preloaded-patched" s "$title: wall time"
	for round in $(rounds 42 4); do
		variants=(plain again preloaded-patched)
		if ((round <= 10)); then
			variants+=(preloaded)
			for peer in "${peers[@]}"; do [[ $peer == *-* ]] || variants+=("$peer"); done
		fi
		timed_round "$round" "$name.wall" "$name.cpu" host "$@"
	done
}

# Both sides are preloaded: plain is LJTRIM_GC_NUDGE=off.
nudge() {
	local name=nudge title="LJTRIM_GC_NUDGE, session churn" round variant nudge commands
	wanted "$name" || return 0
	row "$name.cpu" ratio:1.02 s "$title: user + system time"
	row "$name.wall" ratio:1.02 s "$title: wall time"
	row "$name.nudges" never:0 "" "$title: collections begun by the library"
	for round in $(rounds 42 4); do
		commands=()
		for variant in $(order "$round"); do
			nudge=off
			[ "$variant" != preloaded ] || nudge=auto
			commands+=(-- LJTRIM_GC_NUDGE=$nudge LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump.$nudge" $(environment_of preloaded) luajit "$@")
		done
		rm -f "$dump.auto"
		take_turns "$round" "$name.wall" "$name.cpu" "${commands[@]}"
		sample "$name.nudges" preloaded "$round" "$(nudges_in "$dump.auto")"
	done
}

for measure in throughput patched; do
	$measure trees "binary trees" bench/workloads/trees.lua "$(size 16 14)"
	$measure strings "short strings" bench/workloads/strings.lua "$(size 1.2 0.4)"
	$measure tables "table churn" bench/workloads/tables.lua "$(size 24 4)"
done
nudge bench/workloads/sessions.lua "$(size 100 20)"
