-- SPDX-License-Identifier: MIT
-- Suspends n coroutines, each of which awaits its own Future.  The figure is
-- the resident memory for one: the coroutine, the Future that it awaits, and
-- the Future of its result.
local measure = require "measure"

local w = {
  title = "bytes for each suspended coroutine with its Future, 100,000",
  n = 100000, measures_itself = true,
  metrics = { { key = "bytes", unit = "bytes",
    title = "bytes for each suspended coroutine with its Future" } },
}

local function bytes(n, start)
  collectgarbage()
  local before = measure.rss()
  start()
  collectgarbage()
  return { bytes = (measure.rss() - before) * 1024 / n }
end

local function by_hand(hand, n)
  return function()
    local futures = {}
    return bytes(n, function()
      for i = 1, n do
        futures[i] = hand.future()
        hand.spawn(hand.await, futures[i])
      end
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  return function()
    local cq, futures = cqueues.new(), {}
    return bytes(n, function()
      for i = 1, n do
        local future = promise.new()
        futures[i] = future
        cq:wrap(function() future:get() end)
      end
      assert(cq:step(0))
      assert(#futures == n)
    end)
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local wait = lunado.coroutine(function(future) coroutine.yield(future) end)
  return function()
    local futures = {}
    return bytes(n, function()
      for i = 1, n do
        futures[i] = lunado.Future()
        wait(futures[i])
      end
    end)
  end
end

return w
