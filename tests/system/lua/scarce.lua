-- scarce.lua WHAT: takes something away from this process, then runs selfcheck.lua.
--   files    no descriptor can be had (RLIMIT_NOFILE 0)
--   maps     all but 40 of the mappings that vm.max_map_count allows are taken
--   memory   the address space ends a little above what is in use (RLIMIT_AS): a program that allocates until it is told
--            "not enough memory", drops it, and finds what it kept as it was
--   limit N  nothing: afterwards 85% of the N bytes that its control group allows are taken, and found as they were left

local ffi = require("ffi")
ffi.cdef [[
  struct rlimit { unsigned long cur, max; };
  int setrlimit(int what, const struct rlimit *limit);
  char *mmap(void *at, size_t size, int protection, int flags, int fd, long offset);
  int mprotect(void *at, size_t size, int protection);
]]
local RLIMIT_NOFILE, RLIMIT_AS = 7, 9

local check = assert(loadfile((arg[0]:gsub("scarce.lua$", "selfcheck.lua"))))
local workload, process = require("workload"), require("process")

local function limit(what, value)
  assert(ffi.C.setrlimit(what, ffi.new("struct rlimit", value, value)) == 0, "setrlimit")
end

local function lines_of(path)
  local n = 0
  for _ in io.lines(path) do n = n + 1 end
  return n
end

local take = {}

function take.files()
  limit(RLIMIT_NOFILE, 0)
  check(2)
end

-- Pages of which every second one can be read: two mappings each.
function take.maps()
  local most = tonumber(io.open("/proc/sys/vm/max_map_count"):read("*l"))
  local count = math.floor((most - lines_of("/proc/self/maps") - 40) / 2)
  local block = ffi.C.mmap(nil, count * 2 * 65536, 0, 0x4022, -1, 0) -- PRIVATE, ANONYMOUS, NORESERVE
  for i = 0, count - 1 do
    if ffi.C.mprotect(block + i * 2 * 65536, 65536, 1) ~= 0 then break end
  end
  assert(lines_of("/proc/self/maps") > most - 80, "the mappings were not to be had")
  check(2)
end

function take.memory()
  limit(RLIMIT_AS, (process.status_kb("VmSize") + 40960) * 1024)
  local failures = 0
  local survivors = workload.peak(20000, 100)
  for _ = 1, workload.sized(8, 4) do
    local ok, message = pcall(function()
      local hoard = {}
      for i = 1, 1e7 do hoard[i] = { i, tostring(i) } end
    end)
    assert(not ok and tostring(message):find("not enough memory"), message)
    failures = failures + 1
    collectgarbage()
    collectgarbage()
    process.sleep_ms(20)
    workload.verify(survivors)
  end
  print("out of memory", failures)
end

function take.limit()
  check(2)
  local hoard, most = {}, tonumber(arg[2]) * 0.85 / 1024
  while collectgarbage("count") < most do hoard[#hoard + 1] = #hoard .. ("x"):rep(1000) end
  for i = 1, #hoard do assert(hoard[i] == (i - 1) .. ("x"):rep(1000), "the hoard is damaged") end
end

take[arg[1]]()
