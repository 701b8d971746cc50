-- SPDX-License-Identifier: MIT
-- The command of the interpreter that runs the specs.
local first = 0
while arg and arg[first - 1] do first = first - 1 end
return first < 0 and arg[first] or "lua5.4"
