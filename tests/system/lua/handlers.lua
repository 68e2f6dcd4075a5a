-- What the nginx of the system tests answers; ngx.var.uri names the handler.

local workload = require("workload")
local handlers = {}
local survivors = {}
local requests = 0

-- 500,000 sessions at once (sized), then all but 100 of them are dropped and collected.
function handlers.peak()
  survivors = workload.peak(workload.sized(500000), workload.sized(5000))
  workload.collect()
  ngx.say("peak passed")
end

-- A peak that is dropped and not collected, with what a collector meets in nginx: sockets that nobody has closed, a timer
-- that is still to come, and finalizers that fail or yield. These do so only where that is known to end in them: below a C
-- function on the main thread, as in idle collection. Elsewhere nginx is free to crash, with this library or without it: the Lua
-- module allocates outside of any protected call, too, and takes a yield for the request's own.
local finalized, misbehaved, timer_fired = 0, 0, 0
local function misbehave(i)
  finalized = finalized + 1
  if coroutine.running() or not debug.getinfo(3, "S") then return end
  misbehaved = misbehaved + 1
  if i % 3 == 1 then error("in a finalizer") elseif i % 3 == 2 then coroutine.yield() else ngx.timer.at(0, handlers.fire) end -- no request here: fails, too
end
function handlers.garbage()
  survivors = workload.peak(workload.sized(300000), workload.sized(3000))
  for i = 1, 20 do
    local socket = ngx.socket.tcp()
    assert(socket:connect("127.0.0.1", ngx.var.server_port))
    getmetatable(newproxy(true)).__gc = function() misbehave(i) end
  end
  assert(ngx.timer.at(4, handlers.fire))
  ngx.say("garbage made")
end
function handlers.fire() timer_fired = timer_fired + 1 end
function handlers.counts() ngx.say(finalized, " ", timer_fired, " ", misbehaved) end

-- A small peak.
function handlers.burst()
  survivors = workload.peak(workload.sized(50000), workload.sized(500))
  workload.collect()
  ngx.say("burst passed")
end

-- The work of a small request: a few sessions, one of a thousand is kept for a while.
function handlers.work()
  for i = 1, 40 do
    requests = requests + 1
    local s = workload.session(requests)
    workload.verify_session(s, requests)
    if i == 1 then survivors[requests] = s end
  end
  survivors[requests - 40 * 100 + 1 - 40] = nil
  ngx.say("worked")
end

function handlers.verify() ngx.say("verified ", workload.verify(survivors)) end

function handlers.pid() ngx.say(ngx.worker.pid()) end

-- Keeps the connection open for a while, in the middle of an answer.
function handlers.slow()
  local s = workload.session(7)
  ngx.say("begun")
  ngx.flush(true)
  ngx.sleep(1.5)
  workload.verify_session(s, 7)
  ngx.say("finished")
end

function handlers.popen()
  local pipe = assert(io.popen("echo from a pipe; cat /proc/self/status | wc -l >/dev/null", "r"))
  local text = pipe:read("*a")
  pipe:close()
  ngx.print(text)
end

function handlers.execute()
  local path = ngx.config.prefix() .. "/executed-" .. ngx.worker.pid()
  os.execute("echo from a shell >" .. path)
  local file = assert(io.open(path))
  ngx.print(file:read("*a"))
  file:close()
  os.remove(path)
end

-- Runs the request's body; answers with its results, separated by spaces, or with 500 and the error.
function handlers.run()
  ngx.req.read_body()
  local chunk, err = loadstring(ngx.req.get_body_data(), "=request")
  local results = { pcall(chunk or error, err) }
  if not results[1] then
    ngx.status = 500
    return ngx.say(tostring(results[2]))
  end
  for i = 1, math.max(table.maxn(results), 2) do results[i] = tostring(results[i]) end
  ngx.say(table.concat(results, " ", 2))
end

function handlers.answer(name)
  local handler = handlers[name]
  if not handler or name == "answer" then return ngx.exit(404) end
  handler()
end

return handlers
