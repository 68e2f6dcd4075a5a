# ljtrim report: what it writes down about real processes, and what it leaves alone.

. "$TEST_SYSTEM/cases/nginx.bash"

ljtrim() { "$LJT_TOOL" "$@"; }
need_tool() {
	[ -x "$LJT_TOOL" ] || skip "the command ljtrim is not built"
	need_command python3
}

# check_report FILE EXPRESSION: it is well-formed, needs nothing from elsewhere, has both pictures and text for who does
# not see them; and the expression is true of `facts` (by name) and `text`, all words of it.
check_report() {
	python3 - "$@" <<-'PYTHON' || fail "$1 is not as it should be: $(tail -n 1 "$TEST_DIR/test.log")"
		import html.parser, re, sys, xml.etree.ElementTree as tree
		raw = open(sys.argv[1], encoding="utf-8").read()
		assert len(raw) < 500000, "%d bytes" % len(raw)
		root = tree.fromstring(raw)
		names = [e.tag.split("}")[1] for e in root.iter()]
		assert "script" not in names and "image" not in names and "img" not in names and "link" not in names
		for e in root.iter():
		    for key, value in e.attrib.items():
		        assert key.split("}")[-1] not in ("href", "src") and not key.startswith("on"), (key, value)
		        assert "url(" not in value, value
		assert "@import" not in raw and "url(" not in raw
		assert set(re.findall("https?://[^\"<> ]*", raw)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
		assert "prefers-color-scheme" in raw
		pictures = [e for e in root.iter() if e.tag == "{http://www.w3.org/2000/svg}svg"]
		assert len(pictures) == (2 if sys.argv[1].endswith(".html") else 1), len(pictures)
		for p in pictures:
		    width, height = float(p.get("width")), float(p.get("height"))
		    assert p.get("role") == "img" and len(p.get("aria-label")) > 40
		    assert [c.tag.split("}")[1] for c in p][:2] == ["title", "desc"]
		    for t in p.iter("{http://www.w3.org/2000/svg}text"):
		        assert 0 <= float(t.get("x")) <= width and 0 <= float(t.get("y")) <= height, t.attrib
		    for path in p.iter("{http://www.w3.org/2000/svg}path"):
		        for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", path.get("d")):
		            assert 0 <= int(x) <= width and 0 <= int(y) <= height, (x, y)
		    assert sum(e.find("{http://www.w3.org/2000/svg}title") is not None for e in p) >= 1
		if sys.argv[1].endswith(".html"):
		    class Strict(html.parser.HTMLParser):
		        open = []
		        def handle_startendtag(self, tag, attributes): pass
		        def handle_starttag(self, tag, attributes): self.open.append(tag)
		        def handle_endtag(self, tag):
		            assert self.open.pop() == tag, tag
		    s = Strict(); s.feed(raw); s.close()
		    assert raw.startswith("<!DOCTYPE html>") and not s.open and root.get("lang") == "en"
		text = " ".join(" ".join(root.itertext()).split())
		rows = [[" ".join("".join(c.itertext()).split()) for c in e] for e in root.iter() if e.tag.endswith("}tr")]
		facts = {r[0]: r[1] for r in rows if len(r) == 2}
		def mib(s):
		    number, unit = s.split()[:2]
		    return float(number) * {"B": 1 / 1048576, "KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit.strip(",")]
		samples = [r for r in rows if len(r) == 5 and r[0] != "after"]
		assert eval("(%s)" % sys.argv[2]), (sys.argv[2], facts, samples[-1:])
	PYTHON
}

start_peak() {
	start "$@" "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" "sessions:$(sized 100000):1000" idle "$TEST_DIR/finish"
	wait_for_line 60 trough
}

test_report_of_a_plain_process_names_what_it_holds() {
	need_tool
	without_library
	start_peak
	ljtrim report "$pid" --seconds 2 --interval 0.2 -o plain.html >said
	check_report plain.html '"libljtrim would return" in text and mib(facts["libljtrim would return"]) > 20 and
		mib(facts["Resident in LuaJIT'"'"'s arenas"]) > 3 * mib(facts["Page floor: needed pages"]) and
		facts["What looking has cost it"].startswith("stopped ") and len(samples) >= 3 and
		mib([s for s in samples if s[2] != "-"][-1][2]) > 20'
	tail -n 1 said | grep -qx 'plain.html' || fail "said: $(cat said)"
	ljtrim report "$pid" --seconds 1 -o plain.svg >said
	check_report plain.svg '"would return" in text and "page floor" in text and "Arena " in text'
	touch finish
	finish
}

test_report_stops_nobody_who_asks_for_that() {
	need_tool
	without_library
	start_peak
	ljtrim report "$pid" --seconds 1 --interval 0.2 --no-stop -o rough.html >said
	check_report rough.html 'facts["What looking has cost it"] == "never stopped" and "approximate" in facts["How"]'
	touch finish
	finish
}

test_report_of_a_preloaded_process_shows_the_librarys_figures() {
	need_library
	need_tool
	start_peak "${EAGER[@]}"
	expect_floor "$pid" 30
	ljtrim report "$pid" --seconds 1 --interval 0.2 -o loaded.html >said
	ljtrim stats "$pid" --json >stats.json
	check_report loaded.html 'facts["What looking has cost it"] == "never stopped" and
		"libljtrim is loaded and has returned" in text and "LJTRIM_DECAY_MS=0" in facts["The library'"'"'s options"] and
		abs(mib(facts["Resident in LuaJIT'"'"'s arenas"]) - __import__("json").load(open("stats.json"))["total"]["resident"] / 1048576) < 1'
	touch finish
	finish
}

test_report_reads_an_nginx_worker_while_it_breathes() {
	local worker report
	need_tool
	without_library
	start_nginx
	worker=$(ask pid)
	"$LJT_TOOL" report "$worker" --seconds 6 --interval 0.2 -o worker.html >said &
	report=$!
	started+=("$report")
	wait_until 20 has_seen_it "$report" || fail "it does not watch"
	ask peak >/dev/null
	wait "$report" || fail "the report failed"
	check_report worker.html 'facts["Process"].startswith("nginx, ") and "holds" in text and
		mib(facts["RSS of the process"].split("at most ")[1]) > 2 * mib(samples[0][1])'
	expect_equal "$(ask verify)" "verified 100" "answer"
	expect_equal "$(ask pid)" "$worker" "worker"
	quit_nginx
}

test_report_writes_what_it_has_when_interrupted() {
	local signal report
	need_tool
	without_library
	start_peak
	for signal in INT TERM; do
		"$LJT_TOOL" report "$pid" --seconds 0 --interval 0.1 -o "$signal.html" >said &
		report=$!
		started+=("$report")
		# Until it watches: then the signal is its own to handle.
		wait_until 20 watches "$report" || fail "it does not watch"
		kill -"$signal" "$report"
		wait "$report" || fail "SIG$signal: status $?"
		check_report "$signal.html" '"then the report was interrupted" in facts["When"]'
		grep -q '^Interrupted after' said || fail "said: $(cat said)"
	done
	touch finish
	finish
}

# Its handler for SIGTERM is in place (bit 15 of SigCgt), and it is no longer the shell that becomes it.
watches() { [ "$(cat "/proc/$1/comm")" = ljtrim ] && (($((16#$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status"))) >> 14 & 1)); }

test_report_writes_what_it_has_when_the_process_ends() {
	local report
	need_tool
	without_library
	start_peak
	"$LJT_TOOL" report "$pid" --seconds 0 --interval 0.1 -o ended.html >said 2>errors &
	report=$!
	started+=("$report")
	wait_until 20 has_seen_it "$report" || fail "it does not watch"
	kill -KILL "$pid"
	wait "$report" || fail "status $?: $(cat errors)"
	check_report ended.html '"then the process ended" in facts["When"] and mib(facts["libljtrim would return"]) > 20'
	grep -q "^Process $pid ended after" said || fail "said: $(cat said)"
}

# It sleeps between two samples (ppoll), which it does only after the first.
has_seen_it() { [ "$(cut -d ' ' -f 1 "/proc/$1/syscall" 2>/dev/null)" = 271 ]; }

test_report_replaces_ordinary_files_alone() {
	local status=0 path
	need_tool
	without_library
	start_peak
	echo before >there.html
	ljtrim report "$pid" --seconds 1 -o there.html >said
	check_report there.html 'True'
	mkfifo pipe.html
	ln -s nowhere link.svg
	mkdir directory.html
	for path in pipe.html link.svg directory.html missing/report.html; do
		status=0
		ljtrim report "$pid" --seconds 1 -o "$path" >said 2>refused || status=$?
		expect_equal "$status" 1 "status for $path"
		expect_equal "$(wc -l <refused)" 1 "lines about $path"
	done
	[ -p pipe.html ] && [ "$(readlink link.svg)" = nowhere ] && [ -d directory.html ] || fail "something was replaced"
	expect_equal "$(find . -name '*.new')" "" "temporary files"
	touch finish
	finish
}

# expect_refusal STATUS ARGUMENT ...: ends with it, says why in one line, and writes nothing.
expect_refusal() {
	local wanted=$1 status=0
	shift
	ljtrim report "$@" >said 2>refused || status=$?
	expect_equal "$status" "$wanted" "status of report $*"
	expect_equal "$(wc -l <refused)" 1 "lines about report $*"
	grep -q '^ljtrim: ' refused || fail "said: $(cat refused)"
	[ -z "$(find . -name '*.html')" ] || fail "report $* has left a file"
}

test_report_says_in_a_line_what_is_wrong() {
	unpoisoned "nothing is preloaded"
	need_tool
	start_plain sleep 60
	expect_refusal 2
	expect_refusal 2 "$pid" --interval 0.01
	expect_refusal 2 "$pid" --interval nan
	expect_refusal 2 "$pid" --seconds -1
	expect_refusal 2 "$pid" -o report.pdf
	expect_refusal 2 "$pid" --speed 9
	expect_refusal 3 4194304
	expect_refusal 5 "$pid"
	if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
		mkdir -m 777 open
		cp "$LJT_TOOL" open/ljtrim
		chmod 755 open/ljtrim
		local LJT_TOOL=$TEST_DIR/open/as_nobody
		printf '#!/bin/sh\ncd "%s" && exec setpriv --reuid 65534 --regid 65534 --clear-groups ./ljtrim "$@"\n' \
			"$TEST_DIR/open" >"$LJT_TOOL"
		chmod 755 "$LJT_TOOL"
		expect_refusal 4 "$pid"
	fi
}

test_report_of_a_large_heap_stays_small() {
	need_tool
	without_library
	start "$LUAJIT" "$TEST_SYSTEM/lua/peak.lua" sessions:600000:300 idle "$TEST_DIR/finish"
	wait_for_line 90 trough
	ljtrim report "$pid" --seconds 2 --interval 0.1 -o large.html >said
	ljtrim report "$pid" --seconds 1 -o large.svg >said
	check_report large.html 'mib(facts["Resident in LuaJIT'"'"'s arenas"]) > 250'
	check_report large.svg '"1 cell = " in text'
	touch finish
	finish
}
