-- sessions.lua THOUSANDS: a cache of 100,000 sessions in which a random one is replaced, so many thousand times.
-- Steady churn: what is freed is soon used again, and hardly ever a whole page.

local workload = require "workload"
local session = workload.session

local SIZE = 100000
math.randomseed(7)
local cache, version = {}, {}
for i = 1, SIZE do cache[i], version[i] = session(i), i end
for n = 1, tonumber(arg[1]) * 1000 do
  local i = math.random(SIZE)
  cache[i], version[i] = session(SIZE + n), SIZE + n
end
for i = 1, SIZE, 97 do workload.verify_session(cache[i], version[i]) end

os.exit(0) -- without closing the state: a closed arena has no statistics at exit
