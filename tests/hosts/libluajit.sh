# The shared libraries, each under the same small program.
title='libluajit-5.1-2 in a C program'
packages='libluajit-5.1-2'
linkage='libluajit-5.1.so.2'

serve() { host "$BUILD/hosts/run_lua" "$HOSTS/script.lua"; }
