# How the nginx tests start, ask and stop a server. Not a group of tests itself.

NGINX=$(command -v nginx || PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx || true)
MODULES=/usr/lib/nginx/modules

# start_nginx [VARIABLE=VALUE ...]: a preloaded server; $workers, $daemon, $user, $code_cache, $init and $init_worker (Lua) shape it. Sets $master.
start_nginx() {
	[ -n "$NGINX" ] || skip "nginx is not installed"
	[ -e $MODULES/ngx_http_lua_module.so ] || skip "nginx's Lua module is not installed"
	configure_nginx
	with_library "$@" "$NGINX" -e "$TEST_DIR/error.log" -p "$TEST_DIR" -c "$TEST_DIR/nginx.conf" \
		>>"$TEST_DIR/out" 2>>"$TEST_DIR/err" &
	launcher=$!
	if [ "${daemon:-off}" = on ]; then
		wait "$launcher" || fail "nginx did not start: $(tail -n 2 "$TEST_DIR/err")"
	else
		started+=("$launcher")
	fi
	wait_until 10 serves pid || fail "nginx does not answer: $(tail -n 2 "$TEST_DIR/error.log" "$TEST_DIR/err")"
	master=$(cat "$TEST_DIR/nginx.pid")
}

# Writes nginx.conf for this test. The Lua files are copied, so that workers of another user can read them.
# Without $init_worker there is no such block: the Lua module, up to 0.10.26, leaves its request in the VM's main thread when that is
# freed, and finalizers that the VM runs there crash (docs/COMPATIBILITY.md).
configure_nginx() {
	local user_line=
	[ "$(id -u)" != 0 ] || user_line="user ${user:-root} $(id -gn "${user:-root}");"
	port=$(free_port)
	mkdir -p "$TEST_DIR/lua" "$TEST_DIR/temp"
	cp "$TEST_SYSTEM"/lua/*.lua "$TEST_DIR/lua/"
	cp -r "$TEST_SYSTEM/../../lualib/resty" "$TEST_DIR/lua/"
	sed -e "s|@modules@|$MODULES|; s|@dir@|$TEST_DIR|g; s|@port@|$port|; s|@user@|$user_line|" \
		-e "s|@daemon@|${daemon:-off}|; s|@workers@|${workers:-1}|; s|@code_cache@|${code_cache:-on}|; s|@init@|${init:-}|; s|@init_worker@|${init_worker:+init_worker_by_lua_block { $init_worker \}}|" \
		"$TEST_SYSTEM/nginx/app.conf" >"$TEST_DIR/nginx.conf"
}

free_port() {
	local port
	while :; do
		port=$((20000 + (RANDOM * 3 + BASHPID) % 12000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
}

# Another nginx of the same configuration, to test it or to send a signal, as an administrator would: with the library.
nginx_command() {
	with_library "$NGINX" -e "$TEST_DIR/error.log" -p "$TEST_DIR" -c "$TEST_DIR/nginx.conf" "$@"
}

# ask NAME: the answer of one handler; fails unless it is a 200.
ask() { curl -sS -f --max-time 60 "http://127.0.0.1:$port/$1"; }

# in_worker LUA: what a chunk of Lua returns in a worker; ljtrim is the module.
in_worker() { curl -sS --fail-with-body --max-time 60 --data-binary "local ljtrim = require('resty.ljtrim') $1" "http://127.0.0.1:$port/run"; }

serves() { ask "$1" >/dev/null 2>&1; }

workers_of() { pgrep -P "$1" || true; }
worker_count_is() { [ "$(workers_of "$1" | wc -l)" = "$2" ]; }

# expect_flawless_load: what wrk reported in wrk.out has no failed request in it.
expect_flawless_load() {
	if grep -E 'Non-2xx|Socket errors' wrk.out; then fail "failed requests: $(grep -E 'Non-2xx|Socket' wrk.out)"; fi
	grep -q 'Requests/sec' wrk.out || fail "no load: $(cat wrk.out)"
}

# Ends the server at once and waits for it; called at the end of each test.
stop_nginx() {
	local file p
	for file in "$TEST_DIR"/nginx.pid "$TEST_DIR"/nginx.pid.oldbin; do
		[ -s "$file" ] || continue
		p=$(cat "$file")
		[ -n "$p" ] && [ -e "/proc/$p" ] || continue
		kill -TERM "$p" 2>/dev/null || true
		within 5 is_gone "$p" || kill -KILL "$p" 2>/dev/null || true
	done
}

# quit_nginx: a graceful end, in silence.
quit_nginx() {
	kill -QUIT "$master"
	wait_until 25 is_gone "$master" || fail "nginx did not quit"
	[ "${daemon:-off}" = on ] || wait "$launcher" || fail "nginx ended with status $?"
	expect_healthy_nginx
}

# expect_healthy_nginx: no complaint in the log, no signal that killed a worker, no word from the library.
expect_healthy_nginx() {
	local complaint
	complaint=$(grep -hE '\[(warn|error|crit|alert|emerg)\]|exited on signal' "$TEST_DIR/error.log" "$TEST_DIR/err" |
		grep -v 'lua_code_cache is off' | head -n 1) || true
	[ -z "$complaint" ] || fail "in nginx's log: $complaint"
	if [ -z "${library_may_speak-}" ]; then
		expect_silence "$TEST_DIR/error.log"
		expect_silence "$TEST_DIR/err"
	fi
}
