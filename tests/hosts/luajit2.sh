title='LuaJIT of OpenResty, command'
packages='luajit2'
linkage='static, in the executable, stripped'

serve() { host luajit -e 'require("garbage").script(print)'; }
