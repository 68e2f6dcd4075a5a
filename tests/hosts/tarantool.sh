# Its own LuaJIT, and its own coroutines, each with a stack of its own.
title='Tarantool'
packages='tarantool'
linkage="its own, static in the executable"

serve() { host tarantool "$HOSTS/tarantool.lua"; }
