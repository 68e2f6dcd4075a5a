-- peak.lua SHAPE TROUGH FINISH_FILE: a peak, then a trough that lasts until FINISH_FILE exists.
--   SHAPE   sessions:COUNT:KEEP_EVERY, or strings:COUNT (openresty issue 1005)
--   TROUGH  idle (the VM is silent) or light (a few short strings every millisecond)
-- Prints `start KB`, `peak KB`, `trough` and at the end `verified COUNT`.

local process, workload = require("process"), require("workload")
local shape, trough, finish = arg[1], arg[2], arg[3]
io.stdout:setvbuf("line")
print("start " .. process.status_kb("VmRSS"))

local survivors = {}
local function build()
  local count, keep_every = shape:match("^sessions:(%d+):(%d+)$")
  if count then
    survivors = workload.peak(tonumber(count), tonumber(keep_every))
    return
  end
  local t = {}
  for i = 1, tonumber(shape:match("^strings:(%d+)$")) do t[i] = string.rep("A", 256) .. i end
end

build()
print("peak " .. process.status_kb("VmRSS"))
workload.collect()
print("trough")

local number = 0
while not process.exists(finish) do
  if trough == "light" then
    for _ = 1, 20 do
      number = number + 1
      survivors.last = "light load " .. number
    end
    survivors.last = nil
    process.sleep_ms(1)
  else
    process.sleep_ms(20)
  end
end
print("verified " .. workload.verify(survivors))
