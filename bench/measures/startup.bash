# A process without LuaJIT: what it costs to have the library loaded, and nothing else.
#
# Of some 77,000 instructions more, about half bind the library's symbols; the rest map it and run the constructor, its twelve
# dlsym above all: what it calls must be bound before a signal handler or an mmap of LuaJIT's can come.

if wanted true; then
	row true.wall more:0.2 ms "true, start to end: wall time"
	row true.instructions figure "" "true: instructions"
	for round in $(rounds 20 3); do
		for variant in $(order "$round"); do
			read -r wall rest < <("$out/timed" -n "$(size 25 10)" $(environment_of "$variant") true)
			sample true.wall "$variant" "$round" "$(awk "BEGIN { print $wall * 1000 }")"
		done
	done
	for variant in "${variants[@]}"; do
		preload=$(environment_of "$variant")
		LJTRIM_MODE=native LD_PRELOAD=${preload#*=} valgrind --tool=callgrind --callgrind-out-file="$work/callgrind.out" \
			/bin/true 2>/dev/null || die "callgrind failed"
		read -r total rest < <(awk -f bench/tools/callgrind.awk "$work/callgrind.out")
		sample true.instructions "$variant" 1 "$total"
	done
fi
