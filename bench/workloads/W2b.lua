-- SPDX-License-Identifier: MIT
-- Calls a coroutine that suspends for one turn of the loop, and awaits it.
local calls = require "calls"

local w = {
  title = "the same, callee suspends for one turn", n = 50000,
  goals = { { "lunado", 0.45, "raw" } },
}

local function by_hand(hand, n)
  return calls.by_hand(hand, n, function()
    hand.turn()
    return 1
  end)
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues = require "cqueues"
  return calls.cqueues(n, function()
    cqueues.sleep(0)
    return 1
  end)
end

function w.lunado(n)
  local yield = coroutine.yield
  return calls.lunado(n, function()
    yield()
    return 1
  end, yield)
end

return w
