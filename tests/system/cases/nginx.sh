# Real nginx with its Lua module.

. "$TEST_SYSTEM/cases/nginx.bash"

### Memory

test_worker_breathes() {
	local worker
	need_library
	start_nginx
	worker=$(ask pid)
	expect_equal "$(ask peak)" "peak passed" "answer"
	echo "after the peak: $(rss_kb "$worker") KiB"
	expect_fall "$worker" 40000
	expect_equal "$(ask verify)" "verified 100" "answer"
	for _ in 1 2 3; do
		ask peak >/dev/null
		ask verify | grep -q 'verified 100' || fail "survivors are damaged"
	done
	expect_fall "$worker" 40000 "after four peaks"
	expect_equal "$(ask verify)" "verified 100" "answer"
	expect_equal "$(ask pid)" "$worker" "worker"
	quit_nginx
}

test_survivors_are_intact_under_eager_purging() {
	need_command wrk
	start_nginx "${EAGER[@]}"
	wrk --timeout 60s -t1 -c8 -d5s "http://127.0.0.1:$port/work" >wrk.out
	expect_flawless_load
	ask peak >/dev/null
	ask verify | grep -q verified || fail "survivors are damaged"
	wrk --timeout 60s -t1 -c8 -d3s "http://127.0.0.1:$port/work" >wrk.out
	expect_flawless_load
	ask verify | grep -q verified || fail "survivors are damaged"
	quit_nginx
}

test_one_vm_per_request() {
	need_command wrk
	local worker mappings
	code_cache=off
	start_nginx "${EAGER[@]}"
	worker=$(ask pid)
	wrk --timeout 60s -t1 -c4 -d1s "http://127.0.0.1:$port/work" >wrk.out
	mappings=$(wc -l <"/proc/$worker/maps")
	wrk --timeout 60s -t1 -c4 -d4s "http://127.0.0.1:$port/work" >wrk.out
	expect_flawless_load
	ask peak >/dev/null
	expect_at_most "$(wc -l <"/proc/$worker/maps")" $((mappings + 24)) "mappings of the worker"
	expect_equal "$(ask pid)" "$worker" "worker"
	quit_nginx
}

### Lifecycle

# reloads_under_load: twenty reloads while requests come in, each on a new connection.
reloads_under_load() {
	local load i
	need_command wrk
	start_nginx "${EAGER[@]}"
	wrk --timeout 60s -t1 -c6 -d60s --timeout 10s -H 'Connection: close' "http://127.0.0.1:$port/work" >wrk.out &
	load=$!
	started+=("$load")
	for i in $(seq "$(sized 20 2)"); do
		sleep 0.5
		if [ $((i % 4)) = 0 ]; then
			nginx_command -s reload 2>reload.err
			expect_silence reload.err
		else
			kill -HUP "$master"
		fi
		[ $((i % 5)) != 0 ] || ask burst >/dev/null
	done
	sleep 0.5
	kill -INT "$load" # wrk's way to stop early with a report
	wait "$load"
	expect_flawless_load
	wait_until 10 worker_count_is "$master" "${workers:-1}" || fail "$(workers_of "$master" | wc -l) workers are left"
	expect_equal "$(cat "$TEST_DIR/nginx.pid")" "$master" "master"
	quit_nginx
}

test_twenty_reloads_under_load() { reloads_under_load; }
test_twenty_reloads_under_load_with_two_workers() { workers=2 && reloads_under_load; }
test_twenty_reloads_under_load_as_daemon() { daemon=on && reloads_under_load; }

test_daemon_breathes_and_quits() {
	local worker
	need_library
	daemon=on
	start_nginx
	worker=$(ask pid)
	ask peak >/dev/null
	expect_fall "$worker" 40000
	quit_nginx
}

test_worker_of_another_user_breathes() {
	local worker
	need_library
	[ "$(id -u)" = 0 ] || skip "needs root"
	user=nobody
	start_nginx
	worker=$(ask pid)
	expect_equal "$(status_of "$worker" Uid)" "$(id -u nobody)" "user of the worker"
	ask peak >/dev/null
	expect_fall "$worker" 40000
	expect_equal "$(ask verify)" "verified 100" "answer"
	quit_nginx
}

test_titles_of_processes_are_kept() {
	start_nginx
	tr '\0' ' ' <"/proc/$master/cmdline" | grep -q '^nginx: master process' || fail "title of the master"
	tr '\0' ' ' <"/proc/$(ask pid)/cmdline" | grep -q '^nginx: worker process' || fail "title of the worker"
	quit_nginx
}

test_configuration_check_and_reload_command_are_silent() {
	start_nginx
	nginx_command -t 2>check.err || fail "nginx -t: $(cat check.err)"
	expect_equal "$(grep -vc '^nginx: ' check.err || true)" 0 "foreign lines of nginx -t: $(cat check.err)"
	nginx_command -s reload 2>reload.err || fail "nginx -s reload: $(cat reload.err)"
	expect_equal "$(grep -vc '^nginx: ' reload.err || true)" 0 "foreign lines of nginx -s reload: $(cat reload.err)"
	wait_until 5 serves work || fail "no answer after the reload"
	quit_nginx
}

test_graceful_quit_with_open_connections() {
	local clients=() client i
	start_nginx "${EAGER[@]}"
	ask peak >/dev/null
	for i in 1 2 3 4 5; do
		curl -sSN "http://127.0.0.1:$port/slow" >"slow.$i" &
		clients+=($!)
	done
	for i in 1 2 3 4 5; do wait_until 10 grep -q begun "slow.$i" || fail "request $i has not begun"; done
	kill -QUIT "$master"
	for client in "${clients[@]}"; do wait "$client" || fail "a request was cut off"; done
	for i in 1 2 3 4 5; do grep -q finished "slow.$i" || fail "an answer is incomplete"; done
	wait_until 10 is_gone "$master" || fail "nginx did not quit"
	expect_healthy_nginx
}

test_commands_started_by_handlers() {
	start_nginx "${EAGER[@]}"
	ask peak >/dev/null
	for _ in {1..20}; do
		expect_equal "$(ask popen)" "from a pipe" "answer"
		expect_equal "$(ask execute)" "from a shell" "answer"
		ask work >/dev/null
	done
	ask verify >/dev/null || fail "survivors are damaged"
	quit_nginx
}

### SIGUSR2

test_worker_dumps_statistics() {
	local worker
	need_library
	start_nginx
	worker=$(ask pid)
	ask peak >/dev/null
	wait_until 10 has_reclaimer "$worker" || fail "no reclaimer"
	kill -USR2 "$worker"
	wait_until 3 grep -q 'floor .*purgeable' error.log err || fail "no dump in the error log"
	wait_until 3 grep -q 'signal 12 (SIGUSR2) received.*ignoring' error.log || fail "nginx's own handler did not run"
	expect_equal "$(ask pid)" "$worker" "worker"
	expect_equal "$(ask verify)" "verified 100" "answer"
	library_may_speak=yes quit_nginx
}

test_master_still_upgrades_its_binary() {
	local old=
	daemon=on
	start_nginx "${EAGER[@]}"
	old=$master
	kill -USR2 "$old"
	wait_until 10 test -s nginx.pid.oldbin || fail "no upgrade: $(tail -n 3 error.log)"
	wait_until 10 test -s nginx.pid || fail "no new master"
	master=$(cat nginx.pid)
	[ "$master" != "$old" ] || fail "no new master"
	wait_until 5 grep -q 'start worker process' error.log
	if [ -n "$LJT_SO" ]; then
		grep -q "$LJT_SO" "/proc/$master/maps" || fail "the new master is not preloaded"
		grep -q 'ljtrim:' error.log err || fail "the master did not say a word about its state"
	fi
	kill -QUIT "$old"
	wait_until 10 is_gone "$old" || fail "the old master did not quit"
	serves work || fail "the new server does not answer"
	library_may_speak=yes quit_nginx
}
