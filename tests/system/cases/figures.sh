# What the report of `make bench` claims, when the demo fails and when the OOM duel gives up: from made-up samples, nothing is
# measured.

unpoisoned "nothing is preloaded"

ROOT=$(cd "$TEST_SYSTEM/../.." && pwd)

# report: the report of the samples in this directory
report() {
	need_command luajit
	LUA_PATH="$ROOT/bench/?.lua;;" luajit "$ROOT/bench/report.lua" . >report.md || fail "no report"
}

# point VARIANT RATE RSS: four rounds, a little apart from each other
point() {
	local round
	for round in 1 2 3 4; do
		printf 'sample\tfrontier.load.rate\t%s\t%d\t%s\n' "$1" $round "$2.$round"
		printf 'sample\tfrontier.load.rss\t%s\t%d\t%s\n' "$1" $round "$3.$round"
		printf 'sample\tfrontier.load.cpu\t%s\t%d\t1\n' "$1" $round
	done >>frontier.tsv
}

# verdict LIBRARY_POINT: the last cell of its line in the first table that has one
verdict() { sed -n "/^| $1 |/{s/.* | \(.*\) |\$/\1/p;q}" report.md; }

start_frontier() {
	printf 'measured\tv1\tno\n' >frontier.tsv
	printf 'row\tfrontier.load.%s\tfigure\tx\tload: %s\n' rate runs rss memory cpu time >>frontier.tsv
	point plain 100 500
	point again 100 500
}

test_frontier_names_the_peer_that_dominates() {
	start_frontier
	point preloaded 90 100
	point jemalloc 95 80
	report
	expect_equal "$(verdict libljtrim)" "FAILS: dominated by jemalloc" "verdict"
}

test_frontier_is_not_dominated_by_a_peer_that_is_only_faster() {
	start_frontier
	point preloaded 90 100
	point jemalloc 120 300
	point glibc 80 50
	report
	expect_equal "$(verdict libljtrim)" "not dominated" "verdict"
}

test_frontier_is_unresolved_where_rounds_disagree() {
	start_frontier
	point preloaded 90 100
	point jemalloc 95 80
	sed -i 's/\(frontier.load.rss\tjemalloc\t3\t\).*/\1130/' frontier.tsv
	report
	expect_equal "$(verdict libljtrim)" "unresolved (jemalloc)" "verdict"
}

test_frontier_claims_nothing_of_few_rounds() {
	start_frontier
	point preloaded 90 100
	point jemalloc 120 300
	sed -i '/\t[34]\t[^\t]*$/d' frontier.tsv
	report
	expect_equal "$(verdict libljtrim)" "unresolved (too few rounds)" "verdict"
}

# ratios A/A SPREAD, OURS: eight pairs around plain's 1
ratios() {
	local round sign
	{
		printf 'measured\tv1\tno\nrow\tthroughput.load.wall\tratio:1.02\ts\tload\n'
		for round in 1 2 3 4 5 6 7 8; do
			sign=$((round % 2 * 2 - 1))
			printf 'sample\tthroughput.load.wall\tplain\t%d\t1\n' $round
			printf 'sample\tthroughput.load.wall\tagain\t%d\t%s\n' $round "$(awk "BEGIN { print 1 + $sign * $1 }")"
			printf 'sample\tthroughput.load.wall\tpreloaded\t%d\t%s\n' $round "$(awk "BEGIN { print $2 + $sign * 0.001 }")"
		done
	} >throughput.tsv
	report
}

test_bound_is_claimed_only_where_the_noise_is_narrower() {
	ratios 0.002 1.01
	expect_equal "$(verdict 'load, s')" holds "verdict with little noise"
	ratios 0.002 1.04
	expect_equal "$(verdict 'load, s')" FAILS "verdict above the bound"
	ratios 0.02 1.01
	expect_equal "$(verdict 'load, s')" "unresolved (A/A is wider)" "verdict with much noise"
	ratios 0.02 1.2
	expect_equal "$(verdict 'load, s')" FAILS "verdict above the bound by more than much noise"
}

# claim CLAIM: begins a report of one row, of which that is claimed
claim() { printf 'measured\tv1\tno\nrow\tthroughput.load.wall\t%s\ts\tload\n' "$1" >throughput.tsv; }

# measured VARIANT VALUE ...: a round each
measured() {
	local variant=$1 round=0 value
	shift
	for value in "$@"; do
		round=$((round + 1))
		printf 'sample\tthroughput.load.wall\t%s\t%d\t%s\n' "$variant" $round "$value"
	done >>throughput.tsv
}

# expect_verdict VERDICT WHAT
expect_verdict() {
	report
	expect_equal "$(verdict 'load, s')" "$1" "verdict of $2"
	expect_equal "$(awk -F, 'NR == 1 { n = NF } NF != n' benchmarks.csv)" "" "a line of the CSV file with other columns"
}

test_no_difference_is_claimed_only_where_the_noise_is_narrow() {
	claim noise:0.1
	measured plain 1 1 1 1 1 1 1 1
	measured again 1.01 0.99 1.01 0.99 1.01 0.99 1.01 0.99
	measured preloaded 0.99 1.02 0.98 1.01 1.02 0.98 0.99 1.01
	expect_verdict "within noise" "what scatters like the plain process"
	grep -qF '| no difference (A/A < 10%) |' report.md || fail "the bound is not named: $(grep '^| load' report.md)"

	claim noise:0.1
	measured plain 1 1 1 1 1 1 1 1
	measured again 0.7 1.5 0.7 1.5 0.7 1.5 0.7 1.5
	measured preloaded 0.99 1.02 0.98 1.01 1.02 0.98 0.99 1.01
	expect_verdict "unresolved (A/A is wider)" "a noisy plain process"

	claim noise:0.1
	measured plain 1 1 1 1 1 1 1 1
	measured again 1.01 0.99 1.01 0.99 1.01 0.99 1.01 0.99
	measured preloaded 0.7 1.5 0.7 1.5 0.7 1.5 0.7 1.5
	expect_verdict "unresolved (its interval is wider)" "what scatters more than the plain process"

	claim noise:0.1
	measured plain 1 1 1
	measured again 1 1 1
	measured preloaded 1 1 1
	expect_verdict "unresolved (too few pairs)" "three pairs"
}

test_a_difference_is_told_though_the_noise_overlaps_it() {
	claim noise:0.1
	measured plain 1 1 1 1 1 1 1 1
	measured again 0.9 1.1 0.9 1.1 0.9 1.1 0.9 1.1
	measured preloaded 0.8 0.95 0.8 0.95 0.8 0.95 0.8 0.95
	expect_verdict DIFFERS "what is slower in every round"
}

# Were it held against one of the two alone, it would differ by 5%.
test_both_plain_measurements_of_a_round_count() {
	claim noise:0.1
	measured plain 1.05 1.05 1.05 1.05 1.05 1.05 1.05 1.05
	measured again 0.95 0.95 0.95 0.95 0.95 0.95 0.95 0.95
	measured preloaded 0.99 1.01 0.99 1.01 0.99 1.01 0.99 1.01
	expect_verdict "within noise" "what lies between the two"
}

test_what_is_counted_is_bounded_by_its_worst_pair() {
	claim counted:1.03
	measured plain 1000 1000
	measured again 1001 1000
	measured preloaded 1020 1029
	expect_verdict holds "counts below the bound"
	measured preloaded 1020 1040
	expect_verdict FAILS "one count above it"
	measured again 1006 1000
	expect_verdict "unresolved (A/A is wider)" "plain counts that are not alike"
}

test_a_difference_is_bounded_where_the_noise_is_narrower() {
	claim more:0.2
	measured plain 1 2 1 2 1 2 1 2
	measured again 1.02 1.98 1.02 1.98 1.02 1.98 1.02 1.98
	measured preloaded 1.1 2.1 1.1 2.1 1.1 2.1 1.1 2.1
	expect_verdict holds "0.1 more"
	measured preloaded 1.3 2.3 1.3 2.3 1.3 2.3 1.3 2.3
	expect_verdict FAILS "0.3 more"
	measured again 1.2 1.8 1.2 1.8 1.2 1.8 1.2 1.8
	expect_verdict "unresolved (A/A is wider)" "a noisy plain process"
}

test_patched_is_below_native_in_every_round_or_fails() {
	claim lower:preloaded-patched
	measured preloaded 30 20 30
	measured preloaded-patched 29 19 28
	expect_verdict holds "what is lower in every round"
	measured preloaded-patched 29 21 28
	expect_verdict FAILS "what is lower in most"

	claim lower:preloaded-patched
	measured preloaded 30 20
	measured preloaded-patched 29 19
	expect_verdict "unresolved (too few rounds)" "two rounds"
}

test_another_variant_than_the_default_can_be_claimed_of() {
	claim 'ratio:1.03 of preloaded-patched'
	measured plain 1 1 1 1 1 1 1 1
	measured again 1.001 0.999 1.001 0.999 1.001 0.999 1.001 0.999
	measured preloaded 1 1
	measured preloaded-patched 1.1 1.1 1.1 1.1 1.1 1.1 1.1 1.1
	expect_verdict FAILS "the variant that is named"
	expect_equal "$(awk -F, '$NF != "" { print $3 }' benchmarks.csv)" "variant
preloaded-patched" "whom the verdict is of"
}

# trough FLOOR_MIB RESIDENT_MIB: what the demo says of it, and its status
trough() {
	{
		echo "12.3,plain,1,1,0,0,0,0,$(($1 << 20)),$((900 << 20)),0,0,0,0,0,0"
		echo "12.4,preloaded,2,1,0,0,0,0,$(($1 << 20)),$(($2 << 20)),0,0,0,0,0,0"
	} >after5
	awk -f "$ROOT/scripts/breathing/trough.awk" after5
}

test_demo_tells_whether_the_trough_holds() {
	expect_like "$(trough 100 105 || echo status $?)" 'the trough holds: *' "5% above the floor"
	expect_like "$(trough 100 106 || echo status $?)" 'the trough does not hold: *status 1' "6% above the floor"
	expect_like "$(trough 4 5 || echo status $?)" 'the trough holds: *' "1 MiB above a low floor"
	expect_like "$(trough 4 6 || echo status $?)" 'the trough does not hold: *status 1' "2 MiB above a low floor"
	: >after5
	expect_like "$(awk -f "$ROOT/scripts/breathing/trough.awk" after5 || echo status $?)" '*status 1' "no look at all"
}

test_duel_skips_with_a_reason_where_no_group_can_be_made() {
	need_library
	need_command nginx
	need_command gnuplot
	need_command setpriv
	[ "$(id -u)" = 0 ] || skip "needs root to become somebody who may not make groups"
	setpriv --reuid=65534 --clear-groups test -x "$ROOT/scripts/oom-duel" || skip "nobody may not read this tree"
	local status=0 build
	build=$(dirname "$LJT_SO")
	BUILD=$build setpriv --reuid=65534 --clear-groups "$ROOT/scripts/oom-duel" --quick >out 2>err || status=$?
	expect_equal $status 77 "status"
	grep -q '^oom-duel: skipped: ' err || fail "no reason: $(cat err)"
}
