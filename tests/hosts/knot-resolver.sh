title='Knot Resolver (kresd)'
packages='knot-resolver'
linkage='libluajit-5.1.so.2'

serve() {
	port=$(free_port)
	cat >"$RUN/kresd.conf" <<-EOT
		package.path = "$HOSTS/?.lua;" .. package.path
		net.listen("127.0.0.1", $port, { kind = "dns" })
		local garbage = require("garbage")
		policy.add(policy.suffix(function() garbage.peak(300000, 3000) return policy.DENY end, { todname("peak.test.") }))
		policy.add(policy.suffix(function()
			local sum = tonumber(garbage.digest():match("%d+$"))
			return policy.ANSWER({ [kres.type.A] = {
				rdata = kres.str2ip("10." .. sum % 256 .. "." .. math.floor(sum / 256) % 256 .. ".1"), ttl = 0 } })
		end, { todname("digest.test.") }))
	EOT
	host kresd -n -c "$RUN/kresd.conf" "$RUN"
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
