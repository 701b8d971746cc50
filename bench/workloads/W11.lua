-- SPDX-License-Identifier: MIT
-- Suspends n coroutines, each of which awaits its own Future.  The figure is
-- the resident memory for one: the coroutine, the Future that it awaits, and
-- the Future of its result.
local measure = require "measure"

local w = {
  title = "bytes for each suspended coroutine with its Future, 100,000",
  n = 100000, measures_itself = true,
  metrics = {
    { key = "bytes", unit = "bytes",
      title = "bytes for each suspended coroutine with its Future, 100,000" },
    { key = "collection_ms", unit = "ms", goals = { { "lunado", 1.5, "raw" } },
      title = "full collection while 100,000 coroutines are suspended" },
  },
}

-- Returns the CPU time of the fastest of three full collections.
local function collection_ms()
  local least = math.huge
  for _ = 1, 3 do
    local from = os.clock()
    collectgarbage()
    least = math.min(least, os.clock() - from)
  end
  return least * 1000
end

local function bytes(n, start)
  collectgarbage()
  local before = measure.rss()
  start()
  collectgarbage()
  return { bytes = (measure.rss() - before) * 1024 / n,
    collection_ms = collection_ms() }
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
