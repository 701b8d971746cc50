-- SPDX-License-Identifier: MIT
-- Garbage: collecting all of it, and seeing that it went.
local gc = {}

-- The collectors that LUNADO_GC names, each a chunk.
local collectors = {
  generational = 'collectgarbage "generational"',
  incremental = 'collectgarbage "incremental"',
  -- A new cycle starts as soon as the last has ended.
  restless = 'collectgarbage("incremental", 10, 400)',
  -- So does it here, and is always in the midst of one.
  tiny = 'collectgarbage("incremental", 100, 100, 6)',
}

--- The chunk that sets the collector that was asked for, if one was.
local wanted = os.getenv("LUNADO_GC")
gc.chosen = not wanted and "" or assert(collectors[wanted],
  "LUNADO_GC: generational, incremental, restless or tiny")

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

--- Runs fn() with all of a collection wherever it makes something; a finalizer
--- calls act() in the nth.  Returns what fn returns.
function gc.interfere(n, act, fn)
  local restless = {}
  function restless.__gc(object)
    n = n - 1
    if n == 0 then act() end
    if n > 0 then setmetatable(object, restless) end
  end
  local pause = collectgarbage("setpause", 0)
  local multiplier = collectgarbage("setstepmul", 1000)
  local mode = collectgarbage("incremental", 1, 1000, 63)
  collectgarbage()
  setmetatable({}, restless)
  local result = fn()
  n = 0
  collectgarbage("incremental", pause, multiplier, 13)
  collectgarbage(mode)
  return result
end

return gc
