-- SPDX-License-Identifier: MIT
-- Calls a coroutine that returns at once, and awaits it.  Raw Lua creates a
-- coroutine and resumes it.
local w = {
  title = "call a coroutine that returns at once, await it", n = 100000,
  goals = { { "lunado", 0.75, "raw" } },
}

local function leaf() return 1 end

function w.raw(n)
  return function()
    for _ = 1, n do coroutine.resume(coroutine.create(leaf)) end
  end
end

local function by_floor(n, protected)
  local floor = require "floor"
  local call = floor.coroutine(leaf, protected)
  return function()
    floor.run(function()
      for _ = 1, n do coroutine.yield(call()) end
    end)
  end
end

function w.floor(n) return by_floor(n, false) end
w["floor protected"] = function(n) return by_floor(n, true) end

w["floor await"] = function(n)
  local floor = require "floor"
  local await, call = floor.await, floor.coroutine(leaf)
  return function()
    floor.run(function()
      for _ = 1, n do await(call()) end
    end)
  end
end

function w.luv(n)
  local luv = require "hand_luv"
  return function()
    luv.run(function()
      for _ = 1, n do luv.await(luv.spawn(leaf)) end
    end)
  end
end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      for _ = 1, n do promise.new(leaf):get() end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local call = lunado.coroutine(leaf)
  return function()
    lunado.run(function()
      for _ = 1, n do coroutine.yield(call()) end
    end)
  end
end

w["lunado await"] = function(n)
  local lunado = require "lunado"
  local await, call = lunado.await, lunado.coroutine(leaf)
  return function()
    lunado.run(function()
      for _ = 1, n do await(call()) end
    end)
  end
end

return w
