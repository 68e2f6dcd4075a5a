-- sawtooth.lua PEAKS [THOUSANDS [MILLIONS]]: peaks of so many thousand sessions (150), and after each, when all but
-- 1 in 100 have gone, light work on so many million short strings (12): the reclaimer works beside a VM that does
-- not pause.

local workload = require "workload"

local strings = tonumber(arg[3] or 12) * 1e6
local peaks, count = tonumber(arg[1]), tonumber(arg[2] or 150) * 1000
local survivors
for _ = 1, peaks do
  survivors = workload.peak(count, 100)
  workload.collect()
  local recent = {}
  for i = 1, strings do recent[i % 4096] = "page:" .. i end
  assert(workload.verify(survivors) == count / 100)
end

os.exit(0) -- without closing the state: a closed arena has no statistics at exit
