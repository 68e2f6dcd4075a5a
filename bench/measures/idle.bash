# After a peak that nobody collects: the program drops 230 MB and goes on with next to nothing, or with nothing at all. Beside
# it the same program, also preloaded, that calls collectgarbage() itself: what would remain then.

# idle_peak NAME TITLE SESSIONS KB_A_SECOND: the bound is what the VM allocates meanwhile, about 5% of what was dropped
idle_peak() {
	local name=$1 title=$2 count=$3 rate=$4 round variant
	wanted "$name" || return 0
	row "$name.rss" beside:+12 MB "$title: RSS after 15 s"
	for round in $(rounds 2 1); do
		start_peak plain luajit "sessions:$count:100" leave "$rate"
		local plain=$pid
		start_peak preloaded luajit "sessions:$count:100" leave "$rate"
		local preloaded=$pid
		# its output has a name of its own
		start_peak preloaded-self luajit "sessions:$count:100" collect "$rate"
		local beside=$pid
		for variant in plain preloaded preloaded-self; do wait_for_line "$work/peak.$variant" trough 60; done
		sleep 15
		sample "$name.rss" plain "$round" "$(rss_mb $plain)"
		sample "$name.rss" preloaded "$round" "$(rss_mb $preloaded)"
		sample "$name.rss" beside "$round" "$(rss_mb $beside)"
		end_peaks plain preloaded preloaded-self
	done
}

# By its number of sessions a peak ends between two collections, or in the middle of one, which marks what is live then.
idle_peak light "dropped and not collected, LuaJIT's collector at rest; 1 MB/s allocated since" "$(size 280000 70000)" 1000
idle_peak amid "the same, LuaJIT in the middle of a cycle" "$(size 325000 81250)" 1000

# An event loop that has nothing to do at all can only be helped from inside (LJTRIM_IDLE_GC).
if grep -q LJTRIM_IDLE_GC docs/OPTIONS.md && wanted silent; then
	. bench/nginx.bash
	row silent.rss beside:+2 MB "dropped by an nginx worker that is asked nothing since (LJTRIM_IDLE_GC=1): RSS after 10 s"
	# New ones each time: a second peak scatters the survivors over more pages, in all of them.
	for round in $(rounds 2 1); do
		start_nginx plain plain 1
		export LJTRIM_IDLE_GC=1
		start_nginx preloaded preloaded 1
		unset LJTRIM_IDLE_GC
		start_nginx beside preloaded 1
		for name in plain preloaded beside; do
			collect=0
			[ $name != beside ] || collect=1
			crowd $name "$(size 200000 40000)" "collect=$collect"
		done
		sleep 10
		for name in plain preloaded beside; do
			sample silent.rss $name "$round" "$(rss_mb "$(workers_of "${master[$name]}")")"
		done
		stop_nginx plain preloaded beside
	done
fi
