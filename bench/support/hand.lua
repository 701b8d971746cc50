-- SPDX-License-Identifier: MIT
-- The smallest scheduler that users would write by hand in plain Lua: Futures
-- that one task may await, and a queue of ready tasks.  It is the raw row of
-- the tables.
local create, resume = coroutine.create, coroutine.resume
local yield = coroutine.yield

local hand = {}
local ready, head, tail = {}, 1, 0
local current -- the task that runs

function hand.current() return current end

-- Returns a Future, which is pending while `ok` is nil.
function hand.future()
  return { ok = nil, value = nil, waiter = nil }
end

local function wake(task)
  tail = tail + 1
  ready[tail] = task
end
hand.wake = wake

-- Settles the Future and wakes its waiter: a task to resume, or a function to
-- call.
local function settle(future, ok, value)
  future.ok, future.value = ok, value
  local waiter = future.waiter
  if type(waiter) == "function" then
    waiter(future)
  elseif waiter then
    wake(waiter)
  end
end
hand.settle = settle

function hand.await(future)
  if future.ok == nil then
    future.waiter = current
    yield()
  end
  if future.ok then return future.value end
  error(future.value, 0)
end

-- Runs a task until it waits or ends; an error becomes its outcome.
local function step(task, ...)
  local caller = current
  current = task
  local ok, err = resume(task.co, ...)
  current = caller
  if not ok then settle(task, false, err) end
end
hand.step = step

local function body(task, fn, ...) settle(task, true, fn(...)) end

-- Starts a task.  The task itself is the Future of its function's result.
function hand.spawn(fn, ...)
  local task = { ok = nil, value = nil, waiter = nil, co = create(body) }
  step(task, task, fn, ...)
  return task
end

function hand.turn()
  wake(current)
  yield()
end

function hand.drain()
  while head <= tail do
    local task = ready[head]
    ready[head] = nil
    head = head + 1
    step(task)
  end
  head, tail = 1, 0
end

-- Runs fn as a task, and then the loop until no task is ready.
function hand.run(fn)
  local task = hand.spawn(fn)
  hand.drain()
  if not task.ok then error(task.value or "stalled", 0) end
end

-- Returns the list of the results of all futures.
function hand.all(futures)
  local results = {}
  for i, future in ipairs(futures) do results[i] = hand.await(future) end
  return results
end

-- Returns an iterator over index and value of each future as it completes.
function hand.as_completed(futures)
  local first, last, indices, parked = 1, 0, {}, nil
  for i, future in ipairs(futures) do
    future.waiter = function()
      last = last + 1
      indices[last] = i
      if parked then
        wake(parked)
        parked = nil
      end
    end
  end
  return function()
    if first > #futures then return nil end
    if first > last then
      parked = current
      yield()
    end
    local i = indices[first]
    first = first + 1
    return i, hand.await(futures[i])
  end
end

return hand
