-- SPDX-License-Identifier: MIT
--- lunado.queues: coroutines hand items to each other.  Not for threads.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.queues"] then return loaded["lunado.queues"] end

local locks = require "lunado.locks"
local waiters = require "lunado.waiters"

local Future = core.Future

local QueueEmpty = core.Exception:subclass("QueueEmpty")
local QueueFull = core.Exception:subclass("QueueFull")

local function done(...)
  local future = Future()
  future:set_result(...)
  return future
end

-- Queue ---------------------------------------------------------------------

--- First in, first out; with `maxsize` (0: any number) items at most, beyond
-- which put waits.  Tornado: queues.Queue.
local Queue = { __name = "Queue" }
Queue.__index = Queue

local function check_maxsize(maxsize)
  if maxsize == nil then return 0 end
  if math.type(maxsize) == "integer" and maxsize >= 0 then return maxsize end
  error(("bad argument #1 to 'Queue' (integer of at least 0 expected, got %s)")
    :format(math.type(maxsize) and tostring(maxsize) or type(maxsize)), 3)
end

local function new(class, maxsize)
  local self = setmetatable({
    maxsize = check_maxsize(maxsize),
    _getters = waiters.new(),
    _putters = waiters.new(),
    _unfinished = 0,
    _finished = locks.Event(),
  }, class)
  self._finished:set()
  self:_init()
  return self
end

setmetatable(Queue, { __call = new })

-- Where the items are; the other queues replace these four.

function Queue:_init() self._items, self._first, self._last = {}, 1, 0 end

function Queue:_put(item)
  self._last = self._last + 1
  self._items[self._last] = item
end

function Queue:_get()
  local item = self._items[self._first]
  self._items[self._first] = nil
  self._first = self._first + 1
  return item
end

function Queue:qsize() return self._last - self._first + 1 end

function Queue:empty() return self:qsize() == 0 end

function Queue:full()
  return self.maxsize > 0 and self:qsize() >= self.maxsize
end

--- _put may raise, when items cannot be compared; then nothing has changed.
local function store(self, item)
  self:_put(item)
  self._unfinished = self._unfinished + 1
  self._finished:clear()
end

--- Puts the item, and hands the next one to who waits for one.  False when
-- there is no room.
local function try_put(self, item)
  if self._getters:is_empty() and self:full() then return false end
  store(self, item)
  local getter = self._getters:take()
  if getter then getter.future:set_result(self:_get()) end
  return true
end

--- A Future that is done when the item is in the queue; TimeoutError after the
-- timeout, and then it is not.
-- @param timeout a deadline as for IOLoop:add_timeout; nil: none
function Queue:put(item, timeout)
  if try_put(self, item) then return done() end
  return self._putters:add(timeout, waiters.fail, item)
end

--- Puts the item at once; raises QueueFull when there is no room.
function Queue:put_nowait(item)
  if not try_put(self, item) then error(QueueFull("the queue is full"), 2) end
end

--- Takes an item, and the item of who waits with one.  False when there is
-- none.
local function try_get(self)
  if self:empty() then return false end
  local item = self:_get()
  local putter = self._putters:take()
  if putter then
    store(self, putter.value)
    putter.future:set_result()
  end
  return true, item
end

--- A Future of the next item; TimeoutError after the timeout.
function Queue:get(timeout)
  local found, item = try_get(self)
  if found then return done(item) end
  return self._getters:add(timeout, waiters.fail)
end

--- The next item at once; raises QueueEmpty when there is none.
function Queue:get_nowait()
  local found, item = try_get(self)
  if not found then error(QueueEmpty("the queue is empty"), 2) end
  return item
end

--- Says that an item that was taken has been dealt with, for join.
function Queue:task_done()
  if self._unfinished <= 0 then
    error("task_done was called more often than there were items", 2)
  end
  self._unfinished = self._unfinished - 1
  if self._unfinished == 0 then self._finished:set() end
end

--- A Future that is done when every item was dealt with; TimeoutError after
-- the timeout.
function Queue:join(timeout) return self._finished:wait(timeout) end

--- For `for item in queue:iter() do`, in a coroutine: takes items for ever.
function Queue:iter()
  return function() return core.await(self:get()) end
end

-- The others ----------------------------------------------------------------

local function derive(name)
  local class = { __name = name }
  class.__index = class
  return setmetatable(class, { __index = Queue, __call = new })
end

--- The smallest item first, by `<` of the items or, where they are plain
-- tables, of their [1].  Tornado: queues.PriorityQueue.
local PriorityQueue = derive("PriorityQueue")

function PriorityQueue:_init() self._items, self._count = {}, 0 end

function PriorityQueue:qsize() return self._count end

local function precedes(a, b)
  if type(a) == "table" and type(b) == "table" then
    local mt = getmetatable(a) or getmetatable(b)
    if not (type(mt) == "table" and mt.__lt) then return a[1] < b[1] end
  end
  return a < b
end

--- The place below which a new item belongs; comparing may raise, so nothing
-- has changed by then.
local function place_for(items, count, item)
  local path, place = {}, count + 1
  while place > 1 and precedes(item, items[place // 2]) do
    path[#path + 1] = place
    place = place // 2
  end
  return place, path
end

function PriorityQueue:_put(item)
  if item == nil then error("nil has no priority", 3) end
  local items = self._items
  local place, path = place_for(items, self._count, item)
  for _, below in ipairs(path) do items[below] = items[below // 2] end
  items[place] = item
  self._count = self._count + 1
end

function PriorityQueue:_get()
  local items, count = self._items, self._count
  local first, last = items[1], items[count]
  items[count] = nil
  count = count - 1
  self._count = count
  if count == 0 then return first end
  local place = 1
  while true do
    local child = 2 * place
    if child > count then break end
    if child < count and precedes(items[child + 1], items[child]) then
      child = child + 1
    end
    if not precedes(items[child], last) then break end
    items[place] = items[child]
    place = child
  end
  items[place] = last
  return first
end

--- Last in, first out.  Tornado: queues.LifoQueue.
local LifoQueue = derive("LifoQueue")

function LifoQueue:_init() self._items, self._count = {}, 0 end

function LifoQueue:qsize() return self._count end

function LifoQueue:_put(item)
  self._count = self._count + 1
  self._items[self._count] = item
end

function LifoQueue:_get()
  local item = self._items[self._count]
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
}

loaded["lunado.queues"] = queues
return queues
