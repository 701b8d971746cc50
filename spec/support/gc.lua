-- SPDX-License-Identifier: MIT
-- Collects garbage, and checks that objects are collected.
local gc = {}

-- Begins a chunk that calls incremental(pause, multiplier, step).  These
-- parameters are as Lua 5.4 has them: a step is the logarithm of its bytes.
local incremental = [[
  local function incremental(pause, multiplier, step)
    if _VERSION == "Lua 5.4" then
      return collectgarbage("incremental", pause, multiplier, step)
    end
    collectgarbage("param", "pause", pause)
    collectgarbage("param", "stepmul", multiplier)
    collectgarbage("param", "stepsize", 1 << step)
    return collectgarbage "incremental"
  end
]]

-- The collectors that LUNADO_GC may name: name -> the chunk that sets it.
local collectors = {
  generational = 'collectgarbage "generational"',
  incremental = 'collectgarbage "incremental"',
  -- A new cycle starts as soon as the last cycle has ended.
  stress = incremental .. "incremental(10, 400, 13)",
  -- The same with small steps: allocations are nearly always within a cycle.
  tiny = incremental .. "incremental(100, 100, 6)",
}

--- The chunk that sets the collector named by LUNADO_GC; empty if none is
--- named.
local wanted = os.getenv("LUNADO_GC")
gc.chosen = not wanted and "" or assert(collectors[wanted],
  "LUNADO_GC: generational, incremental, stress or tiny")

-- Collects all garbage.  Objects that a finalizer releases are collected only
-- by the next cycle, hence several cycles.
function gc.collect()
  collectgarbage()
  collectgarbage()
  collectgarbage()
end

--- Runs make(); returns whether the object that it returns can be collected.
--- The object must not be on the caller's stack, hence the function make.
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

--- Returns the kilobytes in use after all garbage was collected.
function gc.kilobytes()
  gc.collect()
  return collectgarbage("count")
end

--- Runs fn() with Lua's incremental collector; returns how many collections
--- ended meanwhile.
function gc.collections(fn)
  local counter, n, counts = {}, 0, true
  function counter.__gc(object)
    n = n + 1
    if counts then setmetatable(object, counter) end
  end
  local mode = load(incremental .. "return incremental(200, 100, 13)")()
  gc.collect()
  setmetatable({}, counter)
  local ok, err = pcall(fn)
  counts = false
  collectgarbage(mode)
  load(gc.chosen)()
  if not ok then error(err, 0) end
  return n
end

--- Makes a complete collection at each allocation; returns a function that ends
--- this.
function gc.at_each_allocation()
  if _VERSION == "Lua 5.4" then
    local pause = collectgarbage("setpause", 0)
    local multiplier = collectgarbage("setstepmul", 1000)
    local mode = collectgarbage("incremental", 1, 1000, 63)
    return function()
      collectgarbage("incremental", pause, multiplier, 13)
      collectgarbage(mode)
      load(gc.chosen)() -- nothing tells the size of steps
    end
  end
  local pause = collectgarbage("param", "pause", 0)
  local multiplier = collectgarbage("param", "stepmul", 0) -- no limit of a step
  local mode = collectgarbage("incremental")
  return function()
    collectgarbage("param", "pause", pause)
    collectgarbage("param", "stepmul", multiplier)
    collectgarbage(mode)
  end
end

--- Runs fn() with a complete collection at each of its allocations; in the nth
--- collection a finalizer calls act().  Returns the result of fn.
function gc.interfere(n, act, fn)
  local stress = {}
  function stress.__gc(object)
    n = n - 1
    if n == 0 then act() end
    if n > 0 then setmetatable(object, stress) end
  end
  local finish = gc.at_each_allocation()
  collectgarbage()
  setmetatable({}, stress)
  local result = fn()
  n = 0
  finish()
  return result
end

return gc
