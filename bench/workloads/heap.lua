-- heap.lua SHAPE SECONDS: a peak (shapes.lua) of any size; then, when it has been collected, light work for so many
-- seconds: what it is like to be the VM while the heap is looked through and given back.

local shapes, workload = require("shapes"), require("workload")
local shape, seconds = arg[1], tonumber(arg[2])

local survivors = shapes.peak(shape)
workload.collect()
local recent, number, last = {}, 0, os.time() + seconds
repeat
  for _ = 1, 1e5 do
    number = number + 1
    recent[number % 4096] = "page:" .. number
  end
until os.time() >= last
shapes.verify(shape, survivors)

os.exit(0) -- without closing the state: a closed arena has no statistics at exit
