-- SPDX-License-Identifier: MIT
-- Two coroutines wake each other in turn; each hand-over uses a new Future.
local w = {
  title = "two coroutines hand over through fresh Futures", n = 100000,
  goals = { { "lunado", 0.65, "raw" } },
}

local function by_hand(hand, n)
  local spawn, await, settle = hand.spawn, hand.await, hand.settle
  return function()
    local a, b = hand.future(), hand.future()
    hand.run(function()
      local other = spawn(function()
        for i = 1, n // 2 do
          await(a)
          a = hand.future()
          settle(b, true, i)
        end
      end)
      for i = 1, n // 2 do
        settle(a, true, i)
        await(b)
        b = hand.future()
      end
      await(other)
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  return function()
    local cq = cqueues.new()
    local a, b = promise.new(), promise.new()
    cq:wrap(function()
      for i = 1, n // 2 do
        a:get()
        a = promise.new()
        b:set(true, i)
      end
    end)
    cq:wrap(function()
      for i = 1, n // 2 do
        a:set(true, i)
        b:get()
        b = promise.new()
      end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local Future, yield = lunado.Future, coroutine.yield
  return function()
    local a, b = Future(), Future()
    local ping = lunado.coroutine(function()
      for i = 1, n // 2 do
        yield(a)
        a = Future()
        b:set_result(i)
      end
    end)
    lunado.run(function()
      local other = ping()
      for i = 1, n // 2 do
        a:set_result(i)
        yield(b)
        b = Future()
      end
      yield(other)
    end)
  end
end

return w
