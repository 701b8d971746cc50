-- SPDX-License-Identifier: MIT
--- lunado.waiters: what locks, queues and streams are made of; above all a line
-- of Futures that wait.
--
-- The line is a doubly linked ring, so that one that timed out is forgotten at
-- once and in O(1).  Invariant: the timeout of one that has left the line is
-- removed.  A Future is anyone's to settle: those that somebody else settled
-- leave the line when their turn comes.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.waiters"] then return loaded["lunado.waiters"] end

local Future, IOLoop = core.Future, core.IOLoop

-- Classes -------------------------------------------------------------------

--- A class: class(...) makes an object and calls its _init(...), where level 4
-- is the caller's line.  _state(self) gives the words of tostring.
local function class(name, base)
  local self = { __name = name }
  self.__index = self
  function self.__tostring(object)
    return ("%s: %p (%s)"):format(name, object, object:_state())
  end
  return setmetatable(self, {
    __index = base,
    __call = function(cls, ...)
      local object = setmetatable({}, cls)
      object:_init(...)
      return object
    end,
  })
end

--- An argument that is a count, as an integer; raises at `level`, counted from
-- here.
local function check_count(value, position, name, level)
  local count = math.type(value) and math.tointeger(value)
  if count and count >= 0 then return count end
  local what = count and "must not be negative"
    or math.type(value) and "number has no integer representation"
    or ("number expected, got %s"):format(type(value))
  error(("bad argument #%d to '%s' (%s)"):format(position, name, what), level)
end

-- Timeouts ------------------------------------------------------------------

--- loop:add_timeout whose errors are those of argument `position` of `name`,
-- raised three levels up.
local function start(loop, timeout, fn, position, name)
  local ok, result = pcall(loop.add_timeout, loop, timeout, fn)
  if ok then return result end
  local what = tostring(result):match("^bad argument .- (%(.*%))$")
  if what then
    result = ("bad argument #%d to '%s' %s"):format(position, name, what)
  end
  error(result, 4)
end

--- A closed loop has no timeouts any more.
local function stop(loop, handle) pcall(loop.remove_timeout, loop, handle) end

local function nothing() end

--- Checks a timeout, not nil, that is not needed, for the caller's caller.
local function check(timeout, position, name)
  local loop = IOLoop.current()
  stop(loop, start(loop, timeout, nothing, position, name))
end

-- The line ------------------------------------------------------------------

local Waiters = {}
Waiters.__index = Waiters

local function new()
  local self = setmetatable({}, Waiters)
  self.next, self.prev = self, self
  return self
end

local function unlink(waiter)
  local following, before = waiter.next, waiter.prev
  before.next, following.prev = following, before
  waiter.next, waiter.prev = nil, nil
  if waiter.timeout then
    stop(waiter.loop, waiter.timeout)
    waiter.timeout = nil
  end
end

--- Puts a new waiter at the end of the line, and returns its Future.
-- @param timeout a deadline as for IOLoop:add_timeout, or nil; argument
-- `position` of `name`, for the caller's caller
-- @param on_timeout on_timeout(future) settles it when the deadline has come
-- @param value what the waiter brings along
function Waiters:add(timeout, position, name, on_timeout, value)
  local last = self.prev
  local waiter = { future = Future(), value = value, prev = last, next = self }
  if timeout ~= nil then
    waiter.loop = IOLoop.current()
    waiter.timeout = start(waiter.loop, timeout, function()
      waiter.timeout = nil
      unlink(waiter)
      if not waiter.future:done() then on_timeout(waiter.future) end
    end, position, name)
  end
  last.next, self.prev = waiter, waiter
  return waiter.future
end

--- The first waiter of the line, which stays there; nil when nobody waits.
local function first(self)
  local waiter = self.next
  while waiter ~= self do
    if not waiter.future:done() then return waiter end
    unlink(waiter)
    waiter = self.next
  end
end
Waiters.first = first

--- Takes the first waiter out of the line; nil when nobody waits.
function Waiters:take()
  local waiter = first(self)
  if waiter then unlink(waiter) end
  return waiter
end

--- How many wait; in O(n).
function Waiters:count()
  local n, waiter = 0, self.next
  while waiter ~= self do
    if not waiter.future:done() then n = n + 1 end
    waiter = waiter.next
  end
  return n
end

local function fail(future)
  future:set_exception(core.TimeoutError("Timeout"))
end

-- Futures that are done, or are to be ----------------------------------------

local done_with_nothing = Future()
done_with_nothing:set_result()

--- A Future that is done with these values; always the same one for none.
local function done(...)
  if select("#", ...) == 0 then return done_with_nothing end
  local future = Future()
  future:set_result(...)
  return future
end

-- A Future is anyone's to settle: what comes then is too late. A value is
-- dropped; core.fail has an error logged as one that was never retrieved.

local function deliver(future, ...)
  if not future:done() then future:set_result(...) end
end

--- Fails a Future for which only coroutines wait that were closed, or resumed
-- by somebody else: what it stands for is not lost on them.
local function give_up_forsaken(future)
  if not core.forsaken(future) then return end
  future:set_exception(core.Exception(
    "the coroutine that waited for it was closed"))
  future:exception()
end

local waiters = {
  class = class,
  check_count = check_count,
  check = check,
  done = done,
  deliver = deliver,
  deliver_error = core.fail,
  new = new,
  fail = fail,
  give_up_forsaken = give_up_forsaken,
}

loaded["lunado.waiters"] = waiters
return waiters
