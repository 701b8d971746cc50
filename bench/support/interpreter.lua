-- SPDX-License-Identifier: MIT
-- Returns the name of the interpreter that runs the script.
local index = 0
while arg[index - 1] do index = index - 1 end
return arg[index]
