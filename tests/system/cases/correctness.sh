# The same answers with and without the library, while every free page is purged or poisoned as soon as possible.

# same_with VARIABLE=VALUE ...: the self-checking program prints the same under these settings as without the library.
same_with() {
	"$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 8 >plain.out
	run_host "$@" "$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 8 >loaded.out
	cmp plain.out loaded.out || fail "different: $(diff plain.out loaded.out | head -n 2)"
	"$LUAJIT" -joff "$TEST_SYSTEM/lua/selfcheck.lua" 2 >plain.out
	run_host "$@" "$LUAJIT" -joff "$TEST_SYSTEM/lua/selfcheck.lua" 2 >loaded.out
	cmp plain.out loaded.out || fail "different without JIT: $(diff plain.out loaded.out | head -n 2)"
}

test_by_default() { same_with A=b; }
test_purged_at_once() { same_with "${EAGER[@]}"; }
test_poisoned_and_verified() { need_library && same_with "${POISONED[@]}"; }

test_sessions_poisoned_and_verified() {
	need_library
	start "${POISONED[@]}" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" sessions:40000:100 light \
		"$TEST_DIR/finish"
	wait_for_line 60 trough
	sleep 3
	touch finish
	finish
	grep -q '^verified 400' out || fail "survivors were not verified"
}

test_c_objects_poisoned_and_verified() {
	need_library
	run_host "${POISONED[@]}" "$(host many_states)" 8 4 300
}

test_errno_is_kept() { run_host "${EAGER[@]}" "$(host errno_kept)"; }
