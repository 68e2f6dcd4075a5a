local garbage = require("garbage")
local calls, digest = 0, nil

local function say(text) io.write(text, "\n") end

-- wrk calls it once itself, in the first thread's VM, before there are threads.
function request()
	calls = calls + 1
	if calls == 2 then
		garbage.script(say)
		digest = garbage.digest():gsub("[ ,]+", "-")
	end
	return wrk.format("GET", "/" .. (digest or "first"))
end

function done(summary) say("done: " .. summary.errors.status .. " bad answers") end
