# After a peak that nobody collects: the program drops 230 MB and goes on with next to nothing, or with nothing at all. Beside
# it the same program, also preloaded, that calls collectgarbage() itself: what would remain then.

# idle_peak NAME CLAIM TITLE SESSIONS SECONDS [KIND]: about 1,000 allocations of that kind a second (shapes.lua)
idle_peak() {
	local name=$1 claim=$2 title=$3 count=$4 seconds=$5 kind=${6:-strings} round variant
	wanted "$name" || return 0
	row "$name.rss" "$claim" MB "$title: RSS after $seconds s"
	for round in $(rounds 2 1); do
		start_peak plain luajit "sessions:$count:100" leave 1000 "$kind"
		local plain=$pid
		start_peak preloaded luajit "sessions:$count:100" leave 1000 "$kind"
		local preloaded=$pid
		# its output has a name of its own
		start_peak preloaded-self luajit "sessions:$count:100" collect 1000 "$kind"
		local beside=$pid
		for variant in plain preloaded preloaded-self; do wait_for_line "$work/peak.$variant" trough 60; done
		sleep "$seconds"
		sample "$name.rss" plain "$round" "$(rss_mb $plain)"
		sample "$name.rss" preloaded "$round" "$(rss_mb $preloaded)"
		sample "$name.rss" beside "$round" "$(rss_mb $beside)"
		end_peaks plain preloaded preloaded-self
	done
}

# By its number of sessions a peak ends between two collections, or in the middle of one, which marks what is live then and
# has to end before another can free it: nothing is claimed of that. In the first, 5% of what was dropped, 11.5 MB, have not
# been allocated yet when it is looked at. A cycle takes one of LuaJIT's steps at each check for it: 200 objects swept, of
# two million or more. Small objects make several checks a kilobyte, 1 KB strings but one: that cycle needs 14 MB of them
# however often more steps are demanded, so it is looked at after 20, 9%.
idle_peak light beside:+12 "dropped and not collected, LuaJIT's collector at rest; 0.65 MB/s of small objects allocated since" \
	"$(size 280000 70000)" 15 objects
idle_peak strings beside:+12 "the same, 1 MB/s of strings of 1 KB" "$(size 280000 70000)" 20
idle_peak amid figure "the same with small objects, LuaJIT in the middle of a cycle when they were dropped" \
	"$(size 325000 81250)" 45 objects

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
