-- A peak and what it leaves behind: a million sessions, of which one in a hundred survives. Nothing in here
-- knows of libljtrim: run it with and without LD_PRELOAD.

local function resident()
  return tonumber(io.open("/proc/self/status"):read("*a"):match("VmRSS:%s*(%d+)")) / 1024
end

local function say(when)
  print(("%-20s %7.1f MiB resident, %6.1f MiB live"):format(when, resident(), collectgarbage("count") / 1024))
end

io.stdout:setvbuf("line")
say("at the start")
local sessions = {}
for i = 1, 1e6 do
  local roles = { "reader", "role-" .. i }
  sessions[i] = { id = i, user = "user-" .. i, token = ("x"):rep(64) .. i, roles = roles }
end
say("a million sessions")
for i = 1, 1e6 do
  if i % 100 ~= 0 then sessions[i] = nil end
end
collectgarbage()
say("99 in 100 are gone")
os.execute("sleep " .. (arg[1] or 5))
say("some seconds later")
