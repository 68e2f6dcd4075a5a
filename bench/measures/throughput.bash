# What the gate costs where a program does little but allocate, and what the patched allocator, beside native mode and the
# peers. And that the library's collections (LJTRIM_GC_NUDGE) are none of a busy program's business: it begins none there,
# and looking out for a quiet VM costs nothing.

dump=$work/dump

throughput() {
	local name=$1 title=$2 round
	shift 2
	wanted "$name" || return 0
	row "$name.cpu" ratio:1.02 s "$title: user + system time"
	row "$name.wall" ratio:1.02 s "$title: wall time"
	row "$name.nudges" never:0 "" "$title: collections begun by the library"
	for round in $(rounds 8 2); do
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
	for round in $(rounds 8 2); do
		variants=(plain again preloaded-patched)
		if ((round <= 2)); then
			variants+=(preloaded)
			for peer in "${peers[@]}"; do [[ $peer == *-* ]] || variants+=("$peer"); done
		fi
		timed_round "$round" "$name.wall" "$name.cpu" host "$@"
	done
}

# Both sides are preloaded: plain is LJTRIM_GC_NUDGE=off.
nudge() {
	local name=nudge title="LJTRIM_GC_NUDGE, session churn" round variant nudge wall cpu rss
	wanted "$name" || return 0
	row "$name.cpu" ratio:1.02 s "$title: user + system time"
	row "$name.wall" ratio:1.02 s "$title: wall time"
	row "$name.nudges" never:0 "" "$title: collections begun by the library"
	for round in $(rounds 8 2); do
		for variant in $(order "$round"); do
			nudge=off
			[ "$variant" != preloaded ] || nudge=auto
			rm -f "$dump"
			read -r wall cpu rss < <("$out/timed" LJTRIM_GC_NUDGE=$nudge LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump" \
				$(environment_of preloaded) luajit "$@") || die "$* failed"
			sample "$name.cpu" "$variant" "$round" "$cpu"
			sample "$name.wall" "$variant" "$round" "$wall"
			[ "$variant" != preloaded ] || sample "$name.nudges" preloaded "$round" "$(nudges_in "$dump")"
		done
	done
}

for measure in throughput patched; do
	$measure trees "binary trees" bench/workloads/trees.lua "$(size 18 15)"
	$measure strings "short strings" bench/workloads/strings.lua "$(size 6 2)"
	$measure tables "table churn" bench/workloads/tables.lua "$(size 35 10)"
done
nudge bench/workloads/sessions.lua "$(size 500 100)"
