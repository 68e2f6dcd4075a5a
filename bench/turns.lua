-- wrk's part where several servers are measured at the same time: the demo's pages, asked only in one's turn.
-- Arguments: which turn (from 0), of how many, ms of each. Turns go by the machine's clock; an answer that is under way when
-- one ends is waited for, and counts.

local ffi = require "ffi"

dofile "scripts/breathing/wrk.lua"

ffi.cdef "struct turns_time { long s, ns; }; int clock_gettime(int clock, struct turns_time *time);"
local CLOCK_MONOTONIC = 1
local time = ffi.new "struct turns_time"
local seed, turn, turns, length = init

function init(args)
    seed()
    turn, turns, length = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
end

-- ms to wait before the next request
function delay()
    ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
    local now = tonumber(time.s) * 1000 + tonumber(time.ns) / 1e6
    local since = (now - turn * length) % (turns * length)
    return since < length and 0 or math.ceil(turns * length - since)
end
