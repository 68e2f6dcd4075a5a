title='LuaJIT, command'
packages='luajit'
linkage='static, in the executable, stripped'

serve() { host luajit -e 'require("garbage").script(print)'; }
