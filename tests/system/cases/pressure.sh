# Memory pressure as the kernel itself tells of it, and pages that stay away in the kernel's own accounts. Limits work with control
# groups of version 1 and 2, whichever the machine has; what is set for all of a machine, only in one that is ours
# ($LJT_OWN_KERNEL: make check-kernel).

. "$TEST_SYSTEM/../../scripts/cgroup.bash"

own_kernel() { [ -n "${LJT_OWN_KERNEL-}" ] || skip "only on a kernel of its own: make check-kernel"; }

# Lets pages grow old for ten minutes: what goes back before that goes for pressure.
LAZY=(LJTRIM_DECAY_MS=600000 LJTRIM_MAX_CPU_PCT=100)

groups() {
	unpoisoned "what a group is charged has to fall, of pages that are young"
	need_library
	cgroup_begin memory || skip "no control groups: $cgroup_why"
	trap 'on_exit; cgroup_end' EXIT
	cgroup_make pressure || skip "no control group: $cgroup_why"
}

# start_in GROUP [VARIABLE=VALUE ...] LOAD: a host in the group, at its peak, with its garbage collected
start_in() {
	start "${@:2:$#-2}" sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$1" \
		"$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" sessions:100000:1000 "${@: -1}" "$TEST_DIR/finish"
	wait_for_line 120 trough
}

end() {
	touch finish
	finish
	grep -q '^verified' out || fail "survivors were not verified"
}

used_kb() { echo $(($(cgroup_get "$1" usage) / 1024)); }
uses_less_than() { [ "$(used_kb "$1")" -lt "$2" ]; }

# fits GROUP KB: the group gets a limit of so much, and nobody is killed. Huge pages that were purged in part are charged in whole
# until the kernel has to look for memory.
fits() {
	cgroup_set "$1" limit $(($2 * 1024)) || fail "$(used_kb "$1") KiB are charged, which do not go below $2"
	wait_until 60 uses_less_than "$1" $(($2 + 1)) || fail "the group is charged $(used_kb "$1") KiB, $2 expected"
	expect_equal "$(cgroup_get "$1" kills)" 0 kills
	is_running "$pid" || fail "the host has ended"
}

# nears BOUND: a bound of that kind comes near, and what is free goes back before it is old.
nears() {
	local before
	groups
	[ "$1" = limit ] || [ $cgroup_version = 2 ] || skip "control groups of version $cgroup_version have no memory.$1"
	start_in "$cgroup" "${LAZY[@]}" light
	expect_at_least "$(rss_kb "$pid")" 50000 "KiB before there is pressure"
	before=$(used_kb "$cgroup")
	cgroup_set "$cgroup" "$1" $(((before + before / 20) * 1024))
	expect_fall "$pid" 20000 "with $before KiB of $((before + before / 20)) used"
	echo "version $cgroup_version: charged $before KiB, then $(used_kb "$cgroup")"
	fits "$cgroup" $((before / 2))
	end
}

test_limit_that_comes_near_is_seen() { nears limit; }
test_throttle_that_comes_near_is_seen() { nears high; }

# A group's limit is its children's, too.
test_limit_of_a_group_above_is_seen() {
	local before above
	groups
	above=$cgroup
	[ $cgroup_version = 1 ] || echo +memory >"$above/cgroup.subtree_control"
	mkdir "$above/below"
	cgroup_made=("$above/below" "$above")
	start_in "$above/below" "${LAZY[@]}" light
	expect_at_least "$(rss_kb "$pid")" 50000 "KiB before there is pressure"
	before=$(used_kb "$above")
	cgroup_set "$above" limit $(((before + before / 20) * 1024))
	expect_fall "$pid" 20000 "with $before KiB of $((before + before / 20)) used above"
	end
}

# Where nothing has a limit the machine's stalls count: another group is throttled by what it allocates.
test_stalls_of_the_machine_are_seen() {
	own_kernel
	groups
	start_in "$cgroup" "${LAZY[@]}" light
	expect_at_least "$(rss_kb "$pid")" 50000 "KiB before there is pressure"
	cgroup_make throttled
	cgroup_set "$cgroup" high $((16 << 20))
	cgroup_set "$cgroup" limit $((256 << 20))
	sh -c 'echo $$ >"$1/cgroup.procs" && exec "$2" -e "local t = {} for i = 1, 1e9 do t[i] = (\"x\"):rep(1000) .. i end"' \
		sh "$cgroup" "$LUAJIT" >/dev/null 2>&1 &
	started+=($!)
	expect_fall "$pid" 20000 "with $(head -n 1 /proc/pressure/memory)"
	echo "$(head -n 1 /proc/pressure/memory)"
	end
}

### Huge pages, always on, and a khugepaged that looks all the time: what it may fill it fills soon

THP=/sys/kernel/mm/transparent_hugepage
hurry() {
	own_kernel
	echo always >$THP/enabled
	echo 1 >$THP/khugepaged/scan_sleep_millisecs
	echo 1 >$THP/khugepaged/alloc_sleep_millisecs
	echo 100000 >$THP/khugepaged/pages_to_scan
}
pss_kb() { awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup"; }
has_scanned() { [ "$(cat $THP/khugepaged/full_scans)" -ge "$1" ]; }

test_pages_stay_away_where_huge_pages_are_always_on() {
	local low
	groups
	hurry
	start_in "$cgroup" LJTRIM_MAX_CPU_PCT=100 idle
	expect_fall "$pid" 20000
	wait_until 120 has_scanned $(($(cat $THP/khugepaged/full_scans) + 20)) || skip "khugepaged does not look"
	echo "after 20 looks of khugepaged: RSS $(rss_kb "$pid") KiB, PSS $(pss_kb "$pid"), charged $(used_kb "$cgroup")"
	expect_at_most "$(rss_kb "$pid")" 20000 "KiB after 20 looks of khugepaged"
	expect_at_most "$(pss_kb "$pid")" 20000 "KiB of PSS after 20 looks of khugepaged"
	fits "$cgroup" 30000
	end
}
