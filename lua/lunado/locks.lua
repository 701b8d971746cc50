-- SPDX-License-Identifier: MIT
--- lunado.locks: coordination of coroutines.  Not for threads.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.locks"] then return loaded["lunado.locks"] end

local argument = require "lunado.argument"
local waiters = require "lunado.waiters"

local class, done = waiters.class, waiters.done
local reserve, hand, settle = core.reserve, core.hand, core.settle
local ticket = core.ticket
local running = coroutine.running

--- What tostring says: the words, and how many wait.
local function state(words, line)
  local n = line:count()
  if n == 0 then return words end
  return ("%s, %d waiting"):format(words, n)
end

-- Condition -----------------------------------------------------------------

--- Lets coroutines wait until they are notified.  Tornado: locks.Condition.
local Condition = class("Condition")

function Condition:_init()
  self._woken = 1 -- all with lower numbers were
  self._waiters = waiters.new(function(future, number)
    if number < self._woken then settle(future, true) end
  end, nil, true)
end

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
  local line = self._waiters
  if n == 1 then
    local number, future = line:first()
    if not number then return end
    reserve(line.timed > 0)
    line.head = number + 1
    return hand(line, number, future, true)
  end
  local list, numbers = line:gather(n)
  reserve()
  if n == math.huge then self._woken = line.tail end
  line:wake(list, numbers, true)
end

--- Wakes the n (1) that have waited longest.
function Condition:notify(n)
  wake(self, n == nil and 1 or argument.check_count(n, 1, "notify", 2))
end

--- Wakes all that wait.
function Condition:notify_all() wake(self, math.huge) end

-- Event ---------------------------------------------------------------------

--- Lets coroutines wait until a flag is set.  Tornado: locks.Event.
local Event = class("Event")

function Event:_init()
  self._set = false
  self._woken = 1 -- all with lower numbers were
  self._waiters = waiters.new(function(future, number)
    if number < self._woken then settle(future) end
  end, nil, true)
end

function Event:_state()
  return state(self._set and "set" or "clear", self._waiters)
end

function Event:is_set() return self._set end

--- Sets the flag, and object[key] to value, and wakes all that wait; not those
-- that begin to, after the flag was cleared, while these are woken.  Does all
-- of it or, for want of memory, nothing.
function Event:_set_with(object, key, value)
  local line = self._waiters
  local number, future = line:first()
  if line.timed > 0 or number and number + 1 < line.tail then
    local list, numbers = line:gather(math.huge)
    reserve()
    self._set, self._woken = true, line.tail
    object[key] = value
    return line:wake(list, numbers)
  end
  reserve(false)
  self._set, self._woken = true, line.tail
  object[key] = value
  if not number then return end
  line.head = number + 1
  hand(line, number, future)
end

--- Sets the flag and wakes all that wait.
function Event:set()
  if not self._set then self:_set_with(self, "_set", true) end
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

--- What acquire gives: its end of scope, release() or the collector releases,
-- once.  It is made for the Future that the program takes it from; a lock whose
-- acquire() is called for the lock alone is released by hand.  Field: `guard`,
-- false once it was released.
local Held = { __name = "lunado.locks.Held" }
Held.__index = Held

--- What the collector takes with a Held that was not released.  It goes from
-- one Held to the next: what has a finalizer costs more than all the rest.
-- Fields: `owner`, false while there is nothing to release; `taken`: it did not
-- go to a Future for which nothing waited.
local Guard = {}

local weak = { __mode = "kv" }

-- By guard, the thread of the coroutine that called acquire; false: none.
-- That is nil when both are collected.
local threads = setmetatable({}, weak)

-- By owner, a guard whose Held was collected in a coroutine that goes on.
local dropped = setmetatable({}, weak)

local function new_guard()
  local guard = setmetatable({ owner = false, taken = true }, Guard)
  threads[guard] = false
  return guard
end

--- A new one for the coroutine of the thread, which releases nothing before its
-- guard has an owner.
local function new_held(self, thread)
  local held = setmetatable({ guard = false }, Held)
  local guard = self._guard
  if guard then self._guard = false else guard = new_guard() end
  held.guard, threads[guard] = guard, thread
  return held, guard
end

--- Lets one more go on; `spent`, a Held, is released by that, if any is.  All
-- is made before the line is asked: finalizers may change that.
local function hand_on(self, spent)
  local line, guard = self._waiters, spent and spent.guard
  local held, number, future, taken
  if line.head ~= line.tail then
    guard = guard or new_guard()
    held = setmetatable({ guard = guard }, Held)
    number, future, taken = line:first()
    if spent and not spent.guard then return end -- a finalizer released it
  end
  if not number then
    if spent then
      spent.guard, guard.owner, self._guard = false, false, guard
    end
    self._value = self._value + 1
    return
  end
  reserve(line.timed > 0)
  if spent then spent.guard = false end
  guard.owner, guard.taken = self, taken
  threads[guard] = core.ticket_value(future)
  line.head = number + 1
  hand(line, number, future, held)
end

function Held:release()
  local guard = self.guard
  local owner = guard and guard.owner
  if not owner then return end
  owner._by_held = true
  local refuse = owner._refusal
  local refusal = refuse and refuse(owner)
  if not refusal then
    local line = owner._waiters
    if line.head ~= line.tail then return hand_on(owner, self) end
    self.guard, guard.owner, owner._guard = false, false, guard
    owner._value = owner._value + 1
    return
  end
  guard.owner, self.guard = false, false
  error(refusal, 2)
end

Held.__close = Held.release

--- Whether the coroutine of the guard may yet release by hand what it has
-- acquired: it goes on, and nothing says that it keeps what acquire gives.
local function may_be_by_hand(guard, owner)
  local thread = guard.taken and not owner._by_held and threads[guard]
  return thread and coroutine.status(thread) ~= "dead"
end

--- The Held was collected, and is released.  Where release() of the lock itself
-- is in use, what acquire gives is dropped, and means nothing.
function Guard:__gc()
  local owner = self.owner
  if not owner or owner._by_hand and self.taken
    or owner._refusal and owner:_refusal() then
    return
  end
  if may_be_by_hand(self, owner) then
    setmetatable(self, Guard) -- the next collection asks again
    dropped[owner] = self
    return
  end
  if not pcall(hand_on, owner) then
    setmetatable(self, Guard) -- for want of memory: once more
    return
  end
  self.owner = false
  if self.taken then owner._lost = owner._lost + 1 end
end

--- A coroutine that must wait for what it has itself acquired and dropped would
-- wait for ever: that is released.
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

--- Lets `value` (1) at a time go on.  Tornado: locks.Semaphore.
-- Invariant: nothing waits while _value is more than 0, but for tickets that
-- have withdrawn.  _by_hand: release() was called; _by_held: that of a Held
-- was; _lost: how many were released by the collector before the first of
-- these; _guard: one that is not in use.
-- _refusal(self): why it may not be released now, if it may not.
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
    if self._value == 0 then return end -- finalizers may have acquired it
    self._value = self._value - 1
    guard.owner, guard.taken = self, true
    settle(future, held)
  end, function(thread, second)
    if second then
      second.guard.owner = false
      return
    end
    -- new_held, without the call: this is the path of a lock that is free.
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

--- A Future of an object that releases at the end of its scope:
-- `local held <close> = coroutine.yield(semaphore:acquire())`.  TimeoutError
-- after the timeout.
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
  -- Finalizers may have acquired it meanwhile.
  if self._value == 0 then return self:acquire(timeout) end
  self._value = self._value - 1
  return future
end

Semaphore._refusal = false

--- Lets one more go on.
function Semaphore:release()
  if self._lost > 0 then -- the collector was first
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

--- Lets one at a time go on.  Tornado: locks.Lock.
local Lock = class("Lock")

function Lock:_init() Semaphore._init(self) end

function Lock:_state()
  return state(self._value == 0 and "locked" or "unlocked", self._waiters)
end

function Lock:_refusal()
  if self._value > 0 then return "the lock is not locked" end
end

--- As those of Semaphore; release raises when the lock is not locked.
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
