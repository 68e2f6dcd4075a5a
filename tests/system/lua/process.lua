-- What a script wants to know about its own process, without allocating in Lua's heap while it waits.

local ffi = require("ffi")
ffi.cdef [[
int access(const char *path, int mode);
int poll(void *fds, unsigned long count, int timeout_ms);
]]

local process = {}

-- A field of /proc/self/status in KiB, such as VmRSS.
function process.status_kb(field)
  for line in io.lines("/proc/self/status") do
    local value = line:match("^" .. field .. ":%s*(%d+)")
    if value then return tonumber(value) end
  end
end

function process.exists(path) return ffi.C.access(path, 0) == 0 end

function process.sleep_ms(ms) ffi.C.poll(nil, 0, ms) end

return process
