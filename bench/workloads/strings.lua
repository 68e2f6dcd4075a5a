-- strings.lua MILLIONS: short strings, all different; the last 64k of them are alive.

local n = tonumber(arg[1]) * 1e6
local recent = {}
for i = 1, n do recent[i % 65536] = "key:" .. i end
for i = n - 65535, n do assert(recent[i % 65536] == "key:" .. i) end

os.exit(0) -- without closing the state: a closed arena has no statistics at exit
