-- SPDX-License-Identifier: MIT
--- lunado.queues: queues of items between coroutines; not for threads.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.queues"] then return loaded["lunado.queues"] end

local argument = require "lunado.argument"
local locks = require "lunado.locks"
local waiters = require "lunado.waiters"

local class, nothing = waiters.class, waiters.done_with_nothing
local Future = core.Future
local reserve, hand, settle = core.reserve, core.hand, core.settle

local QueueEmpty = core.Exception:subclass("QueueEmpty")
local QueueFull = core.Exception:subclass("QueueFull")
local QueueShutDown = core.Exception:subclass("QueueShutDown")

-- Queue ---------------------------------------------------------------------

--- A queue, first in, first out.  It holds at most `maxsize` items (0: no
-- limit); when it is full, put waits.  Tornado: queues.Queue.  Invariant: while
-- getters wait there is no item, and while putters wait there is no room.
-- Withdrawn tickets do not count.
local Queue = class("Queue")

local serve_getter, serve_putter

function Queue:_init(maxsize)
  self.maxsize = maxsize == nil and 0
    or argument.check_count(maxsize, 1, self.__name, 3)
  self._getters = waiters.new(function(future) serve_getter(self, future) end)
  self._putters = waiters.new(function(future) serve_putter(self, future) end)
  self._unfinished, self._finished = 0, locks.Event()
  self._finished:set()
  self._shutdown = false
  self:_clear()
end

local function count_of(n, what)
  if n > 0 then return (", %d %s"):format(n, what) end
  return ""
end

function Queue:_state()
  return ("maxsize %d"):format(self.maxsize)
    .. count_of(self:qsize(), "queued")
    .. count_of(self._getters:count(), "getting")
    .. count_of(self._putters:count(), "putting")
    .. count_of(self._unfinished, "unfinished")
    .. (self._shutdown and ", shut down" or "")
end

-- A queue that becomes empty keeps at most this many slots.
local ROOM <const> = 256

-- The store of the items.  The other queues override these five methods.  If
-- one of them raises, it has changed nothing.

function Queue:_clear() self._items, self._first, self._last = {}, 1, 0 end

function Queue:_put(item)
  local last = self._last + 1
  self._items[last] = item
  self._last = last
end

function Queue:_get()
  local item = self._items[self._first]
  if self._first == self._last and self._last > ROOM then
    self:_clear() -- frees the slots of many items
    return item
  end
  self._items[self._first] = nil
  self._first = self._first + 1
  return item
end

--- Does _put and then _get, as one step.
function Queue:_exchange(item)
  self:_put(item)
  return self:_get()
end

--- Returns the number of items.
function Queue:qsize() return self._last - self._first + 1 end

function Queue:empty() return self:qsize() == 0 end

function Queue:full()
  return self.maxsize > 0 and self:qsize() >= self.maxsize
end

--- Whether put can proceed without waiting.
local function has_room(self)
  return self.maxsize == 0 or not self:full() or self._getters:first() ~= nil
end

--- Counts one more item that must be processed.  Cannot fail.
local function count_item(self)
  self._finished._set = false
  self._unfinished = self._unfinished + 1
end

--- Hands the item to the first getter; if there is none, puts it into the
-- queue, which must have room.  If the comparison of items raises, this
-- function raises that error and has changed nothing.
local function put(self, item)
  local waitqueue = self._getters
  local number, getter = waitqueue:first()
  if not number then
    self:_put(item)
    count_item(self)
    return
  end
  reserve(waitqueue.timed > 0)
  count_item(self)
  waitqueue.head = number + 1
  hand(waitqueue, number, getter, item)
end

--- Returns a Future that has failed because the queue is shut down.
local function refused()
  local future = Future()
  future:set_exception(QueueShutDown("the queue is shut down"))
  return future
end

--- Returns a Future that is done when the item is in the queue.  It fails with
-- TimeoutError after the timeout, and then the item is not put; it fails with
-- QueueShutDown once the queue is shut down.
-- @param timeout a deadline as for IOLoop:add_timeout; nil: none
function Queue:put(item, timeout)
  if not self._shutdown and not has_room(self) then
    local future = self._putters:add(timeout, 2, "put", waiters.fail, true,
      item)
    return future
  end
  if timeout ~= nil then waiters.check(timeout, 2, "put") end
  if self._shutdown then return refused() end
  put(self, item)
  return nothing
end

--- Puts the item at once; raises QueueFull if there is no room.
function Queue:put_nowait(item)
  if self._shutdown then
    error(QueueShutDown("the queue is shut down"), 2)
  end
  if not has_room(self) then error(QueueFull("the queue is full"), 2) end
  put(self, item)
end

--- Whether get can proceed without waiting.
local function has_item(self)
  return not self:empty() or self._putters:first() ~= nil
end

local NO_MEMORY <const> = "not enough memory"

--- Puts the item of the first putter, if there is one, then takes an item;
-- returns true and the item, or false if there is none.  If the comparison of
-- the putter's item raises, the putter fails with that error, and the next
-- putter is tried.
local function try_get(self)
  local waitqueue = self._putters
  local number, putter = waitqueue:first()
  while number do
    local value = core.ticket_value(putter)
    reserve()
    local ok, item = core.try(self._exchange, self, value)
    if not ok and core.exc_info(item) == NO_MEMORY then core.raise(item) end
    if ok then
      count_item(self)
      hand(waitqueue, number, putter)
      return true, item
    end
    waitqueue:remove(number)
    waiters.deliver_error(putter, item)
    number, putter = waitqueue:first()
  end
  if self:empty() then return false end
  return true, self:_get()
end

function serve_getter(self, future)
  local found, item
  if self._shutdown and not has_item(self) then
    future:set_exception(QueueShutDown("the queue is shut down"))
    return
  end
  reserve() -- so that an item, once taken, can be delivered
  found, item = try_get(self)
  if found then settle(future, item) end
end

function serve_putter(self, future)
  if self._shutdown then
    future:set_exception(QueueShutDown("the queue is shut down"))
  elseif has_room(self) then
    put(self, core.ticket_value(future))
    future:set_result()
  end
end

--- Returns a Future of the next item.  It fails with TimeoutError after the
-- timeout, and with QueueShutDown once the queue is shut down and empty.
function Queue:get(timeout)
  if self._shutdown or has_item(self) then
    if timeout ~= nil then waiters.check(timeout, 1, "get") end
    local future = Future()
    local found, item = try_get(self)
    if found then
      future:set_result(item)
      return future
    end
    if self._shutdown then return refused() end
  end
  local future = self._getters:add(timeout, 1, "get", waiters.fail)
  return future
end

--- Returns the next item at once; raises QueueEmpty if there is none.
function Queue:get_nowait()
  local found, item = try_get(self)
  if found then return item end
  if self._shutdown then
    error(QueueShutDown("the queue is shut down"), 2)
  end
  error(QueueEmpty("the queue is empty"), 2)
end

--- Fails all tickets in a wait queue, in their order.
local function refuse_all(waitqueue)
  local err = QueueShutDown("the queue is shut down")
  local number, future = waitqueue:first()
  while number do
    future:set_exception(err)
    waitqueue:remove(number)
    number, future = waitqueue:first()
  end
end

--- Drops the items and counts them as processed.
local function drop_items(self)
  local remaining = math.max(0, self._unfinished - self:qsize())
  self:_clear()
  self._unfinished = remaining
  if remaining == 0 then self._finished:set() end
end

--- Shuts the queue down: put fails with QueueShutDown, and get as well once the
-- queue is empty; pending calls fail at once.  With `immediate` the items are
-- dropped.  If it raises for want of memory, call it again.  Python:
-- asyncio.Queue.shutdown.
function Queue:shutdown(immediate)
  self._shutdown = true
  if immediate then drop_items(self) end
  refuse_all(self._getters)
  refuse_all(self._putters)
end

--- Reports, for join, that one of the taken items has been processed.
function Queue:task_done()
  if self._unfinished <= 0 then
    error("task_done was called more often than there were items", 2)
  end
  if self._unfinished == 1 then
    self._finished:_set_with(self, "_unfinished", 0)
  else
    self._unfinished = self._unfinished - 1
  end
end

--- Returns a Future that is done when every item has been processed; it fails
-- with TimeoutError after the timeout.
function Queue:join(timeout) return self._finished:_wait(timeout, "join") end

--- For `for item in queue:iter() do`, in a coroutine: takes items until an item
-- is nil, or the queue is shut down and empty.
function Queue:iter()
  return function()
    local future = self:get()
    local ok, item = pcall(core.await, future)
    if ok then return item end
    -- A cancelled wait has withdrawn; to look at its Future would take an item.
    if core.isinstance(item, core.CancelledError) then error(item, 0) end
    if future:done() then
      if core.isinstance(item, QueueShutDown) then return nil end
      error(item, 0)
    end
    -- The caller cannot wait.  Its Future must not take an item from code that
    -- can.
    future:set_result()
    error(item, 2)
  end
end

-- PriorityQueue -------------------------------------------------------------

--- A queue that gives the smallest item first.  Items are compared by `<`, or
-- by `<` of their [1] if they are tables without __lt.  Equal items come in the
-- order in which they were put.  Tornado: queues.PriorityQueue.
--
-- The items are a heap.  Beside it is a list of the items' ranks: an item's
-- rank is the number of changes before the item was put.  A comparison may
-- raise, and may even call put or get.  So the new index of an item is found
-- first, then a slot is allocated; the steps after that cannot fail.
local PriorityQueue = class("PriorityQueue", Queue)

function PriorityQueue:_clear()
  self._items, self._ranks, self._count, self._most = {}, {}, 0, 0
  self._changes = (self._changes or 0) + 1
end

function PriorityQueue:qsize() return self._count end

local function is_ordered(value)
  local mt = debug.getmetatable(value)
  return mt ~= nil and rawget(mt, "__lt") ~= nil
end

--- If the two values cannot be compared, raises the error that Lua would raise,
-- but at the user's line.
local function check_order(a, b)
  if is_ordered(a) or is_ordered(b) then return end
  local one, other = type(a), type(b)
  local what = one == other and ("two %s values"):format(one)
    or ("%s with %s"):format(one, other)
  error(core.where() .. "attempt to compare " .. what, 0)
end

local function less(a, b)
  if type(a) == "table" and type(b) == "table"
    and not is_ordered(a) and not is_ordered(b) then
    a, b = a[1], b[1]
  end
  local kind = type(a)
  if kind ~= type(b) or kind ~= "number" and kind ~= "string" then
    check_order(a, b)
  end
  return a < b
end

--- Whether the item at `index` comes before `item` of rank `rank`.
local function precedes(self, index, item, rank)
  local mine = self._items[index]
  return less(mine, item)
    or self._ranks[index] < rank and not less(item, mine)
end

local function set(self, index, item, rank)
  self._items[index], self._ranks[index] = item, rank
end

local function move(self, from, to)
  set(self, to, self._items[from], self._ranks[from])
end

--- Returns the index for `item` after the first of `count` items has been
-- removed.
local function index_from_top(self, count, item, rank)
  local index = 1
  while 2 * index <= count do
    local child = 2 * index
    if child < count and precedes(self, child + 1, self._items[child],
      self._ranks[child]) then
      child = child + 1
    end
    if not precedes(self, child, item, rank) then break end
    index = child
  end
  return index
end

--- Removes the first item: moves the items on the path from there to `index` up
-- by one level, and puts `item` at `index`.
local function replace_first(self, index, item, rank)
  local depth = 0
  while index >> depth > 1 do depth = depth + 1 end
  for i = depth - 1, 0, -1 do move(self, index >> i, index >> i + 1) end
  set(self, index, item, rank)
end

--- Counts one more change; raises if the count is no longer `changes`.
local function count_change(self, changes)
  if self._changes ~= changes then
    error("the queue was changed while its items were compared", 0)
  end
  self._changes = changes + 1
end

function PriorityQueue:_put(item)
  local last, changes = self._count + 1, self._changes
  local index = last
  while index > 1 and less(item, self._items[index // 2]) do
    index = index // 2
  end
  count_change(self, changes)
  set(self, last, item, changes) -- allocates the slot, so it may fail
  self._count = last
  if last > self._most then self._most = last end
  while last > index do
    move(self, last // 2, last)
    last = last // 2
  end
  set(self, index, item, changes)
end

function PriorityQueue:_get()
  local first, count, changes = self._items[1], self._count, self._changes
  local last, rank = self._items[count], self._ranks[count]
  local index = index_from_top(self, count - 1, last, rank)
  count_change(self, changes)
  if count == 1 and self._most > ROOM then
    self:_clear()
    return first
  end
  self._count = count - 1
  if count > 1 then replace_first(self, index, last, rank) end
  set(self, count, nil, nil)
  return first
end

function PriorityQueue:_exchange(item)
  local first, count, changes = self._items[1], self._count, self._changes
  if count == 0 or less(item, first) then return item end
  local index = index_from_top(self, count, item, changes)
  count_change(self, changes)
  replace_first(self, index, item, changes)
  return first
end

-- LifoQueue -----------------------------------------------------------------

--- A queue, last in, first out.  Tornado: queues.LifoQueue.
local LifoQueue = class("LifoQueue", Queue)

function LifoQueue:_clear() self._items, self._count, self._most = {}, 0, 0 end

function LifoQueue:qsize() return self._count end

function LifoQueue:_put(item)
  local count = self._count + 1
  self._items[count] = item
  self._count = count
  if count > self._most then self._most = count end
end

function LifoQueue:_get()
  local item = self._items[self._count]
  if self._count == 1 and self._most > ROOM then
    self:_clear()
    return item
  end
  self._items[self._count] = nil
  self._count = self._count - 1
  return item
end

local queues = {
  Queue = Queue,
  PriorityQueue = PriorityQueue,
  LifoQueue = LifoQueue,
  QueueEmpty = QueueEmpty,
  QueueFull = QueueFull,
  QueueShutDown = QueueShutDown,
}

loaded["lunado.queues"] = queues
return queues
