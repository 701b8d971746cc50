-- SPDX-License-Identifier: MIT
-- A chain of 100 coroutines, each awaiting the next; the last one returns at
-- once.  Raw Lua resumes each coroutine from the one before.  The figure is for
-- one level.
local calls = require "calls"

local w = {
  title = "chain of 100 awaits, leaf returns at once (each level)", n = 50000,
  goals = { { "lunado", 0.6, "raw" } },
}

local depth <const> = calls.depth

local function leaf() return 1 end

function w.raw(n)
  local create, resume = coroutine.create, coroutine.resume
  local function chain(left)
    if left == 0 then return 1 end
    local _, value = resume(create(chain), left - 1)
    return value
  end
  return function()
    for _ = 1, n // depth do chain(depth) end
  end
end

local function by_floor(n, levels, protected)
  local floor = require "floor"
  local chain
  chain = floor.coroutine(function(left)
    if left == 0 then return 1 end
    return coroutine.yield(chain(left - 1))
  end, protected)
  return function()
    floor.run(function()
      for _ = 1, n // levels do coroutine.yield(chain(levels)) end
    end)
  end
end

function w.floor(n) return by_floor(n, depth, false) end

-- Lua's limit of nested C calls allows no more of these levels.
w["floor protected"] = function(n) return by_floor(n, 60, true) end

function w.luv(n) return calls.chain_by_hand(require "hand_luv", n, leaf) end
function w.cqueues(n) return calls.chain_cqueues(n, leaf) end
function w.lunado(n) return calls.chain_lunado(n, leaf, coroutine.yield) end

w["lunado await"] = function(n)
  return calls.chain_lunado(n, leaf, require "lunado".await)
end

return w
