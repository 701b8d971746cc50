-- SPDX-License-Identifier: MIT
--- lunado.locks: objects with which coroutines wait for each other; not for
-- threads.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.locks"] then return loaded["lunado.locks"] end

local argument = require "lunado.argument"
local waiters = require "lunado.waiters"

local class, done = waiters.class, waiters.done
local reserve, hand, settle = core.reserve, core.hand, core.settle
local ticket = core.ticket
local running = coroutine.running

--- Returns the state that tostring shows: the words, and the number of waiters.
local function state(words, waitqueue)
  local n = waitqueue:count()
  if n == 0 then return words end
  return ("%s, %d waiting"):format(words, n)
end

-- Condition -----------------------------------------------------------------

--- Lets coroutines wait until they are notified.  Tornado: locks.Condition.
local Condition = class("Condition")

function Condition:_init()
  self._woken = 1 -- waiters with lower numbers were woken
  self._waiters = waiters.new(function(future, number)
    if number < self._woken then settle(future, true) end
  end, nil, true)
end

function Condition:_state()
  return ("%d waiting"):format(self._waiters:count())
end

local function give_false(future) future:set_result(false) end

--- Returns a Future whose result is true after a notification, false after the
-- timeout.
-- @param timeout a deadline as for IOLoop:add_timeout; nil: none
function Condition:wait(timeout)
  local future = self._waiters:add(timeout, 1, "wait", give_false)
  return future
end

--- Wakes up to n waiters.  All are taken from the wait queue before the first
-- is settled, so that a waiter that waits again at once is not woken twice.
local function wake(self, n)
  local waitqueue = self._waiters
  if n == 1 then
    local number, future = waitqueue:first()
    if not number then return end
    reserve(waitqueue.timed > 0)
    waitqueue.head = number + 1
    return hand(waitqueue, number, future, true)
  end
  local list, numbers = waitqueue:gather(n)
  reserve()
  if n == math.huge then self._woken = waitqueue.tail end
  waitqueue:wake(list, numbers, true)
end

--- Wakes the n waiters that have waited longest; n is 1 by default.
function Condition:notify(n)
  wake(self, n == nil and 1 or argument.check_count(n, 1, "notify", 2))
end

--- Wakes all waiters.
function Condition:notify_all() wake(self, math.huge) end

-- Event ---------------------------------------------------------------------

--- Lets coroutines wait until a flag is set.  Tornado: locks.Event.
local Event = class("Event")

function Event:_init()
  self._set = false
  self._woken = 1 -- waiters with lower numbers were woken
  self._waiters = waiters.new(function(future, number)
    if number < self._woken then settle(future) end
  end, nil, true)
end

function Event:_state()
  return state(self._set and "set" or "clear", self._waiters)
end

function Event:is_set() return self._set end

--- Sets the flag, assigns value to object[key], and wakes all waiters.  If
-- other code clears the flag meanwhile, waiters that are added after that are
-- not woken.  If memory runs out, it raises and has changed nothing.
function Event:_set_with(object, key, value)
  local waitqueue = self._waiters
  local number, future = waitqueue:first()
  if waitqueue.timed > 0 or number and number + 1 < waitqueue.tail then
    local list, numbers = waitqueue:gather(math.huge)
    reserve()
    self._set, self._woken = true, waitqueue.tail
    object[key] = value
    return waitqueue:wake(list, numbers)
  end
  reserve(false)
  self._set, self._woken = true, waitqueue.tail
  object[key] = value
  if not number then return end
  waitqueue.head = number + 1
  hand(waitqueue, number, future)
end

--- Sets the flag and wakes all waiters.
function Event:set()
  if not self._set then self:_set_with(self, "_set", true) end
end

--- Clears the flag: later calls of wait have to wait again.
function Event:clear() self._set = false end

--- Implements wait; error messages name the function `name`.
function Event:_wait(timeout, name)
  if not self._set then
    local future = self._waiters:add(timeout, 1, name, waiters.fail)
    return future
  end
  if timeout ~= nil then waiters.check(timeout, 1, name) end
  return done()
end

--- Returns a Future that is done once the flag is set; it fails with
-- TimeoutError after the timeout.
function Event:wait(timeout) return self:_wait(timeout, "wait") end

-- Semaphore -----------------------------------------------------------------

--- A Held is the result of acquire.  It releases the lock once: at the end of
-- its scope, by release(), or when it is collected.  It is created when the
-- program takes the result of the Future.  A program that never takes the
-- result must release the lock itself.  Field: `guard`, false after the
-- release.
local Held = { __name = "lunado.locks.Held" }
Held.__index = Held

--- The Guard of a Held has the finalizer, which runs if the Held is collected
-- without a release.  A Guard is reused by the next Held, because an object
-- with a finalizer is expensive.  Fields: `owner`, the lock, or false while
-- there is nothing to release; `taken`, whether the Future that got the Held
-- had a waiter.
local Guard = {}

local weak = { __mode = "kv" }

-- Guard -> the thread of the coroutine that called acquire; false if there was
-- none, nil once the thread has been collected.
local threads = setmetatable({}, weak)

-- Owner -> a guard whose Held was collected before its coroutine had ended.
local dropped = setmetatable({}, weak)

local function new_guard()
  local guard = setmetatable({ owner = false, taken = true }, Guard)
  threads[guard] = false
  return guard
end

--- Returns a new Held, for the coroutine of the thread, and its guard.  The
-- Held releases nothing until its guard has an owner.
local function new_held(self, thread)
  local held = setmetatable({ guard = false }, Held)
  local guard = self._guard
  if guard then self._guard = false else guard = new_guard() end
  held.guard, threads[guard] = guard, thread
  return held, guard
end

--- Hands the lock to the first waiter; if there is none, counts the lock as
-- free.  `spent`, if given, is the Held that this call releases.  All objects
-- are made before the wait queue is examined, because finalizers may change the
-- wait queue.
local function hand_on(self, spent)
  local waitqueue, guard = self._waiters, spent and spent.guard
  local held, number, future, taken
  if waitqueue.head ~= waitqueue.tail then
    guard = guard or new_guard()
    held = setmetatable({ guard = guard }, Held)
    number, future, taken = waitqueue:first()
    if spent and not spent.guard then return end -- a finalizer released it
  end
  if not number then
    if spent then
      spent.guard, guard.owner, self._guard = false, false, guard
    end
    self._value = self._value + 1
    return
  end
  reserve(waitqueue.timed > 0)
  if spent then spent.guard = false end
  guard.owner, guard.taken = self, taken
  threads[guard] = core.ticket_value(future)
  waitqueue.head = number + 1
  hand(waitqueue, number, future, held)
end

function Held:release()
  local guard = self.guard
  local owner = guard and guard.owner
  if not owner then return end
  owner._by_held = true
  local refuse = owner._refusal
  local refusal = refuse and refuse(owner)
  if not refusal then
    local waitqueue = owner._waiters
    if waitqueue.head ~= waitqueue.tail then return hand_on(owner, self) end
    self.guard, guard.owner, owner._guard = false, false, guard
    owner._value = owner._value + 1
    return
  end
  guard.owner, self.guard = false, false
  error(refusal, 2)
end

Held.__close = Held.release

--- Whether the coroutine of the guard may still call release() of the lock: the
-- coroutine has not ended, and the program has never called release() of a Held
-- of this lock.
local function may_be_by_hand(guard, owner)
  local thread = guard.taken and not owner._by_held and threads[guard]
  return thread and coroutine.status(thread) ~= "dead"
end

--- Releases the lock, because the Held was collected.  If the program calls
-- release() of the lock itself, a Held that is collected has no effect.
function Guard:__gc()
  local owner = self.owner
  if not owner or owner._by_hand and self.taken
    or owner._refusal and owner:_refusal() then
    return
  end
  if may_be_by_hand(self, owner) then
    setmetatable(self, Guard) -- so the next collection calls __gc again
    dropped[owner] = self
    return
  end
  if not pcall(hand_on, owner) then
    setmetatable(self, Guard) -- memory ran out: the same
    return
  end
  self.owner = false
  if self.taken then owner._lost = owner._lost + 1 end
end

--- Releases the lock if the coroutine of the thread has acquired it and dropped
-- the Held, because otherwise the coroutine would wait for itself for ever.
local function release_dropped(self, thread)
  local guard = dropped[self]
  if not guard or guard.owner ~= self or self._by_hand
    or not thread or threads[guard] ~= thread then
    return
  end
  hand_on(self)
  guard.owner, dropped[self] = false, nil
  self._lost = self._lost + 1
end

--- Admits `value` holders at a time, by default 1. Tornado: locks.Semaphore.
-- Invariant: while _value is more than 0, only withdrawn tickets wait.  Fields:
-- `_by_hand`, whether release() of the semaphore was called; `_by_held`,
-- whether release() of a Held was called; `_lost`, the number of releases that
-- the collector has made and release() of the semaphore has not yet repeated;
-- `_guard`, a guard that is not in use, or false.  _refusal(self) returns the
-- reason why a release is not allowed now, or nil.
local Semaphore = class("Semaphore")

function Semaphore:_init(value)
  self._value = value == nil and 1
    or argument.check_count(value, 1, self.__name, 3)
  self._initial = self._value
  self._by_hand, self._by_held = false, false
  self._lost, self._guard = 0, false
  self._waiters = waiters.new(function(future)
    if self._value == 0 then return end
    local held, guard = new_held(self, core.ticket_value(future))
    reserve(false)
    if self._value == 0 then return end -- a finalizer has acquired it
    self._value = self._value - 1
    guard.owner, guard.taken = self, true
    settle(future, held)
  end, function(thread, second)
    if second then
      second.guard.owner = false
      return
    end
    -- new_held, inlined: every acquire of a free lock comes here.
    local held = setmetatable({ guard = false }, Held)
    local guard = self._guard
    if guard then self._guard = false else guard = new_guard() end
    held.guard, threads[guard] = guard, thread
    guard.owner, guard.taken = self, true
    return held
  end)
end

function Semaphore:_state()
  return state(self._value == 0 and "locked"
    or ("unlocked, value %d"):format(self._value), self._waiters)
end

--- Returns a Future of a Held, which releases at the end of its scope:
-- `local held <close> = coroutine.yield(semaphore:acquire())`. It fails with
-- TimeoutError after the timeout.
function Semaphore:acquire(timeout)
  local thread, is_main = running()
  if is_main then thread = false end -- outside of any coroutine
  if self._value == 0 then
    release_dropped(self, thread)
    if self._value == 0 then
      return (self._waiters:add(timeout, 1, "acquire", waiters.fail, false,
        thread))
    end
  end
  if timeout ~= nil then waiters.check(timeout, 1, "acquire") end
  local future = ticket(self._waiters, 0, thread)
  -- A finalizer may have acquired the semaphore meanwhile.
  if self._value == 0 then return self:acquire(timeout) end
  self._value = self._value - 1
  return future
end

Semaphore._refusal = false

--- Admits one more waiter.
function Semaphore:release()
  if self._lost > 0 then -- the collector has made this release
    self._lost, self._by_hand = self._lost - 1, true
    return
  end
  local refusal = self._refusal and self:_refusal()
  if refusal then error(refusal, 2) end
  self._by_hand = true
  hand_on(self)
end

--- A Semaphore that may not be released more often than it was acquired.
-- Tornado: locks.BoundedSemaphore.
local BoundedSemaphore = class("BoundedSemaphore", Semaphore)

function BoundedSemaphore:_refusal()
  if self._value >= self._initial then
    return "the semaphore was released too many times"
  end
end

-- Lock ----------------------------------------------------------------------

--- Admits one holder at a time.  Tornado: locks.Lock.
local Lock = class("Lock")

function Lock:_init() Semaphore._init(self) end

function Lock:_state()
  return state(self._value == 0 and "locked" or "unlocked", self._waiters)
end

function Lock:_refusal()
  if self._value > 0 then return "the lock is not locked" end
end

--- These work as in Semaphore; release raises if the lock is not locked.
Lock.acquire, Lock.release = Semaphore.acquire, Semaphore.release

local locks = {
  Condition = Condition,
  Event = Event,
  Semaphore = Semaphore,
  BoundedSemaphore = BoundedSemaphore,
  Lock = Lock,
}

loaded["lunado.locks"] = locks
return locks
