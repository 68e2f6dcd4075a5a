-- peak.lua SHAPE FINISH_FILE [collect|leave] [KB_A_SECOND] [KIND]: a peak (shapes.lua), and a trough that lasts until
-- FINISH_FILE exists. `leave` leaves it to others to collect the garbage. The VM is silent in the trough, or
-- allocates so many kilobytes a second, of that kind.
-- Prints `peak`, `trough`, and at the end `verified COUNT`.

local process, shapes, workload = require("process"), require("shapes"), require("workload")
local shape, finish, collect, rate = arg[1], arg[2], arg[3] or "collect", tonumber(arg[4] or 0)
io.stdout:setvbuf("line")

local survivors = shapes.peak(shape)
print("peak")
if collect == "collect" then workload.collect() end
print("trough")

local number = 0
while not process.exists(finish) do
  for _ = 1, rate / 50 do -- fifty times a second
    number = number + 1
    shapes.step(survivors, number, arg[5])
  end
  process.sleep_ms(20)
end
print("verified " .. shapes.verify(shape, survivors))
