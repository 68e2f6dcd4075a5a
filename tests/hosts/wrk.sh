# A VM a thread, and one more for the summary. Each thread's first request makes garbage and waits; the requests that
# follow tell a server what survived.
title='wrk with a script, 2 threads'
packages='wrk'
linkage='libluajit-5.1.so.2'

serve() {
	port=$(free_port)
	python3 "$HOSTS/listener.py" "$port" "$RUN/heard" &
	started+=("$!")
	answers_at "$port"
	host wrk -t 2 -c 2 -d 2s --timeout 60s -s "$HOSTS/wrk.lua" "http://127.0.0.1:$port/"
}

answers_at() { wait_until 10 ask -o "$RUN/ready" "http://127.0.0.1:$1/ready" 2>/dev/null || fail "no listener"; }

drive() { wait_until 60 both_at_the_peak || fail "no peak: $(tail -n 3 "$RUN/out")"; }
both_at_the_peak() { [ "$(grep -c '^peak:' "$RUN/out")" = 2 ] || is_gone "$pid"; }

stop() {
	local status=0
	touch "$RUN/finish"
	wait "$pid" || status=$?
	grep -E '^(peak|trough|again|done):' "$RUN/out" | sort -u
	grep digest "$RUN/heard" | sort -u
	echo "exit status $status"
}
