-- SPDX-License-Identifier: MIT
-- A chain of 100 coroutines, each awaiting the next; the last one suspends for
-- one turn of the loop.  The figure is for one level.
local w = {
  title = "the same, leaf suspends for one turn (each level)", n = 50000,
  goals = { { "lunado", 0.4, "raw" } },
}

local depth <const> = 100

local function by_hand(hand, n)
  local function chain(left)
    if left == 0 then
      hand.turn()
      return 1
    end
    return hand.await(hand.spawn(chain, left - 1))
  end
  return function()
    hand.run(function()
      for _ = 1, n // depth do chain(depth) end
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  local function chain(left)
    if left == 0 then
      cqueues.sleep(0)
      return 1
    end
    return promise.new(chain, left - 1):get()
  end
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      for _ = 1, n // depth do chain(depth) end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local chain
  chain = lunado.coroutine(function(left)
    if left == 0 then
      coroutine.yield()
      return 1
    end
    return coroutine.yield(chain(left - 1))
  end)
  return function()
    lunado.run(function()
      for _ = 1, n // depth do coroutine.yield(chain(depth)) end
    end)
  end
end

return w
