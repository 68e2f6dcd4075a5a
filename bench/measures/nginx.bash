# nginx under wrk: three servers, plain, plain once more, and preloaded. Requests for pages in bursts of two seconds, to one
# server after the other.

# served NAME TITLE HOW WORKERS ROUNDS [PREFIX ...]: HOW is steady, after a crowd that has come and gone at the start, or cycles:
# a crowd comes and goes before each burst, which thus falls into the trough. PREFIX may contain @GROUP@.
served() {
	local name=$1 title=$2 how=$3 workers=$4 rounds=$5 variant round
	shift 5
	row "$name.rate" noise:0.1 1/s "$title: requests"
	row "$name.p50" noise:0.1 ms "$title: latency, median"
	row "$name.p99" noise:0.25 ms "$title: latency, p99"
	row "$name.p99.9" noise:0.25 ms "$title: latency, p99.9"
	row "$name.cost" ratio:1.03 us "$title: processor time per request"
	row "$name.reclaimer" figure % "$title: the reclaimer's share of it"
	row "$name.rss" figure MB "$title: RSS of the workers at the end"
	row "$name.failed" never:0 "" "$title: failed requests and complaints in the log"
	for variant in "${variants[@]}"; do
		start_nginx $variant $variant "$workers" "${@//@GROUP@/${group_of[$variant]:-}}"
		crowd $variant "$(size 100000 20000)"
	done
	sleep "$(size 5 2)"
	for round in $(rounds "$rounds" 1); do
		for variant in $(order "$round"); do
			[ "$how" = steady ] || crowd "$variant" "$(size 50000 10000)"
			costed_burst "$name" "$variant" "$round"
			sample "$name.rate" "$variant" "$round" "$(awk "BEGIN { print $requests / $seconds }")"
			sample "$name.p50" "$variant" "$round" "$(awk "BEGIN { print $p50 / 1000 }")"
			sample "$name.p99" "$variant" "$round" "$(awk "BEGIN { print $p99 / 1000 }")"
			sample "$name.p99.9" "$variant" "$round" "$(awk "BEGIN { print $p999 / 1000 }")"
			sample "$name.failed" "$variant" "$round" "$errors"
		done
	done
	sleep 2
	for variant in "${variants[@]}"; do
		sample "$name.failed" "$variant" last "$(complaints $variant)"
		sample "$name.rss" "$variant" 1 "$(for pid in $(workers_of "${master[$variant]}"); do rss_mb "$pid"; done |
			awk '{ sum += $1 } END { print sum }')"
	done
	stop_nginx "${variants[@]}"
}

# costed_burst NAME VARIANT ROUND: a burst, and the workers' own processor time during it, which neighbours and wrk disturb
# much less than the rate.
costed_burst() {
	local pids began reclaimed spent
	pids=$(workers_of "${master[$2]}")
	began=$(threads_ns $pids) reclaimed=$(threads_ns -r $pids)
	burst "$2" "$(size 2 1)" 16
	spent=$(($(threads_ns $pids) - began)) reclaimed=$(($(threads_ns -r $pids) - reclaimed))
	sample "$1.cost" "$2" "$3" "$(awk "BEGIN { print $spent / $requests / 1000 }")"
	[ "$2" != preloaded ] || sample "$1.reclaimer" "$2" "$3" "$(awk "BEGIN { print 100 * $reclaimed / $spent }")"
}

declare -A group_of=()
for measure in steady troughs workers pinned quota; do
	wanted $measure || continue
	[ -n "${nginx:-}" ] || . bench/nginx.bash
	case $measure in
	steady) served steady "pages" steady 1 8 ;;
	troughs) served troughs "pages in a trough" cycles 1 6 ;;
	workers) served workers "pages in a trough, four workers" cycles 4 6 ;;
	pinned) served pinned "pages in a trough, all on one processor" cycles 1 12 taskset -c "$processor" ;;
	quota)
		if ! cgroup_begin cpu; then
			echo "bench: no processor control group: $cgroup_why" >&2
			continue
		fi
		for variant in "${variants[@]}"; do
			cgroup_make "$variant"
			cgroup_set "$cgroup" quota 50000
			group_of[$variant]=$cgroup
		done
		served quota "pages in a trough, half a processor" cycles 1 6 bench/tools/in-group @GROUP@
		cgroup_end
		;;
	esac
done
