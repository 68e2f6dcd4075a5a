# Transparent huge pages: where they are always on, Lua heaps are kept out of them, by whole segments.

# start_under WORD [VARIABLE=VALUE ...] COMMAND ...: as start, where the kernel seems to have set huge pages to WORD
start_under() {
	local word=$1
	shift
	[ "$(id -u)" = 0 ] || skip "needs root to put a file in front of the kernel's"
	need_command unshare
	[ -e /sys/kernel/mm/transparent_hugepage/enabled ] || skip "no transparent huge pages here"
	echo "$word" >enabled
	unshare --mount mount --bind enabled /sys/kernel/mm/transparent_hugepage/enabled || skip "no mount namespaces here"
	start "${@:1:$#-1}" unshare --mount sh -c \
		'mount --bind "$1" /sys/kernel/mm/transparent_hugepage/enabled && shift && exec "$@"' sh "$PWD/enabled" \
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
	wait_until 60 rss_below "$pid" $((peak / 5)) || fail "RSS $(rss_kb "$pid") KiB of $peak KiB"
	more=$(($(mappings) - before))
}

end() {
	touch finish
	finish
	grep -q "^verified $1" out || fail "survivors were not verified"
}

test_mappings_do_not_grow_by_100000_runs() {
	need_library
	start_under '[always] madvise never' 100000
	local peak more
	trough
	expect_at_least "$(kept_out_kb)" 20000 "KiB in mappings without huge pages"
	expect_at_most "$more" 16 "mappings more than before the purge"
	end 100000
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
