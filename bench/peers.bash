# The variants of a measure: the plain process, ours, and the peers, which are LuaJIT on another allocator. A host that
# passes realloc and free to lua_newstate (tools/host.c) puts it there, and the allocator is preloaded. Read by
# bench/run.

variants=(plain again preloaded)
peers=(jemalloc jemalloc-0 jemalloc-bg mimalloc mimalloc-0 glibc glibc-trim)

# library_path NAME: where the dynamic linker finds a library; nothing if it does not.
library_path() { PATH=$PATH:/sbin ldconfig -p | awk -v name="$1" '$1 == name && !found++ { print $NF }'; } # reads on: a reader that leaves ends ldconfig

jemalloc=$(library_path libjemalloc.so.2) mimalloc=$(library_path libmimalloc.so.2)
for peer in jemalloc mimalloc; do
	[ -n "${!peer}" ] || {
		echo "bench: $peer is missing, and its rows with it; scripts/install-deps installs it" >&2
		for i in "${!peers[@]}"; do [[ ${peers[i]} != $peer* ]] || unset "peers[i]"; done
	}
done

# The environment of a variant, one NAME=VALUE a line. A peer's settings are those of its own documentation:
# jemalloc decays for 10 s, at once (-0), or by a thread of its own (-bg); mimalloc resets after 25 ms and 500 ms, or
# at once (-0). glibc has none; -trim calls malloc_trim after each collectgarbage().
environment_of() {
	case $1 in
	preloaded) echo "LD_PRELOAD=$library" ;;
	preloaded-*) printf '%s\n' "LD_PRELOAD=$library" ${setting[$1]:-} ;;
	jemalloc*) echo "LD_PRELOAD=$jemalloc" ;;&
	jemalloc-0) echo "MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0" ;;
	jemalloc-1000) echo "MALLOC_CONF=dirty_decay_ms:1000,muzzy_decay_ms:0" ;;
	jemalloc-bg) echo "MALLOC_CONF=background_thread:true" ;;
	mimalloc*) echo "LD_PRELOAD=$mimalloc" ;;&
	mimalloc-0) printf '%s\n' MIMALLOC_DECOMMIT_DELAY=0 MIMALLOC_SEGMENT_DECOMMIT_DELAY=0 ;;
	esac
}

# Settings of ours beside the defaults.
declare -A setting=(
	[preloaded-eager]="LJTRIM_INTERVAL_MS=50 LJTRIM_DECAY_MS=0 LJTRIM_MAX_CPU_PCT=20 LJTRIM_MIN_RECLAIM=256K"
	[preloaded-quick]="LJTRIM_INTERVAL_MS=250 LJTRIM_DECAY_MS=250 LJTRIM_MAX_CPU_PCT=5"
	[preloaded-slow]="LJTRIM_INTERVAL_MS=2000 LJTRIM_DECAY_MS=5000"
	[preloaded-patched]="LJTRIM_MODE=patched"
)

# host_of VARIANT: the program that runs a script on the variant's allocator
host_of() {
	case $1 in
	plain* | again | preloaded*) echo "$out/host" ;;
	glibc-trim) echo "$out/host -m -t" ;;
	*) echo "$out/host -m" ;;
	esac
}
