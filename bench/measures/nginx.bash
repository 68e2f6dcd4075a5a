# nginx under steady load: three servers of one worker, each after a crowd has come and gone; wrk asks one at a time.

if wanted steady; then
	. bench/nginx.bash
	row steady.rate noise 1/s "pages, requests"
	row steady.p50 noise ms "pages, latency, median"
	row steady.p99 noise ms "pages, latency, p99"
	row steady.p99.9 noise ms "pages, latency, p99.9"
	row steady.failed never:0 "" "failed requests and complaints in the log"
	for variant in "${variants[@]}"; do
		start_nginx $variant $variant 1
		crowd $variant "$(size 100000 20000)"
	done
	sleep "$(size 5 2)"
	for round in $(rounds 12 2); do
		for variant in $(order "$round"); do
			burst "$variant" 2 16
			sample steady.rate "$variant" "$round" "$(awk "BEGIN { print $requests / $seconds }")"
			sample steady.p50 "$variant" "$round" "$(awk "BEGIN { print $p50 / 1000 }")"
			sample steady.p99 "$variant" "$round" "$(awk "BEGIN { print $p99 / 1000 }")"
			sample steady.p99.9 "$variant" "$round" "$(awk "BEGIN { print $p999 / 1000 }")"
			sample steady.failed "$variant" "$round" "$errors"
		done
	done
	for variant in "${variants[@]}"; do
		sample steady.failed "$variant" last "$(complaints $variant)"
	done
	stop_nginx "${variants[@]}"
fi
