# What the scripts that run tests make of what tests say: from made-up commands, nothing is measured.

unpoisoned "nothing is preloaded"

ROOT=$(cd "$TEST_SYSTEM/../.." && pwd)

# total EXPECTED STATUS COMMAND ...: of test-total; what it says goes to out.
total() {
	local expected=$1 expected_status=$2 status=0
	shift 2
	timeout 60 "$ROOT/scripts/test-total" "$@" >out 2>&1 || status=$?
	expect_equal "$(tail -n 1 out)" "$expected" "total"
	expect_equal $status "$expected_status" "status"
}

test_counts_are_added_up_with_what_was_skipped() {
	total '7 passed, 0 failed, 3 skipped' 0 'echo 1 passed, 0 failed; echo 2 passed, 0 failed, 3 skipped' 'echo 5 passed, 0 failed'
	total '3 passed, 0 failed' 0 'echo 3 passed, 0 failed'
	total '0 passed, 0 failed, 1 skipped' 1 'echo 0 passed, 0 failed, 1 skipped'
}

test_command_that_fails_or_says_nothing_is_one_failure() {
	total '1 passed, 2 failed' 1 'echo 1 passed, 0 failed; false' 'true'
	grep -q "'true' ended with status 0 and no count" out || fail "it is not said: $(cat out)"
	total '1 passed, 2 failed' 1 'echo 1 passed, 0 failed' + 'echo 0 passed, 1 failed; false' + 'kill -9 $$'
	grep -q "'kill -9 .*' ended with status 137 and no count" out || fail "it is not said: $(cat out)"
}

test_what_failed_is_said_once_more_at_the_end() {
	total '5 passed, 3 failed' 1 'echo not ok g/a: why; echo not ok g/b: late; echo ok g/b; echo 4 passed, 1 failed' \
		'printf "[\\033[1mFAIL\\033[0m] s::t: (0.1s)\n"; echo 1 passed, 1 failed' 'false' 'echo not ok g/c; echo ok g/c; echo 0 passed, 0 failed'
	expect_equal "$(tail -n 6 out | sed -E 's/^test-total: of .*( failed:)$/of one\1/; s/^test-total: .*; //' | tr '\n' '|')" \
		'of one failed:|    not ok g/a: why|of one failed:|    [FAIL] s::t: (0.1s)|that is one failure|5 passed, 3 failed|' "the end"
}

# Each waits for the other; what they say comes in turns.
test_commands_side_by_side_are_kept_apart() {
	total '3 passed, 0 failed, 4 skipped' 0 \
		'echo first; touch a; until [ -e b ]; do sleep 0.01; done; echo first; echo 1 passed, 0 failed' + \
		'until [ -e a ]; do sleep 0.01; done; echo second; touch b; echo second; echo 2 passed, 0 failed, 4 skipped'
	expect_equal "$(grep -xE 'first|second' out | tr '\n' ' ')" 'first first second second ' "what they have said"
}

test_interrupt_ends_commands_side_by_side() {
	setsid "$ROOT/scripts/test-total" 'touch a; exec sleep 600' + 'echo $$ >b; exec sleep 600' >out 2>&1 &
	local group=$! beside
	started+=("$group")
	wait_until 60 test -e a -a -s b || fail "they have not begun: $(cat out)"
	beside=$(cat b)
	started+=("$beside")
	kill -TERM -- "-$group"
	wait_until 60 is_gone "$beside" || fail "one runs on"
}

# units STATUS LINE ...: run-units on a binary that says these lines, and $report where Criterion would leave its own; with
# arguments it ends with $alone. What it says goes to out.
units() {
	local expected_status=$1 status=0
	shift
	cat >binary <<-'END'
		#!/bin/sh
		[ $# = 0 ] || exit "$MADE_UP_ALONE"
		[ -z "$MADE_UP_REPORT" ] || echo "$MADE_UP_REPORT" >"${CRITERION_OUTPUTS#tap:}"
		cat lines
		exit "$(cat status)"
	END
	chmod +x binary
	printf '%s\n' "$@" >lines
	echo "$expected_status" >status
	MADE_UP_ALONE=${alone-1} MADE_UP_REPORT=${report-} "$ROOT/scripts/run-units" ./binary >out 2>&1 || status=$?
	expect_equal $status "${after-$expected_status}" "status"
}

test_unit_tests_that_were_skipped_are_told_with_their_reasons() {
	report='ok - suite::test  # SKIP not here' units 0 '[====] Synthesis: Tested: 3 | Passing: 3 | Failing: 0 | Crashing: 0 '
	grep -qx 'skip suite/test: not here' out || fail "no reason: $(cat out)"
	expect_equal "$(tail -n 1 out)" '3 passed, 0 failed, 1 skipped' "Criterion's"
	units 0 'skip suite/test: not here' '[SKIP] suite/test' '3 passed, 0 failed, 1 skipped'
	expect_equal "$(grep -c '^skip ' out)" 1 "reasons of our own runner"
	expect_equal "$(tail -n 1 out)" '3 passed, 0 failed, 1 skipped' "our own runner's"
}

test_unit_tests_that_do_not_come_to_their_end_have_no_count() {
	units 139 '[PASS] suite::test: (0.00s)'
	! grep -q ' passed, ' out || fail "a count: $(cat out)"
}

test_unit_test_that_fails_gets_a_second_chance_where_it_may() {
	local failed=('[FAIL] suite::test: (0.00s)' '[====] Synthesis: Tested: 3 | Passing: 2 | Failing: 1 | Crashing: 0 ')
	units 1 "${failed[@]}"
	expect_equal "$(tail -n 1 out)" '2 passed, 1 failed' "without a chance"
	export TEST_AGAIN_UNIT='other suite'
	alone=1 units 1 "${failed[@]}"
	expect_equal "$(tail -n 1 out)" '2 passed, 1 failed' "twice"
	alone=0 after=0 units 1 "${failed[@]}"
	expect_equal "$(tail -n 1 out)" '3 passed, 0 failed' "once"
	alone=0 units 1 'suite: a heap is broken' "${failed[@]}"
	expect_equal "$(tail -n 1 out)" '2 passed, 1 failed' "damage"
}

test_reasons_stand_in_the_table_of_what_was_checked() {
	mkdir -p results
	printf '%s\n' name,command,passed,failed,skipped,seconds,date,commit 'made,make made-up,5,0,3,7,2026-01-01,abcdef' >results/check-all.csv
	printf '%s\n' 'ok group/a (0.1 s)' 'skip group/b: no b|c: here' 'skip group/d: not for us' 'skip group/c: no b|c: here' \
		'5 passed, 0 failed, 3 skipped' >results/check-all-made.log
	BUILD=$PWD "$ROOT/scripts/reliability" >written || fail "no table"
	grep -qxF '| `make made-up` | 5 | 0 | 3 | 7 | 2026-01-01, commit abcdef |' written || fail "no row: $(tail -n 20 written)"
	grep -qxF '| `make made-up` | no b\|c: here | group/b, group/c |' written || fail "no reason: $(tail -n 20 written)"
	grep -qxF '| `make made-up` | not for us | group/d |' written || fail "no second reason: $(tail -n 20 written)"
	grep -q '^| `make NODEPS=1 test` | ' written || fail "rows of other commands are gone"
}
