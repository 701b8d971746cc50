-- SPDX-License-Identifier: MIT
-- A coroutine awaits a Future that is done.  Raw Lua yields and is resumed.
local w = {
  title = "await a done Future", n = 200000,
  goals = { { "lunado", 0.85, "raw" }, { "lunado await", 0.45, "raw" } },
}

function w.raw(n)
  return function()
    local co = coroutine.create(function()
      for i = 1, n do coroutine.yield(i) end
    end)
    for _ = 1, n do coroutine.resume(co) end
  end
end

function w.luv(n)
  local luv = require "hand_luv"
  local future = luv.future()
  luv.settle(future, true, 1)
  return function()
    luv.run(function()
      for _ = 1, n do luv.await(future) end
    end)
  end
end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  local future = promise.new()
  future:set(true, 1)
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      for _ = 1, n do future:get() end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local future = lunado.Future()
  future:set_result(1)
  return function()
    lunado.run(function()
      for _ = 1, n do coroutine.yield(future) end
    end)
  end
end

w["lunado await"] = function(n)
  local lunado = require "lunado"
  local await, future = lunado.await, lunado.Future()
  future:set_result(1)
  return function()
    lunado.run(function()
      for _ = 1, n do await(future) end
    end)
  end
end

return w
