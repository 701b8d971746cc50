-- SPDX-License-Identifier: MIT
-- Calls coroutines of each Lua peer, and awaits them: n after each other, or in
-- chains of 100, each of which calls the next.  The workloads differ in `leaf`,
-- the coroutine that is called, or the end of a chain.
local calls = {}

local depth <const> = 100
calls.depth = depth

-- Returns a function that runs fn as a coroutine of cqueues, on a new loop.
local function on_cqueues(fn)
  local cqueues = require "cqueues"
  return function()
    local cq = cqueues.new()
    cq:wrap(fn)
    assert(cq:loop())
  end
end

function calls.by_hand(hand, n, leaf)
  return function()
    hand.run(function()
      for _ = 1, n do hand.await(hand.spawn(leaf)) end
    end)
  end
end

function calls.cqueues(n, leaf)
  local promise = require "cqueues.promise"
  return on_cqueues(function()
    for _ = 1, n do promise.new(leaf):get() end
  end)
end

-- `run` and `call` are functions of lunado, or of what stands for it; `wait` is
-- coroutine.yield or await.
function calls.each(n, run, call, wait)
  return function()
    run(function()
      for _ = 1, n do wait(call()) end
    end)
  end
end

function calls.lunado(n, leaf, wait)
  local lunado = require "lunado"
  return calls.each(n, lunado.run, lunado.coroutine(leaf), wait)
end

function calls.chain_by_hand(hand, n, leaf)
  local function chain(left)
    if left == 0 then return leaf() end
    return hand.await(hand.spawn(chain, left - 1))
  end
  return function()
    hand.run(function()
      for _ = 1, n // depth do chain(depth) end
    end)
  end
end

function calls.chain_cqueues(n, leaf)
  local promise = require "cqueues.promise"
  local function chain(left)
    if left == 0 then return leaf() end
    return promise.new(chain, left - 1):get()
  end
  return on_cqueues(function()
    for _ = 1, n // depth do chain(depth) end
  end)
end

function calls.chain_lunado(n, leaf, wait)
  local lunado = require "lunado"
  local chain
  chain = lunado.coroutine(function(left)
    if left == 0 then return leaf() end
    return wait(chain(left - 1))
  end)
  return function()
    lunado.run(function()
      for _ = 1, n // depth do wait(chain(depth)) end
    end)
  end
end

return calls
