-- SPDX-License-Identifier: MIT
-- Makes Futures whose outcome is known.
local Future = require "lunado.concurrent".Future
local IOLoop = require "lunado.ioloop".IOLoop

local outcomes = {}

function outcomes.done(...)
  local future = Future()
  future:set_result(...)
  return future
end

function outcomes.failed(err)
  local future = Future()
  future:set_exception(err)
  return future
end

--- Returns a failed Future whose error counts as observed.
function outcomes.observed(err)
  local future = outcomes.failed(err)
  future:exception()
  return future
end

--- Returns a Future that the next turn of the current loop sets.
function outcomes.soon(...)
  local future = Future()
  IOLoop.current():add_callback(future.set_result, future, ...)
  return future
end

--- Returns a Future that the next turn of the current loop fails.
function outcomes.failing(err)
  local future = Future()
  IOLoop.current():add_callback(future.set_exception, future, err)
  return future
end

return outcomes
