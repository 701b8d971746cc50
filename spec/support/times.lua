-- SPDX-License-Identifier: MIT
-- times(n): returns how often, or how deep, a spec does something that it would
-- do n times if time did not matter.  LUNADO_SCALE, a whole number, divides n:
-- ctest sets it for checkers that make each step slow.
local scale = math.tointeger(os.getenv("LUNADO_SCALE")) or 1

return function(n)
  return (n + scale - 1) // scale
end
