-- SPDX-License-Identifier: MIT
-- Read by busted before the first spec.  Specs find their helpers as
-- "spec.support.*"; LUNADO_GC runs all of them under another collector.
package.path = "./?.lua;" .. package.path

local modes = {
  generational = function() collectgarbage("generational") end,
  incremental = function() collectgarbage("incremental") end,
  -- A new cycle starts as soon as the last has ended.
  restless = function() collectgarbage("incremental", 10, 400) end,
}

local wanted = os.getenv("LUNADO_GC")
if wanted then
  assert(modes[wanted], "LUNADO_GC: generational, incremental or restless")()
end
