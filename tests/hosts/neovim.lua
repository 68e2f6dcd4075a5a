local function say(text) io.stdout:write(text, "\n") end
require("garbage").script(say, function() vim.wait(50) end)
