# One worker, with a rule of its own for each message.
title='rspamd, one worker'
packages='rspamd'
linkage='libluajit-5.1.so.2'

serve() {
	port=$(free_port)
	cat >"$RUN/rspamd.conf" <<-EOT
		lua = "$RUN/rspamd.lua";
		options { pidfile = "$RUN/rspamd.pid"; tempdir = "$RUN"; url_tld = "$RUN/tld.dat"; dns { nameserver = ["127.0.0.1:1"]; } }
		logging { type = "console"; level = "warning"; }
		worker "normal" { bind_socket = "127.0.0.1:$port"; count = 1; task_timeout = 60s; }
		metric { name = "default"; actions { reject = 15; } }
	EOT
	cat >"$RUN/rspamd.lua" <<-EOT
		package.path = "$HOSTS/?.lua;" .. package.path
		local garbage = require("garbage")
		rspamd_config:register_symbol({ name = "GARBAGE", score = 1.0, type = "normal", callback = function(task)
			if task:get_subject() == "peak" then garbage.peak(300000, 3000) end
			return true, 1.0, garbage.digest()
		end })
	EOT
	printf 'test\nexample\n' >"$RUN/tld.dat" # the real list takes it half a minute to compile
	host rspamd -f -u root -g root -i -c "$RUN/rspamd.conf"
	answers mail nothing
	vm=$(pgrep -P "$pid" -f 'normal process')
}

mail() { printf 'From: a@test\r\nTo: b@test\r\nSubject: %s\r\n\r\nHello.\r\n' "$1" | ask --data-binary @- "http://127.0.0.1:$port/checkv2" | grep -o '[0-9]* objects, digest [0-9]*'; }

drive() {
	mail peak
	mail nothing
}

stop() {
	drive
	stop_server TERM
}
