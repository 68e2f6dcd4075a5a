local garbage = require("garbage")
local peaks = os.getenv("HOST_FINISH") .. ".peak"

-- Each thread handles one event; the one that comes last says so.
function event()
	garbage.script(function(text)
		print(text)
		if text:find("^peak") then
			local file = io.open(peaks, "a")
			file:write("x")
			if file:seek("end") == 2 then print("all at the peak") end
			file:close()
		end
	end)
end
