-- The demo's application: a cache of user sessions in the worker's memory, as many OpenResty services have
-- one. /login fills it, /page serves requests from it, /expire empties it but for one session in a hundred.

local cjson = require "cjson"

local format = string.format
local M = {}

local SURVIVOR = 100  -- one session in so many outlives /expire
local cache = {}      -- key -> session

local TEMPLATE = [[{"key":"s%08d","user":{"name":"user %d","mail":"user%d@example.org",]]
    .. [["roles":["reader","team-%d"]},]] .. [["cart":[{"sku":%d,"count":1},{"sku":%d,"count":2}],"seen":%d}]]

local function session_text(id)
    return format(TEMPLATE, id, id, id, id, id * 7, id * 7 + 1, id)
end

-- /login?from=N&count=N: that many users log in; their sessions are decoded and kept.
function M.login()
    local from, count = tonumber(ngx.var.arg_from), tonumber(ngx.var.arg_count)
    for id = from, from + count - 1 do
        local session = cjson.decode(session_text(id))
        cache[session.key] = session
    end
    ngx.say("ok")
end

-- /page?id=N: the steady traffic. A user who has no session (any more) gets one for this request only.
function M.page()
    local id = tonumber(ngx.var.arg_id) or math.random(1, 1000000)
    local session = cache[format("s%08d", id)] or cjson.decode(session_text(id))
    local lines = {}
    for i, item in ipairs(session.cart) do
        lines[i] = { label = "article " .. item.sku, price = item.count * item.sku % 97 }
    end
    ngx.say(cjson.encode({ hello = session.user.name, roles = session.user.roles, lines = lines }))
end

-- /expire: the crowd has gone. It also collects, as services do that watch their memory: without it LuaJIT
-- keeps the garbage until the heap has doubled, in both workers alike, and no page would be free. With ?collect=0
-- it leaves that to others.
function M.expire()
    local kept, n = {}, 0
    for key, session in pairs(cache) do
        if session.seen % SURVIVOR == 0 then
            kept[key] = session
            n = n + 1
        end
    end
    cache = kept
    if ngx.var.arg_collect ~= "0" then
        collectgarbage()
        collectgarbage()
    end
    ngx.say(n, " ", collectgarbage("count"))
end

-- /verify: is every session that is left exactly what it was? Answers their number, or the first that is not.
function M.verify()
    local n = 0
    for key, session in pairs(cache) do
        local fresh = cjson.decode(session_text(session.seen))
        local user, cart = session.user, session.cart
        local same = key == fresh.key and session.key == key and user.name == fresh.user.name
            and user.mail == fresh.user.mail and #user.roles == 2 and user.roles[1] == "reader"
            and user.roles[2] == fresh.user.roles[2] and #cart == 2
        for i = 1, 2 do
            same = same and cart[i].sku == fresh.cart[i].sku and cart[i].count == i
        end
        if not same then
            ngx.status = 500
            return ngx.say("damaged: ", key)
        end
        n = n + 1
    end
    ngx.say(n)
end

return M
