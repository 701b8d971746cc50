-- SPDX-License-Identifier: MIT
-- Spawns 100,000 children, each of which suspends for one turn of the loop, and
-- waits for all of them.  By hand a child has no owner: it is awaited, and
-- nothing could cancel it.
local w = {
  title = "spawn and join 100,000 children of a TaskGroup (each)",
  n = 100000, quick = 20000,
  goals = { { "lunado", 1.0, "node" }, { "lunado", 1.0, "asyncio" },
    { "lunado", 1.0, "trio" } },
}

local function by_hand(hand, n)
  return function()
    hand.run(function()
      local children = {}
      for i = 1, n do children[i] = hand.spawn(hand.turn) end
      hand.all(children)
    end)
  end
end

function w.raw(n) return by_hand(require "hand", n) end
function w.luv(n) return by_hand(require "hand_luv", n) end

function w.lunado(n)
  local lunado, tasks = require "lunado", require "lunado.tasks"
  local yield = coroutine.yield
  local function child() yield() end
  return function()
    lunado.run(function()
      local group <close> = tasks.TaskGroup()
      for _ = 1, n do group:spawn(child) end
    end)
  end
end

return w
