-- What the soak's nginx answers; ngx.var.uri names the handler. What is kept is checked in requests: damage is a 500.

local workload = require("workload")
local handlers = {}
local soak = {}

local from_master = {} -- made before the workers were forked: they share its pages, in the preloaded one as long as nobody writes
local kept = {}        -- what the last crowd left
local ring = {}        -- sessions that live for some hundred requests
local timed = {}       -- sessions that belong to the timer
local requests, ticks, timer_failed = 0, 0, nil

local IN_MASTER = 6000 -- sessions, 4 MB: the master has a reclaimer, too

function soak.init()
  from_master = workload.peak(IN_MASTER, 10)
  for id = 1, IN_MASTER, 10 do from_master[id] = workload.session(id) end
end

-- Ten times a second: some sessions come, some go, all are checked now and then.
local function tick()
  ticks = ticks + 1
  for id = ticks, ticks + 50 do timed[id % 500] = workload.session(id % 500) end
  if ticks % 10 == 0 then
    local ok, why = pcall(workload.verify, timed)
    if not ok then
      timer_failed = why
      ngx.log(ngx.ERR, "soak: in a timer: ", why)
    end
  end
end

function soak.init_worker()
  timed[0] = workload.session(0)
  assert(ngx.timer.every(0.1, tick))
end

-- The work of a small request.
function handlers.work()
  for i = 1, 20 do
    requests = requests + 1
    local s = workload.session(requests)
    workload.verify_session(s, requests)
    if i == 1 then ring[requests % 8000] = { s, requests } end
  end
  ngx.say("worked")
end

-- count sessions at once; one in a hundred is kept until the next crowd.
function handlers.crowd()
  workload.verify(kept)
  kept = workload.peak(tonumber(ngx.var.arg_count), 100)
  workload.collect()
  ngx.say("gone")
end

function handlers.check()
  if timer_failed then error(timer_failed) end
  workload.verify(from_master)
  workload.verify(kept)
  workload.verify(timed)
  for _, entry in pairs(ring) do workload.verify_session(entry[1], entry[2]) end
  ngx.say("checked")
end

-- In the middle of an answer for a while.
function handlers.slow()
  local id = tonumber(ngx.var.arg_id)
  local s = workload.session(id)
  ngx.say("begun")
  ngx.flush(true)
  ngx.sleep(0.2 + id % 4 / 10)
  workload.verify_session(s, id)
  ngx.say("finished")
end

function handlers.timer()
  local id, fired = tonumber(ngx.var.arg_id), nil
  local s = workload.session(id)
  local set, why = ngx.timer.at(0.01, function()
    fired = { pcall(workload.verify_session, s, id) }
  end)
  if why == "process exiting" then return ngx.say("fired") end -- a worker that is about to leave sets no timers
  assert(set, why)
  while not fired do ngx.sleep(0.01) end
  assert(unpack(fired))
  ngx.say("fired")
end

function handlers.thread()
  local ok, result = ngx.run_worker_thread("default", "in_thread", "churn", 3000)
  if result == "no available Lua vm" then return ngx.exit(503) end -- the machine stood still, and too many ask at once
  assert(ok and result == 30, result)
  ngx.say("threaded")
end

function handlers.pipe()
  local s = workload.session(requests)
  local proc = assert(require("ngx.pipe").spawn({ "echo", "from a pipe" }))
  ngx.say(assert(proc:stdout_read_line()))
  assert(proc:wait())
  workload.verify_session(s, requests)
end

-- A child of fork and exec, as ngx.pipe makes, too; the worker waits for it.
function handlers.popen()
  local pipe = assert(io.popen("echo from a shell", "r"))
  ngx.print(pipe:read("*a"))
  pipe:close()
end

function handlers.vm()
  local survivors = workload.peak(2000, 20)
  collectgarbage()
  ngx.say("alone with ", workload.verify(survivors))
end

-- Which of the things that not every nginx has are there?
function handlers.features()
  local has_pipe = pcall(function() return require("ffi").C.ngx_http_lua_ffi_pipe_spawn end)
  ngx.say(has_pipe and "pipe " or "", ngx.run_worker_thread and "thread " or "")
end

function soak.answer(name)
  local handler = handlers[name]
  if not handler then return ngx.exit(404) end
  local ok, why = pcall(handler)
  if ok then return end
  if not ngx.headers_sent then ngx.status = 500 end
  ngx.say(tostring(why))
end

return soak
