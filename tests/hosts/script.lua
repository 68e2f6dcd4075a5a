-- For hosts that take a file.
require("garbage").script(print)
