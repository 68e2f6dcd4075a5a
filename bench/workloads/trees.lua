-- trees.lua DEPTH: binary trees, as in the Computer Language Benchmarks Game: many small tables, all of one size,
-- that live for a short or a long time.

local depth = tonumber(arg[1])

local function grow(d)
  if d == 0 then return {} end
  return { grow(d - 1), grow(d - 1) }
end

local function count(tree)
  return tree[1] and 1 + count(tree[1]) + count(tree[2]) or 1
end

local lasting = grow(depth)
for d = 4, depth, 4 do
  local trees, sum = 2 ^ (depth - d + 4), 0
  for _ = 1, trees do sum = sum + count(grow(d)) end
  assert(sum == trees * (2 ^ (d + 1) - 1))
end
assert(count(lasting) == 2 ^ (depth + 1) - 1)
