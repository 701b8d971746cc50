-- SPDX-License-Identifier: MIT
-- What Tornado's test cases stand on: a loop of its own, waiting for stop(),
-- and contexts with names.
local concurrent = require "lunado.concurrent"
local stack_context = require "lunado.stack_context"
local contexts = require "spec.support.contexts"
local frame = require "spec.support.frame"

local yield = coroutine.yield

local Case = {}
Case.__index = Case

--- Runs fn on the loop to its end.
function Case:run(fn) -- luacheck: ignore self
  return frame.run(fn)
end

--- Calls fn() on the loop and waits for stop(...); returns what stop was
--- called with.  Raises the first error that came to the stack context which
--- fn runs within.
function Case:wait(fn)
  local stopped = concurrent.Future()
  local results, failure
  function self.stop(...)
    if stopped:done() then return end
    results = table.pack(...)
    stopped:set_result()
  end
  local function fail(err)
    failure = failure or { err }
    self.stop()
    return true
  end
  self:run(function()
    stack_context.ExceptionStackContext(fail):run(function() fn() end)
    yield(stopped)
    -- What failed after stop() takes a turn to arrive.
    yield()
    yield()
  end)
  if failure then error(failure[1], 0) end
  return table.unpack(results, 1, results.n)
end

--- Calls callback(value) after some turns of the loop.
function Case:delay(turns, value, callback)
  if turns == 0 then return callback(value) end
  self.loop:add_callback(function()
    self:delay(turns - 1, value, callback)
  end)
end

--- A Future that has the values after some turns of the loop.
function Case:later(turns, ...)
  local future = concurrent.Future()
  local values = table.pack(...)
  self:delay(turns, nil, function()
    future:set_result(table.unpack(values, 1, values.n))
  end)
  return future
end

--- Fails if there are messages in the log that the case has not asked for.
function Case:close() -- luacheck: ignore self
  frame.finish()
end

--- Begins a case; returns it and its loop.
return function()
  local loop, log = frame.begin()
  local self = setmetatable({ log = log, loop = loop }, Case)
  self.active, self.context = contexts()
  return self, loop
end
