-- SPDX-License-Identifier: MIT
--- lunado.tasks: cancellation, and coroutines that end with the block that
-- started them.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.tasks"] then return loaded["lunado.tasks"] end

local argument = require "lunado.argument"
local Future = core.Future

local tasks = {
  --- The error that is raised where a cancelled coroutine waits; its field
  -- `reason` is what the caller gave.
  CancelledError = core.CancelledError,
  --- cancel(future [, reason]) cancels the coroutine whose outcome the Future
  -- is; returns whether it was still running.
  cancel = core.cancel,
  --- set_canceller(future, fn): fn(future) is called once, when the last that
  -- waits for the Future is cancelled; then the Future fails, unless fn has
  -- settled it.
  set_canceller = core.set_canceller,
  --- `local scope <close> = timeout(deadline)` begins a block.  At the deadline
  -- (as for IOLoop:add_timeout), what the coroutine waits for within the block
  -- is cancelled, and the end of the block raises TimeoutError in place of that
  -- CancelledError.  timeout(deadline, fn, ...) calls fn(...) within such a
  -- block and returns its results.
  timeout = core.timeout,
  --- shield(fn, ...) calls fn(...) and returns its results; holds off the
  -- cancellations of the scopes around it until then.
  shield = core.shield,
  --- `local group <close> = TaskGroup([opts])` begins a block.  Its end waits
  -- for all that group:spawn(fn, ...) has started.  When the body or a child
  -- raises an error, the others are cancelled, and the end of the block raises
  -- the error that came first.  opts.quiet_exceptions are the errors that are
  -- not logged when they come later.
  TaskGroup = core.TaskGroup,
}

--- Raises a cancellation that is due; else lets the loop turn once.
function tasks.checkpoint() core.await() end

--- Returns a Future that gets the outcome of the yieldable.  A coroutine that
-- is cancelled while it waits for that Future lets the yieldable go on.
function tasks.keep(yieldable)
  local kept = Future()
  core.chain_future(core.convert_yielded(yieldable), kept)
  return kept
end

-- group ---------------------------------------------------------------------

--- Returns the results of the body of tasks.group.
local function return_from(group, ok, ...)
  if ok then
    if core.group_finish(group) then core.raise_due() end
    return ...
  end
  local err = core.exc_info((...))
  local own = core.group_is_own(group, err)
  core.group_finish(group, err)
  if not own then core.raise((...)) end
end

--- Calls fn(group, ...), waits as the end of a TaskGroup's block does, and
-- returns the results of fn.  group:cancel() cancels the body as well; then
-- nothing is returned.
function tasks.group(fn, ...)
  argument.check_callable(fn, 1, "group", 2)
  local group <close> = core.body_group()
  return return_from(group, core.try(fn, group, ...))
end

-- race ----------------------------------------------------------------------

--- Makes the race stop waiting for its children, and gives up those for which
-- nobody else waits.  Returns a list of those that have yet to end; the task's
-- coroutine is going to wait for them.
local function give_up(iterator, children, task)
  local notice, left = core.notice "the race is over", {}
  core.abandon(iterator)
  for _, child in ipairs(children) do
    if core.give_up(child, notice, task) then left[#left + 1] = child end
  end
  return left
end

local function wait_for(children)
  for _, child in ipairs(children) do
    local ok, failure = core.try(core.await, child)
    if not ok then core.log_loser(failure) end
  end
end

local function end_race(key, ok, ...)
  if not ok then core.raise((...)) end
  return key, ...
end

--- The others are given up as soon as the first is done, so that none of them
-- takes an item meanwhile.
local race = core.coroutine(function(keys, children)
  local iterator = core.WaitIterator(children)
  local first, task, left = iterator:next(), core.current_task(), nil
  local over = Future()
  local function end_it() left = left or give_up(iterator, children, task) end
  first:add_done_callback(end_it)
  core.chain_future(first, over)
  core.set_canceller(over, end_it)
  local outcome = table.pack(core.try(core.await, over))
  local key = keys[iterator.current_index]
  end_it()
  core.shield(function() wait_for(left) end)
  return end_race(key, table.unpack(outcome, 1, outcome.n))
end)

--- Returns a Future of `key, results...` of the first of the children that is
-- done, or of its error; the others are cancelled and waited for.
-- @param children a list or table of yieldables, not empty
function tasks.race(children)
  argument.check_type(children, "table", 1, "race", 2)
  local keys, futures = {}, {}
  for key, child in pairs(children) do
    keys[#keys + 1] = key
    futures[#futures + 1] = core.convert_yielded(child)
  end
  if #keys == 0 then argument.bad(1, "race", "no children", 2) end
  return race(keys, futures)
end

loaded["lunado.tasks"] = tasks
return tasks
