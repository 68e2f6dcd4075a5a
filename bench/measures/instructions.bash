# The figure that noise can't touch: instructions, counted by callgrind, of the thread that runs the VM. In the
# interpreter alone: callgrind sees the compiler's machine code, but not whose it is. What it costs to load the
# library is told apart by runs of an empty script. Then the same with the patched allocator in place of LuaJIT's, from
# the VM's birth: the host is one that is linked to LuaJIT, since one that contains it has no birth to be seen.

mode=native interpreter=(luajit -joff) claim=figure

profile() {
	local file=$work/callgrind.out
	rm -f "$file"*
	LJTRIM_MODE=$mode LD_PRELOAD=${1#*=} valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file="$file" \
		"${interpreter[@]}" "${@:2}" >"$work/callgrind.log" 2>&1 || die "callgrind: $(tail -n 2 "$work/callgrind.log")"
	awk -f bench/tools/callgrind.awk "$file-01"
}

instructions() {
	local name=$1 title=$2 variant round total calls own
	local -A empty=() all=()
	shift 2
	wanted "$name" || return 0
	for variant in plain preloaded; do
		read -r empty[$variant] calls own < <(profile "$(environment_of $variant)" /dev/null)
	done
	row "$name.total" "$claim" M "$title: instructions of the VM's thread"
	row "$name.call" figure "" "$title: instructions that each allocator call costs more"
	row "$name.gate" figure "" "$title: of these, in the trampoline"
	for round in $(rounds 2 1); do
		for variant in plain again preloaded; do # plain comes first: it is subtracted
			read -r total calls own < <(profile "$(environment_of "$variant")" "$@")
			sample "$name.total" "$variant" "$round" "$(awk "BEGIN { printf \"%.3f\", $total / 1e6 }")"
			all[$variant]=$((total - ${empty[$variant]:-0}))
			[ "$variant" = preloaded ] || continue
			if [ "$calls" = 0 ]; then
				echo "bench: callgrind finds no trampolines: valgrind could not read the library's symbols" >&2
				continue
			fi
			sample "$name.call" preloaded "$round" "$(awk "BEGIN { print (${all[preloaded]} - ${all[plain]}) / $calls }")"
			sample "$name.gate" preloaded "$round" "$(awk "BEGIN { print $own / $calls }")"
		done
	done
}

instructions trees "binary trees" bench/workloads/trees.lua "$(size 12 10)"
instructions strings "short strings" bench/workloads/strings.lua "$(size 0.4 0.1)"
instructions tables "table churn" bench/workloads/tables.lua "$(size 1 0.2)"

mode=patched interpreter=("$out/host" -i) claim=counted:1.03
instructions patched-trees "patched allocator, binary trees" bench/workloads/trees.lua "$(size 12 10)"
instructions patched-strings "patched allocator, short strings" bench/workloads/strings.lua "$(size 0.4 0.1)"
instructions patched-tables "patched allocator, table churn" bench/workloads/tables.lua "$(size 1 0.2)"
