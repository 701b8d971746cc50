-- SPDX-License-Identifier: MIT
-- here(): returns the line at which it is called.
return function()
  return debug.getinfo(2, "l").currentline
end
