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

-- TaskGroup -----------------------------------------------------------------

--- Coroutines that end with a block: `local group <close> = TaskGroup()`.
-- Fields:
-- `_scope`: the scope of the block, in the coroutine that opened it;
-- `_children`: set of the Futures of the children that have not ended;
-- `_count`: their number;
-- `_errors`: list of the errors, in order; the first may be the body's;
-- `_first`: the Failure of the child that failed first, before the body;
-- `_notice`: the notice for the children, once they are cancelled;
-- `_join`: the Future for which the end of the block waits;
-- `_ended`: whether the block has ended;
-- `_owns_body`: whether cancel cancels the body, too;
-- `_quiet`: quiet_exceptions;
-- `_on_done`: the done-callback of the children.
-- An unset field is false.
local TaskGroup = { __name = "TaskGroup" }
TaskGroup.__index = TaskGroup

function TaskGroup:__tostring()
  return ("TaskGroup: %p (%s)"):format(self, self._ended and "ended"
    or ("%d running"):format(self._count))
end

--- Cancels the children that are left.  They may end meanwhile.
local function cancel_children(self)
  for future in next, self._children do
    core.cancel_with(future, self._notice)
  end
end

--- Cancels the body and the children, because an error ends the group.
local function fail(self, reason)
  self._notice = self._notice or core.sure_notice(reason)
  self._scope:cancel_with(self._notice)
  cancel_children(self)
end

--- Takes the outcome of a child that has ended.  One that was cancelled has
-- ended quietly.
local function take_outcome(self, future)
  local err = future:exception()
  if err == nil or core.was_cancelled(future)
    and core.isinstance(err, core.CancelledError) then
    return
  end
  local _, failure = core.try(core.result, future)
  local errors = self._errors
  errors[#errors + 1] = err
  if #errors > 1 then
    core.log_failure("Error in a TaskGroup", failure, self._quiet)
    return
  end
  self._first = failure
  fail(self, "another task of the group has failed")
end

local function end_child(self, future)
  self._children[future] = nil
  self._count = self._count - 1
  local join = self._join
  if self._count == 0 and join then
    self._join = false
    join:set_result()
  end
  take_outcome(self, future)
end

local function open(opts, owns_body)
  local self = setmetatable({
    _children = {}, _count = 0, _errors = {}, _first = false, _notice = false,
    _join = false, _ended = false, _owns_body = owns_body,
    _quiet = opts and opts.quiet_exceptions, _scope = false, _on_done = false,
  }, TaskGroup)
  self._on_done = function(future) end_child(self, future) end
  self._scope = core.group_scope(function(notice)
    if self._notice then return end
    self._notice = notice
    cancel_children(self)
  end)
  return self
end

--- Calls fn(...) as a coroutine of the group, and returns its Future.  In a
-- cancelled group fn is not called, and the Future has failed.
function TaskGroup:spawn(fn, ...)
  argument.check_callable(fn, 1, "spawn", 2)
  if self._ended then error("the TaskGroup has ended", 2) end
  if self._notice then
    local refused = Future()
    core.chain_future(self._notice, refused)
    return refused
  end
  local future = core.spawn(fn, ...)
  if future:done() then
    take_outcome(self, future)
    return future
  end
  self._children[future] = true
  self._count = self._count + 1
  future:add_done_callback(self._on_done)
  if self._notice then core.cancel_with(future, self._notice) end
  return future
end

--- Cancels the children; in tasks.group, the body as well.
function TaskGroup:cancel(reason)
  if self._ended then return end
  self._notice = self._notice or core.notice(reason, 1)
  if self._owns_body then self._scope:cancel_with(self._notice) end
  cancel_children(self)
end

--- Returns a Future that is done when all children have ended that were spawned
-- before this call.
function TaskGroup:wait()
  local waited, left = Future(), self._count
  if left == 0 then waited:set_result() end
  local function ended()
    left = left - 1
    if left == 0 and not waited:done() then waited:set_result() end
  end
  for future in next, self._children do future:add_done_callback(ended) end
  return waited
end

--- Returns a list of the errors of the body and the children, in order.
function TaskGroup:errors() return table.move(self._errors, 1,
  #self._errors, 1, {}) end

--- Waits for all children.  A cancellation that comes meanwhile goes to them,
-- and does not end the wait.  Returns whether it had to wait.
local function join(self)
  local waited = false
  while self._count > 0 do
    local future = Future()
    core.keep_pending(future)
    self._join, waited = future, true
    core.await(future)
  end
  return waited
end

--- The body has raised an error, or its last wait was cancelled.
local function end_body(self, err)
  if self._scope:is_own(err) then return end
  local errors = self._errors
  errors[#errors + 1] = err
  if self._first then
    core.log("error", ("Error in the body of a TaskGroup: %s"):format(
      tostring(err)))
  end
  fail(self, "the body of the group has failed")
end

--- Ends the group where it cannot wait: its coroutine is closed, or something
-- on its stack cannot be suspended.
local function end_at_once(self)
  local running = self._scope:close()
  self._ended = true
  self._notice = self._notice or core.sure_notice "the group was closed"
  cancel_children(self)
  if running and self._count > 0 then
    error("a TaskGroup cannot wait for its tasks inside a function that cannot "
      .. "be suspended", 0)
  end
end

--- Ends the block; err is the error that ended the body, or nil.  Returns
-- whether it had to wait.
local function finish(self, err)
  if self._ended then return false end
  if not self._scope:is_inside() then
    end_at_once(self)
    return false
  end
  if err ~= nil then end_body(self, err) end
  local waited = join(self)
  self._ended = true
  self._scope:close()
  if self._first then core.raise(self._first) end
  return waited
end

function TaskGroup:__close(err)
  if finish(self, err) and err == nil then core.raise_due() end
end

--- Opens a group.  Its block ends when all that was spawned has ended.  When
-- the body or a child raises an error, the others are cancelled, and the end of
-- the block raises the error that came first.
-- @param opts nil, or a table: quiet_exceptions, the errors that are not logged
--   when they come later
function tasks.TaskGroup(opts)
  if opts ~= nil then
    argument.check_type(opts, "table", 1, "TaskGroup", 2)
    core.check_quiet(opts.quiet_exceptions)
  end
  return open(opts, false)
end

--- Returns the results of the body of tasks.group.
local function return_from(self, ok, ...)
  local err
  if not ok then err = core.exc_info((...)) end
  local own = not ok and self._scope:is_own(err)
  local waited = finish(self, err)
  if not ok then
    if own then return end -- cancel() was called
    core.raise((...))
  end
  if waited then core.raise_due() end
  return ...
end

--- Calls fn(group, ...), waits as the end of a TaskGroup's block does, and
-- returns the results of fn.  group:cancel() cancels the body as well; then
-- nothing is returned.
function tasks.group(fn, ...)
  argument.check_callable(fn, 1, "group", 2)
  local self <close> = open(nil, true)
  return return_from(self, core.try(fn, self, ...))
end

-- race ----------------------------------------------------------------------

--- Makes the race stop waiting for its children, and gives up those for which
-- nobody else waits.  Returns a list of those that have yet to end.
local function give_up(iterator, children)
  local notice, left = core.notice "the race is over", {}
  core.abandon(iterator)
  for _, child in ipairs(children) do
    if core.give_up(child, notice) then left[#left + 1] = child end
  end
  return left
end

local function wait_for(children)
  for _, child in ipairs(children) do
    local ok, failure = core.try(core.await, child)
    if not ok then core.log_failure("Error in a loser of a race", failure) end
  end
end

local function end_race(key, ok, ...)
  if not ok then core.raise((...)) end
  return key, ...
end

local race = core.coroutine(function(keys, children)
  local iterator, left = core.WaitIterator(children), nil
  local first = iterator:next()
  if not first:done() then
    core.set_canceller(first, function() left = give_up(iterator, children) end)
  end
  local outcome = table.pack(core.try(core.await, first))
  local key = keys[iterator.current_index]
  core.shield(function()
    wait_for(left or give_up(iterator, children))
  end)
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
