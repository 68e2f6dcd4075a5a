-- Order statistics, and the bootstrap: how sure is the median of a handful of values?

local M = {}

local function sorted(values)
  local v = {}
  for i, x in ipairs(values) do v[i] = x end
  table.sort(v)
  return v
end

-- The value below which the share p (0 to 1) lies, interpolated. v is sorted.
local function quantile_of(v, p)
  local at = 1 + (#v - 1) * p
  local i = math.floor(at)
  return v[i] + (at - i) * ((v[i + 1] or v[i]) - v[i])
end

function M.quantile(values, p) return quantile_of(sorted(values), p) end

function M.median(values) return M.quantile(values, 0.5) end

local RESAMPLES = 10000
M.FEWEST = 6 -- below, an interval would promise more than so few values can keep

-- The 95% interval of the median by the percentile bootstrap; nil with too few values. The same values always give
-- the same interval.
function M.interval(values)
  local n = #values
  if n < M.FEWEST then return nil end
  math.randomseed(20)
  local medians, draw = {}, {}
  for r = 1, RESAMPLES do
    for i = 1, n do draw[i] = values[math.random(n)] end
    table.sort(draw)
    medians[r] = quantile_of(draw, 0.5)
  end
  table.sort(medians)
  return quantile_of(medians, 0.025), quantile_of(medians, 0.975)
end

-- The same thing measured twice in each round, as one value a round: the geometric mean, so that rounds stay independent.
function M.pooled(a, b)
  if not a or not b then return a end
  local both = {}
  for round, x in pairs(a) do both[round] = b[round] and math.sqrt(x * b[round]) or x end
  return both
end

-- f(x, y) of all values of the same round, in order: pairs() has none, and the bootstrap is to be repeatable.
local function paired(a, b, f)
  local values = {}
  for round, x in pairs(a) do
    local y = b[round]
    if y then values[#values + 1] = f(x, y) end
  end
  table.sort(values)
  return values
end

-- values of `a` over those of `b` of the same round
function M.paired_ratios(a, b)
  return paired(a, b, function(x, y)
    if y ~= 0 then return x / y end
  end)
end

-- values of `a` less those of `b` of the same round
function M.paired_differences(a, b)
  return paired(a, b, function(x, y) return x - y end)
end

return M
