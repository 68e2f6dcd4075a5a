-- steady.lua PEAK KEEP (both in thousands) RATE SECONDS FINISH_FILE: the cache of lru.lua after its peak, at a rate: so
-- many new sessions a second, and as many requests for one that it has. What an overloaded machine delays is made up for.
-- Prints `traffic` when it begins and `served SESSIONS` after as many seconds; waits for FINISH_FILE; then `allocated BYTES`
-- (of all that traffic, reckoned from some more of it) and `verified COUNT`.

local ffi, process, lru = require("ffi"), require("process"), require("lru")
ffi.cdef "struct clock { long s, ns; }; int clock_gettime(int clock, struct clock *now);"

local clock = ffi.new("struct clock")
local function now()
  ffi.C.clock_gettime(1, clock) -- CLOCK_MONOTONIC
  return tonumber(clock.s) + tonumber(clock.ns) / 1e9
end

local peak, keep, rate, seconds = tonumber(arg[1]) * 1000, tonumber(arg[2]) * 1000, tonumber(arg[3]), tonumber(arg[4])
io.stdout:setvbuf("line")

local cache, last = lru.new(), peak
for id = 1, peak do cache:get(id) end
cache:shrink(keep)
collectgarbage()
print("traffic")

math.randomseed(11)
local function serve(sessions)
  for _ = 1, sessions do
    last = last + 1
    cache:get(last)
    cache:get(last - math.random(keep / 2))
    cache:shrink(keep)
  end
end

local served, began = 0, now()
while served < rate * seconds do
  local due = math.min(math.floor((now() - began) * rate), rate * seconds)
  serve(due - served)
  served = due
  process.sleep_ms(10)
end
print("served " .. served)
while not process.exists(arg[5]) do process.sleep_ms(20) end

collectgarbage("stop")
local before = collectgarbage("count")
serve(1000)
print(("allocated %.0f"):format((collectgarbage("count") - before) * 1.024 * served))
local verified = cache:verify()
assert(verified == keep)
print("verified " .. verified)
os.exit(0) -- without closing the state: a closed arena has no statistics at exit
