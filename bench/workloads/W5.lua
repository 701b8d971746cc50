-- SPDX-License-Identifier: MIT
-- A coroutine waits for one turn of the loop, repeatedly.
local w = {
  title = "a turn of the loop", n = 100000,
  goals = { { "lunado", 0.6, "raw" } },
}

local function by_hand(hand, n)
  return function()
    hand.run(function()
      for _ = 1, n do hand.turn() end
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.cqueues(n)
  local cqueues = require "cqueues"
  return function()
    local cq = cqueues.new()
    cq:wrap(function()
      for _ = 1, n do cqueues.sleep(0) end
    end)
    assert(cq:loop())
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  return function()
    lunado.run(function()
      for _ = 1, n do coroutine.yield() end
    end)
  end
end

return w
