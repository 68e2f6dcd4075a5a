# A plugin that brings a VM for each of many states; one is asked for here.
title='Traffic Server, Lua plugin'
packages='trafficserver'
linkage='libluajit-5.1.so.2, by the plugin tslua.so'

serve() {
	port=$(free_port)
	mkdir -p "$RUN"/{etc,logs,cache,run}
	cat >"$RUN/etc/records.config" <<-EOT
		CONFIG proxy.config.http.server_ports STRING $port
		CONFIG proxy.config.admin.user_id STRING #-1
		CONFIG proxy.config.exec_thread.autoconfig INT 0
		CONFIG proxy.config.exec_thread.limit INT 1
		CONFIG proxy.config.task_threads INT 1
		CONFIG proxy.config.plugin.lua.max_states INT 1
		CONFIG proxy.config.http.cache.http INT 0
		CONFIG proxy.config.output.logfile STRING $RUN/logs/traffic.out
	EOT
	echo "map / http://127.0.0.1:1/ @plugin=/usr/lib/trafficserver/modules/tslua.so @pparam=--states=1 @pparam=$RUN/etc/remap.lua" \
		>"$RUN/etc/remap.config"
	: >"$RUN/etc/storage.config"
	printf 'ip_allow:\n- { apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL }\n' >"$RUN/etc/ip_allow.yaml"
	cat >"$RUN/etc/remap.lua" <<-EOT
		package.path = "$HOSTS/?.lua;" .. package.path
		local garbage = require("garbage")
		function do_remap()
			if ts.client_request.get_uri() == "/peak" then garbage.peak(300000, 3000) end
			ts.http.set_resp(200, garbage.digest() .. "\n")
			return 0
		end
	EOT
	cat >"$RUN/runroot.yaml" <<-EOT
		prefix: $RUN
		sysconfdir: $RUN/etc
		logdir: $RUN/logs
		runtimedir: $RUN/run
		localstatedir: $RUN/run
		cachedir: $RUN/cache
		libexecdir: /usr/lib/trafficserver/modules
	EOT
	host traffic_server --run-root="$RUN/runroot.yaml"
	answers ask "http://127.0.0.1:$port/digest"
}

drive() { ask "http://127.0.0.1:$port/peak" "http://127.0.0.1:$port/digest"; }

stop() {
	drive
	stop_server TERM
}
