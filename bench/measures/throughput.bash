# What the gate costs where a program does little but allocate, and what the patched allocator, beside native mode and the
# peers.

throughput() {
	local name=$1 title=$2 round
	shift 2
	wanted "$name" || return 0
	row "$name.cpu" ratio:1.02 s "$title: user + system time"
	row "$name.wall" ratio:1.02 s "$title: wall time"
	for round in $(rounds 8 2); do
		timed_round "$round" "$name.wall" "$name.cpu" luajit "$@"
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

for measure in throughput patched; do
	$measure trees "binary trees" bench/workloads/trees.lua "$(size 18 15)"
	$measure strings "short strings" bench/workloads/strings.lua "$(size 6 2)"
	$measure tables "table churn" bench/workloads/tables.lua "$(size 35 10)"
done
