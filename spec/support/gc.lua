-- SPDX-License-Identifier: MIT
-- Garbage: collecting all of it, and seeing that it went.
local gc = {}

-- A finalizer may free what only the next cycle collects.
function gc.collect()
  collectgarbage()
  collectgarbage()
  collectgarbage()
end

--- Runs make(); tells whether the object it returns can be collected.  The
--- object must not be on the caller's stack, hence the function.
function gc.collects(make)
  local weak = setmetatable({}, { __mode = "v" })
  local function fill()
    weak[1] = make()
    assert(weak[1] ~= nil, "nothing to watch")
  end
  fill()
  gc.collect()
  return weak[1] == nil
end

--- Kilobytes in use once all garbage is gone.
function gc.kilobytes()
  gc.collect()
  return collectgarbage("count")
end

return gc
