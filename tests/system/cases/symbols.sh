# Builds of LuaJIT with symbols and without: found wherever they are, believed only where they agree with the heap.

# A heap that grows and falls, and a dump at the end.
script() {
	cat >script.lua <<-'END'
		local t = {}
		for i = 1, 200000 do t[i] = { i, tostring(i) } end
		local sum = 0
		for i = 1, 200000 do sum = sum + t[i][1] end
		t = nil
		collectgarbage() collectgarbage()
		print(sum)
	END
}

# dump_of COMMAND [ARG ...]: runs it and leaves its dump in `dump`.
dump_of() {
	need_library
	script
	rm -f dump
	start LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$PWD/dump" "$@" script.lua
	wait "$pid" || fail "the host ended with $?: $(tail -n 3 err)"
	expect_equal "$(cat out)" 20000100000 "what the script computes"
	[ -s dump ] || fail "no dump"
}

# expect_symbols PATTERN: what the dump says of them; and whatever it is, the VM was taken.
expect_symbols() {
	grep '^symbols of ' dump || true
	grep -q "^symbols of $1\$" dump || fail "'symbols of $1' expected: $(grep '^symbols' dump || echo none)"
	if grep -q 'adoption 0 ns' dump; then fail "no VM was taken"; fi
}

test_shared_library_without_symbols() {
	dump_of "$(host run_lua)"
	expect_symbols 'libluajit.*: none (stripped)'
}

test_static_without_symbols() {
	strip -o stripped "$(host run_lua_static)"
	dump_of ./stripped
	expect_symbols 'the executable: none (stripped)'
}

test_static_with_symbols() {
	dump_of "$(host run_lua_static)"
	expect_symbols 'the executable: .symtab'
}

test_debug_file_by_link() {
	objcopy --only-keep-debug "$(host run_lua_static)" program.debug
	strip -o program "$(host run_lua_static)"
	objcopy --add-gnu-debuglink=program.debug program
	dump_of ./program
	expect_symbols 'the executable: debug file (.*/program.debug)'
	# Not the one that the link means any more: nothing of it is believed.
	printf x >>program.debug
	dump_of ./program
	expect_symbols 'the executable: none (stripped)'
}

test_debug_data_inside() {
	need_command xz
	objcopy --only-keep-debug "$(host run_lua_static)" mini
	strip --strip-debug mini
	xz -9 mini
	strip -o program "$(host run_lua_static)"
	objcopy --add-section .gnu_debugdata=mini.xz program
	dump_of ./program
	expect_symbols 'the executable: .gnu_debugdata'
}

test_broken_symbols_are_said_and_left() {
	cp "$(host run_lua_static)" program
	# The type and then the entry size of .symtab: symbols of 0 bytes each.
	local at
	at=$(readelf -h program | sed -n 's/.*Start of section headers: *\([0-9]*\).*/\1/p')
	at=$((at + 64 * $(readelf -SW program | sed -n 's/.*\[ *\([0-9]*\)\] \.symtab.*/\1/p') + 56))
	head -c 8 /dev/zero | dd of=program bs=1 seek=$at conv=notrunc status=none
	dump_of ./program
	expect_symbols 'the executable: none (the symbols of section [0-9]* are 0 bytes each)'
}

# A package is upgraded while its program runs: the file is another build's, told by a byte of its build-id.
test_file_that_was_replaced_is_not_believed() {
	need_library
	local name library at
	read -r name library < <(ldd "$(host run_lua)" | sed -n 's/[[:space:]]*\(libluajit[^ ]*\) => \([^ ]*\) .*/\1 \2/p')
	cp "$library" "$name"
	cp "$library" new
	at=$((0x$(readelf -SW new | sed -n 's/.*\.note\.gnu\.build-id *NOTE *[0-9a-f]* *\([0-9a-f]*\).*/\1/p') + 20))
	printf x | dd of=new bs=1 seek=$at conv=notrunc status=none
	script
	sed -i "1i os.rename('new', '$name')" script.lua
	start LD_LIBRARY_PATH="$PWD" LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$PWD/dump" "$(host run_lua)" script.lua
	wait "$pid" || fail "the host ended with $?: $(tail -n 3 err)"
	expect_symbols 'libluajit.*: none (the file is not the one that was loaded)'
}

test_works_alone() {
	need_library
	mkdir alone
	cp "$LJT_SO" alone/
	LJT_SO=$PWD/alone/libljtrim.so dump_of "$(host run_lua_static)"
	expect_symbols 'the executable: none (libljtrim-symtab.so can.t be loaded)'
}

test_works_beside_another_version() {
	need_library
	need_command gcc
	mkdir other
	cp "$LJT_SO" other/
	echo 'const unsigned ljt_symtab_version = 9999; int ljt_symtab_find(void) { __builtin_trap(); }' |
		gcc -shared -fPIC -x c -o other/libljtrim-symtab.so -
	LJT_SO=$PWD/other/libljtrim.so dump_of "$(host run_lua_static)"
	expect_symbols 'the executable: none (libljtrim-symtab.so is of another version)'
}

# Daemons change their directory.
test_found_beside_a_relative_path() {
	need_library
	cp "$LJT_SO" "$(dirname "$LJT_SO")/libljtrim-symtab.so" .
	script
	sed -i '1i require("ffi").cdef "int chdir(const char *)"; require("ffi").C.chdir("/")' script.lua
	start LD_PRELOAD=./libljtrim.so LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$PWD/dump" "$(host run_lua_static)" script.lua
	wait "$pid" || fail "the host ended with $?: $(tail -n 3 err)"
	expect_symbols 'the executable: .symtab'
}

# A function of the host's own that looks like lj_alloc_f to the proof: symbols know better, strangers don't.
test_wrapper_that_looks_like_lj_alloc_is_left_alone() {
	need_library
	start "${EAGER[@]}" LJTRIM_STATS_AT_EXIT=1 "$(host allocf_games_static)" wrap-state
	wait "$pid" || fail "the host ended with $?: $(tail -n 3 err)"
	grep -q 'its allocator is not lj_alloc_f' err || fail "not said: $(cat err)"
	expect_quiet_but err 1
}

test_wrapper_without_symbols_goes_well() {
	strip -o stripped "$(host allocf_games_static)"
	run_host "${EAGER[@]}" ./stripped wrap-state
}

test_static_games_with_symbols() {
	local game
	for game in set-back wrap-early wrap-late unwrap; do
		start "${EAGER[@]}" "$(host allocf_games_static)" $game
		wait "$pid" || fail "$game: the host ended with $?: $(tail -n 3 err)"
		expect_quiet_but err 1
	done
}

maps_script() {
	echo 'local t = {} for i = 1, 100000 do t[i] = { i } end
		for line in io.lines("/proc/self/maps") do print(line) end' >maps.lua
}

# Nothing of it stays behind in the process, and a process without LuaJIT never sees it.
test_companion_is_closed_again() {
	need_library
	maps_script
	run_host "$(host run_lua_static)" maps.lua >maps
	grep -q libljtrim.so maps || fail "nothing was preloaded"
	if grep -E 'ljtrim-symtab|libelf|liblzma' maps; then fail "it is still loaded"; fi
}

test_companion_is_not_opened_without_lua() {
	need_library
	maps_script
	with_library LD_DEBUG=files LD_DEBUG_OUTPUT="$PWD/trace" sh -c 'cat /dev/null; true'
	cat trace.* >traces
	grep -q 'libljtrim.so' traces || fail "nothing was preloaded"
	if grep -E 'ljtrim-symtab|libelf' traces; then fail "it was opened"; fi
	with_library LD_DEBUG=files LD_DEBUG_OUTPUT="$PWD/lua" "$(host run_lua)" maps.lua
	grep -q 'ljtrim-symtab' lua.* || fail "the test would not have seen it"
}
