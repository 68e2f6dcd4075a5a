# Three figures that must be read together, at default settings, of a VM that is never quiet: throughput, how much of what was
# given back was not soon wanted again, and how much more than its floor the arena keeps while it works.

# score FILE: the refault score in percent, from the dump; where there is none, what of the purged bytes did not return
score() {
	awk '{
		for (i = 1; i < NF; i++) {
			if ($i == "score" && s == "" && $(i + 1) ~ /%$/) s = $(i + 1) + 0
			else if ($i ~ /^(purged|refaults)$/ && !($i in sum))
				sum[$i] = $(i + 1) * ($(i + 2) ~ /^GiB/ ? 1024 : $(i + 2) ~ /^MiB/ ? 1 : $(i + 2) ~ /^KiB/ ? 1 / 1024 : 0)
		}
	} END {
		if (s == "" && sum["purged"] > 0) s = 100 * (1 - sum["refaults"] / sum["purged"])
		if (s != "") print s
	}' "$1"
}

# excess VARIANT COMMAND...: over one run, looked at four times a second: mean of what is resident above the floor, in MB
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

# busy NAME TITLE SCRIPT [ARGUMENT ...]
busy() {
	local name=$1 title=$2 round variant wall rest value dump=$work/dump
	shift 2
	wanted "$name" || return 0
	row "$name.rate" ratio:0.995 1/s "$title: runs"
	row "$name.score" least:95 % "$title: purged and not soon wanted again"
	row "$name.excess" figure MB "$title: resident above the floor, mean"
	for round in $(rounds 8 1); do
		for variant in $(order "$round"); do
			rm -f "$dump"
			read -r wall rest < <("$out/timed" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$dump" $(environment_of "$variant") \
				$(host_of "$variant") "$@") || die "$* failed"
			sample "$name.rate" "$variant" "$round" "$(awk "BEGIN { print 1 / $wall }")"
			[ "$variant" = preloaded ] || continue
			value=$(score "$dump")
			[ -z "$value" ] || sample "$name.score" preloaded "$round" "$value"
		done
	done
	for round in $(rounds 2 1); do
		for variant in plain preloaded; do
			sample "$name.excess" "$variant" "$round" "$(excess "$variant" $(host_of "$variant") "$@")"
		done
	done
}

busy sawtooth "peaks and troughs" bench/workloads/sawtooth.lua 2 "$(size 100 30)" "$(size 10 4)"
busy churn "a cache that was large once" bench/workloads/lru.lua "$(size 250 50)" "$(size 20 5)" "$(size 700 100)"
