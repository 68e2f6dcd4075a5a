# Who makes heaps grow (LJTRIM_GROWTH=on).

script() {
	cat >app.lua <<-'END'
		local keep = {}
		local function session(i)
		    return { id = i, data = { i, i + 1 } }
		end
		local function fill(n)
		    for i = 1, n do keep[i] = session(i) end
		end
		fill(300000)
		local parts = {}
		for i = 1, 20000 do
		    parts[i] = ("part"):rep(20) .. i
		end
		print("full")
		io.stdout:flush()
		os.execute(arg[1] and "sleep 30" or "sleep 0.3") -- what waits for the reclaimer at the end is not in the dump
	END
}

# On the same line: numbers stay.
interpreted() { sed -i '1s/^/jit.off() /' app.lua; }

# list_of COMMAND [ARG ...]: runs it and leaves the list in `list`.
list_of() {
	need_library
	start LJTRIM_GROWTH=on LJTRIM_STATS_AT_EXIT=1 LJTRIM_LOG="$PWD/dump" "$@"
	wait "$pid" || fail "the host ended with $?: $(tail -n 3 err)"
	sed -n '/^growth: /,$p' dump >list
	cat list
	[ -s list ] || fail "no list in the dump"
}

test_interpreted_functions_are_named() {
	script
	interpreted
	list_of "$(host run_lua)" app.lua
	sed -n 2,4p list | tr '\n' ' ' | grep -q 'app.lua:2 (function).*< app.lua:6.*< app.lua:8 ' ||
		fail "session, called by fill, called by the main chunk, is not at the top"
}

test_compiled_functions_are_named() {
	script
	list_of "$(host run_lua)" app.lua
	sed -n 2p list | grep -q 'app.lua:[0-9]' || fail "no Lua function at the top"
}

test_static_hosts_are_named() {
	script
	list_of "$(host run_lua_static)" app.lua
	sed -n 2p list | grep -q 'app.lua:[0-9]' || fail "no Lua function at the top"
	need_command luajit
	list_of luajit app.lua
	sed -n 2p list | grep -q 'app.lua:[0-9]' || fail "no Lua function at the top"
}

test_callers_in_c_are_named() {
	script
	interpreted
	list_of "$(host run_lua)" app.lua
	grep -q '< __libc_start_main' list || fail "the path does not lead to main"
	if grep -q 'libluajit' list; then fail "LuaJIT's own functions are left out"; fi
}

test_without_the_companion_lua_functions_remain() {
	need_library
	script
	mkdir alone
	cp "$LJT_SO" alone/
	LJT_SO=$PWD/alone/libljtrim.so list_of "$(host run_lua)" app.lua
	sed -n 2p list | grep -q 'app.lua:[0-9]' || fail "no Lua function at the top"
	if grep -q libc_start_main list; then fail "who has unwound this?"; fi
}

test_ljtrim_stats_shows_it() {
	need_library
	script
	start LJTRIM_GROWTH=on "$(host run_lua)" app.lua wait
	wait_for_line 20 full
	wait_until 10 eval '"$LJT_TOOL" stats "$pid" --growth >shown 2>said' || fail "$(cat said)"
	grep -q '^growth: .* looked at' shown && sed -n 2p shown | grep -q 'app.lua:[0-9]' || fail "$(cat shown)"
}

test_off_by_default() {
	need_library
	script
	start "$(host run_lua)" app.lua wait
	wait_for_line 20 full
	if "$LJT_TOOL" stats "$pid" --growth >shown 2>said; then fail "a list that nobody asked for"; fi
	grep -q 'LJTRIM_GROWTH=on' said || fail "no remedy: $(cat said)"
	expect_equal "$(wc -l <said)" 1 "lines"
	if grep -q 'ljtrim-symtab' "/proc/$pid/maps"; then fail "the companion is still open"; fi
}

test_many_states_on_many_threads() {
	run_host "${EAGER[@]}" LJTRIM_GROWTH=on "$(host many_states)" 40 8 600
}

test_forks_in_the_middle() {
	run_host "${EAGER[@]}" LJTRIM_GROWTH=on "$(host fork_churn)" fork "$(sized 20 3)" held
}

test_closed_in_the_middle() {
	run_host "${EAGER[@]}" LJTRIM_GROWTH=on "$(host close_states)" 300 held
}

test_plugin_with_local_symbols() {
	script
	list_of "$(host nolua_plugin)" "$(host plugin_lua.so)" app.lua
	sed -n 2p list | grep -q 'app.lua:[0-9]' || fail "no Lua function at the top"
}
