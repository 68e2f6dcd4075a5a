# An hour of a cache's traffic after its peak, in less time: all allocators at once, each at the same rate, so that all of
# them fit on two processors. A cache of 20,000 sessions that is new from end to end every 50 s (400 new ones a second)
# is so 72 times in an hour; so it is here, in four minutes. What goes by the clock, like our decay and jemalloc's, gets no
# more than those minutes. For more turnovers: HOUR_SECONDS.
#
# Now and then LuaJIT's collector falls behind in this load, with the library or without it: of four plain processes beside eight
# others one had 321 MB in use after two minutes, where the rest never had more than 57. It is a run in dozens, so that the median
# of three does not show it, but a range may.

# start_steady VARIANT: sets pid[VARIANT]; its output goes to $work/steady.VARIANT
start_steady() {
	: >"$work/steady.$1" # here, not when the process gets that far: until then it would say what the last round's said
	env $(environment_of "$1") $(host_of "$1") bench/workloads/steady.lua "${cache[@]}" "$work/finish" >"$work/steady.$1" &
	pid[$1]=$!
	background+=($!)
}

# watch_steady VARIANT...: every half second until each has served, RSS in pages, a line each, to $work/rss.VARIANT
watch_steady() {
	local waiting=("$@") variant rest pages
	while ((${#waiting[@]})); do
		rest=()
		for variant in "${waiting[@]}"; do
			read -r _ pages _ <"/proc/${pid[$variant]}/statm" || die "$variant has ended"
			if grep -q ^served "$work/steady.$variant"; then
				sample cache.end "$variant" "$round" "$(mb $((pages * page)))"
				continue
			fi
			! grep -q ^traffic "$work/steady.$variant" || echo "$pages" >>"$work/rss.$variant"
			rest+=("$variant")
		done
		waiting=("${rest[@]}")
		sleep 0.5
	done
}

mb() { awk "BEGIN { print $1 / 1e6 }"; }

# One round of all.
hour() {
	local round=$1 variant figures
	declare -A pid=()
	rm -f "$work/finish" "$work"/rss.*
	for variant in "${steady[@]}"; do start_steady "$variant"; done
	watch_steady "${steady[@]}"
	for variant in plain preloaded preloaded-patched; do # of a peer there is no arena to look into
		IFS=, read -r -a figures < <("$ljtrim" inspect "${pid[$variant]}" --csv) || die "cannot inspect $variant"
		sample cache.floor "$variant" "$round" "$(mb "${figures[6]}")"
	done
	for variant in "${steady[@]}"; do
		sample cache.cpu "$variant" "$round" \
			"$(awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/${pid[$variant]}/stat")"
	done
	touch "$work/finish"
	for variant in "${steady[@]}"; do
		wait_for_line "$work/steady.$variant" verified 60
		wait "${pid[$variant]}" || die "$variant ended with status $?"
		sample cache.rss "$variant" "$round" "$(mb $((page * $(awk '{ pages[NR] = $1 } END {
			for (i = int(NR * 2 / 3) + 1; i <= NR; i++) { sum += pages[i]; n++ }
			printf "%d", n ? sum / n : 0 }' "$work/rss.$variant"))))"
		sample cache.turnovers "$variant" "$round" "$(awk -v kept="${cache[1]}" '/^served/ { print $2 / 1000 / kept }' "$work/steady.$variant")"
		sample cache.allocated "$variant" "$round" "$(awk '/^allocated/ { print $2 / 1e9 }' "$work/steady.$variant")"
	done
	background=()
}

if wanted cache; then
	row cache.rss lower:preloaded-patched MB "mean RSS of the last third"
	row cache.end figure MB "RSS at the end"
	row cache.floor figure MB "page floor at the end"
	row cache.turnovers figure "" "turnovers of the cache"
	row cache.allocated figure GB "allocated meanwhile"
	row cache.cpu figure s "user + system time, the peak included"
	page=$(getconf PAGESIZE)
	steady=(plain preloaded preloaded-patched)
	for peer in "${peers[@]}"; do
		case $peer in jemalloc | jemalloc-0 | mimalloc | mimalloc-0) steady+=("$peer") ;; esac
	done
	cache=("$(size 250 50)" "$(size 20 5)" 6000 "${HOUR_SECONDS:-$(size 240 12)}")
	for round in $(rounds 3 1); do hour "$round"; done
fi
