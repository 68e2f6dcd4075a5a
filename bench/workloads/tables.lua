-- tables.lua MILLIONS: tables that grow as they are filled: array parts and hash parts that are allocated anew at
-- each doubling; 1000 are alive.

local n = tonumber(arg[1]) * 1e6 / 40
local recent = {}
for i = 1, n do
  local t = {}
  for k = 1, 30 do t[k] = i + k end
  for k = 1, 10 do t[i * 64 + k] = k end
  recent[i % 1000] = t
end
for i = n - 999, n do assert(recent[i % 1000][30] == i + 30 and recent[i % 1000][i * 64 + 10] == 10) end
