-- SPDX-License-Identifier: MIT
-- What surrounds each test of a spec: its loop, its log, and the check that it
-- has left nothing behind but messages that it has asked for.
--
--   local run = frame.run
--   local loop, log
--   before_each(function() loop, log = frame.begin() end)
--   after_each(function() frame.finish() end)
local luassert = require "luassert"
local IOLoop = require "lunado.ioloop".IOLoop
local testing = require "lunado.testing"
local capture = require "spec.support.capture"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local frame = {}

-- What the running test has: a log; and a loop of its own, unless it uses the
-- default one.
local loop, log

--- Begins a test.  Returns a loop of its own, which is the current one, and the
--- log, which is captured until the test ends.
function frame.begin()
  log = capture()
  loop = loops.open()
  return loop, log
end

--- The same with a loop whose clock is virtual.
function frame.begin_virtual()
  frame.begin()
  testing.virtual_clock(loop)
  return loop, log
end

--- Begins a test on the default loop, on which luv's handles are: there is no
--- current loop.  Returns the log.
function frame.begin_default()
  IOLoop.clear_current()
  log, loop = capture(), nil
  return log
end

--- Ends a test: closes its own loop, and then fails if the log has a message
--- that the test has not asked for (see capture).  All garbage is collected
--- before and after that, so what is logged does not depend on the collector.
function frame.finish()
  gc.collect()
  if loop then loops.close(loop) end
  gc.collect()
  log:restore()
  local expected, unasked = log:left()
  if expected then
    luassert.matches(expected, log:text())
  else
    luassert.equal("", unasked)
  end
end

--- Runs fn as a coroutine to its end, on the loop of the test, and returns what
--- fn returns; fails if that takes more than `seconds`, by default
--- loops.PATIENCE.
function frame.run(fn, seconds)
  return (loop or IOLoop.instance()):run_sync(fn, seconds or loops.PATIENCE)
end

--- Returns spec(name, fn), which declares a test by busted's `it`: it runs fn
--- as frame.run does.
function frame.specs(it, seconds)
  return function(name, fn)
    it(name, function() frame.run(fn, seconds) end)
  end
end

return frame
