-- SPDX-License-Identifier: MIT
-- Takes the results of 100,000 pending Futures as they complete, in reverse
-- order.  The figure is for one Future, including its creation and settling.
local w = {
  title = "as-completed over 100,000 Futures (each)", n = 100000,
  goals = { { "lunado", 0.9, "raw" }, { "lunado results", 0.7, "raw" } },
  grows = "as-completed over n Futures",
}

local function by_hand(hand, n)
  local function set_all(futures)
    hand.turn()
    for i = n, 1, -1 do hand.settle(futures[i], true, i) end
  end
  return function()
    hand.run(function()
      local futures = {}
      for i = 1, n do futures[i] = hand.future() end
      hand.spawn(set_all, futures)
      local sum = 0
      for i in hand.as_completed(futures) do sum = sum + i end
      assert(sum == n * (n + 1) // 2)
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

-- cqueues has no such iterator: here a coroutine for each promise reports its
-- completion.
function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  local condition = require "cqueues.condition"
  return function()
    local cq, cond = cqueues.new(), condition.new()
    local futures, done, last = {}, {}, 0
    for i = 1, n do
      local future = promise.new()
      futures[i] = future
      cq:wrap(function()
        local value = future:get()
        last = last + 1
        done[last] = value
        cond:signal()
      end)
    end
    cq:wrap(function()
      for i = n, 1, -1 do futures[i]:set(true, i) end
    end)
    local sum = 0
    cq:wrap(function()
      for i = 1, n do
        while i > last do cond:wait() end
        sum = sum + done[i]
        done[i] = nil
      end
    end)
    assert(cq:loop())
    assert(sum == n * (n + 1) // 2)
  end
end

-- Each of n Futures is taken by take_all(wi), from a WaitIterator.
local function by_iterator(n, take_all)
  local lunado = require "lunado"
  local Future, WaitIterator = lunado.Future, lunado.WaitIterator
  local set_all = lunado.coroutine(function(futures)
    coroutine.yield()
    for i = n, 1, -1 do futures[i]:set_result(i) end
  end)
  return function()
    lunado.run(function()
      local futures = {}
      for i = 1, n do futures[i] = Future() end
      set_all(futures)
      take_all(WaitIterator(futures))
    end)
  end
end

function w.lunado(n)
  return by_iterator(n, function(wi)
    while not wi:done() do coroutine.yield(wi:next()) end
  end)
end

w["lunado results"] = function(n)
  return by_iterator(n, function(wi)
    local sum = 0
    for _, i in wi:results() do sum = sum + i end
    assert(sum == n * (n + 1) // 2)
  end)
end

return w
