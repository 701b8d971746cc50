-- SPDX-License-Identifier: MIT
-- Calls a coroutine that returns at once, and awaits it.  Raw Lua creates a
-- coroutine and resumes it.
local calls = require "calls"

local w = {
  title = "call a coroutine that returns at once, await it", n = 100000,
  goals = { { "lunado", 1.08, "raw" }, { "lunado await", 0.85, "raw" } },
}

local function leaf() return 1 end

function w.raw(n)
  local create, resume = coroutine.create, coroutine.resume
  return function()
    for _ = 1, n do resume(create(leaf)) end
  end
end

local function by_floor(n, protected)
  local floor = require "floor"
  return calls.each(n, floor.run, floor.coroutine(leaf, protected),
    coroutine.yield)
end

function w.floor(n) return by_floor(n, false) end
w["floor protected"] = function(n) return by_floor(n, true) end

w["floor await"] = function(n)
  local floor = require "floor"
  return calls.each(n, floor.run, floor.coroutine(leaf), floor.await)
end

function w.luv(n) return calls.by_hand(require "hand_luv", n, leaf) end
function w.cqueues(n) return calls.cqueues(n, leaf) end
function w.lunado(n) return calls.lunado(n, leaf, coroutine.yield) end

w["lunado await"] = function(n)
  return calls.lunado(n, leaf, require "lunado".await)
end

return w
