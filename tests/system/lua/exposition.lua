-- exposition.lua FILE: is it Prometheus' text exposition, and as its conventions want it? Prints what is not.
local types, helped, sampled, series, order = {}, {}, {}, {}, {}
local problems = 0

local function complain(number, format, ...)
  problems = problems + 1
  print(number .. ": " .. format:format(...))
end

-- The family that a sample belongs to.
local function family_of(name)
  local stem = name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
  return types[stem] == "histogram" and stem or name
end

local number, current = 0, nil
local text = io.open(arg[1]):read("*a")
if text:sub(-1) ~= "\n" then complain(0, "the last line is not whole") end
for line in text:gmatch("([^\n]*)\n") do
  number = number + 1
  local help = line:match("^# HELP ([a-z_:][a-z0-9_:]*) %S")
  local name, kind = line:match("^# TYPE ([a-z_:][a-z0-9_:]*) (%a+)$")
  if help then
    if helped[help] then complain(number, "%s is explained twice", help) end
    helped[help] = true
  elseif name then
    if types[name] then complain(number, "%s has two types", name) end
    if not helped[name] then complain(number, "%s is not explained", name) end
    if not ({ counter = 1, gauge = 1, histogram = 1 })[kind] then complain(number, "no such type: %s", kind) end
    if not name:match("^ljtrim_") then complain(number, "%s is not ours", name) end
    if (kind == "counter") ~= (name:match("_total$") ~= nil) then complain(number, "_total is for counters: %s", name) end
    if name:match("_ns$") or name:match("_ms$") or name:match("_kib$") then complain(number, "%s: base units", name) end
    types[name], current = kind, name
  elseif line:sub(1, 1) ~= "#" then
    local metric, labels, value = line:match("^([a-z_:][a-z0-9_:]*)({.-}) (%S+)$")
    if not metric then
      complain(number, "no sample: %s", line)
    else
      local family = family_of(metric)
      if family ~= current then complain(number, "%s is not with its family", metric) end
      if series[metric .. labels] then complain(number, "%s twice", metric .. labels) end
      if not tonumber(value) or tonumber(value) < 0 then complain(number, "value %s", value) end
      local rest = labels:sub(2, -2):gsub('[a-z_]+="[^"\\]*",?', "")
      if rest ~= "" then complain(number, "labels %s", labels) end
      series[metric .. labels] = tonumber(value)
      sampled[family] = true
      local le = labels:match('le="([^"]*)"')
      if le then
        order[family] = order[family] or {}
        table.insert(order[family], { le == "+Inf" and math.huge or tonumber(le), tonumber(value) })
      end
    end
  end
end

for name, kind in pairs(types) do
  if not sampled[name] then complain(name, "no sample") end
  if kind == "histogram" then
    local last = { -1, 0 }
    for _, bucket in ipairs(order[name] or {}) do
      if not bucket[1] or bucket[1] <= last[1] then complain(name, "bounds do not rise") end
      if bucket[2] < last[2] then complain(name, "buckets are not cumulative") end
      last = bucket
    end
    if last[1] ~= math.huge then complain(name, "no +Inf") end
    local counted
    for key, value in pairs(series) do
      if key:match("^" .. name .. "_count{") then counted = value end
    end
    if counted ~= last[2] then complain(name, "_count is not the last bucket") end
  end
end
if not next(types) then complain(0, "nothing in it") end
os.exit(problems == 0 and 0 or 1)
