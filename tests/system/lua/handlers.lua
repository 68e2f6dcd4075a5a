-- What the nginx of the system tests answers; ngx.var.uri names the handler.

local workload = require("workload")
local handlers = {}
local survivors = {}
local requests = 0

-- 500,000 sessions at once, then all but 100 of them are dropped and collected.
function handlers.peak()
  survivors = workload.peak(500000, 5000)
  workload.collect()
  ngx.say("peak passed")
end

-- A small peak.
function handlers.burst()
  survivors = workload.peak(50000, 500)
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
