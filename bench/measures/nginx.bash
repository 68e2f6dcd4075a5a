# nginx under wrk: three servers, plain, plain once more, and preloaded. The machine's speed changes within seconds: they are
# asked in turns, each for a twentieth of a second. And the same program is a few per cent faster or slower from one start to
# the next, by where its memory comes to lie: each round has servers of its own.
#
# One worker's own thread has one processor, wrk another, since it matters who shares one; the reclaimer goes where it likes.

# served NAME TITLE PAUSE WORKERS ROUNDS TURN [PREFIX ...]: a crowd has come to each server and gone, PAUSE seconds later come
# the pages, in turns of so many ms. PREFIX may contain @GROUP@.
served() {
	local name=$1 title=$2 pause=$3 workers=$4 rounds=$5 turn=$6 variant round
	shift 6
	row "$name.rate" noise:0.03 1/s "$title: requests"
	row "$name.p50" noise:0.05 ms "$title: latency, median"
	row "$name.p99" noise:0.1 ms "$title: latency, p99"
	row "$name.p99.9" noise:0.25 ms "$title: latency, p99.9"
	row "$name.cost" ratio:1.03 us "$title: processor time per request"
	row "$name.reclaimer" figure % "$title: the reclaimer's share of it"
	row "$name.rss" figure MB "$title: RSS of the workers at the end"
	row "$name.failed" never:0 "" "$title: failed requests and complaints in the log"
	for round in $(rounds "$rounds" 1); do
		for variant in $(order "$round"); do
			start_nginx $variant $variant "$workers" "${@//@GROUP@/${group_of[$variant]:-}}"
			crowd $variant "$(size 50000 10000)"
			((workers > 1 || $#)) || taskset -p -c "$processor" "$(workers_of "${master[$variant]}")" >/dev/null
		done
		sleep "$pause"
		in_turns "$name" "$round" "$turn"
		stop_nginx "${variants[@]}"
	done
	for variant in "${variants[@]}"; do sample "$name.failed" "$variant" last "$(complaints $variant)"; done
}

# in_turns NAME ROUND MS: all servers at once, with the workers' own processor time meanwhile, which neighbours and wrk disturb
# less than the rate.
in_turns() {
	local name=$1 round=$2 turn=0 turns=${#variants[@]} spent variant pid
	local -A client pids began reclaimed
	for variant in "${variants[@]}"; do
		pids[$variant]=$(workers_of "${master[$variant]}")
		began[$variant]=$(threads_ns ${pids[$variant]}) reclaimed[$variant]=$(threads_ns -r ${pids[$variant]})
	done
	for variant in $(order "$round"); do
		taskset -c "$other_processor" wrk -t1 -c16 -d"$(($(size 2 1) * turns))s" -s bench/turns.lua "${url[$variant]}" -- \
			$turn $turns "$3" >"$work/wrk.$variant" &
		client[$variant]=$! turn=$((turn + 1))
	done
	for variant in "${variants[@]}"; do
		wait "${client[$variant]}" || die "wrk failed"
		read_figures "$work/wrk.$variant"
		sample "$name.rate" "$variant" "$round" "$(awk "BEGIN { print $requests / $seconds * $turns }")"
		sample "$name.p50" "$variant" "$round" "$(awk "BEGIN { print $p50 / 1000 }")"
		sample "$name.p99" "$variant" "$round" "$(awk "BEGIN { print $p99 / 1000 }")"
		sample "$name.p99.9" "$variant" "$round" "$(awk "BEGIN { print $p999 / 1000 }")"
		spent=$(($(threads_ns ${pids[$variant]}) - ${began[$variant]}))
		sample "$name.cost" "$variant" "$round" "$(awk "BEGIN { print $spent / $requests / 1000 }")"
		[ "$variant" != preloaded ] || sample "$name.reclaimer" "$variant" "$round" \
			"$(awk "BEGIN { print 100 * ($(threads_ns -r ${pids[$variant]}) - ${reclaimed[$variant]}) / $spent }")"
		sample "$name.failed" "$variant" "$round" "$errors"
		sample "$name.rss" "$variant" "$round" "$(for pid in ${pids[$variant]}; do rss_mb "$pid"; done | awk '{ sum += $1 } END { print sum }')"
	done
}

declare -A group_of=()
for measure in steady troughs workers pinned quota; do
	wanted $measure || continue
	[ -n "${nginx:-}" ] || . bench/nginx.bash
	case $measure in
	steady) served steady "pages" "$(size 2 1)" 1 42 50 ;;
	troughs) served troughs "pages in a trough" 0 1 42 50 ;;
	workers) served workers "pages in a trough, four workers" 0 4 24 50 ;;
	pinned) served pinned "pages in a trough, workers and reclaimer on one processor" 0 1 42 50 taskset -c "$processor" ;;
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
		served quota "pages in a trough, half a processor" 0 1 24 500 bench/tools/in-group @GROUP@
		cgroup_end
		;;
	esac
done
