-- SPDX-License-Identifier: MIT
-- Calls a coroutine that suspends for one turn of the loop, and awaits it.
local w = {
  title = "the same, callee suspends for one turn", n = 50000,
  goals = { { "lunado", 0.45, "raw" } },
}

local function by_hand(hand, n)
  local function leaf()
    hand.turn()
    return 1
  end
  return function()
    hand.run(function()
      for _ = 1, n do hand.await(hand.spawn(leaf)) end
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues, promise = require "cqueues", require "cqueues.promise"
  local function leaf()
    cqueues.sleep(0)
    return 1
  end
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      for _ = 1, n do promise.new(leaf):get() end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local leaf = lunado.coroutine(function()
    coroutine.yield()
    return 1
  end)
  return function()
    lunado.run(function()
      for _ = 1, n do coroutine.yield(leaf()) end
    end)
  end
end

return w
