# A peak that nearly fills its memory control group, looked at one second after the collector has run: near the limit there is
# no time to wait for the decay.

if wanted sessions; then
	if cgroup_begin memory && cgroup_make pressure && cgroup_set "$cgroup" limit $(($(size 250 60) * 1048576)); then
		row sessions.arena floor MB "sessions, at 90% of the limit: resident in the arena after 1 s, and page floor"
		for round in $(rounds 2 1); do
			start_peak preloaded "bench/tools/in-group $cgroup luajit" "sessions:$(size 325000 70000):100"
			wait_for_line "$work/peak.preloaded" trough 60
			sleep 1
			IFS=, read -r -a figures < <("$ljtrim" inspect "$pid" --csv) || die "cannot inspect $pid"
			sample sessions.arena preloaded "$round" "$(awk "BEGIN { print ${figures[7]} / 1e6 }")"
			sample sessions.arena beside "$round" "$(awk "BEGIN { print ${figures[6]} / 1e6 }")"
			end_peaks preloaded
		done
		cgroup_end
	else
		echo "bench: no memory control group: $cgroup_why" >&2
	fi
fi
