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
}

--- At the deadline, cancels what the coroutine waits for within a block.
-- `local scope <close> = tasks.timeout(deadline)` begins a block, whose end
-- raises TimeoutError in place of that CancelledError.  With a function, calls
-- fn(...) within such a block and returns its results.
-- @param deadline as for IOLoop:add_timeout
function tasks.timeout(deadline, fn, ...)
  if fn == nil then return (core.timeout_scope(deadline)) end
  argument.check_callable(fn, 2, "timeout", 2)
  local _ <close> = core.timeout_scope(deadline)
  return fn(...)
end

--- Calls fn(...) and returns its results; holds off the cancellations of the
-- scopes around it until then.
function tasks.shield(fn, ...)
  argument.check_callable(fn, 1, "shield", 2)
  local _ <close> = core.shield_scope()
  return fn(...)
end

--- Raises a cancellation that is due; else lets the loop turn once.
function tasks.checkpoint() core.await() end

--- Returns a Future that gets the outcome of the yieldable.  A coroutine that
-- is cancelled while it waits for that Future lets the yieldable go on.
function tasks.keep(yieldable)
  local kept = Future()
  core.chain_future(core.convert_yielded(yieldable), kept)
  return kept
end

loaded["lunado.tasks"] = tasks
return tasks
