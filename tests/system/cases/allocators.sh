# Hosts with ideas of their own about lua_setallocf.

test_own_allocator_is_left_alone() { run_host "${EAGER[@]}" "$(host own_allocator)"; }

# plays GAME: the host lives, its objects are intact; that we stepped back may be told, in one line.
plays() {
	local status=0
	start "${settings[@]}" "$(host allocf_games)" "$1"
	wait "$pid" || status=$?
	cat out err
	expect_equal "$status" 0 "status of the host"
	expect_quiet_but err 1
}

settings=("${EAGER[@]}")

test_allocf_set_back() { plays set-back; }
test_allocf_wrapped_before_growth() { plays wrap-early; }
test_allocf_wrapped_after_growth() { plays wrap-late; }
test_allocf_wrapped_and_unwrapped() { plays unwrap; }
test_allocf_wrapped_before_growth_and_unwrapped_after() { plays wrap-first; }
test_allocf_wrapped_around_the_original() { plays wrap-raw; }
test_allocf_replaced_for_new_blocks() { plays replace; }
test_allocf_replaced_before_growth() { plays replace-early; }
test_allocf_limited() { plays limit; }
test_allocf_flipped_a_thousand_times() { plays flip; }

# The games mean something only if the allocator was really replaced.
test_allocator_is_replaced_at_all() {
	need_library
	settings=()
	plays flip
	grep -q 'allocator replaced' out || fail "no gate was put in"
}
