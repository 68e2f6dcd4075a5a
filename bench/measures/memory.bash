# What is left after a peak, five seconds after the collector has run, measured from outside. Survivors are checked at
# the end. Ours and plain run side by side, since they are asleep when it counts; then all peers, in one round.

# start_peak VARIANT RUNNER SHAPE [ARGUMENT ...]: sets $pid; its output goes to $work/peak.VARIANT
start_peak() {
	local output=$work/peak.$1 variant=$1 runner=$2 shape=$3
	shift 3
	rm -f "$output" "$work/finish"
	env $(environment_of "$variant") $runner bench/workloads/peak.lua "$shape" "$work/finish" "$@" >"$output" &
	pid=$!
	background+=("$pid")
}

# end_peaks VARIANT...: lets them verify their survivors and end.
end_peaks() {
	touch "$work/finish"
	local variant
	for variant in "$@"; do
		wait_for_line "$work/peak.$variant" verified 60
	done
	for pid in "${background[@]}"; do wait "$pid" || die "$pid ended with status $?"; done
	background=()
}

rss_mb() { awk '/^VmRSS/ { print $2 * 1024 / 1e6 }' "/proc/$1/status"; }

# look VARIANT PID ID ROUND: five seconds after the trough began. A peer has no arena to look into.
look() {
	local figures
	wait_for_line "$work/peak.$1" trough 300
	sleep 5
	case $1 in
	plain | preloaded)
		IFS=, read -r -a figures < <("$ljtrim" inspect "$2" --csv) || die "cannot inspect $2"
		sample "$3.rss" "$1" "$4" "$(awk "BEGIN { print ${figures[11]} / 1e6 }")"
		sample "$3.arena" "$1" "$4" "$(awk "BEGIN { print ${figures[7]} / 1e6 }")"
		[ "$1" != preloaded ] || sample "$3.arena" beside "$4" "$(awk "BEGIN { print ${figures[6]} / 1e6 }")"
		;;
	*) sample "$3.rss" "$1" "$4" "$(rss_mb "$2")" ;;
	esac
}

# look_at NAME RUNNER SHAPE ROUND VARIANT...: all at once; without a runner, each has its own.
look_at() {
	local name=$1 runner=$2 shape=$3 round=$4 variant looks=() trough=()
	shift 4
	[[ $shape != lru:* ]] || trough=(collect $traffic_kb)
	for variant in "$@"; do
		start_peak "$variant" "${runner:-$(host_of "$variant")}" "$shape" "${trough[@]}"
		look "$variant" "$pid" "$name" "$round" &
		looks+=($!)
	done
	for pid in "${looks[@]}"; do wait "$pid" || die "no figures of $name"; done
	end_peaks "$@"
}

# A busy VM keeps what it freed within the last decay, which is what it allocates meanwhile, and LJTRIM_RETAIN_PCT of what it
# uses: of a cache that was cut down to a tenth, sessions of 650 bytes (workload.lua).
traffic_kb=2000 decay_s=1 retain_pct=5
busy_mb() { awk "BEGIN { print $traffic_kb / 1000 * $decay_s + $1 / 10 * 650 / 1e6 * $retain_pct / 100 }"; }

# memory NAME RUNNER SHAPE CLAIM TITLE. With no runner all of them have the same host, and peers are measured, too.
memory() {
	local name=$1 runner=$2 shape=$3 claim=$4 title=$5 round floor=floor
	wanted "$name" || return 0
	[[ $shape != lru:* ]] || floor=beside:+$(busy_mb "${shape#lru:}")
	row "$name.rss" "$claim" MB "$title: RSS"
	row "$name.arena" "$floor" MB "$title: resident in the arena, and page floor"
	for round in $(rounds 2 1); do
		look_at "$name" "$runner" "$shape" "$round" plain preloaded
	done
	[ -n "$runner" ] || look_at "$name" "" "$shape" 1 "${peers[@]}"
}

strings=$(size 3000000 300000) sessions=$(size 1000000 100000)
memory strings.luajit luajit "strings:$strings" below:25 "openresty issue 1005, luajit"
memory strings "" "strings:$strings" below:25 "openresty issue 1005, host linked to LuaJIT"
memory sessions-5000 "" "sessions:$sessions:5000" figure "sessions, 1 in 5000 survives"
memory sessions-100 "" "sessions:$sessions:100" figure "sessions, 1 in 100 survives"
memory uniform "" "uniform:$(size 1500000 150000):100" figure "objects of one size, 1 in 100 survives"
memory records "" "records:$(size 1000000 100000)" figure "an array of records (LuaJIT issue 876)"
memory hosts "" "hosts:$(size 150000 20000)" figure "lists of lists (LuaJIT issue 1157)"
memory json "" "json:$(size 300000 30000):100" figure "JSON documents, 1 in 100 survives"
memory trees "" "trees:$(size 21 17)" figure "a binary tree"
memory keys "" "keys:$(size 6000000 500000)" figure "short strings"
memory lru "" "lru:$(size 600000 100000)" figure "a cache, cut down to a tenth, that works on (2 MB/s)"
[ $full = no ] || memory big "" "sessions:13000000:100" figure "sessions, 8 GB"
