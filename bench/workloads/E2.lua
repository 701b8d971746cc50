-- SPDX-License-Identifier: MIT
-- pcall(coroutine.yield, future) of a Future that has failed.  Raw Lua calls
-- pcall(error) and switches to the resumer and back.
local w = {
  title = "catch a failed Future's error at the yield", n = 100000,
  goals = { { "lunado", 2, "raw" } },
}

function w.raw(n)
  return function()
    local co = coroutine.create(function()
      for i = 1, n do
        pcall(error, "no")
        coroutine.yield(i)
      end
    end)
    for _ = 1, n do coroutine.resume(co) end
  end
end

local function lunado(n, wait)
  local run, Future = require "lunado".run, require "lunado".Future
  return function()
    local future = Future()
    future:set_exception "no"
    run(function()
      for _ = 1, n do pcall(wait, future) end
    end)
  end
end

w["lunado"] = function(n) return lunado(n, coroutine.yield) end
w["lunado await"] = function(n) return lunado(n, require "lunado".await) end

return w
