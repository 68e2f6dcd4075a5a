-- quiet.lua COUNT KEEP_EVERY PIECES FINISH_FILE [CHUNK]: a peak of sessions that is dropped and not collected; then a
-- quiet trough that allocates so many pieces of 112 bytes every 10 ms, until FINISH_FILE exists. CHUNK is run first.
-- Prints `peak KB`, `dropped BYTES`, then each 100 ms `trough ALLOCATED_BYTES RSS_KB COUNT_KB`, and at last `verified COUNT`.

local ffi = require("ffi")
local process, workload = require("process"), require("workload")
local count, keep_every, pieces, finish = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3]), arg[4]
io.stdout:setvbuf("line")
if arg[5] then assert(loadstring(arg[5]))() end

local survivors = workload.peak(count, keep_every)
print("peak " .. process.status_kb("VmRSS"))
print("dropped " .. math.floor(collectgarbage("count") * 1024 * (1 - 1 / keep_every)))

local allocated, piece, sink = 0, ffi.typeof("char[96]") -- 16 bytes of header each
for round = 1, math.huge do
  for _ = 1, pieces do sink = piece() end
  allocated = allocated + 112 * pieces
  process.sleep_ms(10)
  if round % 10 == 0 then
    local rss = process.status_kb("VmRSS")
    allocated = allocated + 4000 -- about what that has cost
    print(("trough %d %d %d"):format(allocated, rss, collectgarbage("count")))
    if process.exists(finish) then break end
  end
end
print("verified " .. workload.verify(survivors))
