-- A cache of sessions that drops the one that was used longest ago: a list of tables, doubly linked, and an index.

local workload = require("workload")

local lru = {}
lru.__index = lru

function lru.new()
  local ring = {}
  ring.next, ring.previous = ring, ring
  return setmetatable({ ring = ring, index = {}, count = 0 }, lru)
end

local function unlink(node)
  node.previous.next, node.next.previous = node.next, node.previous
end

local function link(ring, node)
  node.previous, node.next = ring, ring.next
  node.next.previous, ring.next = node, node
end

-- The session of this number; it is made if it is not there.
function lru:get(id)
  local node = self.index[id]
  if node then
    unlink(node)
  else
    node = { id = id, session = workload.session(id) }
    self.index[id], self.count = node, self.count + 1
  end
  link(self.ring, node)
  return node.session
end

function lru:shrink(count)
  while self.count > count do
    local last = self.ring.previous
    unlink(last)
    self.index[last.id], self.count = nil, self.count - 1
  end
end

function lru:verify()
  local checked = 0
  for id, node in pairs(self.index) do
    workload.verify_session(node.session, id)
    checked = checked + 1
  end
  assert(checked == self.count)
  return checked
end

return lru
