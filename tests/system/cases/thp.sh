# Transparent huge pages: where they are always on, Lua heaps are kept out of them, by whole segments; and those that were
# there before do not stay charged when a part of them is purged.

. "$TEST_SYSTEM/../../scripts/cgroup.bash"

# start_under WORD [VARIABLE=VALUE ...] COUNT: alternate.lua, where the kernel seems to have set huge pages to WORD; in $cgroup,
# if there is one
start_under() {
	local word=$1
	shift
	[ "$(id -u)" = 0 ] || skip "needs root to put a file in front of the kernel's"
	need_command unshare
	[ -e /sys/kernel/mm/transparent_hugepage/enabled ] || skip "no transparent huge pages here"
	echo "$word" >enabled
	unshare --mount mount --bind enabled /sys/kernel/mm/transparent_hugepage/enabled || skip "no mount namespaces here"
	start "${@:1:$#-1}" unshare --mount sh -c \
		'mount --bind "$1" /sys/kernel/mm/transparent_hugepage/enabled && { [ -z "$2" ] || echo $$ >"$2/cgroup.procs"; } &&
		shift 2 && exec "$@"' sh "$PWD/enabled" "${cgroup-}" \
		"$LUAJIT" "$TEST_SYSTEM/lua/alternate.lua" "${@: -1}" "$TEST_DIR/go" "$TEST_DIR/finish"
}

mappings() { grep -c . "/proc/$pid/maps"; }
kept_out_kb() { awk '/^Rss:/ { rss = $2 } /^VmFlags:/ && / nh/ { sum += rss } END { print sum + 0 }' "/proc/$pid/smaps"; }

# trough COUNT: drops the blocks, and waits until they have gone back
trough() {
	local before
	wait_for_line 60 peak
	peak=$(rss_kb "$pid") before=$(mappings)
	touch go
	wait_for_line 60 trough
	expect_fall "$pid" $((peak / 5)) "of $peak KiB"
	more=$(($(mappings) - before))
}

end() {
	touch finish
	finish
	grep -q "^verified $1" out || fail "survivors were not verified"
}

test_mappings_do_not_grow_by_100000_runs() {
	need_library
	start_under '[always] madvise never' "$(sized 100000)"
	local peak more
	trough
	expect_at_least "$(kept_out_kb)" "$(sized 20000)" "KiB in mappings without huge pages"
	expect_at_most "$more" 16 "mappings more than before the purge"
	end "$(sized 100000)"
}

# They are no part of the heap, and mremap would not grow them beside mappings of other advice.
test_large_blocks_are_neither_advised_nor_purged() {
	need_library
	start_under '[always] madvise never' LARGE=40 20000
	local peak more
	trough
	expect_at_least "$(kept_out_kb)" 4000 "KiB in mappings without huge pages"
	end 20000
	grep -q '^large 40, advised 0$' out || fail "$(grep large out)"
}

# charge_of_huge_pages [VARIABLE=VALUE]: $charged and $left, what the group is charged in the peak, and at last in the trough
charge_of_huge_pages() {
	local peak more huge status=0
	unpoisoned "what a group is charged has to fall"
	need_library
	cgroup_begin memory || skip "no control groups: $cgroup_why"
	trap 'on_exit; cgroup_end' EXIT
	cgroup_make thp || skip "no control group: $cgroup_why"
	start_under '[always] madvise never' LJTRIM_MAX_CPU_PCT=100 "$@" 20000
	wait_for_line 60 peak
	"$(host collapse)" "$pid" >collapsed || status=$?
	[ $status != 77 ] || skip "this kernel makes no huge pages on request: $(cat err)"
	expect_equal $status 0 "status of collapse"
	charged=$(cgroup_get "$cgroup" usage)
	huge=$(awk '/^AnonHugePages/ { print $2 }' "/proc/$pid/smaps_rollup")
	[ "$huge" -ge $((charged / 2048)) ] || skip "the kernel had room for $huge KiB in huge pages, of $((charged >> 10))"
	trough
	within 10 charge_below $((charged / 2)) || true
	left=$(cgroup_get "$cgroup" usage)
	echo "charged $((charged >> 10)) KiB, then $((left >> 10)), of which $(rss_kb "$pid") are resident"
	end 20000
}
charge_below() { [ "$(cgroup_get "$cgroup" usage)" -lt "$1" ]; }

test_huge_pages_of_before_are_not_charged_on() {
	local charged left
	charge_of_huge_pages
	expect_at_most $((left >> 10)) $((charged >> 11)) "KiB charged in the trough"
}

# The contrast: else the kernel keeps them until it is short of memory.
test_huge_pages_stay_charged_when_they_are_kept() {
	local charged left
	charge_of_huge_pages LJTRIM_THP=keep
	[ "$left" -gt $((charged / 2)) ] || skip "this kernel splits huge pages by itself"
}

test_heaps_are_left_as_they_are_elsewhere() {
	need_library
	start_under 'always [madvise] never' 20000
	local peak more
	trough
	expect_at_most "$(kept_out_kb)" 100 "KiB in mappings without huge pages"
	expect_at_most "$more" 4 "mappings more than before the purge"
	end 20000
}

test_heaps_are_left_as_they_are_when_told_to() {
	need_library
	start_under '[always] madvise never' LJTRIM_THP=keep 20000
	local peak more
	trough
	expect_at_most "$(kept_out_kb)" 100 "KiB in mappings without huge pages"
	end 20000
}
