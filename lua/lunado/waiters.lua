-- SPDX-License-Identifier: MIT
--- lunado.waiters: the common parts of locks, queues and streams; above all the
-- wait queue.
--
-- The Future of a wait is a ticket (ticket.h in src).  The wait queue holds a
-- ticket that has a waiter.  To other tickets it has weak references, so that a
-- ticket that the program has dropped is collected.  A ticket that has lost its
-- last waiter has *withdrawn*: the wait queue skips it; when the program uses
-- it, the ticket asks the wait queue again.
--
-- Any code may settle a Future.  A ticket that other code has settled, or whose
-- coroutines were closed, leaves the wait queue when its turn comes.
--
-- If memory runs out, nothing that the wait queue hands out is lost: first come
-- the steps that may fail, then core.reserve(), then the steps that cannot
-- fail.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.waiters"] then return loaded["lunado.waiters"] end

local Future, IOLoop = core.Future, core.IOLoop
local standing, ticket = core.standing, core.ticket

-- Classes -------------------------------------------------------------------

--- Returns a class: class(...) makes an object and calls its _init(...), in
-- which error level 4 is the caller's line.  _state(self) returns the state
-- that tostring shows.
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

-- Timeouts ------------------------------------------------------------------

--- Raises an error of loop:add_timeout as an error of argument `position` of
-- the function `name`, `level` levels up.
local function raise(err, position, name, level)
  local what = tostring(err):match("^bad argument .- (%(.*%))$")
  if what then
    err = ("bad argument #%d to '%s' %s"):format(position, name, what)
  end
  error(err, level)
end

--- Removes a timeout.  On a closed loop the call fails, hence pcall.
local function stop(loop, handle) pcall(loop.remove_timeout, loop, handle) end

local function nothing() end

--- Checks a timeout (not nil) that will not be needed; raises an error at the
-- line that calls the caller.
local function check(timeout, position, name)
  local loop = IOLoop.current()
  local ok, result = pcall(loop.add_timeout, loop, timeout, nothing)
  if not ok then raise(result, position, name, 4) end
  stop(loop, result)
end

-- The wait queue -----------------------------------------------------------

-- The results of core.standing(ticket).
local SETTLED <const>, IDLE <const>, WITHDRAWN <const>, FORSAKEN <const> =
  0, 2, 3, 4

-- Fields that core uses.  The first three are tables indexed by the number of a
-- ticket: the tickets that have waiters, all tickets in the wait queue (weak),
-- and the timers.  ASK is the function for a withdrawn ticket, CLAIM the
-- function for a claim, REMOVE is Waiters.remove.
local HELD <const>, WEAK <const>, TIMERS <const> = 1, 2, 3
local ASK <const>, CLAIM <const>, REMOVE <const> = 4, 5, 6

-- Fields of a timer: its loop; the handle of its timeout, false while the timer
-- does not run; the deadline, false until core has stopped the timer; the
-- number of its ticket; the callback of the timeout; and a function that
-- settles the ticket after the deadline.  A timer runs while its ticket is in
-- the wait queue.  When a ticket withdraws, core stops its timer, and the
-- ticket keeps it.
local LOOP <const>, HANDLE <const>, WHEN <const> = 1, 2, 3
local NUMBER <const>, ON_DUE <const>, ON_TIMEOUT <const> = 4, 5, 6

-- The wait queue.  Its fields:
-- `head`, `tail`: the tickets in it have the numbers head to tail - 1;
-- `timed`: the number of timers;
-- `base`: the tail when the tables were made;
-- `kept`: the number of tickets that the tables had then;
-- `spare`: new tables, between gather and wake;
-- `serve(future, number)`: settles a withdrawn ticket if its item is available;
-- `remembers`: serve is called even if the deadline of the ticket has passed,
-- because the item may have been available before.
-- core.ticket(waitqueue, 0, value) makes a claim: a Future that is done with
-- the result of claim(value), which is called when the program takes that
-- result. claim(nil, result) undoes such a call.
local Waiters = {}
Waiters.__index = Waiters

local by_weak_value = { __mode = "v" }

--- Settles the ticket after its deadline has passed.
local function time_out(future, timer)
  if standing(future) == SETTLED then return end
  local ok = pcall(timer[ON_TIMEOUT], future)
  if not ok then core.fail_for_memory(future) end
end

--- The callback of the timer's timeout.
local function expire(self, timer)
  local future = self[WEAK][timer[NUMBER]]
  timer[HANDLE] = false
  if future then time_out(future, timer) end
  self:remove(timer[NUMBER])
  if self.timed == 0 then pcall(self.first, self) end -- tidies up
end

--- Whether the deadline of a timer that was stopped has passed.  (It never
-- passes on a closed loop.)
local function is_overdue(timer)
  return timer and timer[WHEN] and timer[LOOP]:time() >= timer[WHEN]
end

--- Restarts a timer that was stopped.  Returns the handle, or false if there is
-- no timer, or its loop is closed.
local function start_again(timer)
  if not timer or not timer[WHEN] then return false end
  local loop = timer[LOOP]
  local ok, result = pcall(loop.call_at, loop, timer[WHEN], timer[ON_DUE])
  if ok then return result end
  if core.is_closed(loop) then return false end
  error(result, 0)
end

--- Puts a ticket at the end of the wait queue; returns its number.
local function enter(self, future, timer)
  local tail = self.tail
  self[WEAK][tail] = future
  if timer then self[TIMERS][tail] = timer end
  self.tail = tail + 1
  return tail
end

--- Core calls this function when the program uses a withdrawn ticket.  If
-- `waits` is true, the program waits for the ticket again: then the ticket gets
-- a new number, which is returned.  `timer` is the ticket's timer, or nil.
local function ask(self, future, number, waits, timer)
  local overdue = is_overdue(timer)
  if self.remembers or not overdue then self.serve(future, number) end
  if overdue then return time_out(future, timer) end
  if not waits or standing(future) == SETTLED then return nil end
  local handle = start_again(timer)
  local first = standing(future) == WITHDRAWN -- a finalizer may be first
  local ok, result = true, nil
  if first then ok, result = pcall(enter, self, future, timer) end
  if handle and not (first and ok) then stop(timer[LOOP], handle) end
  if not ok then error(result, 0) end
  if first and timer then
    timer[NUMBER], timer[HANDLE] = result, handle
    self.timed = self.timed + 1
  end
  return result
end

local function new(serve, claim, remembers)
  return setmetatable({
    [HELD] = {}, [WEAK] = setmetatable({}, by_weak_value), [TIMERS] = {},
    [ASK] = ask, [CLAIM] = claim, [REMOVE] = Waiters.remove,
    head = 1, tail = 1, timed = 0, base = 1, kept = 0, spare = false,
    serve = serve, remembers = remembers,
  }, Waiters)
end

--- Removes a ticket from the wait queue.  Allocates nothing.
function Waiters:remove(number)
  local timer = self[TIMERS][number]
  self[HELD][number], self[WEAK][number] = nil, nil
  if not timer then return end
  self[TIMERS][number] = nil
  self.timed = self.timed - 1
  if timer[HANDLE] then stop(timer[LOOP], timer[HANDLE]) end
end

--- Returns empty tables for a wait queue.
local function new_tables()
  return { {}, setmetatable({}, by_weak_value), {} }
end

local function set_tables(self, tables)
  self[HELD], self[WEAK], self[TIMERS] = tables[1], tables[2], tables[3]
  self.base, self.kept = self.tail, 0
end

local function forsake(future)
  core.forsake(future, core.Exception(
    "the coroutine that waited for it was closed"))
end

--- Removes the tickets that other code has settled, the tickets of coroutines
-- that were closed, and the timers of tickets that were collected.  Then it
-- replaces the tables by new ones, without the unused room that many waiters
-- have left in them.  It does so only if enough tickets have been added since
-- the last time.  Tickets may also be collected meanwhile: a timer that has not
-- been removed is kept.
local function tidy(self, factor)
  local tail = self.tail
  if tail - self.base <= 64 + factor * self.kept then return end
  local tables, n = new_tables(), 0
  local held, weak, timers = tables[1], tables[2], tables[3]
  for number, future in next, self[WEAK] do
    local how = standing(future)
    if how == FORSAKEN then forsake(future) end
    if how == FORSAKEN or how == SETTLED then
      self:remove(number)
    else
      weak[number], held[number] = future, self[HELD][number]
      n = n + 1
    end
  end
  for number, timer in next, self[TIMERS] do
    if self[WEAK][number] then
      timers[number] = timer
    else
      self:remove(number)
    end
  end
  if self.tail ~= tail then return end -- a finalizer has added tickets
  set_tables(self, tables)
  self.kept = n
end

--- Advances the head to `number`: no ticket before it waits.
local function set_head(self, number)
  if number > self.head then self.head = number end
  if self.head == self.tail then tidy(self, 0) end
end

--- Starts the timer of the ticket that will be added next.
local function start_timer(self, timeout, position, name, on_timeout)
  local loop, number = IOLoop.current(), self.tail
  local timer = { loop, false, false, number, false, on_timeout }
  timer[ON_DUE] = function() expire(self, timer) end
  self[TIMERS][number] = timer
  self.timed = self.timed + 1
  local ok, result = pcall(loop.add_timeout, loop, timeout, timer[ON_DUE])
  if ok then
    timer[HANDLE] = result
    return
  end
  self:remove(number)
  raise(result, position, name, 5)
end

--- Puts a new ticket at the end of the wait queue and returns it.
-- @param timeout a deadline as for IOLoop:add_timeout, or nil.  An error about
--   it names argument `position` of the function `name`, and is raised at the
--   line that calls the caller.
-- @param on_timeout on_timeout(future) settles the ticket after the deadline
-- @param brings whether the ticket carries `value`; if so, the queue holds it
--   even before it has a waiter, until it has lost its first waiter
function Waiters:add(timeout, position, name, on_timeout, brings, value)
  if self.tail - self.base > 64 + 2 * self.kept then tidy(self, 2) end
  local number = self.tail
  local future = ticket(self, number, value)
  self[WEAK][number] = future
  if brings then self[HELD][number] = future end
  if timeout ~= nil then
    start_timer(self, timeout, position, name, on_timeout)
  end
  self.tail = number + 1
  return future
end

--- Finds the first ticket that can be served; returns its number, the ticket,
-- and whether it has a waiter.  The ticket stays in the wait queue.
function Waiters:first()
  local number = self.head
  if number == self.tail then
    if number - self.base > 64 then tidy(self, 0) end
    return nil
  end
  while number < self.tail do
    local future = self[WEAK][number]
    local how = future and standing(future) or SETTLED
    if how == FORSAKEN then
      forsake(future)
    elseif how == SETTLED then
      self:remove(number)
    elseif how ~= WITHDRAWN then
      self.head = number
      return number, future, how ~= IDLE
    end
    number = number + 1
  end
  set_head(self, number)
end

local none <const> = {}

--- Returns a list of the first `most` tickets, and a list of their numbers.  If
-- `most` is math.huge, withdrawn tickets are included.
function Waiters:gather(most)
  if self.head == self.tail then return none, none end
  local list, numbers, number = {}, {}, self.head
  while number < self.tail and #list < most do
    local future = self[WEAK][number]
    local how = future and standing(future) or SETTLED
    if how == FORSAKEN then
      forsake(future)
    elseif how ~= SETTLED and (how ~= WITHDRAWN or most == math.huge) then
      list[#list + 1], numbers[#numbers + 1] = future, number
    end
    number = number + 1
  end
  if #list == 0 then set_head(self, number) end
  self.spare = most == math.huge and #list > 64 and new_tables()
  return list, numbers
end

--- Removes the tickets that gather has returned from the wait queue and settles
-- them, with a value or without.  Call core.reserve() before.
function Waiters:wake(list, numbers, ...)
  for i = 1, #numbers do self:remove(numbers[i]) end
  local last = numbers[#numbers]
  if last and last >= self.head then self.head = last + 1 end
  if self.spare then set_tables(self, self.spare) end
  self.spare = false
  core.settle(list, ...)
end

--- Returns the number of tickets that wait.
function Waiters:count()
  local n = 0
  for _, future in next, self[WEAK] do
    local how = standing(future)
    if how ~= SETTLED and how ~= WITHDRAWN then n = n + 1 end
  end
  return n
end

local function fail(future)
  future:set_exception(core.TimeoutError("Timeout"))
end

-- Done and failed Futures ---------------------------------------------------

local done_with_nothing = Future()
done_with_nothing:set_result()

--- Returns a Future that is done with these values.  Without values it is
-- always the same Future.
local function done(...)
  if select("#", ...) == 0 then return done_with_nothing end
  local future = Future()
  future:set_result(...)
  return future
end

-- Any code may settle a Future before its owner does.  Then the owner's value
-- is dropped; core.fail logs the owner's error as one that was never retrieved.

local function deliver(future, ...)
  if not future:done() then future:set_result(...) end
end

--- If all coroutines that wait for a Future were closed, or were resumed by
-- other code than lunado, fails the Future, so that its item is not lost.
local function fail_forsaken(future)
  if core.forsaken(future) then forsake(future) end
end

local waiters = {
  class = class,
  check = check,
  done = done,
  done_with_nothing = done_with_nothing,
  deliver = deliver,
  deliver_error = core.fail,
  new = new,
  fail = fail,
  fail_forsaken = fail_forsaken,
}

loaded["lunado.waiters"] = waiters
return waiters
