-- SPDX-License-Identifier: MIT
--- Futures that wait in line: what locks and queues are made of.
--
-- A doubly linked list, so that one that timed out is forgotten at once and in
-- O(1).  Invariant: every Future in the list is pending, and the timeout of
-- one that has left it is removed.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.waiters"] then return loaded["lunado.waiters"] end

local Future, IOLoop = core.Future, core.IOLoop

local Waiters = {}
Waiters.__index = Waiters

local function new()
  local self = setmetatable({}, Waiters)
  self.next, self.prev = self, self
  return self
end

local function unlink(waiter)
  waiter.prev.next, waiter.next.prev = waiter.next, waiter.prev
  waiter.next, waiter.prev = nil, nil
  if waiter.timeout then
    waiter.loop:remove_timeout(waiter.timeout)
    waiter.timeout = nil
  end
end

--- Puts a new waiter at the end of the line, and returns its Future.
-- @param timeout a deadline as for IOLoop:add_timeout, or nil
-- @param on_timeout on_timeout(future) settles it when the deadline has come
-- @param value what the waiter brings along
function Waiters:add(timeout, on_timeout, value)
  local waiter = { future = Future(), value = value }
  if timeout ~= nil then
    waiter.loop = IOLoop.current()
    waiter.timeout = waiter.loop:add_timeout(timeout, function()
      waiter.timeout = nil
      unlink(waiter)
      on_timeout(waiter.future)
    end)
  end
  waiter.prev, waiter.next = self.prev, self
  self.prev.next, self.prev = waiter, waiter
  return waiter.future
end

--- Takes the first waiter out of the line; nil when there is none.
function Waiters:take()
  local waiter = self.next
  if waiter == self then return nil end
  unlink(waiter)
  return waiter
end

function Waiters:is_empty() return self.next == self end

local function fail(future)
  future:set_exception(core.TimeoutError("Timeout"))
end

local waiters = { new = new, fail = fail }

loaded["lunado.waiters"] = waiters
return waiters
