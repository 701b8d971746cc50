-- SPDX-License-Identifier: MIT
-- Awaits all of 1,000 pending Futures, which another coroutine then settles.
-- The figure is for one Future, including its creation and settling.
local w = {
  title = "multi of 1,000 pending Futures (each)", n = 1000,
  goals = { { "lunado", 0.75, "raw" } }, grows = "multi of n pending Futures",
}

local function by_hand(hand, n)
  local function set_all(futures)
    hand.turn()
    for i = 1, n do hand.settle(futures[i], true, i) end
  end
  return function()
    hand.run(function()
      local futures = {}
      for i = 1, n do futures[i] = hand.future() end
      hand.spawn(set_all, futures)
      hand.all(futures)
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      local futures, results = {}, {}
      for i = 1, n do futures[i] = promise.new() end
      cq:wrap(function()
        for i = 1, n do futures[i]:set(true, i) end
      end)
      for i = 1, n do results[i] = futures[i]:get() end
      assert(#results == n)
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local Future = lunado.Future
  local set_all = lunado.coroutine(function(futures)
    coroutine.yield()
    for i = 1, n do futures[i]:set_result(i) end
  end)
  return function()
    lunado.run(function()
      local futures = {}
      for i = 1, n do futures[i] = Future() end
      set_all(futures)
      coroutine.yield(futures)
    end)
  end
end

return w
