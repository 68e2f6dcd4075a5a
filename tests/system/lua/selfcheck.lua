-- A deterministic program that leans on every part of the VM and prints a checksum for each. Its output is the
-- same in every process, whatever happens to freed pages. selfcheck.lua [ROUNDS]

local ffi = require("ffi")
local bit = require("bit")
local rounds = tonumber((...) or arg and arg[1]) or 6

local seed = 12345
local function random(n)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return math.floor(seed / 65536) % n + 1
end

local function checksum(s)
  local a, b = 1, 0
  for i = 1, #s do
    a = (a + s:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return bit.tohex(bit.bor(bit.lshift(b, 16), a))
end

local checks = {}

function checks.strings()
  local parts = {}
  for i = 1, 20000 do parts[i] = string.rep("xyz", random(20)) .. i end
  local joined = table.concat(parts, ",")
  local swapped = joined:gsub("xyz(%d)", "<%1>"):gsub("z", { z = "Z" }):reverse()
  return checksum(joined:sub(1, 100000)) .. checksum(swapped:sub(1, 100000)) .. #swapped
end

function checks.tables()
  local t, sum = {}, 0
  for i = 1, 60000 do t["key" .. random(30000)] = { i, tostring(i), inner = { i % 7 } } end
  for i = 1, 30000, 3 do t["key" .. i] = nil end
  local keys = {}
  for k, v in pairs(t) do
    keys[#keys + 1] = k
    sum = (sum + v[1] + tonumber(v[2]) + v.inner[1]) % 1000000007
  end
  table.sort(keys)
  return checksum(table.concat(keys, " "):sub(1, 100000)) .. "/" .. #keys .. "/" .. sum
end

function checks.closures()
  local adders = {}
  for i = 1, 30000 do
    local n = i
    adders[i] = function(x) n = n + x; return n end
  end
  local sum = 0
  for _ = 1, 3 do
    for i = #adders, 1, -1 do sum = (sum + adders[i](i % 5)) % 1000000007 end
  end
  return tostring(sum)
end

function checks.coroutines()
  local threads, sum = {}, 0
  for i = 1, 3000 do
    threads[i] = coroutine.wrap(function(first)
      local total = first
      for k = 1, 5 do total = total + coroutine.yield(total .. ":" .. k) end
      return tostring(total)
    end)
  end
  for k = 1, 6 do
    for i = 1, #threads do sum = (sum + #threads[i](i * k)) % 1000000007 end
    collectgarbage("step", 200)
  end
  return tostring(sum)
end

function checks.cdata()
  local kept, sum = {}, 0
  for i = 1, 20000 do
    local n = random(120)
    local a = ffi.new("int32_t[?]", n)
    for k = 0, n - 1 do a[k] = bit.bxor(i, k * 7) end
    kept[random(4000)] = { a, n, i }
  end
  for slot = 1, 4000 do
    local entry = kept[slot]
    if entry then
      for k = 0, entry[2] - 1 do
        assert(entry[1][k] == bit.bxor(entry[3], k * 7), "cdata array is damaged")
      end
      sum = (sum + entry[3]) % 1000000007
    end
  end
  return tostring(sum)
end

function checks.sorting()
  local list = {}
  for i = 1, 40000 do list[i] = { key = random(32768), order = i } end
  table.sort(list, function(a, b)
    if a.key ~= b.key then return a.key < b.key end
    return a.order < b.order
  end)
  local parts = {}
  for i = 1, #list, 10 do parts[#parts + 1] = list[i].key .. "." .. list[i].order end
  return checksum(table.concat(parts, " "))
end

function checks.large_blocks()
  local blocks, sum = {}, 0
  for i = 1, 40 do
    blocks[i % 7] = string.rep(string.char(32 + i), 50000 * (1 + i % 9)) .. i
    sum = sum + #blocks[i % 7]
  end
  for i = 34, 40 do
    assert(blocks[i % 7] == string.rep(string.char(32 + i), 50000 * (1 + i % 9)) .. i, "large string is damaged")
  end
  return tostring(sum)
end

function checks.errors_and_weak_tables()
  local weak, caught = setmetatable({}, { __mode = "v" }), 0
  for i = 1, 20000 do
    weak[i] = { i }
    local ok, message = pcall(error, { code = i })
    if not ok and message.code == i then caught = caught + 1 end
  end
  collectgarbage()
  collectgarbage()
  return caught .. "/" .. (next(weak) == nil and "empty" or "kept")
end

local names = {}
for name in pairs(checks) do names[#names + 1] = name end
table.sort(names)
for round = 1, rounds do
  for _, name in ipairs(names) do print(round, name, checks[name]()) end
  collectgarbage()
end
