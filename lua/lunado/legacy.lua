-- SPDX-License-Identifier: MIT
--- lunado.legacy: Tornado's interface from before Futures: YieldPoint,
-- Callback, Wait, WaitAll and MultiYieldPoint.  When yielded, each is converted
-- to a Future, so that the core handles Futures only.  `lunado.gen` exports the
-- classes.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.legacy"] then return loaded["lunado.legacy"] end

local argument = require "lunado.argument"
local callback = require "lunado.callback"
local stack_context = require "lunado.stack_context"
local waiters = require "lunado.waiters"

local Future = core.Future
local Exception = core.Exception

local KeyReuseError = Exception:subclass("KeyReuseError")
local UnknownKeyError = Exception:subclass("UnknownKeyError")
local LeakedCallbackError = Exception:subclass("LeakedCallbackError")

-- The runner, as YieldPoints see it -----------------------------------------

--- The runners by thread, one for each coroutine that uses this interface.  The
-- entry is removed when the coroutine ends or is collected.  From its first
-- YieldPoint on, the coroutine runs within a stack context of its runner.  So
-- an error of a callback that the coroutine has started is raised at the yield
-- where the coroutine waits.
local runners = setmetatable({}, { __mode = "k" })

local Runner = {}
Runner.__index = Runner
Runner.__name = "Runner"

local function new_runner(thread)
  local self = setmetatable({
    pending = {}, -- keys that were registered and not yet popped
    results = {}, -- key → packed result
    waiting = {}, -- YieldPoint that was not ready → bond of its Future
    started = setmetatable({}, { __mode = "k" }), -- YieldPoint → its number
    count = 0, -- number of YieldPoints that were not ready
    thread = thread, -- of its coroutine; nil once the coroutine has ended
    contexts = nil, -- the contexts within which the coroutine runs
    deactivate = nil, -- removes the runner's own context from `contexts`
  }, Runner)
  stack_context.ExceptionStackContext(function(err, traceback)
    return self:handle_exception(err, traceback)
  end):run(function(deactivate)
    self.contexts = core.get_context()
    self.deactivate = deactivate
  end)
  return self
end

--- Returns the runner of the coroutine whose yield is being converted.
local function current_runner()
  local thread = core.current_thread()
  if thread == nil then
    error("a YieldPoint can be yielded in a coroutine only", 0)
  end
  local runner = runners[thread]
  if not runner then
    runner = new_runner(thread)
    core.watch(runner.contexts)
    runners[thread] = runner
  end
  return runner
end

--- Raises the error of a callback at the yield where the coroutine waits.
-- Returns false if the coroutine is running, or if another error is about to be
-- raised in it: then the error goes to the outer contexts.
function Runner:handle_exception(err, traceback)
  local future = Future()
  future:set_exc_info(err, traceback)
  future:exception() -- retrieved: raised at the yield, or in outer contexts
  return core.fail_wait(self.thread, future)
end

--- Calls fn() within the contexts of the coroutine.  (The coroutine itself
-- enters these contexts only after its first YieldPoint has started.)
function Runner:call(fn)
  local before = core.get_context()
  if before == self.contexts then return fn() end
  core.set_context(self.contexts)
  local ok, failure = core.try(fn)
  core.set_context(before)
  if not ok then core.raise(failure) end
end

local function key_text(key)
  return type(key) == "string" and ("'%s'"):format(key) or tostring(key)
end

--- Registers the key of a callback that will be called.
function Runner:register_callback(key)
  if self.pending[key] then
    error(KeyReuseError("key " .. key_text(key) .. " is already pending"))
  end
  self.pending[key] = true
end

local function check_pending(self, key)
  if self.pending[key] then return end
  error(UnknownKeyError("key " .. key_text(key) .. " is not pending"))
end

--- Whether the result for the key has arrived.
function Runner:is_ready(key)
  check_pending(self, key)
  return self.results[key] ~= nil
end

--- Stores the result for the key, and settles the Futures that wait for it.
-- A result for a key that is no longer pending is dropped.
function Runner:set_result(key, result)
  if not self.pending[key] then return end
  self.results[key] = { result }
  self:run()
end

--- Removes and returns the result for the key.
function Runner:pop_result(key)
  check_pending(self, key)
  self.pending[key] = nil
  local result = self.results[key]
  self.results[key] = nil
  return result[1]
end

--- Returns a function that stores its arguments as the result for the key.
function Runner:result_callback(key)
  return function(...) self:set_result(key, callback.adapt(...)) end
end

local function settle(future, ok, ...)
  if ok then
    waiters.deliver(future, ...)
  else
    core.fail(future, (...))
  end
end

--- Settles the Future of the YieldPoint if the YieldPoint is ready or its
-- is_ready raises; returns whether the Future is done.
local function poll(point, future)
  local ok, ready = core.try(point.is_ready, point)
  if not ok then
    core.fail(future, ready)
  elseif ready then
    settle(future, core.try(point.get_result, point))
  end
  return future:done()
end

--- Adds a YieldPoint that is not ready.  If its Future is given up later, for
-- example by a with_timeout that has timed out, the bond removes the
-- YieldPoint.
function Runner:add(point, future)
  self.count = self.count + 1
  self.started[point] = self.count
  core.bond(future, self.waiting, point)
end

--- Polls the YieldPoints that were not ready, in the order in which they
-- started.  YieldPoints whose Future has no waiter come last, so that they get
-- only the results that the others have left.
function Runner:run()
  local waiting, started = self.waiting, self.started
  local points, idle = {}, {}
  for point, bond in pairs(waiting) do
    local future = core.dependent(bond)
    if future then
      points[#points + 1] = point
      idle[point] = not core.is_awaited(future)
    end
  end
  table.sort(points, function(a, b)
    if idle[a] ~= idle[b] then return idle[b] end
    return started[a] < started[b]
  end)
  for _, point in ipairs(points) do
    local future = waiting[point] and core.dependent(waiting[point])
    if future and poll(point, future) then
      waiting[point] = nil
      if idle[point] then future:exc_info() end -- counts as retrieved
    end
  end
end

core.set_finish_hook(function(thread, succeeded)
  local runner = runners[thread]
  runners[thread] = nil
  if not runner then return end
  runner.deactivate()
  runner.thread = nil
  if not succeeded then return end
  local leaked = {}
  for key in pairs(runner.pending) do leaked[#leaked + 1] = key_text(key) end
  if #leaked == 0 then return end
  table.sort(leaked)
  error(LeakedCallbackError("finished without waiting for callbacks "
    .. table.concat(leaked, ", ")), 0)
end)

-- YieldPoint ----------------------------------------------------------------

--- The base class of the yieldables that are older than Futures.  Subclasses
-- define start(runner), is_ready() and get_result(). Tornado: gen.YieldPoint.
local YieldPoint = { __name = "YieldPoint" }
YieldPoint.__index = YieldPoint

local required = { "start", "is_ready", "get_result" }

function YieldPoint.__await(point)
  for _, name in ipairs(required) do
    if not core.is_callable(point[name]) then
      error(core.BadYieldError(("%s has no method '%s'")
        :format(getmetatable(point).__name, name)), 0)
    end
  end
  local runner = current_runner()
  local future = Future()
  runner:call(function()
    point:start(runner)
    if not poll(point, future) then runner:add(point, future) end
  end)
  return future
end

local function new(class, ...)
  local point = setmetatable({}, class)
  if point.init then point:init(...) end
  return point
end

--- Derives a class; its optional method init(...) gets the constructor's
-- arguments.
function YieldPoint:subclass(name)
  argument.check_type(name, "string", 1, "subclass", 2)
  local class = { __name = name, __await = self.__await }
  class.__index = class
  return setmetatable(class, { __index = self, __call = new })
end

setmetatable(YieldPoint, { __call = new })

-- The classes ---------------------------------------------------------------

--- Raises at the line where the class was called.  `level` is nil if init calls
-- this function, and 1 if a function that init has called does so.
local function bad_argument(name, expected, value, level)
  local got = value ~= value and "NaN" or type(value)
  argument.bad(1, name, ("%s expected, got %s"):format(expected, got),
    4 + (level or 0))
end

local function check_key(point, key)
  if key == nil or key ~= key then
    bad_argument(point.__name, "key", key, 1)
  end
  return key
end

--- A yield of a Callback returns a function; a call of that function ends the
-- Wait for the same key.  Tornado: gen.Callback.
local Callback = YieldPoint:subclass("Callback")
function Callback:init(key) self.key = check_key(self, key) end
function Callback:start(runner)
  runner:register_callback(self.key)
  self.runner = runner
end
function Callback:is_ready() return self.runner ~= nil end
function Callback:get_result() return self.runner:result_callback(self.key) end

--- A yield of a Wait returns the arguments with which the callback of the key
-- was called.  Tornado: gen.Wait.
local Wait = YieldPoint:subclass("Wait")
function Wait:init(key) self.key = check_key(self, key) end
function Wait:start(runner) self.runner = runner end
function Wait:is_ready() return self.runner:is_ready(self.key) end
function Wait:get_result() return self.runner:pop_result(self.key) end

--- A yield of a WaitAll returns the list of the results of several callbacks,
-- in the order of their keys.  Tornado: gen.WaitAll.
local WaitAll = YieldPoint:subclass("WaitAll")
function WaitAll:init(keys)
  if type(keys) ~= "table" then bad_argument("WaitAll", "table", keys) end
  for i = 1, #keys do check_key(self, keys[i]) end
  self.keys = table.move(keys, 1, #keys, 1, {})
end
function WaitAll:start(runner) self.runner = runner end
function WaitAll:is_ready()
  for _, key in ipairs(self.keys) do
    if not self.runner:is_ready(key) then return false end
  end
  return true
end
function WaitAll:get_result()
  local results = {}
  for i, key in ipairs(self.keys) do
    results[i] = self.runner:pop_result(key)
  end
  return results
end

--- Waits for several yieldables, like gen.multi, but is a YieldPoint. Tornado:
-- gen.MultiYieldPoint.
local MultiYieldPoint = YieldPoint:subclass("MultiYieldPoint")
function MultiYieldPoint:init(children, quiet_exceptions)
  if type(children) ~= "table" then
    bad_argument("MultiYieldPoint", "table", children)
  end
  self.children, self.quiet_exceptions = children, quiet_exceptions
end
function MultiYieldPoint:start(runner)
  self.future = core.multi(self.children, self.quiet_exceptions)
  if not self.future:done() then
    self.future:add_done_callback(function() runner:run() end)
  end
end
function MultiYieldPoint:is_ready() return self.future:done() end
function MultiYieldPoint:get_result() return core.result(self.future) end

--- If no method was overridden, the yield waits for the multi itself, which
-- releases its children when it is given up.
function MultiYieldPoint.__await(point)
  for _, name in ipairs(required) do
    if point[name] ~= MultiYieldPoint[name] then
      return YieldPoint.__await(point)
    end
  end
  local runner = current_runner()
  runner:call(function()
    point.future = core.multi(point.children, point.quiet_exceptions)
  end)
  return point.future
end

local legacy = {
  YieldPoint = YieldPoint,
  Callback = Callback,
  Wait = Wait,
  WaitAll = WaitAll,
  MultiYieldPoint = MultiYieldPoint,
  KeyReuseError = KeyReuseError,
  UnknownKeyError = UnknownKeyError,
  LeakedCallbackError = LeakedCallbackError,
}

loaded["lunado.legacy"] = legacy
return legacy
