-- SPDX-License-Identifier: MIT
--- lunado.locks: coordination of coroutines.  Not for threads.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.locks"] then return loaded["lunado.locks"] end

local waiters = require "lunado.waiters"

local class, done = waiters.class, waiters.done

--- What tostring says: the words, and how many wait.
local function state(words, line)
  local n = line:count()
  if n == 0 then return words end
  return ("%s, %d waiting"):format(words, n)
end

-- Condition -----------------------------------------------------------------

--- Lets coroutines wait until they are notified.  Tornado: locks.Condition.
local Condition = class("Condition")

function Condition:_init() self._waiters = waiters.new() end

function Condition:_state()
  return ("%d waiting"):format(self._waiters:count())
end

local function give_false(future) future:set_result(false) end

--- A Future of true when notified, of false after the timeout.
-- @param timeout a deadline as for IOLoop:add_timeout; nil: none
function Condition:wait(timeout)
  local future = self._waiters:add(timeout, 1, "wait", give_false)
  return future
end

--- Wakes up to n waiters.  All are taken before the first is told, so that one
-- that waits again at once is not woken again.
local function wake(self, n)
  local woken = {}
  while #woken < n do
    local waiter = self._waiters:take()
    if not waiter then break end
    woken[#woken + 1] = waiter.future
  end
  for _, future in ipairs(woken) do waiters.deliver(future, true) end
end

--- Wakes the n (1) that have waited longest.
function Condition:notify(n)
  wake(self, n == nil and 1 or waiters.check_count(n, 1, "notify", 3))
end

--- Wakes all that wait.
function Condition:notify_all() wake(self, math.huge) end

-- Event ---------------------------------------------------------------------

--- Lets coroutines wait until a flag is set.  Tornado: locks.Event.
local Event = class("Event")

function Event:_init()
  self._set = false
  self._waiters = waiters.new()
end

function Event:_state()
  return state(self._set and "set" or "clear", self._waiters)
end

function Event:is_set() return self._set end

--- Sets the flag and wakes all that wait; not those that begin to, after the
-- flag was cleared, while these are woken.
function Event:set()
  if self._set then return end
  self._set = true
  local line = self._waiters
  self._waiters = waiters.new()
  for waiter in line.take, line do waiter.future:set_result() end
end

--- Takes the flag back; wait waits again.
function Event:clear() self._set = false end

--- wait, by the name of `name`.
function Event:_wait(timeout, name)
  if not self._set then
    local future = self._waiters:add(timeout, 1, name, waiters.fail)
    return future
  end
  if timeout ~= nil then waiters.check(timeout, 1, name) end
  return done()
end

--- A Future that is done once the flag is set; TimeoutError after the timeout.
function Event:wait(timeout) return self:_wait(timeout, "wait") end

-- Semaphore -----------------------------------------------------------------

--- What acquire gives: its end of scope, or release(), releases once.
local Held = { __name = "lunado.locks.Held" }
Held.__index = Held

function Held:release()
  local owner = self.owner
  if not owner then return end
  self.owner = nil
  owner:release()
end

Held.__close = Held.release

local function held(owner) return setmetatable({ owner = owner }, Held) end

--- Lets `value` (1) at a time go on.  Tornado: locks.Semaphore.
-- Invariant: nobody waits while _value is more than 0.
local Semaphore = class("Semaphore")

function Semaphore:_init(value)
  self._value = value == nil and 1
    or waiters.check_count(value, 1, self.__name, 4)
  self._initial = self._value
  self._waiters = waiters.new()
end

function Semaphore:_state()
  return state(self._value == 0 and "locked"
    or ("unlocked, value %d"):format(self._value), self._waiters)
end

--- A Future of an object that releases at the end of its scope:
-- `local held <close> = coroutine.yield(semaphore:acquire())`.  TimeoutError
-- after the timeout.
function Semaphore:acquire(timeout)
  if self._value == 0 then
    local future = self._waiters:add(timeout, 1, "acquire", waiters.fail)
    return future
  end
  if timeout ~= nil then waiters.check(timeout, 1, "acquire") end
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

function BoundedSemaphore:release()
  if self._value >= self._initial then
    error("the semaphore was released too many times", 2)
  end
  Semaphore.release(self)
end

-- Lock ----------------------------------------------------------------------

--- Lets one at a time go on.  Tornado: locks.Lock.
local Lock = class("Lock")

function Lock:_init() Semaphore._init(self) end

function Lock:_state()
  return state(self._value == 0 and "locked" or "unlocked", self._waiters)
end

--- As Semaphore:acquire.
Lock.acquire = Semaphore.acquire

--- Lets the next one go on; raises when the lock is not locked.
function Lock:release()
  if self._value > 0 then error("the lock is not locked", 2) end
  Semaphore.release(self)
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
