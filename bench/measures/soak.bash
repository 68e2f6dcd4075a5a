# Ten minutes of mixed load with 20 reloads on two servers of two workers, side by side: a steady trickle of pages,
# crowds that come and go, bursts. A reload closes idle connections, and a client that writes to one at that very
# moment has to ask again, with or without the library: curl does so by itself, wrk is told to ask once only.

# census NAME VARIANT: what the server's processes hold, once its old workers have gone
census() {
	local master=${master[$1]} variant=$2 tries=200 pids p threads=0 fds=0 mappings=0
	while pids=$(workers_of "$master") && [ "$(wc -w <<<"$pids")" != 2 ] && ((tries-- > 0)); do sleep 0.1; done
	sample mixed.workers "$variant" 1 "$(wc -w <<<"$pids")"
	for p in $pids; do
		threads=$((threads + $(ls "/proc/$p/task" | wc -l)))
		fds=$((fds + $(ls "/proc/$p/fd" | wc -l)))
		mappings=$((mappings + $(wc -l <"/proc/$p/maps")))
	done
	sample mixed.threads "$variant" 1 $threads
	sample mixed.fds "$variant" 1 $fds
	sample mixed.mappings "$variant" 1 $mappings
	sample mixed.master-threads "$variant" 1 "$(ls "/proc/$master/task" | wc -l)"
	sample mixed.master-mappings "$variant" 1 "$(wc -l <"/proc/$master/maps")"
	sample mixed.master-rss "$variant" 1 "$(awk '/^VmRSS/ { print $2 / 1000 }' "/proc/$master/status")"
}

if wanted mixed; then
	. bench/nginx.bash
	row mixed.requests figure "" "requests answered"
	row mixed.failed never:0 "" "failed requests"
	row mixed.complaints never:0 "" "complaints in the log"
	row mixed.workers beside:+0 "" "workers, at the end and beside it at the start"
	row mixed.threads beside:+0 "" "threads of the workers, the same"
	row mixed.fds beside:+0 "" "open files of the workers, the same"
	row mixed.mappings beside:+16 "" "mappings of the workers, the same"
	row mixed.master-threads beside:+0 "" "threads of the master, the same"
	row mixed.master-mappings beside:+4 "" "mappings of the master, the same"
	row mixed.master-rss figure MB "RSS of the master, the same"

	reloads=$(size 20 3) every=$(size 30 8)
	servers="plain preloaded"
	for name in $servers; do
		start_nginx $name $name 2
		: >"$work/codes.$name"
		crowd $name "$(size 60000 10000)"
	done
	sleep 3
	census preloaded beside

	trickle=()
	for name in $servers; do
		curl -s -o /dev/null -w '%{http_code}\n' --rate 40/s "${url[$name]}/page?id=[1-1000000:37]" \
			>>"$work/trickle.$name" &
		trickle+=($!)
	done
	background+=("${trickle[@]}")
	declare -A answered=() refused=()
	for ((reload = 0; reload < reloads; reload++)); do
		end=$((SECONDS + every))
		for name in $servers; do crowd $name "$(size 60000 10000)"; done
		for name in $servers; do
			burst $name 3 8 -H 'Connection: close'
			answered[$name]=$((${answered[$name]:-0} + requests)) refused[$name]=$((${refused[$name]:-0} + errors))
		done
		((end <= SECONDS + 1)) || sleep $((end - SECONDS - 1))
		for name in $servers; do kill -HUP "${master[$name]}"; done # in the middle of the trickle
		sleep 1
	done
	kill "${trickle[@]}"
	wait "${trickle[@]}" || true

	# The last workers are fresh: they get what those of the first census had got.
	for name in $servers; do crowd $name "$(size 60000 10000)"; done
	sleep 3
	for name in $servers; do
		census $name $name
		cat "$work/trickle.$name" >>"$work/codes.$name"
		sample mixed.requests $name 1 "$((answered[$name] + $(grep -c '^200$' "$work/codes.$name")))"
		sample mixed.failed $name 1 "$((refused[$name] + $(grep -vc '^200$' "$work/codes.$name" || true)))"
		sample mixed.complaints $name 1 "$(complaints $name)"
	done
	stop_nginx $servers
fi
