# What is left after a peak, five seconds after the collector has run, measured from outside. The script is the
# system tests' own (tests/system/lua/peak.lua); it checks each survivor at the end.

# start_peak VARIANT RUNNER SHAPE: sets $pid; its output goes to $work/peak.VARIANT
start_peak() {
	local output=$work/peak.$1 preload
	preload=$(environment_of "$1")
	rm -f "$output" "$work/finish"
	env ${preload:+"$preload"} "$2" tests/system/lua/peak.lua "$3" idle "$work/finish" >"$output" &
	pid=$!
	background+=("$pid")
}

# end_peaks VARIANT...: lets them verify their survivors and end.
end_peaks() {
	touch "$work/finish"
	local variant
	for variant in "$@"; do
		wait_for_line "$work/peak.$variant" verified 30
	done
	for pid in "${background[@]}"; do wait "$pid" || die "$pid ended with status $?"; done
	background=()
}

# look VARIANT PID ID ROUND: five seconds after the trough began.
look() {
	local figures
	wait_for_line "$work/peak.$1" trough 120
	sleep 5
	IFS=, read -r -a figures < <("$ljtrim" inspect "$2" --csv) || die "cannot inspect $2"
	sample "$3.rss" "$1" "$4" "$(awk "BEGIN { print ${figures[11]} / 1e6 }")"
	sample "$3.arena" "$1" "$4" "$(awk "BEGIN { print ${figures[7]} / 1e6 }")"
	[ "$1" != preloaded ] || sample "$3.arena" beside "$4" "$(awk "BEGIN { print ${figures[6]} / 1e6 }")"
}

# memory NAME RUNNER SHAPE CLAIM TITLE: both at once, since they are asleep when it counts.
memory() {
	local name=$1 runner=$2 shape=$3 claim=$4 title=$5 round variant looks
	wanted "$name" || return 0
	row "$name.rss" "$claim" MB "$title: RSS"
	row "$name.arena" floor MB "$title: resident in the arena, and page floor"
	for round in $(rounds 2 1); do
		looks=()
		for variant in plain preloaded; do
			start_peak $variant "$runner" "$shape"
			look $variant "$pid" "$name" "$round" &
			looks+=($!)
		done
		for pid in "${looks[@]}"; do wait "$pid" || die "no figures of $name"; done
		end_peaks plain preloaded
	done
}

strings=$(size 3000000 600000) sessions=$(size 1000000 200000)
memory strings.luajit luajit "strings:$strings" below:25 "openresty issue 1005, luajit"
memory strings.linked "$build/hosts/run_lua" "strings:$strings" below:25 "the same, host linked to LuaJIT"
memory sessions-5000.luajit luajit "sessions:$sessions:5000" figure "sessions, 1 in 5000 survives, luajit"
memory sessions-100.luajit luajit "sessions:$sessions:100" figure "sessions, 1 in 100 survives, luajit"
memory sessions-100.linked "$build/hosts/run_lua" "sessions:$sessions:100" figure "the same, host linked to LuaJIT"
