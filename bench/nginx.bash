# A real nginx for the measures that need one, with the demo's configuration and application. Read by them.

nginx=$(PATH=$PATH:/usr/sbin command -v nginx)
modules=$($nginx -V 2>&1 | tr ' ' '\n' | sed -n 's/^--modules-path=//p')
[ -e "$modules/ngx_http_lua_module.so" ] || die "nginx has no Lua module; scripts/install-deps installs it"
declare -A master url

# start_nginx NAME VARIANT WORKERS [PREFIX ...]: sets master[NAME] and url[NAME]; PREFIX is a command that runs a command
start_nginx() {
	local name=$1 prefix=$work/nginx.$1 variant=$2 workers=$3 port user= try
	shift 3
	[ "$(id -u)" != 0 ] || user="user nobody $(id -gn nobody);"
	mkdir -p "$prefix"
	cp scripts/breathing/sessions.lua "$prefix/"
	for try in 1 2 3 4 5; do
		port=$((20000 + RANDOM % 12000))
		sed -e "s|@MODULES@|$modules|; s|@PREFIX@|$prefix|; s|@PORT@|$port|; s|@USER@|$user|" \
			-e "s|^worker_processes .*|worker_processes $workers;|" scripts/breathing/nginx.conf.in >"$prefix/nginx.conf"
		env $(environment_of "$variant") "$@" "$nginx" -p "$prefix" -e "$prefix/error.log" -c "$prefix/nginx.conf" \
			2>"$prefix/stderr" &
		master[$name]=$! url[$name]=http://127.0.0.1:$port
		sleep 0.5
		if curl -sf -o /dev/null --retry 5 --retry-connrefused "${url[$name]}/page?id=1"; then
			background+=("${master[$name]}")
			return
		fi
		kill "${master[$name]}" 2>/dev/null || true
	done
	die "nginx did not start: $(tail -n 2 "$prefix/stderr")"
}

workers_of() { pgrep -P "$1" || true; }

# complaints NAME: lines in the log that should not be there
complaints() {
	cat "$work/nginx.$1/error.log" "$work/nginx.$1/stderr" |
		grep -Ec '\[(warn|error|crit|alert|emerg)\]|exited on signal|ljtrim:' || true
}

stop_nginx() {
	local name
	for name in "$@"; do kill -QUIT "${master[$name]}"; done
	for name in "$@"; do wait "${master[$name]}" || die "the $name nginx ended with status $?"; done
	background=()
}

# crowd NAME SESSIONS [QUERY]: so many users log in and leave again.
crowd() {
	local status
	status=$(curl -s -o /dev/null -w '%{http_code} ' "${url[$1]}/login?from=[1-$2:1000]&count=1000")
	status+=$(curl -s -o /dev/null -w '%{http_code}' "${url[$1]}/expire?${3:-}")
	printf '%s\n' $status >>"$work/codes.$1"
}

# read_figures FILE: what wrk.lua has printed: sets requests, seconds, p50, p99, p999 (us), errors
read_figures() { read -r label requests seconds p50 p99 p999 errors < <(grep ^figures "$1") || die "wrk failed"; }

# burst NAME SECONDS CONNECTIONS [WRK OPTION ...]: of requests, with read_figures
burst() {
	wrk -t1 -c"$3" -d"$2s" "${@:4}" -s scripts/breathing/wrk.lua "${url[$1]}" >"$work/wrk.$1" || die "wrk failed"
	read_figures "$work/wrk.$1"
}
