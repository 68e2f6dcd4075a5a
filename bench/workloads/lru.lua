-- lru.lua PEAK KEEP REQUESTS (all in thousands): a cache grows to PEAK sessions, is cut down to KEEP, and then serves
-- so many requests, half of them for a session that it has. What one session leaves, the next ones use.

local lru = require("lru")
local peak, keep, requests = tonumber(arg[1]) * 1000, tonumber(arg[2]) * 1000, tonumber(arg[3]) * 1000

local cache = lru.new()
for id = 1, peak do cache:get(id) end
cache:shrink(keep)
collectgarbage()
math.randomseed(11)
local last = peak
for i = 1, requests do
  if i % 2 == 0 then
    cache:get(last - math.random(keep / 2))
  else
    last = last + 1
    cache:get(last)
  end
  cache:shrink(keep)
end
assert(cache:verify() == keep)

os.exit(0) -- without closing the state: a closed arena has no statistics at exit
