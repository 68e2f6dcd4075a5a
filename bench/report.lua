-- report.lua DIR [DOCS]: reads the samples of all groups in DIR (*.tsv, written by bench/run), writes DIR/benchmarks.csv,
-- and prints the report in Markdown. What a row claims is decided here, and only here: see verdict(). A group without
-- samples in DIR keeps what the report in DOCS says of it: each section names the machine that it was measured on.

local statistics, frontier = require "statistics", require "frontier"
local dir, docs = arg[1], arg[2]

local GROUPS = {
  { "memory", "Memory after a peak", "Five seconds after the collector has run, at default settings, measured from "
    .. "outside by `ljtrim inspect`. Beside: the page floor. All survivors were checked afterwards. The bound is 2% or "
    .. "1 MiB above the floor, whichever is more. The cache is at work while it is measured: above its floor it may hold "
    .. "what it allocates in a decay (1 s), and 5% of what it keeps (`LJTRIM_RETAIN_PCT`)." },
  { "pressure", "Memory under pressure", nil },
  { "idle", "Idle after a peak that nobody collects", "Beside: the same program, preloaded, that collects by itself." },
  { "waits", "Waits", "Over entries into the gate's slow path, from the library's own histogram. Beside: a thread "
    .. "that only looks at the clock, for the same time, in windows as long as the median wait: what of the tail is "
    .. "the machine's. On one processor the times of whole runs are those of runs at the same time, in turns of 20 ms, "
    .. "with LJTRIM_DECAY_MS and LJTRIM_INTERVAL_MS thrice the default, as all else takes thrice its time." },
  { "throughput", "Programs that do little but allocate", "Many runs of about a second, all variants at once on one "
    .. "processor, in turns of 20 ms: the machine's speed changes within seconds. Wall time is that of a run's own turns. With the "
    .. "patched allocator a host that is linked to LuaJIT. Of LJTRIM_GC_NUDGE both sides are preloaded: plain stands for `off`, "
    .. "preloaded for `auto`, the default.",
    "The same host with native mode, and with other allocators behind lua_newstate, in ten of the rounds:" },
  { "instructions", "Instructions", "Counted by callgrind, the VM's thread, interpreter only: `luajit -joff`; with the patched "
    .. "allocator a host that is linked to LuaJIT. Noise can't hide these: a bound is held against the greatest ratio, where no "
    .. "two plain counts are more than 0.5% apart." },
  { "frontier", "Resident memory against throughput" },
  { "nginx", "nginx under wrk", "Each round starts all servers anew, lets a crowd come and go, and asks them for pages, in turns of 50 ms "
    .. "(with half a processor 500). Processor time per request is that of all threads of the workers, the reclaimer's among them. "
    .. "No difference: the ratio's interval contains 1, else it DIFFERS (by chance alone in one row of twenty); and neither it nor A/A "
    .. "is wider than the row says, 3% for rates, 5% for medians, 10% and 25% for tails, else it is unresolved." },
  { "startup", "A process without LuaJIT", "Of the wall time the difference of the pairs, in ms, in place of their ratio." },
  { "reclaimer", "The reclaimer's processor time", "Beside: a loop of madvise over the very same runs of pages, and "
    .. "nothing else." },
  { "hour", "A cache's traffic, an hour's worth, after its peak", "A cache grows to 250,000 sessions and is cut down to "
    .. "20,000; then new ones push out the oldest at a steady rate, with as many requests for those that are there. As many "
    .. "turnovers as 400 new sessions a second make in an hour, in a fifteenth of the time; all allocators at the same time. "
    .. "All sessions were checked afterwards.", "The same with our own allocator, and with others behind lua_newstate:" },
  { "soak", "Ten minutes of mixed load and 20 reloads", "Beside: the same processes at the start." },
}

-- ---- Samples ----

local function split(line)
  local fields = {}
  for field in (line .. "\t"):gmatch("(.-)\t") do fields[#fields + 1] = field end
  return fields
end

-- A group's rows in the order of their declaration: { id, claim, unit, title, samples = { variant = { round = x } } }
local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local group, by_id = {}, {}
  for line in file:lines() do
    local f = split(line)
    if f[1] == "measured" then
      group.version, group.quick = f[2], f[3] == "yes"
    elseif f[1] == "row" then
      local row = { id = f[2], claim = f[3], unit = f[4], title = f[5], samples = {} }
      group[#group + 1], by_id[row.id] = row, row
    else
      local samples = by_id[f[2]].samples
      samples[f[3]] = samples[f[3]] or {}
      samples[f[3]][f[4]] = tonumber(f[5])
    end
  end
  file:close()
  return group
end

-- ---- What follows from them ----

local function summary(samples)
  if not samples then return nil end
  local values = {}
  for _, x in pairs(samples) do values[#values + 1] = x end
  local q = function(p) return statistics.quantile(values, p) end
  return { n = #values, median = q(0.5), q1 = q(0.25), q3 = q(0.75), min = q(0), max = q(1) }
end

-- pairs_of: statistics.paired_ratios or paired_differences
local function comparison(a, b, pairs_of)
  if not a or not b then return nil end
  local values = pairs_of(a, b)
  if #values == 0 then return nil end
  local low, high = statistics.interval(values)
  return { median = statistics.median(values), low = low, high = high, least = values[1], greatest = values[#values] }
end

-- A bound is claimed only where the plain process can be told from itself more sharply than `resolution`: why not here?
local function unresolved(c, noise, resolution)
  if not c or not c.low or not noise or not noise.low then return "unresolved (too few pairs)" end
  if noise.high - noise.low >= resolution then return "unresolved (A/A is wider)" end
end

local function interval_verdict(low, high, bound)
  if high <= bound then return "holds" end
  if low > bound then return "FAILS" end
  return "unresolved"
end

local function ratio_verdict(ratio, noise, bound)
  if ratio and ratio.low and noise and noise.low and bound > 1 and ratio.low > bound * noise.high then
    return "FAILS" -- by more than A/A's noise, however wide that is
  end
  local why = unresolved(ratio, noise, math.abs(bound - 1))
  if why then return why end
  if bound < 1 then return interval_verdict(1 / ratio.high, 1 / ratio.low, 1 / bound) end
  return interval_verdict(ratio.low, ratio.high, bound)
end

local function difference_verdict(difference, noise, bound)
  return unresolved(difference, noise, bound) or interval_verdict(difference.low, difference.high, bound)
end

-- Two intervals that overlap say nothing: the wider they are, the more is hidden in them.
local function noise_verdict(ratio, noise, width)
  if ratio and ratio.low and (ratio.low > 1 or ratio.high < 1) then return "DIFFERS" end
  local why = unresolved(ratio, noise, width)
  if why then return why end
  return ratio.high - ratio.low < width and "within noise" or "unresolved (its interval is wider)"
end

-- What is counted, not timed, hardly scatters: each pair speaks for itself, and needs no interval.
local COUNTS_ALIKE = 0.005

local function counted_verdict(ratio, noise, bound)
  if not ratio or not noise then return "unresolved (too few pairs)" end
  if math.max(noise.greatest - 1, 1 - noise.least) > COUNTS_ALIKE then return "unresolved (A/A is wider)" end
  return ratio.greatest <= bound and "holds" or "FAILS"
end

local FEWEST_ROUNDS = 3 -- of what must be so in every round; one round in which it is not is enough against it

local function lower_verdict(samples, variant)
  local rounds = 0
  for round, x in pairs(samples[variant] or {}) do
    local ours = samples.preloaded[round]
    if ours then
      if x >= ours then return "FAILS" end
      rounds = rounds + 1
    end
  end
  return rounds >= FEWEST_ROUNDS and "holds" or "unresolved (too few rounds)"
end

-- A bound on a value, which is not held against the library where what is beside it exceeds it, too.
local function bound_verdict(value, beside, bound)
  if value <= bound then return "holds" end
  if beside and beside > bound then return "unresolved (so is the machine)" end
  return "FAILS"
end

-- Of whom something is claimed, and what became of its pairs.
local function compare(r)
  local claim, variant = r.claim:match("^(%S+) of (%S+)$")
  r.claim, r.variant = claim or r.claim, variant or "preloaded"
  local ours, plain, again = r.samples[r.variant], r.samples.plain, r.samples.again
  local both = statistics.pooled(plain, again)
  r.ratio = comparison(ours, both, statistics.paired_ratios)
  r.noise = comparison(again, plain, statistics.paired_ratios)
  if r.claim:match("^more:") then
    r.difference = comparison(ours, both, statistics.paired_differences)
    r.difference_noise = comparison(again, plain, statistics.paired_differences)
  end
end

-- claim -> what the table says about the bound, and the verdict
local function verdict(r, by_id)
  local kind, argument = r.claim:match("^([^:]*):?(.*)$")
  local bound, p, b = tonumber(argument), r.of[r.variant], r.of.beside
  if not p then return "", "not measured" end
  if kind == "ratio" then
    return (bound < 1 and ">= " or "<= ") .. argument, ratio_verdict(r.ratio, r.noise, bound)
  elseif kind == "counted" then
    return "<= " .. argument, counted_verdict(r.ratio, r.noise, bound)
  elseif kind == "more" then
    return "<= plain + " .. argument, difference_verdict(r.difference, r.difference_noise, bound)
  elseif kind == "noise" then
    return ("no difference (A/A < %g%%)"):format(100 * bound), noise_verdict(r.ratio, r.noise, bound)
  elseif kind == "lower" then
    return argument .. " below it", lower_verdict(r.samples, argument)
  elseif kind == "below" then
    return "<= " .. argument, bound_verdict(p.median, b and b.median, bound)
  elseif kind == "least" then
    return ">= " .. argument, p.median >= bound and "holds" or "FAILS"
  elseif kind == "tail" then
    if by_id[r.id:gsub("p99%.9$", "count")].of.preloaded.median < 1000 then
      return "<= " .. argument, "unresolved (under 1000 entries)"
    end
    return "<= " .. argument, bound_verdict(p.median, b and b.median, bound)
  elseif kind == "never" then
    return "max <= " .. argument, bound_verdict(p.max, b and b.max, bound)
  elseif kind == "floor" then
    return "2% or 1 MiB", bound_verdict(p.median, nil, math.max(1.02 * b.median, b.median + 1.048576))
  elseif kind == "beside" and argument:sub(1, 1) == "+" then
    return bound == 0 and "<= beside" or "<= beside " .. argument, bound_verdict(p.max, nil, b.median + bound)
  elseif kind == "beside" then
    return "<= " .. argument .. " x beside", bound_verdict(p.median / b.median, nil, bound)
  end
  return "", ""
end

-- ---- Output ----

-- Three significant digits, and no fewer than the integer part has.
local function number(x)
  if x == 0 then return "0" end
  local digits = math.max(0, 2 - math.floor(math.log10(math.abs(x))))
  return ("%." .. math.min(digits, 5) .. "f"):format(x)
end

local function cell(s)
  if not s then return "" end
  if s.n == 1 or s.min == s.max then return number(s.median) end
  return ("%s (%s-%s)"):format(number(s.median), number(s.min), number(s.max))
end

local function ratio_cell(c, format)
  if not c then return "" end
  format = format or "%.3f"
  if not c.low then return format:format(c.median) end
  return (format .. " [" .. format .. ", " .. format .. "]"):format(c.median, c.low, c.high)
end

local function comparison_cell(difference, ratio)
  if difference then return ratio_cell(difference, "%+.3f") end
  return ratio_cell(ratio)
end

-- Columns that no row of a group fills are left out.
local COLUMNS = {
  { "", function(r) return r.title .. (r.unit ~= "" and ", " .. r.unit or "") end },
  { "plain", function(r) return cell(r.of.plain) end },
  { "preloaded", function(r) return cell(r.of[r.variant]) end },
  { "beside", function(r) return cell(r.of.beside) end },
  { "preloaded / plain", function(r) return comparison_cell(r.difference, r.ratio) end },
  { "A/A", function(r) return comparison_cell(r.difference_noise, r.noise) end },
  { "bound", function(r) return r.bound end },
  { "verdict", function(r) return r.verdict end },
}

local function print_table(rows, columns)
  local used = {}
  for _, column in ipairs(columns or COLUMNS) do
    local cells = {}
    for i, r in ipairs(rows) do
      cells[i] = column[2](r)
      if cells[i] ~= "" then used[column] = cells end
    end
    cells.title = column[1]
  end
  local head, rule, lines = {}, {}, {}
  for _, column in ipairs(columns or COLUMNS) do
    if used[column] then
      head[#head + 1], rule[#rule + 1] = column[1], #head == 0 and "---" or "--:"
      for i in ipairs(rows) do lines[i] = (lines[i] or "") .. "| " .. used[column][i] .. " " end
    end
  end
  print("| " .. table.concat(head, " | ") .. " |")
  print("|" .. table.concat(rule, "|") .. "|")
  for _, line in ipairs(lines) do print(line .. "|") end
end

-- Rows that were measured with other allocators, too: a column for each.
local function print_peers(rows, note)
  local measured, columns = {}, { COLUMNS[1] }
  local found = {}
  for _, r in ipairs(rows) do
    local any = false
    for variant in pairs(r.of) do
      if frontier.is_peer(variant) or variant == "preloaded-patched" then any, found[variant] = true, true end
    end
    if any then measured[#measured + 1] = r end
  end
  for _, variant in ipairs(frontier.ORDER) do
    if found[variant] or variant == "plain" or variant == "preloaded" then
      columns[#columns + 1] = { frontier.title(variant), function(r) return r.of[variant] and number(r.of[variant].median) or "" end }
    end
  end
  if #measured > 0 then
    print("\n" .. note .. "\n")
    print_table(measured, columns)
  end
end

local CSV = "measure,unit,variant,n,median,q1,q3,min,max,ratio_to_plain,ratio_low,ratio_high,bound,verdict\n"

local function write_csv(file, r)
  for _, variant in ipairs(frontier.ORDER) do
    local s = r.of[variant]
    if s then
      local ours = variant == r.variant
      local c = ours and r.ratio or variant == "again" and r.noise or {}
      local function f(x) return x and ("%.6g"):format(x) or "" end
      file:write(table.concat({ r.id, r.unit, variant, s.n, f(s.median), f(s.q1), f(s.q3), f(s.min), f(s.max),
        f(c.median), f(c.low), f(c.high), ours and r.bound or "", ours and r.verdict or "" }, ","), "\n")
    end
  end
end

local function contents(path)
  local file = io.open(path)
  local text = file and file:read("*a") or ""
  if file then file:close() end
  return text
end

local function first_match(path, pattern) return contents(path):match(pattern) or "unknown" end

local function command(line)
  local pipe = io.popen(line .. " 2>/dev/null")
  local answer = pipe:read("*l")
  pipe:close()
  return answer or "unknown"
end

local function machine()
  local luajit = command("luajit -v"):match("^(%S+ %S+)") or "unknown"
  return ("%s, %s processors; Linux %s, transparent huge pages: %s; Debian %s; %s."):format(
    first_match("/proc/cpuinfo", "model name%s*:%s*([^\n]*)"), command("nproc"), command("uname -r"):match("^[%d.]+") or "",
    first_match("/sys/kernel/mm/transparent_hugepage/enabled", "%[(%w+)%]"),
    first_match("/etc/debian_version", "[^\n]*"), luajit)
end

print [[
# Benchmarks

<!-- Written by `make bench ARGS=--update-docs`. -->

Medians, with the least and the greatest value in parentheses. Plain and preloaded runs alternate, or take short turns, and in the same
rounds the plain process is measured once more under another label: A/A, the noise of this machine. Ratios are medians
of the pairs' ratios with their 95% interval (bootstrap), to both plain measurements of a round (their geometric mean). A
bound on a ratio is claimed only where the A/A interval is narrower than the bound, and called broken also where it is by
more than the whole A/A interval; otherwise the row says unresolved. All figures, with quartiles:
benchmarks.csv. Below each section: the version of the library, and the machine.]]

-- What the last report says of a group: its section, which names its machine, and its lines of the CSV file.
local last_report = docs and contents(docs .. "/BENCHMARKS.md") or ""
local last_csv = docs and contents(docs .. "/benchmarks.csv") or ""

local function kept(name, title)
  local from = last_report:find("\n## " .. title .. "\n", 1, true)
  if not from then return nil end
  local lines = {}
  for line in last_csv:gmatch("[^\n]+\n") do
    if line:sub(1, #name + 1) == name .. "." then lines[#lines + 1] = line end
  end
  return last_report:sub(from, (last_report:find("\n## ", from + 1, true) or 0) - 1), table.concat(lines)
end

local csv = assert(io.open(dir .. "/benchmarks.csv", "w"))
csv:write(CSV)
for _, g in ipairs(GROUPS) do
  local group = read(dir .. "/" .. g[1] .. ".tsv")
  if group then
    print("\n## " .. g[2] .. "\n")
    if g[3] then print(g[3] .. "\n") end
    local by_id = {}
    for _, r in ipairs(group) do
      by_id[r.id], r.of = r, {}
      for variant, samples in pairs(r.samples) do r.of[variant] = summary(samples) end
      compare(r)
      r.bound, r.verdict = verdict(r, by_id)
      write_csv(csv, r)
    end
    if g[1] == "frontier" then
      frontier.print(group, number, ratio_cell, print_table)
      print("\nOurs at default settings, in longer runs of the same loads. Three figures that must be read together, and are of "
        .. "one load: throughput, how much of what was given back was not wanted again soon, and what the arena keeps above its "
        .. "floor while it works. In a run as short as those above one or two windows would be judged: of these there is only "
        .. "the throughput.\n")
      local together = {}
      for _, r in ipairs(group) do
        if not r.id:match("%.rss$") and not r.id:match("%.cpu$") then together[#together + 1] = r end
      end
      print_table(together)
      frontier.write_points(group, dir)
    else
      print_table(group)
      print_peers(group, g[4] or "The same with other allocators behind lua_newstate, once each:")
    end
    print(("\nLibrary at %s; %s%s"):format(group.version, machine(),
      group.quick and " **Quick run, with small sizes: these are no results.**" or ""))
  else
    local section, lines = kept(g[1], g[2])
    if section then
      io.write(section:match("^(.-)\n*$"), "\n")
      csv:write(lines)
    end
  end
end
csv:close()

-- By scripts/oom-duel; the last section, which it also replaces by itself.
local duel = contents(dir .. "/oom-duel.md")
io.write(duel ~= "" and "\n" .. duel or kept("oom-duel", "The OOM duel") or "")
