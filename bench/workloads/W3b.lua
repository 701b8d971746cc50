-- SPDX-License-Identifier: MIT
-- A chain of 100 coroutines, each awaiting the next; the last one suspends for
-- one turn of the loop.  The figure is for one level.
local calls = require "calls"

local w = {
  title = "the same, leaf suspends for one turn (each level)", n = 50000,
  goals = { { "lunado", 0.4, "raw" } },
}

local function by_hand(hand, n)
  return calls.chain_by_hand(hand, n, function()
    hand.turn()
    return 1
  end)
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues = require "cqueues"
  return calls.chain_cqueues(n, function()
    cqueues.sleep(0)
    return 1
  end)
end

function w.lunado(n)
  local yield = coroutine.yield
  return calls.chain_lunado(n, function()
    yield()
    return 1
  end, yield)
end

return w
