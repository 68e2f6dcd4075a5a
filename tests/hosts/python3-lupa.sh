# Python loads the module, and LuaJIT with it, with RTLD_LOCAL: no symbol of Lua's is visible to others.
title='Python, module lupa'
packages='python3-lupa'
linkage='libluajit-5.1.so.2, loaded RTLD_LOCAL'

serve() {
	host /usr/bin/python3 -c '
import lupa, sys
lua = lupa.LuaRuntime()
lua.execute("require(\"garbage\").script(print)")
'
}
