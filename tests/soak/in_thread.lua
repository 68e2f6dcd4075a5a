-- What ngx.run_worker_thread runs: a heap of its own, on another thread.

local workload = require("workload")
local M = {}

function M.churn(count)
  local checked = workload.verify(workload.peak(count, 100))
  workload.collect()
  return checked
end

return M
