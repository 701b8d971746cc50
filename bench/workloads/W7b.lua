-- SPDX-License-Identifier: MIT
-- Renews 10,000 pending timeouts, one after the other: removes the timeout and
-- adds it again.  cqueues cannot remove timeouts: there, a coroutine that waits
-- with a timeout is woken and waits again.
local w = {
  title = "add a timeout and remove it, 10,000 pending", n = 10000,
  goals = { { "lunado", 1.0, "c" } },
  grows = "add a timeout and remove it, n pending",
}

local delay <const> = 100

local function noop() end

function w.luv(n)
  local luv, uv = require "hand_luv", require "luv"
  local pending = {}
  for i = 1, n do pending[i] = luv.later(delay, noop) end
  return function()
    for i = 1, n do
      luv.cancel(pending[i])
      pending[i] = luv.later(delay, noop)
    end
    uv.run "nowait"
  end
end

function w.cqueues(n)
  local cqueues = require "cqueues"
  local condition = require "cqueues.condition"
  local cq, pending = cqueues.new(), {}
  for i = 1, n do
    local cond = condition.new()
    pending[i] = cond
    cq:wrap(function()
      repeat until not cond:wait(delay)
    end)
  end
  assert(cq:step(0))
  return function()
    for i = 1, n do pending[i]:signal() end
    assert(cq:step(0))
  end
end

function w.lunado(n)
  local loop = require "lunado".IOLoop.current()
  local pending = {}
  for i = 1, n do pending[i] = loop:call_later(delay, noop) end
  return function()
    for i = 1, n do
      loop:remove_timeout(pending[i])
      pending[i] = loop:call_later(delay, noop)
    end
  end
end

return w
