-- SPDX-License-Identifier: MIT
--- lunado.ioloop: the loop, and periodic callbacks.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.ioloop"] then return loaded["lunado.ioloop"] end

local IOLoop = core.IOLoop
local argument = require "lunado.argument"
require "lunado.signals" -- adds the methods for signals

--- Calls a function periodically.  Tornado: PeriodicCallback.
local PeriodicCallback = {}
PeriodicCallback.__index = PeriodicCallback
PeriodicCallback.__name = "PeriodicCallback"

local NAME <const> = PeriodicCallback.__name

--- Returns the first deadline after `now` that is a whole number of periods
-- after `last`: if calls took longer than a period, the deadlines in between
-- are skipped.  If the period is too short for the clock's resolution, it is
-- counted from `now`.
local function next_deadline(last, period, now)
  if last + period > now then return last + period end
  local deadline = last + (math.floor((now - last) / period) + 1) * period
  if deadline > now and deadline <= now + period then return deadline end
  return now + period
end

local function schedule(self)
  local loop = self.io_loop
  self._next = next_deadline(self._next, self.callback_time / 1000,
    loop:time())
  self._timeout = loop:call_at(self._next, self._run)
end

--- Schedules the next call, unless the loop is closed.  If memory runs out,
-- raises and stops the calls.
local function go_on(self)
  if not self._running or self._timeout then return end
  if core.is_closed(self.io_loop) then
    self._running = false
    return
  end
  local ok, err = pcall(schedule, self)
  if ok then return end
  self._running = false
  error(err, 0)
end

local function run(self)
  if not self._running then return end
  self._timeout = false
  core.call(self.io_loop, self.callback)
  go_on(self)
end

--- Checks the object of a method, at the line of its caller.
local function check_self(self, name)
  argument.check_self(self, "_run", NAME, name, 3)
end

--- Starts the calls, the first one after one period.
function PeriodicCallback:start()
  check_self(self, "start")
  if self:is_running() then return end
  if core.is_closed(self.io_loop) then error("the IOLoop is closed", 2) end
  self._next = self.io_loop:time()
  schedule(self)
  self._running = true
end

--- Stops the calls.
function PeriodicCallback:stop()
  check_self(self, "stop")
  self._running = false
  local timeout = self._timeout
  self._timeout = false
  if timeout and not core.is_closed(self.io_loop) then
    self.io_loop:remove_timeout(timeout)
  end
end

--- Whether it has been started; a closed loop has stopped it.
function PeriodicCallback:is_running()
  check_self(self, "is_running")
  return self._running and not core.is_closed(self.io_loop)
end

setmetatable(PeriodicCallback, {
  --- @param callback function without arguments
  -- @param callback_time period in milliseconds, more than 0
  -- @param io_loop the loop; the current one by default
  __call = function(class, callback, callback_time, io_loop)
    argument.check_callable(callback, 1, NAME, 2)
    argument.check_type(callback_time, "number", 2, NAME, 2)
    if callback_time ~= callback_time or callback_time <= 0 then
      argument.bad(2, NAME, "a period of more than 0 milliseconds expected", 2)
    end
    if io_loop ~= nil and not core.is_loop(io_loop) then
      argument.unexpected(3, NAME, "IOLoop", io_loop, 2)
    end
    local self = setmetatable({
      callback = callback,
      callback_time = callback_time,
      io_loop = io_loop or IOLoop.current(),
      _running = false,
      _next = 0,
      _timeout = false,
    }, class)
    self._run = core.on_behalf(callback, function() return run(self) end)
    return self
  end,
})

local ioloop = { IOLoop = IOLoop, PeriodicCallback = PeriodicCallback }

loaded["lunado.ioloop"] = ioloop
return ioloop
