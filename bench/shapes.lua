-- Peaks: what a program fills its heap with, and what of it stays. A shape is written NAME:COUNT or
-- NAME:COUNT:KEEP_EVERY. Every object's content follows from its number, so that survivors can be checked.
--
--   sessions  tables with hash part, array part, strings and cdata, of about 650 bytes (workload.lua)
--   strings   long strings, all different (openresty issue 1005)
--   uniform   objects that are all of one size
--   records   one array of records that look alike: nine scalar fields and a small table (LuaJIT issue 876)
--   hosts     lists of lists of small tables with strings, a network inventory (LuaJIT issue 1157)
--   json      documents that lua-cjson decodes
--   trees     binary trees of depth COUNT
--   keys      short strings, all different
--   lru       a cache of COUNT sessions that is cut down to a tenth (lru.lua)
--   runs      objects of 8 and 3 KiB in turn; when the large ones go, each leaves a free run of a page or two

local ffi = require("ffi")
local workload = require("workload")
local build, verify = {}, {}

build.sessions = workload.peak
verify.sessions = workload.verify

-- Makes COUNT objects, and returns those that stay.
local function peak(make, count, keep_every)
  local all, survivors = {}, {}
  for id = 1, count do all[id] = make(id) end
  if keep_every then
    for id = keep_every, count, keep_every do survivors[id] = all[id] end
  end
  return survivors
end

-- A check of one survivor made into a check of all.
local function each(check)
  return function(survivors)
    local checked = 0
    for id, object in pairs(survivors) do
      check(object, id)
      checked = checked + 1
    end
    return checked
  end
end

function build.strings(count)
  local t = {}
  for i = 1, count do t[i] = string.rep("A", 256) .. i end
  return {}
end

function build.keys(count)
  local t = {}
  for i = 1, count do t[i] = "key:" .. i end
  return {}
end

local function words(id, n)
  local w = ffi.new("uint32_t[?]", n)
  for i = 0, n - 1 do w[i] = id * 31 + i end
  return w
end

local function check_words(w, id, n)
  for i = 0, n - 1 do assert(w[i] == id * 31 + i, "object " .. id .. " is damaged") end
end

function build.uniform(count, keep_every) return peak(function(id) return words(id, 48) end, count, keep_every) end
verify.uniform = each(function(w, id) check_words(w, id, 48) end)

function build.records(count)
  local list = {}
  for i = 1, count do
    list[#list + 1] = {
      id = i, level = i % 90, points = i * 3, seen = 1600000000 + i, name = "name", sign = "sign", kind = 7, x = 1, y = 2,
      address = { i },
    }
  end
  return {}
end

function build.hosts(count)
  return peak(function(id)
    local list = {}
    for k = 1, 2 do
      list[k] = {
        type = "ipv4", address = "10." .. id % 200 .. "." .. id % 255 .. "." .. k, mask = "255.255.255.0",
        mac = ("02:%06x:%d"):format(id, k), ports = { { 22, "ssh" }, { 443, "https" } },
      }
    end
    return { host = "host-" .. id, interfaces = list }
  end, count)
end

local DOCUMENT = [[{"key":"s%08d","user":{"name":"user %d","mail":"user%d@example.org","roles":["reader","team"]},]]
  .. [["cart":[{"sku":%d,"count":1},{"sku":%d,"count":2}],"seen":%d}]]

local function document(id) return DOCUMENT:format(id, id, id, id * 7, id * 7 + 1, id) end

function build.json(count, keep_every)
  local decode = require("cjson").decode
  return peak(function(id) return decode(document(id)) end, count, keep_every)
end

verify.json = each(function(d, id)
  assert(d.seen == id and d.user.mail == "user" .. id .. "@example.org" and #d.user.roles == 2
    and d.cart[2].sku == id * 7 + 1, "document " .. id .. " is damaged")
end)

function build.trees(depth)
  local function grow(d)
    if d == 0 then return {} end
    return { grow(d - 1), grow(d - 1) }
  end
  grow(depth)
  return {}
end

-- Much smaller small ones would end up side by side, in what lj_alloc has left over of its segments.
function build.runs(count)
  local large, small = {}, {}
  for i = 1, count do
    large[i] = ffi.new("char[?]", 8192)
    small[i] = words(i, 768)
  end
  return small
end
verify.runs = each(function(w, id) check_words(w, id, 768) end)

function build.lru(count)
  local cache = require("lru").new()
  for id = 1, count do cache:get(id) end
  cache:shrink(count / 10)
  cache.last, cache.limit = count, count / 10
  return cache
end
verify.lru = function(cache) return cache:verify() end

local shapes = {}

-- Builds the peak and drops it. Nothing is collected yet.
function shapes.peak(shape)
  local name, count, keep_every = shape:match("^(%a+):(%d+):?(%d*)$")
  return build[name](tonumber(count), tonumber(keep_every))
end

function shapes.verify(shape, survivors)
  local check = verify[shape:match("^%a+")]
  return check and check(survivors) or 0
end

-- One step of the load in a trough, of about a kilobyte: a cache goes on with its work, else a string comes and goes, or
-- with kind "objects" a session of eight small ones (650 bytes).
function shapes.step(survivors, number, kind)
  if survivors.limit then
    survivors.last = survivors.last + 1
    survivors:get(survivors.last)
    survivors:shrink(survivors.limit)
  elseif kind == "objects" then
    shapes.last = workload.session(number)
  else
    shapes.last = ("x"):rep(990) .. number -- kept, else the compiler leaves it out
  end
end

return shapes
