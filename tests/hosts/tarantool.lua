local fiber = require("fiber")
require("garbage").script(print, function() fiber.sleep(0.05) end)
os.exit(0)
