# The VM is made in the master and lives in the worker that is forked from it.
title='nginx, Lua module, one worker'
packages='nginx-light libnginx-mod-http-lua'
linkage='libluajit-5.1.so.2, by the module'

serve() {
	port=$(free_port)
	mkdir -p "$RUN/temp"
	cat >"$RUN/nginx.conf" <<-EOT
		load_module /usr/lib/nginx/modules/ndk_http_module.so;
		load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
		daemon off;
		user root;
		worker_processes 1;
		pid $RUN/nginx.pid;
		events {}
		http {
			access_log off;
			client_body_temp_path $RUN/temp;
			proxy_temp_path $RUN/temp;
			fastcgi_temp_path $RUN/temp;
			uwsgi_temp_path $RUN/temp;
			scgi_temp_path $RUN/temp;
			lua_package_path "$HOSTS/?.lua;;";
			server {
				listen 127.0.0.1:$port;
				location /peak { content_by_lua_block { require("garbage").peak(300000, 3000) ngx.say("peak") } }
				location /digest { content_by_lua_block { ngx.say(require("garbage").digest()) } }
			}
		}
	EOT
	host nginx -e "$RUN/error.log" -p "$RUN" -c "$RUN/nginx.conf"
	answers ask "http://127.0.0.1:$port/digest"
	vm=$(pgrep -P "$pid")
}

drive() { ask "http://127.0.0.1:$port/peak" "http://127.0.0.1:$port/digest"; }

stop() {
	ask "http://127.0.0.1:$port/digest" "http://127.0.0.1:$port/peak" "http://127.0.0.1:$port/digest"
	stop_server QUIT
	grep -E '\[(warn|error|crit|alert|emerg)\]|exited on signal' "$RUN/error.log" || true
}
