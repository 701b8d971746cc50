-- SPDX-License-Identifier: MIT
-- Awaits, for at most a second, a Future that is settled in the next turn.
local w = {
  title = "await with_timeout(1 s, done next turn)", n = 50000,
  goals = { { "lunado", 0.4, "luv" } },
}

function w.luv(n)
  local luv = require "hand_luv"
  return function()
    luv.run(function()
      for i = 1, n do
        local future = luv.future()
        luv.soon(function() luv.settle(future, true, i) end)
        luv.await(luv.with_timeout(1, future))
      end
    end)
  end
end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      for i = 1, n do
        local future = promise.new()
        cq:wrap(function() future:set(true, i) end)
        future:get(1)
      end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local Future, with_timeout = lunado.Future, lunado.with_timeout
  local loop, second = lunado.IOLoop.current(), { seconds = 1 }
  return function()
    lunado.run(function()
      for i = 1, n do
        local future = Future()
        loop:add_callback(function() future:set_result(i) end)
        coroutine.yield(with_timeout(second, future))
      end
    end)
  end
end

return w
