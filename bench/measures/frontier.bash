# Resident memory against throughput: ours and every peer at several settings, in the same rounds, by the same host. A
# peak now and then with work in between (sawtooth); a cache that was large once and works on (churn), for several times
# as long as it took to grow and to be cut down: that is the load, not its beginning. Of ours at default settings, two
# more figures that must be read together with throughput: how much of what was given back was not soon wanted again,
# and how much more than its floor the arena keeps while it works. All three are of longer runs of such a load, since a
# short one has one or two windows that are judged. Peaks that follow each other as fast as pages grow old have no right
# moment for a purge: of them, how much was given back in vain until that was learned.

points=(plain again preloaded preloaded-slow preloaded-quick preloaded-eager preloaded-patched)
for peer in "${peers[@]}"; do
	points+=("$peer")
	[ "$peer" != jemalloc ] || points+=(jemalloc-1000)
done

# score FILE: the refault score in percent, from the dump; nothing if no window was judged
score() { awk '{ for (i = 1; i < NF; i++) if ($i == "score" && $(i + 1) ~ /%$/) { print $(i + 1) + 0; exit } }' "$1"; }

# in_mb WORD FILE: the total of that name in the dump, in MB
in_mb() {
	awk -v word="$1" '{ for (i = 1; i < NF; i++) if ($i == word) {
		unit = $(i + 2) ~ /^GiB/ ? 2 ^ 30 : $(i + 2) ~ /^MiB/ ? 2 ^ 20 : $(i + 2) ~ /^KiB/ ? 2 ^ 10 : 1
		print $(i + 1) * unit / 1e6
		exit
	} }' "$2"
}

# excess VARIANT COMMAND...: over one run, looked at four times a second: mean of what is resident above the floor, in MB.
# The looks stop the VM: a run of its own, whose throughput says nothing.
excess() {
	local pid sum=0 n=0 figures variant=$1
	shift
	env $(environment_of "$variant") "$@" >/dev/null &
	pid=$!
	while sleep 0.25 && kill -0 $pid 2>/dev/null; do
		IFS=, read -r -a figures < <("$ljtrim" inspect $pid --csv 2>/dev/null) || continue
		sum=$((sum + figures[7] - figures[6])) n=$((n + 1))
	done
	wait $pid || die "$* failed"
	awk "BEGIN { print $sum / ($n ? $n : 1) / 1e6 }"
}

# point VARIANT NAME ROUND SCRIPT [ARGUMENT ...]: one run
point() {
	local variant=$1 name=$2 round=$3 wall cpu peak rss
	shift 3
	read -r wall cpu peak rss < <("$out/timed" -r \
		$(environment_of "$variant") $(host_of "$variant") "$@") || die "$variant: $* failed"
	sample "$name.rate" "$variant" "$round" "$(awk "BEGIN { print 1 / $wall }")"
	sample "$name.rss" "$variant" "$round" "$(awk "BEGIN { print $rss * 1024 / 1e6 }")"
	sample "$name.cpu" "$variant" "$round" "$cpu"
}

# longer NAME TITLE SCRIPT [ARGUMENT ...]: the three figures of longer runs, and what the score is a share of
longer() {
	local name=$1 title=$2 round variant wall rest value dump=$work/dump
	shift 2
	wanted "$name" || return 0
	row "$name.runs" ratio:0.995 1/s "$title: runs"
	row "$name.score" least:95 % "$title: purged and not soon wanted again"
	row "$name.excess" figure MB "$title: resident above the floor, mean"
	row "$name.purged" figure MB "$title: purged"
	for round in $(rounds 3 1); do
		rm -f "$dump" # only what is preloaded writes one
		for variant in $(order "$round"); do
			read -r wall rest < <("$out/timed" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump" \
				$(environment_of "$variant") $(host_of "$variant") "$@") || die "$variant: $* failed"
			sample "$name.runs" "$variant" "$round" "$(awk "BEGIN { print 1 / $wall }")"
		done
		[ -s "$dump" ] || die "no statistics at the end of: $*"
		value=$(score "$dump")
		[ -z "$value" ] || sample "$name.score" preloaded "$round" "$value"
		sample "$name.purged" preloaded "$round" "$(in_mb purged "$dump")"
	done
	for variant in plain preloaded; do
		sample "$name.excess" "$variant" 1 "$(excess "$variant" $(host_of "$variant") "$@")"
	done
}

# in_vain NAME TITLE SCRIPT [ARGUMENT ...]: what was purged and soon wanted again in such a run, where no purge pays
in_vain() {
	local name=$1 title=$2 round dump=$work/dump
	shift 2
	wanted "$name" || return 0
	row "$name.early" figure MB "$title: purged and soon wanted again"
	for round in $(rounds 3 1); do
		rm -f "$dump"
		"$out/timed" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump" $(environment_of preloaded) $(host_of preloaded) "$@" \
			>/dev/null || die "$* failed"
		[ -s "$dump" ] || die "no statistics at the end of: $*"
		sample "$name.early" preloaded "$round" "$(in_mb early "$dump")"
	done
}

# frontier NAME TITLE SCRIPT [ARGUMENT ...]: rounds of all, and as many again of plain and ours, which are close.
frontier() {
	local name=$1 title=$2 round variant
	shift 2
	wanted "$name" || return 0
	row "$name.rate" ratio:0.995 1/s "$title: runs"
	row "$name.rss" figure MB "$title: mean RSS"
	row "$name.cpu" figure s "$title: user + system time"
	for round in $(rounds 4 1); do
		for variant in $(order "$round" "${points[@]}"); do point "$variant" "$name" "$round" "$@"; done
		for variant in $(order "$round"); do point "$variant" "$name" "more-$round" "$@"; done
	done
}

peaks=("$(size 80 20)") work_between=$(size 10 2)
cache=("$(size 250 50)" "$(size 20 5)")
sawtooth=bench/workloads/sawtooth.lua
frontier sawtooth "peaks and troughs" $sawtooth 2 "${peaks[@]}" "$work_between"
longer sawtooth-long "troughs of several decays, 5 peaks" $sawtooth "$(size 5 2)" "${peaks[@]}" "$((6 * work_between))"
in_vain sawtooth-short "troughs as short as the decay, 20 peaks" $sawtooth 20 "${peaks[@]}" "$work_between"
frontier churn "a cache that was large once" bench/workloads/lru.lua "${cache[@]}" "$(size 2800 100)"
longer churn-long "a cache that was large once, in a longer run" bench/workloads/lru.lua "${cache[@]}" "$(size 8000 1000)"
