-- alternate.lua COUNT GO_FILE FINISH_FILE: so many blocks of two pages, each beside a small one that stays. Prints `peak`,
-- drops the blocks when GO_FILE exists, prints `trough`, and at the end `verified COUNT`. With LARGE=N in the environment
-- there are N blocks of 300 KiB besides, which lj_alloc maps directly: before the end, `large N, advised M` says how many of
-- them meet a mapping that is kept out of huge pages.

local ffi = require("ffi")
local process = require("process")
local LARGE_SIZE = 300 * 1024
local count, go, finish = tonumber(arg[1]), arg[2], arg[3]
io.stdout:setvbuf("line")

local large = {}
local function add_large()
  local i = #large + 1
  large[i] = ffi.new("char[?]", LARGE_SIZE)
  ffi.fill(large[i], LARGE_SIZE, i % 128)
end

local function verify_large(i)
  for at = 0, LARGE_SIZE - 1 do assert(large[i][at] == i % 128, "large block is damaged") end
end

-- The ranges of this process's mappings that have the flag `nh`.
local function advised_ranges()
  local ranges, lo, hi = {}, nil, nil
  for line in io.lines("/proc/self/smaps") do
    local from, to = line:match("^(%x+)-(%x+) ")
    if from then lo, hi = tonumber(from, 16), tonumber(to, 16) end
    if line:match("^VmFlags:.* nh") then ranges[#ranges + 1] = { lo, hi } end
  end
  return ranges
end

local function count_advised()
  local n, ranges = 0, advised_ranges()
  for i = 1, #large do
    local at = tonumber(ffi.cast("uintptr_t", large[i]))
    for _, range in ipairs(ranges) do
      if at < range[2] and at + LARGE_SIZE > range[1] then
        n = n + 1
        break
      end
    end
  end
  return n
end

local stay, block = {}, {}
local wanted = tonumber(os.getenv("LARGE") or 0)
for i = 1, count do
  if #large < wanted and i % math.floor(count / wanted) == 0 then add_large() end
  block[i] = ("b"):rep(8300) .. i
  stay[i] = ("s"):rep(200) .. i
end
print("peak")
while not process.exists(go) do process.sleep_ms(20) end
block = nil
collectgarbage()
collectgarbage()
print("trough")
while not process.exists(finish) do process.sleep_ms(20) end
for i = 1, count do assert(stay[i] == ("s"):rep(200) .. i) end
for i = 1, #large do verify_large(i) end
if wanted > 0 then print(("large %d, advised %d"):format(#large, count_advised())) end
print("verified " .. count)
