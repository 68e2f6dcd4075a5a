-- sawtooth.lua PEAKS [THOUSANDS]: peaks of so many thousand sessions (150), and after each, when all but 1 in 100
-- have gone, a while of light work on short strings: the reclaimer works beside a VM that does not pause.

local workload = require "workload"

local peaks, count = tonumber(arg[1]), tonumber(arg[2] or 150) * 1000
local survivors
for _ = 1, peaks do
  survivors = workload.peak(count, 100)
  workload.collect()
  local recent = {}
  for i = 1, 12e6 do recent[i % 4096] = "page:" .. i end
  assert(workload.verify(survivors) == count / 100)
end

os.exit(0) -- without closing the state: a closed arena has no statistics at exit
