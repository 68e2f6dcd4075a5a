title='libluajit2-5.1-2 in a C program'
packages='libluajit2-5.1-2'
linkage='libluajit-5.1.so.2, OpenResty'"'"'s'

serve() { host "$BUILD/hosts/run_lua" "$HOSTS/script.lua"; }
