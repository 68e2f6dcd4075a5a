-- Resident memory against throughput: every allocator and setting is a point, and a point is dominated by another
-- that has less memory and more throughput at once. Also the names and the order of variants in all tables.

local statistics = require "statistics"
local M = {}

-- Every variant, in the order of the tables; those with a title have a point.
local VARIANTS = {
  { "plain", "plain LuaJIT" }, { "again" }, { "preloaded", "libljtrim" },
  { "preloaded-slow", "libljtrim, decay 5 s" }, { "preloaded-quick", "libljtrim, decay 0.25 s" },
  { "preloaded-eager", "libljtrim, decay 0" }, { "preloaded-patched", "libljtrim, patched allocator" }, { "beside" },
  { "jemalloc", "jemalloc" }, { "jemalloc-1000", "jemalloc, decay 1 s" }, { "jemalloc-0", "jemalloc, decay 0" },
  { "jemalloc-bg", "jemalloc, thread" }, { "mimalloc", "mimalloc" }, { "mimalloc-0", "mimalloc, delay 0" },
  { "glibc", "glibc" }, { "glibc-trim", "glibc, malloc_trim" },
}

M.ORDER = {}
local titles = {}
for i, v in ipairs(VARIANTS) do M.ORDER[i], titles[v[1]] = v[1], v[2] end

function M.title(variant) return titles[variant] or variant end
local function is_ours(variant) return variant:match("^preloaded") ~= nil end
function M.is_peer(variant)
  return titles[variant] ~= nil and variant ~= "plain" and not is_ours(variant)
end

-- ---- Points ----

-- The ratios of a variant's throughput to the plain process's, which was measured twice in each round.
local function ratios_to_plain(w, variant)
  local samples = w.rate.samples
  return statistics.paired_ratios(samples[variant],
    variant == "again" and samples.plain or statistics.pooled(samples.plain, samples.again))
end

-- The rows of a group are WORKLOAD.rate, WORKLOAD.rss and WORKLOAD.cpu. Returns workloads in order, each with its rows.
local function workloads(group)
  local list = {}
  for _, row in ipairs(group) do
    local name, figure = row.id:match("^frontier%.([^.]+)%.(%a+)$")
    if name and figure == "rate" then
      list[name] = {}
      list[#list + 1] = list[name]
    end
    if name and list[name] then -- others have no points
      list[name][figure], list[name].name = row, name
      if figure == "rate" then list[name].title = row.title:match("^(.-):") or row.title end
    end
  end
  return list
end

-- In each round: has `a` more throughput than `b`, and less memory? Counts rounds, and how often each.
local function compare(w, a, b)
  local rounds, faster, smaller = 0, 0, 0
  for round, rate in pairs(w.rate.samples[a]) do
    local other = w.rate.samples[b][round]
    if other then
      rounds = rounds + 1
      if rate > other then faster = faster + 1 end
      if w.rss.samples[a][round] < w.rss.samples[b][round] then smaller = smaller + 1 end
    end
  end
  return rounds, faster, smaller
end

local FEWEST = 4 -- rounds; with fewer, chance alone decides too often alike in all of them

-- A peer dominates our point if it was better in both in every round; it doesn't if ours was better in one of the two
-- in every round. Everything between is unresolved.
local function verdict(w, ours)
  local open, worst = {}, nil
  for variant in pairs(w.rate.samples) do
    if variant == "plain" or M.is_peer(variant) then
      local rounds, faster, smaller = compare(w, variant, ours)
      if rounds < FEWEST then return "unresolved (too few rounds)" end
      if faster == rounds and smaller == rounds then worst = variant end
      if faster > 0 and smaller > 0 then open[#open + 1] = M.title(variant) end
    end
  end
  if worst then return "FAILS: dominated by " .. M.title(worst) end
  table.sort(open)
  return #open == 0 and "not dominated" or "unresolved (" .. table.concat(open, "; ") .. ")"
end

-- ---- Output ----

function M.print(group, number, ratio_cell, print_table)
  print("Each run's throughput is its work over its wall time, its memory the mean RSS over its whole time, looked at "
    .. "every 10 ms from outside. A peer dominates a point of ours if it has more throughput and less memory in every "
    .. "round; it does not if ours is better in one of the two in every round. A/A is in the second line.")
  print("\n![Resident memory against throughput](frontier.png)")
  for _, w in ipairs(workloads(group)) do
    local rows, columns = {}, {
      { w.title, function(r) return r.title end },
      { "throughput / plain", function(r) return r.ratio end },
      { "mean RSS, MB", function(r) return r.rss end },
      { "processor time, s", function(r) return r.cpu end },
      { "verdict", function(r) return r.verdict end },
    }
    for _, variant in ipairs(M.ORDER) do
      local rate = w.rate.of[variant]
      if rate and variant ~= "beside" then
        local ratios = ratios_to_plain(w, variant)
        local low, high = statistics.interval(ratios)
        rows[#rows + 1] = {
          title = variant == "again" and "plain once more (A/A)" or M.title(variant),
          ratio = variant == "plain" and "" or ratio_cell { median = statistics.median(ratios), low = low, high = high },
          rss = number(w.rss.of[variant].median), cpu = number(w.cpu.of[variant].median),
          verdict = is_ours(variant) and verdict(w, variant) or "",
        }
      end
    end
    print ""
    print_table(rows, columns)
  end
end

local FAMILIES = { plain = 1, libljtrim = 2, jemalloc = 3, mimalloc = 4, glibc = 5 }

-- DIR/frontier.csv for people, DIR/frontier.WORKLOAD.dat for the plot: throughput / plain, RSS, their quartiles.
function M.write_points(group, dir)
  local csv = assert(io.open(dir .. "/frontier.csv", "w"))
  csv:write("workload,variant,rounds,throughput_to_plain,q1,q3,mean_rss_mb,rss_q1,rss_q3,cpu_s,verdict\n")
  for _, w in ipairs(workloads(group)) do
    local points = {}
    for _, variant in ipairs(M.ORDER) do
      local rss = w.rss.of[variant]
      if rss and titles[variant] then
        local ratios = ratios_to_plain(w, variant)
        local q = function(p) return statistics.quantile(ratios, p) end
        csv:write(("%s,%s,%d,%.4f,%.4f,%.4f,%.1f,%.1f,%.1f,%.3f,%s\n"):format(w.name, variant, rss.n, q(0.5), q(0.25), q(0.75),
          rss.median, rss.q1, rss.q3, w.cpu.of[variant].median,
          is_ours(variant) and verdict(w, variant):gsub(",", "") or ""))
        local family = FAMILIES[is_ours(variant) and "libljtrim" or variant:match("^%a+")]
        points[#points + 1] = { family, rss.median, ("%.4f %.1f %.4f %.4f %.1f %.1f %d \"%s\"\n"):format(q(0.5), rss.median,
          q(0.25), q(0.75), rss.q1, rss.q3, family, M.title(variant):match(", (.*)") or family == 1 and "" or "default") }
      end
    end
    table.sort(points, function(a, b)
      if a[1] ~= b[1] then return a[1] < b[1] end
      return a[2] < b[2]
    end)
    local plot = assert(io.open(("%s/frontier.%s.dat"):format(dir, w.name), "w"))
    for i, point in ipairs(points) do
      if i > 1 and points[i - 1][1] ~= point[1] then plot:write("\n") end -- no line leads to the next family
      plot:write(point[3])
    end
    plot:close()
  end
  csv:close()
end

return M
