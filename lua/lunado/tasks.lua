-- SPDX-License-Identifier: MIT
--- lunado.tasks: cancellation, and coroutines that end with the block that
-- started them.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.tasks"] then return loaded["lunado.tasks"] end

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

loaded["lunado.tasks"] = tasks
return tasks
