-- SPDX-License-Identifier: MIT
-- Starts coroutines, and checks that they were cancelled.
local gen = require "lunado.gen"
local isinstance = require "lunado.util".isinstance
local CancelledError = require "lunado.tasks".CancelledError

local cancelled = {}

--- Starts fn(...) as a coroutine; returns its Future.
function cancelled.start(fn, ...) return gen.coroutine(fn)(...) end

function cancelled.is_error(err) return isinstance(err, CancelledError) end

--- Waits for the Future, which must fail with CancelledError; returns that.
function cancelled.check(future)
  local ok, err = pcall(coroutine.yield, future)
  assert(not ok, "no error was raised")
  assert(cancelled.is_error(err), tostring(err))
  return err
end

return cancelled
