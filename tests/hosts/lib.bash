# What the cases in this directory share. A case is one real program with LuaJIT inside; it says in variables
#
#   title     what the table calls it
#   packages  the Debian packages that it comes from; scripts/check-hosts unpacks what is not installed
#   linkage   how LuaJIT gets into the process
#
# and in functions, which run in the directory $RUN of one run under set -eu:
#
#   serve     starts the program by `host`, ready to be driven
#   drive     makes Lua garbage inside it; what it prints are the results that have to be the same with the library
#   stop      ends the program; what it prints are results, too
#
# As they are defined here they fit a program that runs garbage.script from garbage.lua to its end.

# host COMMAND [ARG ...]: the program, in the background, as if its packages were installed; sets $pid and $vm, the process
# with the VM in it, which a case may set to another.
host() {
	"$HOSTS/within" "$TREES" env "${PRELOAD[@]}" HOST_FINISH="$RUN/finish" LUA_PATH="$HOSTS/?.lua;;" "$@" \
		>"$RUN/out" 2>"$RUN/err" </dev/null &
	pid=$! vm=$!
	started+=("$pid")
}
started=()

end_started() {
	local p
	for p in "${started[@]}"; do kill -KILL "$p" 2>/dev/null || true; done
}
trap end_started EXIT
trap 'exit 143' TERM INT

fail() {
	printf '%s\n' "$*" >"$RUN/reason"
	exit 1
}

# wait_until SECONDS COMMAND [ARG ...]: true as soon as the command is.
wait_until() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -le $deadline ] || return 1
		sleep 0.05
	done
}

is_gone() { ! [ -e "/proc/$1/status" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

# wait_for SECONDS TEXT FILE: until the program has written it.
wait_for() {
	wait_until "$1" written_or_gone "$2" "$3" && grep -q -- "$2" "$3" ||
		fail "no '$2' in $(basename "$3"): $(tail -qn 3 "$RUN/out" "$RUN/err" | tr '\n' ' ')"
}
written_or_gone() { grep -qs -- "$1" "$2" || is_gone "$pid"; }

# answers COMMAND [ARG ...]: waits until a server does, or has ended.
answers() {
	wait_until 60 answered_or_gone "$@" && "$@" >/dev/null 2>&1 ||
		fail "it does not answer: $(tail -qn 3 "$RUN/out" "$RUN/err" | tr '\n' ' ')"
}
answered_or_gone() { "$@" >/dev/null 2>&1 || is_gone "$pid"; }

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

ask() { curl -sS -f --max-time 60 "$@"; }
resolve() { python3 "$HOSTS/resolve.py" "$@"; }

### A program that runs a script

drive() { wait_for 60 '^peak:' "$RUN/out"; }

stop() {
	local status=0
	touch "$RUN/finish"
	wait "$pid" || status=$?
	grep -E '^(peak|trough|again):' "$RUN/out" || true
	echo "exit status $status"
}

### A server

# stop_server SIGNAL: ends it, and prints how it ended.
stop_server() {
	local status=0
	kill "-$1" "$pid"
	wait_until 20 is_gone "$pid" || fail "it does not end on SIG$1"
	wait "$pid" || status=$?
	echo "exit status $status"
}
