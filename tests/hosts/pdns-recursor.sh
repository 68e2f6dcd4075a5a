# A VM for each thread that loads the script.
title='PowerDNS Recursor'
packages='pdns-recursor'
linkage='libluajit-5.1.so.2'

serve() {
	port=$(free_port)
	cat >"$RUN/script.lua" <<-EOT
		package.path = "$HOSTS/?.lua;" .. package.path
		local garbage = require("garbage")
		function preresolve(dq)
			local name = dq.qname:toString()
			if name == "peak.test." then
				garbage.peak(300000, 3000)
				dq:addAnswer(pdns.A, "10.0.0.1")
				return true
			elseif name == "digest.test." then
				local sum = tonumber(garbage.digest():match("%d+$"))
				dq:addAnswer(pdns.A, "10." .. sum % 256 .. "." .. math.floor(sum / 256) % 256 .. ".1")
				dq.variable = true
				return true
			end
			return false
		end
	EOT
	host pdns_recursor --config-dir="$RUN" --socket-dir="$RUN" --local-address=127.0.0.1 --local-port="$port" \
		--lua-dns-script="$RUN/script.lua" --daemon=no --threads=1 --pdns-distributes-queries=no \
		--security-poll-suffix= --packetcache-ttl=0 --disable-packetcache=yes --write-pid=no --hint-file=no --setuid= --setgid=
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
