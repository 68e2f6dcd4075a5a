# The same answers with and without the library, while every free page is purged, or poisoned, as soon as possible.

# same_with VARIABLE=VALUE ...: the self-checking program prints the same under these settings as without the library.
same_with() {
	"$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 8 >plain.out
	run_host "$@" "$LUAJIT" "$TEST_SYSTEM/lua/selfcheck.lua" 8 >loaded.out
	cmp plain.out loaded.out || fail "different: $(diff plain.out loaded.out | head -n 2)"
	"$LUAJIT" -joff "$TEST_SYSTEM/lua/selfcheck.lua" 2 >plain.out
	run_host "$@" "$LUAJIT" -joff "$TEST_SYSTEM/lua/selfcheck.lua" 2 >loaded.out
	cmp plain.out loaded.out || fail "different without JIT: $(diff plain.out loaded.out | head -n 2)"
}

test_by_default() { unpoisoned "the other one is the same then" && same_with A=b; }
test_purged_at_once() { same_with "${EAGER[@]}"; }
test_errno_is_kept() { run_host "${EAGER[@]}" "$(host errno_kept)"; }
