# What the gate costs where a program does little but allocate.

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

throughput trees "binary trees" bench/workloads/trees.lua "$(size 18 15)"
throughput strings "short strings" bench/workloads/strings.lua "$(size 6 2)"
throughput tables "table churn" bench/workloads/tables.lua "$(size 35 10)"
