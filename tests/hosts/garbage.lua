-- What every host runs inside itself: a peak of garbage with a few survivors in it, and a proof that these are intact.
-- Plain Lua 5.1, deterministic: two runs give the same digest, with the library and without.
local garbage = { kept = {} }

-- Makes `count` objects of three blocks each, keeps one in `every`, and collects the others.
function garbage.peak(count, every)
	local seed, all, kept = 42, {}, {}
	for i = 1, count do
		seed = (seed * 16807) % 2147483647
		all[i] = { i, seed, string.rep(string.char(97 + seed % 26), 20 + seed % 180) .. i }
	end
	for i = every, count, every do
		kept[#kept + 1] = all[i]
	end
	garbage.kept[#garbage.kept + 1] = kept
	all = nil
	collectgarbage()
	collectgarbage()
end

-- Of all that was kept: fails if anything in it has changed.
function garbage.digest()
	local sum, objects = 0, 0
	for _, kept in ipairs(garbage.kept) do
		for _, object in ipairs(kept) do
			local i, seed, text = object[1], object[2], object[3]
			assert(text == string.rep(string.char(97 + seed % 26), 20 + seed % 180) .. i, "a survivor has changed")
			sum = (sum * 31 + seed + #text) % 1000000007
			objects = objects + 1
		end
	end
	return objects .. " objects, digest " .. sum
end

-- For hosts that run a script to its end: a peak, the trough until the file $HOST_FINISH exists, another peak.
function garbage.script(print, sleep)
	io.stdout:setvbuf("line")
	local finish = os.getenv("HOST_FINISH")
	sleep = sleep or function() os.execute("sleep 0.05") end
	garbage.peak(300000, 3000)
	print("peak: " .. garbage.digest())
	for _ = 1, 1200 do
		local file = io.open(finish)
		if file then file:close() break end
		sleep()
	end
	print("trough: " .. garbage.digest())
	garbage.peak(100000, 1000)
	print("again: " .. garbage.digest())
end

return garbage
