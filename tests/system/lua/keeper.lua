-- What a worker keeps between the requests of a test.

local workload = require("workload")
local keeper = { survivors = {} }

-- A peak of sessions, all but a few of them garbage in the end; nobody collects it.
function keeper.litter(count)
  keeper.survivors = workload.peak(count, count / 100)
end

return keeper
