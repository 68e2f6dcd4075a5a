# The reclaimer's own processor time, from the scheduler's books: while it gives back a peak, held against a bare
# loop of madvise over the very same runs (tools/replay.c); when nothing happens; and while the VM is busy. The time that
# the kernel takes for the same pages varies by half from one run to the next: the bound is on the median of several.

# over SECONDS PID: the thread's processor time in percent of one processor, and how often it woke up
over() {
	local tid ns woken status
	tid=$(thread_of "$2")
	[ -n "$tid" ] || die "no reclaimer in $2"
	status=/proc/$2/task/$tid/status
	ns=$(thread_ns "$2" "$tid") woken=$(awk '/^voluntary/ { print $2 }' "$status")
	sleep "$1"
	echo "$(awk "BEGIN { print ($(thread_ns "$2" "$tid") - $ns) / ($1 * 1e7) }")" \
		$(($(awk '/^voluntary/ { print $2 }' "$status") - woken))
}

# purge NAME SHAPE CLAIM TITLE
purge() {
	local name=$1 round tid before bytes runs ns cpu woken
	wanted "$name" || return 0
	row "$name.mib" "$3" us "$4: processor time per MiB, and bare madvise"
	row "$name.run" figure KiB "$4: mean length of a run"
	row "$name.idle" below:0.1 % "$4, and all is given back: processor time"
	row "$name.woken" never:0 "" "$4, and all is given back: wake-ups in $(size 5 3) s"
	for round in $(rounds "${times:-2}" 1); do
		start_peak preloaded luajit "$2"
		local peak=$pid
		wait_for_line "$work/peak.preloaded" trough 120
		tid=$(thread_of "$peak") before=$(thread_ns "$peak" "$tid")
		read -r bytes runs ns < <("$out/replay" "$peak" 6)
		[ "${runs:-0}" != 0 ] || die "nothing was purged in 6 s"
		sample "$name.mib" preloaded "$round" \
			"$(awk "BEGIN { print ($(thread_ns "$peak" "$tid") - $before) / ($bytes / 1048576) / 1000 }")"
		sample "$name.mib" beside "$round" "$(awk "BEGIN { print $ns / ($bytes / 1048576) / 1000 }")"
		sample "$name.run" preloaded "$round" "$(awk "BEGIN { print $bytes / $runs / 1024 }")"
		sleep "$(size 4 1)"
		read -r cpu woken < <(over "$(size 5 3)" "$peak")
		sample "$name.idle" preloaded "$round" "$cpu"
		sample "$name.woken" preloaded "$round" "$woken"
		end_peaks preloaded
	done
}

times=5
purge long "strings:$strings" beside:1.5 "a peak of strings"
unset times
purge short "sessions:$sessions:100" figure "a peak of sessions"
purge pages "runs:$(size 40000 10000)" figure "a peak of objects of two pages, each between two that stay"

if wanted busy; then
	row busy.cpu below:0.1 % "session churn: processor time of the reclaimer"
	row busy.woken figure 1/s "session churn: wake-ups"
	for round in $(rounds 2 1); do
		env LD_PRELOAD="$library" luajit bench/workloads/sessions.lua 1000000 &
		churn=$!
		background+=($churn)
		sleep 4
		read -r cpu woken < <(over "$(size 10 3)" $churn)
		sample busy.cpu preloaded "$round" "$cpu"
		sample busy.woken preloaded "$round" "$(awk "BEGIN { print $woken / $(size 10 3) }")"
		kill $churn
		wait $churn || true
		background=()
	done
fi
