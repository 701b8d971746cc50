-- SPDX-License-Identifier: MIT
--- lunado.locks: coordination of coroutines.  Not for threads.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.locks"] then return loaded["lunado.locks"] end

local waiters = require "lunado.waiters"

local Future = core.Future

local function class(name, base)
  local self = { __name = name }
  self.__index = self
  return setmetatable(self, {
    __index = base,
    __call = function(cls, ...)
      local object = setmetatable({}, cls)
      object:_init(...)
      return object
    end,
  })
end

local function check_count(name, position, value, least)
  if math.type(value) == "integer" and value >= least then return value end
  error(("bad argument #%d to '%s' (integer of at least %d expected, got %s)")
    :format(position, name, least,
      math.type(value) and tostring(value) or type(value)), 4)
end

local function done(...)
  local future = Future()
  future:set_result(...)
  return future
end

-- Condition -----------------------------------------------------------------

--- Lets coroutines wait until they are notified.  Tornado: locks.Condition.
local Condition = class("Condition")

function Condition:_init() self._waiters = waiters.new() end

local function give_false(future) future:set_result(false) end

--- A Future of true when notified, of false after the timeout.
-- @param timeout a deadline as for IOLoop:add_timeout; nil: none
function Condition:wait(timeout)
  return self._waiters:add(timeout, give_false)
end

--- Wakes the n (1) that have waited longest.
function Condition:notify(n)
  n = n == nil and 1 or check_count("notify", 1, n, 0)
  local woken = {}
  while #woken < n do
    local waiter = self._waiters:take()
    if not waiter then break end
    woken[#woken + 1] = waiter.future
  end
  for _, future in ipairs(woken) do future:set_result(true) end
end

--- Wakes all that wait.
function Condition:notify_all() self:notify(math.maxinteger) end

-- Event ---------------------------------------------------------------------

--- Lets coroutines wait until a flag is set.  Tornado: locks.Event.
local Event = class("Event")

function Event:_init()
  self._set = false
  self._waiters = waiters.new()
end

function Event:is_set() return self._set end

--- Sets the flag and wakes all that wait.
function Event:set()
  if self._set then return end
  self._set = true
  local line = self._waiters
  self._waiters = waiters.new()
  for waiter in line.take, line do waiter.future:set_result() end
end

--- Takes the flag back; wait waits again.
function Event:clear() self._set = false end

--- A Future that is done once the flag is set; TimeoutError after the timeout.
function Event:wait(timeout)
  if self._set then return done() end
  return self._waiters:add(timeout, waiters.fail)
end

-- Semaphore -----------------------------------------------------------------

--- What acquire gives: its end of scope, or release(), releases once.
local Held = { __name = "lunado.locks.Held" }
Held.__index = Held

function Held:release()
  if not self.owner then return end
  local owner = self.owner
  self.owner = nil
  owner:release()
end

Held.__close = Held.release

local function held(owner) return setmetatable({ owner = owner }, Held) end

--- Lets `value` (1) at a time go on.  Tornado: locks.Semaphore.
local Semaphore = class("Semaphore")

function Semaphore:_init(value)
  self._value = value == nil and 1 or check_count("Semaphore", 1, value, 0)
  self._waiters = waiters.new()
end

--- A Future of an object that releases at the end of its scope:
-- `local held <close> = coroutine.yield(semaphore:acquire())`.  TimeoutError
-- after the timeout.
function Semaphore:acquire(timeout)
  if self._value == 0 then return self._waiters:add(timeout, waiters.fail) end
  self._value = self._value - 1
  return done(held(self))
end

--- Lets one more go on.
function Semaphore:release()
  local waiter = self._waiters:take()
  if waiter then
    waiter.future:set_result(held(self))
  else
    self._value = self._value + 1
  end
end

--- A Semaphore that may not be released more often than it was acquired.
-- Tornado: locks.BoundedSemaphore.
local BoundedSemaphore = class("BoundedSemaphore", Semaphore)

function BoundedSemaphore:_init(value)
  Semaphore._init(self, value)
  self._initial = self._value
end

function BoundedSemaphore:release()
  if self._value >= self._initial then
    error("the semaphore was released too many times", 2)
  end
  Semaphore.release(self)
end

-- Lock ----------------------------------------------------------------------

--- Lets one at a time go on.  Tornado: locks.Lock.
local Lock = class("Lock")

function Lock:_init() self._block = Semaphore(1) end

--- As Semaphore:acquire.
function Lock:acquire(timeout) return self._block:acquire(timeout) end

function Lock:release()
  if self._block._value > 0 then error("the lock is not locked", 2) end
  self._block:release()
end

local locks = {
  Condition = Condition,
  Event = Event,
  Semaphore = Semaphore,
  BoundedSemaphore = BoundedSemaphore,
  Lock = Lock,
}

loaded["lunado.locks"] = locks
return locks
