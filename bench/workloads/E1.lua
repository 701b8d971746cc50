-- SPDX-License-Identifier: MIT
-- A coroutine raises an error, which its caller catches at the await.  A second
-- figure is for the same call without an error.
local w = {
  title = "raise through one await", n = 50000,
  goals = { { "lunado", 4.5, "lunado success" } },
}

local function leaf(fails)
  if fails then error "no" end
  return 1
end

local function by_hand(hand, n, fails)
  return function()
    hand.run(function()
      for _ = 1, n do
        local ok = pcall(hand.await, hand.spawn(leaf, fails))
        assert(ok ~= fails)
      end
    end)
  end
end

w["raw"] = function(n) return by_hand(require "hand", n, true) end
w["raw success"] = function(n) return by_hand(require "hand", n, false) end

local function lunado(n, fails)
  local run, call = require "lunado".run, require "lunado".coroutine(leaf)
  local yield = coroutine.yield
  return function()
    run(function()
      for _ = 1, n do
        local ok = pcall(yield, call(fails))
        assert(ok ~= fails)
      end
    end)
  end
end

w["lunado"] = function(n) return lunado(n, true) end
w["lunado success"] = function(n) return lunado(n, false) end

return w
