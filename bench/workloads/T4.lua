-- SPDX-License-Identifier: MIT
-- A coroutine waits for one turn of the loop, within a scope whose timeout does
-- not fire.  Without scopes, luv's coroutine starts a timer and closes it.
local w = {
  title = "a timeout scope around a wait, which does not fire (each)",
  n = 20000,
  goals = { { "lunado", 1.0, "luv" }, { "lunado", 1.0, "node" },
    { "lunado", 1.0, "asyncio" }, { "lunado", 1.0, "trio" } },
}

local delay <const> = 100

function w.luv(n)
  local luv = require "hand_luv"
  local function expire() error "the timeout fired" end
  return function()
    luv.run(function()
      for _ = 1, n do
        local timer = luv.later(delay, expire)
        luv.turn()
        luv.cancel(timer)
      end
    end)
  end
end

-- Each of n waits is done by `wait`.
local function waits(n, wait)
  local lunado = require "lunado"
  return function()
    lunado.run(function()
      for _ = 1, n do wait() end
    end)
  end
end

function w.lunado(n)
  local timeout, yield = require "lunado.tasks".timeout, coroutine.yield
  local deadline = { seconds = delay }
  return waits(n, function()
    local _ <close> = timeout(deadline)
    yield()
  end)
end

w["lunado function"] = function(n)
  local timeout, yield = require "lunado.tasks".timeout, coroutine.yield
  local deadline = { seconds = delay }
  return waits(n, function() timeout(deadline, yield) end)
end

return w
