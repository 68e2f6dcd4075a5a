# Resident memory against throughput: ours and every peer at several settings, in the same rounds, by the same host.
# A peak now and then with work in between (sawtooth); a cache that was large once and works on (churn).

points=(plain again preloaded preloaded-slow preloaded-quick preloaded-eager)
for peer in "${peers[@]}"; do
	points+=("$peer")
	case $peer in
	jemalloc) points+=(jemalloc-1000) ;;
	jemalloc-bg) points+=(jemalloc-bg-1000) ;;
	mimalloc-0) points+=(mimalloc-reset) ;;
	esac
done

# frontier NAME TITLE SCRIPT [ARGUMENT ...]
frontier() {
	local name=$1 title=$2 round variant wall cpu peak rss
	shift 2
	wanted "$name" || return 0
	row "$name.rate" figure 1/s "$title: runs"
	row "$name.rss" figure MB "$title: mean RSS"
	row "$name.cpu" figure s "$title: user + system time"
	for round in $(rounds 4 1); do
		for variant in $(order "$round" "${points[@]}"); do
			read -r wall cpu peak rss < <("$out/timed" -r $(environment_of "$variant") $(host_of "$variant") "$@") ||
				die "$variant: $* failed"
			sample "$name.rate" "$variant" "$round" "$(awk "BEGIN { print 1 / $wall }")"
			sample "$name.rss" "$variant" "$round" "$(awk "BEGIN { print $rss * 1024 / 1e6 }")"
			sample "$name.cpu" "$variant" "$round" "$cpu"
		done
	done
}

frontier sawtooth "peaks and troughs" bench/workloads/sawtooth.lua 2 "$(size 100 20)" "$(size 14 2)"
frontier churn "a cache that was large once" bench/workloads/lru.lua "$(size 250 50)" "$(size 20 5)" "$(size 700 100)"
