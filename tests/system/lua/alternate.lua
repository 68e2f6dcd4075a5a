-- alternate.lua COUNT GO_FILE FINISH_FILE: so many blocks of two pages, each beside a small one that stays. Prints `peak`,
-- drops the blocks when GO_FILE exists, prints `trough`, and at the end `verified COUNT`.

local process = require("process")
local count, go, finish = tonumber(arg[1]), arg[2], arg[3]
io.stdout:setvbuf("line")

local stay, block = {}, {}
for i = 1, count do
  block[i] = ("b"):rep(8300) .. i
  stay[i] = ("s"):rep(200) .. i
end
print("peak")
while not process.exists(go) do process.sleep_ms(20) end
block = nil
collectgarbage()
collectgarbage()
print("trough")
while not process.exists(finish) do process.sleep_ms(20) end
for i = 1, count do assert(stay[i] == ("s"):rep(200) .. i) end
print("verified " .. count)
