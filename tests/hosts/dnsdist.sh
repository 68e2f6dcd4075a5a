# One VM for the configuration and its rules, and one more for each thread that runs per-thread functions.
title='dnsdist'
packages='dnsdist'
linkage='libluajit-5.1.so.2'

serve() {
	port=$(free_port)
	cat >"$RUN/dnsdist.conf" <<-EOT
		package.path = "$HOSTS/?.lua;" .. package.path
		setLocal("127.0.0.1:$port")
		setSecurityPollSuffix("")
		garbage = require("garbage")
		addAction("peak.test", LuaAction(function() garbage.peak(300000, 3000) return DNSAction.Spoof, "10.0.0.1" end))
		addAction("digest.test", LuaAction(function()
			local sum = tonumber(garbage.digest():match("%d+$"))
			return DNSAction.Spoof, "10." .. sum % 256 .. "." .. math.floor(sum / 256) % 256 .. ".1"
		end))
	EOT
	host dnsdist --supervised -C "$RUN/dnsdist.conf" --disable-syslog
	answers resolve "$port" digest.test
}

drive() {
	resolve "$port" peak.test
	resolve "$port" digest.test
}

stop() {
	drive
	stop_server TERM
}
