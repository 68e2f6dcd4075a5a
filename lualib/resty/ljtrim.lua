-- resty.ljtrim: statistics and control of libljtrim from Lua. docs/LUA.md describes it; preload/ljtrim.h, the C
-- functions behind it.
--
-- It loads anywhere, also where nothing is preloaded and where there is no nginx. Every function returns nil and a
-- message where it can't do its work; none raises an error but for arguments of the wrong type or out of range.

local ffi = require "ffi"

local C = ffi.C
local collectgarbage = collectgarbage
local clock = os.clock
local error = error
local ffi_new, ffi_string = ffi.new, ffi.string
local max, abs = math.max, math.abs
local pcall, tonumber, tostring, type = pcall, tonumber, tostring, type
local find, gmatch, match, sub, format = string.find, string.gmatch, string.match, string.sub, string.format
local concat, ipairs = table.concat, ipairs

local _M = { _VERSION = "0.1.0" }

-- Declared as in ljtrim.h. Once more is no error: a module may be loaded again.
ffi.cdef [[
const char *ljtrim_version(void);
int ljtrim_dump(void);
int ljtrim_stats(const char *format, char *buf, size_t size);
int ljtrim_get(const char *name, char *buf, size_t size);
int ljtrim_set(const char *name, const char *value, char *error, size_t size);
int64_t ljtrim_trim(uint64_t max_bytes, uint32_t max_ms, uint32_t flags);
int ljtrim_pause(uint32_t max_ms);
int ljtrim_resume(void);
]]

local NO_WAIT = 1
local DEFAULT_MS = 100

-- errno values, as Linux has them on x86 and arm64
local ENOENT, EAGAIN, EBUSY, EPERM, ENODEV, EINVAL, ETIMEDOUT = 2, 11, 16, 1, 19, 22, 110


---- The library

local function index(t, key)
    return t[key]
end

-- A function of the library, or nil and why not. A preloaded object's symbols are global; a missing one is an error.
local function lookup(name)
    local ok, f = pcall(index, C, name)
    if ok then
        return f
    end
    ok, f = pcall(index, C, "ljtrim_version")
    if ok then
        return nil, "libljtrim " .. ffi_string(f()) .. " has no " .. name
    end
    return nil, "libljtrim is not preloaded"
end

-- The version of the preloaded library.
function _M.available()
    local version, err = lookup("ljtrim_version")
    if not version then
        return nil, err
    end
    return ffi_string(version())
end


---- Arguments

local function check(condition, what, value)
    if not condition then
        error(format("%s expected, got %s", what, type(value) == "number" and tostring(value) or type(value)), 3)
    end
end

local function is_whole(value, low, high)
    return type(value) == "number" and value >= low and value <= high and value % 1 == 0
end


---- JSON
-- What the library writes, no more: no escapes, no null. cjson would do, but it isn't everywhere LuaJIT is.

local decode

local function decode_members(text, at, close, member)
    at = match(text, "^%s*()", at)
    if sub(text, at, at) == close then
        return at + 1
    end
    while at do
        at = member(at)
        local separator
        separator, at = match(text, "^%s*(.)()", at)
        if separator == close then
            return at
        elseif separator ~= "," then
            error("',' or '" .. close .. "' expected", 0)
        end
    end
end

function decode(text, at)
    local first
    at, first = match(text, "^%s*()(.)", at)
    if first == "{" then
        local object = {}
        at = decode_members(text, at + 1, "}", function(p)
            local key, value
            key, p = match(text, '^%s*"([^"\\]*)"%s*:()', p)
            value, p = decode(text, p)
            object[key] = value
            return p
        end)
        return object, at
    elseif first == "[" then
        local array, n = {}, 0
        at = decode_members(text, at + 1, "]", function(p)
            n = n + 1
            array[n], p = decode(text, p)
            return p
        end)
        return array, at
    elseif first == '"' then
        return match(text, '^"([^"\\]*)"()', at)
    end
    local word, after = match(text, "^([%w.+-]+)()", at)
    if word == "true" or word == "false" then
        return word == "true", after
    end
    return tonumber(word) or error("a value expected", 0), after
end


---- Statistics

local buffer, buffer_size = nil, 32768 -- kept: it would be garbage at each call

-- The text in one of the library's formats.
local function formatted(name)
    local stats, err = lookup("ljtrim_stats")
    if not stats then
        return nil, err
    end
    buffer = buffer or ffi_new("char[?]", buffer_size)
    local n = stats(name, buffer, buffer_size)
    if n < 0 then
        return nil, "ljtrim_stats: error " .. -n
    end
    return ffi_string(buffer, n)
end

-- A table of this process' figures, named as in docs/STATS.md; bytes and nanoseconds are numbers.
function _M.stats()
    while true do
        local text, err = formatted("json")
        if not text then
            return nil, err
        end
        local ok, result = pcall(decode, text, 1)
        if not ok then
            return nil, "the library's statistics can't be read: " .. tostring(result)
        end
        if not (tonumber(result.arenas_left_out) and result.arenas_left_out > 0) or buffer_size >= 1048576 then
            return result
        end
        buffer, buffer_size = nil, buffer_size * 2
    end
end


---- Prometheus: one worker answers for all
-- Each worker leaves its text in a lua_shared_dict; whoever is asked joins them.

local KEEP = 3 -- intervals that a text stays after its worker has last been heard of

local published = {} -- names of dictionaries

local function shared(name)
    local dict = ngx and ngx.shared and ngx.shared[name]
    if not dict then
        return nil, "no lua_shared_dict " .. name
    end
    return dict
end

-- One text of several: a family's samples must stand together, under its HELP and TYPE.
local function join(texts)
    local families, lines = {}, {}
    for _, text in ipairs(texts) do
        local family
        for line in gmatch(text, "[^\n]+") do
            local word, name = match(line, "^# (%u+) (%S+)")
            if word and not lines[name] then
                families[#families + 1] = name
                lines[name] = {}
            end
            family = name or family
            local seen = lines[family]
            if not word or not seen[word] then
                seen[#seen + 1] = line
                seen[word or 0] = true
            end
        end
    end
    for i, name in ipairs(families) do
        families[i] = concat(lines[name], "\n")
    end
    return concat(families, "\n") .. "\n"
end

-- Prometheus' text exposition: of this worker, or of all that publish in the dictionary of this name.
function _M.metrics(name)
    check(name == nil or type(name) == "string", "a lua_shared_dict's name", name)
    local text, err = formatted("prometheus")
    if not text or not name then
        return text, err
    end
    local dict
    dict, err = shared(name)
    if not dict then
        return nil, err
    end
    local texts, own = { text }, ngx.worker.id()
    for id = 0, ngx.worker.count() - 1 do
        texts[#texts + 1] = id ~= own and dict:get("ljtrim:" .. id) or nil
    end
    return join(texts)
end

-- Leaves this worker's text in the dictionary every `interval` seconds, 0.1 to 3600; for init_worker_by_lua.
function _M.publish(name, interval)
    check(type(name) == "string", "a lua_shared_dict's name", name)
    check(type(interval) == "number" and interval >= 0.1 and interval <= 3600,
          "interval: seconds from 0.1 to 3600", interval)
    local _, err = lookup("ljtrim_stats")
    if err then
        return nil, err
    end
    local dict
    dict, err = shared(name)
    if not dict then
        return nil, err
    end
    local id = ngx.worker.id()
    if not id then
        return nil, "not a worker"
    end
    if published[name] then
        return nil, "published there already"
    end
    local function publish(premature)
        local key = "ljtrim:" .. id
        if premature then -- after a reload, a new worker of this number may have written there
            local text = dict:get(key)
            if text and find(text, 'pid="' .. ngx.worker.pid() .. '"', 1, true) then
                dict:delete(key)
            end
            return
        end
        dict:set(key, formatted("prometheus"), KEEP * interval)
    end
    local called, ok, why = pcall(ngx.timer.every, interval, publish)
    if not called or not ok then
        return nil, "no timer: " .. tostring(called and why or ok)
    end
    published[name] = true
    publish(false)
    return true
end

-- Asks for a dump of the statistics to the library's log (nginx: the error log).
function _M.dump()
    local dump, err = lookup("ljtrim_dump")
    if not dump then
        return nil, err
    end
    if dump() ~= 0 then
        return nil, "no Lua heap of this process has grown"
    end
    return true
end


---- Control

local trim_errors = {
    [EAGAIN] = "paused",
    [EBUSY] = "another trim is under way",
    [EPERM] = "LJTRIM_MODE is observe",
    [ENODEV] = "no Lua heap of this process has grown",
}

-- Purges now. opts: max_bytes (none), max_ms (100), wait (true), collect (false). Returns the bytes purged.
function _M.trim(opts)
    check(opts == nil or type(opts) == "table", "a table", opts)
    opts = opts or {}
    local max_bytes, max_ms = opts.max_bytes or 0, opts.max_ms or DEFAULT_MS
    check(is_whole(max_bytes, 0, 2 ^ 53), "max_bytes: a whole number", max_bytes)
    check(is_whole(max_ms, 1, 60000), "max_ms: a whole number from 1 to 60000", max_ms)
    local trim, err = lookup("ljtrim_trim")
    if not trim then
        return nil, err
    end
    if opts.collect then
        collectgarbage()
        collectgarbage() -- what had finalizers
    end
    local n = tonumber(trim(max_bytes, max_ms, opts.wait == false and NO_WAIT or 0))
    if n < 0 then
        return nil, trim_errors[-n] or "ljtrim_trim: error " .. -n
    end
    return n
end

-- Changes an option: set("decay_ms", 500), set("min_reclaim", "4M"). The message is the library's own.
function _M.set(name, value)
    check(type(name) == "string", "name: a string", name)
    if type(value) == "boolean" then
        value = value and 1 or 0
    end
    check(type(value) == "string" or type(value) == "number", "value: a string, number or boolean", value)
    local set, err = lookup("ljtrim_set")
    if not set then
        return nil, err
    end
    local why = ffi_new("char[192]")
    if set(name, type(value) == "number" and format("%.14g", value) or value, why, 192) ~= 0 then
        return nil, ffi_string(why)
    end
    return true
end

-- The value of an option, a string.
function _M.get(name)
    check(type(name) == "string", "name: a string", name)
    local get, err = lookup("ljtrim_get")
    if not get then
        return nil, err
    end
    local size = 1100 -- a path is the longest
    local value = ffi_new("char[?]", size)
    local n = get(name, value, size)
    if n < 0 then
        return nil, n == -ENOENT and "no such option" or "ljtrim_get: error " .. -n
    end
    return ffi_string(value)
end

-- No purges from now on, until as many resumes. The second result says that not all was handed back yet.
function _M.pause(max_ms)
    max_ms = max_ms or DEFAULT_MS
    check(is_whole(max_ms, 0, 60000), "max_ms: a whole number from 0 to 60000", max_ms)
    local pause, err = lookup("ljtrim_pause")
    if not pause then
        return nil, err
    end
    local n = pause(max_ms)
    if n == -ETIMEDOUT then
        return true, "some memory is still to be handed back to a VM"
    elseif n < 0 then
        return nil, "ljtrim_pause: error " .. -n
    end
    return true
end

-- Returns how many pauses are left.
function _M.resume()
    local resume, err = lookup("ljtrim_resume")
    if not resume then
        return nil, err
    end
    local n = resume()
    if n < 0 then
        return nil, n == -EINVAL and "not paused" or "ljtrim_resume: error " .. -n
    end
    return n
end


---- The heartbeat
-- LuaJIT collects while it allocates. A worker that had its peak and then nothing to do keeps its garbage until it has
-- allocated as much again. The heartbeat looks at the size of the heap, and runs the collector in slices if there
-- may be garbage and nobody else does. What is garbage can't be known: it is what came since the last cycle's end.

local GARBAGE_KB = 1024 -- with less it isn't worth a cycle
local MOVED_KB = 256    -- a heap that changes by more between two beats is at work: its collector runs by itself
local SLICE = 0.001     -- s of CPU time at a stretch
local REST = 0.01       -- s between two slices

local beat -- one a worker: its timer can't be taken back

-- Has the program stopped its collector? A step would start it again.
local function is_stopped()
    local ok, running = pcall(collectgarbage, "isrunning")
    return ok and not running
end

local function is_worth_it(kb)
    return kb - beat.live > max(GARBAGE_KB, beat.live / 8)
end

-- One slice. Two cycles at most: the first may have been under way, and keeps what has died since it began.
local function slice(premature)
    local stop = clock() + SLICE
    if premature or not beat.on or is_stopped() then
        beat.collecting = false
        return
    end
    repeat
        local ok, ended = pcall(collectgarbage, "step", 8)
        if not ok then -- a finalizer's error; the next beat begins anew
            beat.collecting = false
            return
        end
        if ended then
            local kb = collectgarbage("count")
            beat.cycles = beat.cycles + 1
            if beat.cycles == 2 or not is_worth_it(kb) then
                beat.live, beat.last, beat.collecting = kb, kb, false
                return
            end
        end
    until clock() >= stop
    beat.collecting = ngx.timer.at(REST, slice) or false -- no timer to be had: the next beat begins anew
end

local function on_beat(premature)
    if premature or not beat.on or beat.collecting then
        return
    end
    local kb = collectgarbage("count")
    local moved = abs(kb - beat.last)
    beat.last = kb
    if kb < beat.live then
        beat.live = kb
    end
    if moved > max(MOVED_KB, kb / 16) or not is_worth_it(kb) or is_stopped() then
        return
    end
    beat.collecting, beat.cycles = true, 0
    slice(false)
end

-- Lets the collector of an idle worker finish: every `interval` seconds, 0.1 to 3600; 0 ends it. Needs no preload.
function _M.heartbeat(interval)
    check(type(interval) == "number" and (interval == 0 or interval >= 0.1 and interval <= 3600),
          "interval: 0, or seconds from 0.1 to 3600", interval)
    if interval == 0 then
        if beat then
            beat.on = false
        end
        return true
    end
    if beat then
        if beat.interval ~= interval then
            return nil, format("a heartbeat of %g s is there already", beat.interval)
        end
        beat.on = true
        return true
    end
    if not ngx or not ngx.timer or not ngx.timer.every then
        return nil, "no ngx.timer.every here"
    end
    local started = { interval = interval, on = true, live = 0, last = 0, cycles = 0, collecting = false }
    local called, ok, err = pcall(ngx.timer.every, interval, on_beat)
    if not called or not ok then
        return nil, "no timer: " .. tostring(called and err or ok) -- as in init_by_lua, where there is none
    end
    beat = started
    return true
end


return _M
