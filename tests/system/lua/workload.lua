-- Session objects whose whole content follows from their number, so that every survivor can be checked
-- after its neighbours' pages were given back.

local ffi = require("ffi")
local workload = {}

local WORDS = 24

-- One session: a table with a hash part, an array part, strings and a cdata array: about 650 bytes.
function workload.session(id)
  local words = ffi.new("uint32_t[?]", WORDS)
  for i = 0, WORDS - 1 do words[i] = id * 31 + i end
  return {
    id = id,
    user = "user-" .. id,
    token = string.rep(string.char(65 + id % 26), 64) .. id,
    roles = { id + 1, id + 2, "role-" .. id % 977 .. "/" .. id },
    words = words,
  }
end

function workload.verify_session(s, id)
  local where = "session " .. id .. " is damaged: "
  assert(s.id == id, where .. "id")
  assert(s.user == "user-" .. id, where .. "user")
  assert(s.token == string.rep(string.char(65 + id % 26), 64) .. id, where .. "token")
  assert(#s.roles == 3 and s.roles[1] == id + 1 and s.roles[2] == id + 2, where .. "roles")
  assert(s.roles[3] == "role-" .. id % 977 .. "/" .. id, where .. "role name")
  for i = 0, WORDS - 1 do assert(s.words[i] == id * 31 + i, where .. "word " .. i) end
end

-- How many objects a large heap is made of, or how often it is: less where it is proven at each unit (sized in lib.sh).
function workload.sized(count, part)
  return (os.getenv("TEST_DEBUG") or "") == "" and count or math.floor(count / (part or 8))
end

-- Creates `count` sessions at once, then drops all but one in `keep_every`; returns the survivors by number.
function workload.peak(count, keep_every)
  local all = {}
  for id = 1, count do all[id] = workload.session(id) end
  local survivors = {}
  for id = keep_every, count, keep_every do survivors[id] = all[id] end
  return survivors
end

function workload.verify(survivors)
  local checked = 0
  for id, s in pairs(survivors) do
    workload.verify_session(s, id)
    checked = checked + 1
  end
  return checked
end

-- Two full collections: the first one runs finalizers and may leave their objects for the second.
function workload.collect()
  collectgarbage()
  collectgarbage()
end

return workload
