-- SPDX-License-Identifier: MIT
-- How often something is to be done, or how deep, that is done n times where
-- time does not matter.  LUNADO_HASTE, a whole number, divides it: ctest sets
-- it where a checker makes each step slow.
local haste = math.tointeger(os.getenv("LUNADO_HASTE")) or 1

return function(n)
  return (n + haste - 1) // haste
end
