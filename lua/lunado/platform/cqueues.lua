-- SPDX-License-Identifier: MIT
--- lunado.platform.cqueues: coroutines of cqueues on lunado's loop.
--
-- Each loop has one controller of cqueues, and a bridge that steps it: when
-- the controller's descriptor is readable, or its timeout is due.  While the
-- controller is empty, the loop watches nothing.
--
-- `run` nests the user's coroutine in one of its own, which the controller
-- resumes and which passes the polls on.  So it can add a condition of its own
-- to each poll, by which a cancellation wakes the coroutine.
-- @module lunado.platform.cqueues
local core = require "lunado.core"
local loaded = core.loaded

local NAME <const> = "lunado.platform.cqueues"

local function need(module)
  local ok, found = pcall(require, module)
  if ok then return found end
  error(("%s needs cqueues (Debian: lua-cqueues, LuaRocks: cqueues), which "
    .. "cannot be loaded:\n%s"):format(NAME, found), 0)
end

local cqueues = need "cqueues"
local conditions, promises = need "cqueues.condition", need "cqueues.promise"

-- A second require may come with a new table of cqueues' methods.
if loaded[NAME] then
  loaded[NAME]._connect(cqueues, promises)
  return loaded[NAME]
end

local argument = require "lunado.argument"
local waitgraph = require "lunado.waitgraph"

local Future, IOLoop, BadYieldError = core.Future, core.IOLoop,
  core.BadYieldError
local yield = coroutine.yield

--- The first value of each yield by which a coroutine of cqueues waits.
local POLL <const> = cqueues._POLL

local NOT_HERE = {
  yield = "a coroutine of cqueues cannot wait by coroutine.yield: call "
    .. NAME .. ".await(future) in it",
  await = "cannot await inside a coroutine of cqueues: call " .. NAME
    .. ".await(future) there",
  poll = "a coroutine of lunado cannot wait for cqueues: wait for the Future "
    .. "of " .. NAME .. ".run(fn)",
  outside = NAME .. ".await waits in a coroutine of cqueues: in one of lunado, "
    .. "call coroutine.yield(future)",
  own_loop = NAME .. ".await waits in a coroutine of cqueues that lunado's "
    .. "loop runs: start it by " .. NAME .. ".run, or let a coroutine of "
    .. "lunado yield its controller",
}

--- The bridge whose controller is being stepped, or false.
local stepping = false

-- Errors at other coroutines' yields ------------------------------------------

--- Returns the thread of the controller that has yielded through step; nil if
-- there is none.  A controller holds a table of records, and each record a
-- thread.  The first argument of the function that yields is the first local
-- variable at level 0: a thread that polls has POLL there.
local function find_current(controller)
  for _, record in pairs(debug.getuservalue(controller, 1) or {}) do
    local thread = debug.getuservalue(record, 1)
    if type(thread) == "thread" and coroutine.status(thread) == "suspended"
      and debug.getinfo(thread, 0, "l") then -- it has started
      local _, first = debug.getlocal(thread, 0, 1)
      if first ~= POLL then return thread end
    end
  end
end

--- Returns the thread that has yielded the values from i on: the given thread,
-- or one of the controller that it steps, and so on; and how many of the values
-- the next resume has to give back.  For step yields its own controller along
-- with the values of a coroutine inside, and wants it back as an argument; but
-- not when coroutine.resume has taken the values, which leaves it in its place.
local function find_yielder(thread, values, i)
  if debug.getinfo(thread, 0, "f").func == yield then return thread, i - 1 end
  local _, controller = debug.getlocal(thread, 0, 1)
  local following = i
  if controller == nil then controller, following = values[i], i + 1 end
  local inner = cqueues.type(controller) and find_current(controller)
  if not inner then return thread, i - 1 end
  return find_yielder(inner, values, following)
end

--- Resumes a thread that has yielded the values of a coroutine of cqueues that
-- waits as one of lunado does; raises an error at the yield of that coroutine.
-- `suspect` is the thread that has yielded them, or that steps a controller
-- with it.
local function refuse_yield(thread, suspect, ...)
  local values = table.pack(...)
  local culprit, count = find_yielder(suspect, values, 1)
  core.throw(culprit, NOT_HERE.yield)
  return coroutine.resume(thread, table.unpack(values, 1, count))
end

-- The bridge ------------------------------------------------------------------

--- Steps the controller of one loop.
local Bridge = {}
Bridge.__index = Bridge

local bridges = setmetatable({}, { __mode = "k" }) -- loop -> its bridge
local bridge_of = setmetatable({}, { __mode = "k" }) -- controller -> bridge

--- Calls fn outside of all stack contexts.
local function outside_contexts(fn, ...)
  local contexts = core.get_context()
  core.set_context(false)
  local ok, result = core.try(fn, ...)
  core.set_context(contexts)
  if not ok then core.raise(result) end
  return result
end

--- Closes the controllers of closed loops; the collector would do it later.
local function sweep()
  for loop, bridge in pairs(bridges) do
    if core.is_closed(loop) then
      bridges[loop] = nil
      bridge:close()
    end
  end
end

local function new_bridge(loop)
  sweep()
  local self = setmetatable({
    loop = loop,
    controller = cqueues.new(),
    watching = false, -- the loop watches the descriptor
    timeout = false, -- the handle of the loop's timeout
    stepping = false,
    closing = false,
    stepper = false, -- the thread in which the controller is stepped
  }, Bridge)
  -- What the loop watches; loop:close(true) calls `close`.
  self.descriptor = {
    fileno = function() return self.controller:pollfd() end,
    close = function() self:close() end,
  }
  self.on_readable = function() self:step() end
  self.on_timeout = function()
    self.timeout = false
    self:step()
  end
  bridges[loop], bridge_of[self.controller] = self, self
  return self
end

function Bridge:close()
  self.closing = true
  if not self.stepping then self.controller:close() end
end

--- Makes the loop watch the controller's descriptor, which is readable when a
-- coroutine was added or woken.
function Bridge:watch()
  if self.watching or self.closing or core.is_closed(self.loop) then return end
  outside_contexts(self.loop.add_handler, self.loop, self.descriptor,
    self.on_readable, IOLoop.READ)
  self.watching = true
end

--- Arranges the next step.  The last step may have closed the loop.
function Bridge:arrange()
  local loop, controller = self.loop, self.controller
  if self.closing then return self:close() end
  if core.is_closed(loop) then return end
  if self.timeout then
    loop:remove_timeout(self.timeout)
    self.timeout = false
  end
  if controller:empty() then
    if self.watching then loop:remove_handler(self.descriptor) end
    self.watching = false
    return
  end
  self:watch()
  local seconds = controller:timeout()
  if seconds then
    self.timeout = outside_contexts(loop.call_at, loop, loop:time() + seconds,
      self.on_timeout)
  end
end

local STEPPED <const> = {}

local function step_again(controller)
  while true do controller = yield(STEPPED, controller:step(0)) end
end

--- Returns the function with which a thread began, which has failed.
local function first_function(thread)
  local fn
  for level = 0, math.huge do
    local info = debug.getinfo(thread, level, "f")
    if not info then return fn end
    fn = info.func
  end
end

--- Returns a Future that has failed with the error of the dead thread, which is
-- nil if cqueues itself has failed.
local function failed_future(err, thread)
  local future = Future()
  future:set_exc_info(err, thread and debug.traceback(thread))
  return future
end

--- Reports the error of a coroutine that was added to the controller itself, as
-- that of a callback.
function Bridge:report(err, _, thread)
  local failed = failed_future(err, thread)
  local fn = thread and first_function(thread) or self.on_readable
  core.call(self.loop, core.on_behalf(fn, function() core.result(failed) end))
end

--- Handles what the stepper has yielded: the end of the step, or the values of
-- a coroutine of cqueues that waits as one of lunado does.  If the loop itself
-- runs in a coroutine of cqueues, step polls first.
function Bridge:take(thread, ok, first, ...)
  if not ok then error(first, 0) end
  if first == STEPPED then
    if not ... then self:report(select(2, ...)) end
    return
  end
  if first == POLL then return self:take(thread, coroutine.resume(thread)) end
  local suspect = find_current(self.controller)
  return self:take(thread, refuse_yield(thread, suspect, first, ...))
end

local function step(self)
  local thread = self.stepper
  if not thread or coroutine.status(thread) ~= "suspended" then
    thread = coroutine.create(step_again)
    self.stepper = thread
  end
  self:take(thread, coroutine.resume(thread, self.controller))
end

function Bridge:step()
  if self.stepping or self.closing then return end
  local outer = stepping
  stepping, self.stepping = self, true
  local ok, failure = core.try(step, self)
  stepping, self.stepping = outer, false
  local arranged, other = core.try(self.arrange, self)
  -- Memory is short: the loop calls on_readable again in its next pass.
  if not arranged then self.controller:alert() end
  if not ok then core.raise(failure) end
  if not arranged then core.raise(other) end
end

-- run -------------------------------------------------------------------------

--- Thread of a user's coroutine -> the record of its run:
--   fn        the user's function
--   thread    the user's coroutine; false before it starts
--   over      Future: the outcome, or the cancellation
--   wake      the condition that a cancellation signals
--   waiting   the Future of the `await` that is under way, or false
--   cancelled the Failure to raise at each wait, or false
--   thrown    how often it was raised
--   gone      Future, once cancelled: done when the coroutine has ended
--   outcome   once cancelled and ended: as table.pack of what `try` returns
local runs = setmetatable({}, { __mode = "k" })

--- After so many waits that a cancellation has ended, a warning names the
-- coroutine.
local SWALLOWED_MOST <const> = 100

--- Returns whether a poll waits for nothing: cqueues runs the coroutine again
-- in the next step.
local function is_empty(...)
  for i = 1, select("#", ...) do
    if select(i, ...) ~= nil then return false end
  end
  return true
end

--- Polls on behalf of the user's coroutine.
local function poll(run, ...)
  if run.waiting then return yield(POLL, ...) end
  if run.cancelled then return yield(POLL, 0) end
  if is_empty(...) then return yield(POLL) end
  return yield(POLL, run.wake, ...)
end

--- Returns "file:line" of the innermost function that is neither cqueues' nor
-- lunado's; of cqueues' if there is no other.
local function place_of(thread)
  local other
  for level = 0, math.huge do
    local info = debug.getinfo(thread, level, "Sl")
    if not info then return other end
    if info.currentline > 0 and not core.is_own(info.source) then
      local place = ("%s:%d"):format(info.short_src, info.currentline)
      if not info.short_src:find "%f[%w]cqueues[/.]" then return place end
      other = other or place
    end
  end
end

local function raise_cancellation(run)
  run.thrown = run.thrown + 1
  if run.thrown == SWALLOWED_MOST + 1 then
    core.log("warning", ("Coroutine of cqueues goes on at %s although it was "
      .. "cancelled: its CancelledError was caught %d times"):format(
      place_of(run.thread), SWALLOWED_MOST))
  end
  core.throw(run.thread, run.cancelled)
  return coroutine.resume(run.thread)
end

local function after_poll(run, ...)
  if run.cancelled and not run.waiting then return raise_cancellation(run) end
  return coroutine.resume(run.thread, ...)
end

--- Goes on with the user's coroutine, which has yielded.
local function go_on(run, first, ...)
  if first == POLL then return after_poll(run, poll(run, ...)) end
  return refuse_yield(run.thread, run.thread, first, ...)
end

--- Returns the results of the last resume of the user's coroutine.
local function to_end(run, ok, ...)
  if coroutine.status(run.thread) == "dead" then return ok, ... end
  return to_end(run, go_on(run, ...))
end

--- Settles the Futures of a run whose coroutine has ended with the results of
-- `try`.  `resumed` is false if `try` itself has failed.
local function finish(run, resumed, ok, ...)
  local over = run.over
  if not resumed then return finish(run, true, false, ok) end
  if over:done() then
    run.outcome = table.pack(ok, ...)
    if run.gone then run.gone:set_result() end
    return
  end
  local failure = ...
  if ok then ok, failure = core.try(over.set_result, over, ...) end
  if not ok then core.fail(over, failure) end
end

--- The coroutine that the controller runs.  One that was cancelled before does
-- not call the user's function.
local function body(run, ...)
  if run.over:done() then return finish(run, true, true) end
  run.thread = coroutine.create(core.try)
  runs[run.thread] = run
  finish(run, to_end(run, coroutine.resume(run.thread, run.fn, ...)))
end

--- Raises the Failure at the present wait of the user's coroutine.  A wait for
-- a Future of lunado is cancelled in its turn, and ends when that has ended.
local function cancel(run, failure)
  local err = core.exc_info(failure)
  run.cancelled = failure
  if run.waiting then
    core.cancel(run.waiting, err.reason)
  else
    run.wake:signal()
  end
end

--- Ends a coroutine of lunado that has waited for `over`.
local function conclude(run, ok, ...)
  if ok then return ... end
  local failure = ...
  if not run.gone then core.raise(failure) end
  if not run.gone:done() then cancel(run, failure) end
  core.shield(core.await, run.gone)
  local outcome = run.outcome
  if outcome[1] and run.thread then
    return table.unpack(outcome, 2, outcome.n)
  end
  local other = outcome[2]
  if other and not core.isinstance(core.exc_info(other), core.CancelledError)
    then core.raise(other) end
  core.raise(failure)
end

local function wait_for_run(run)
  return conclude(run, core.try(core.await, run.over))
end
waitgraph.names[wait_for_run] = NAME .. ".run"
local start = core.coroutine(wait_for_run)

--- Describes a run for lunado.debug: a text, and what it waits for.
local function describe(run)
  local text = core.describe(run.fn) .. ", a coroutine of cqueues"
  if not run.thread then return text .. ", about to start", {} end
  local place = place_of(run.thread)
  return text .. (place and " at " .. place or ""), { run.waiting or nil }
end

--- Adds the coroutine of a run to the controller of the current loop.
local function add(run, ...)
  local loop = IOLoop.current()
  local bridge = bridges[loop] or new_bridge(loop)
  assert(bridge.controller:wrap(body, run, ...))
  bridge:watch()
end

local platform = {}

--- Runs fn(...) as a coroutine of cqueues on the current loop.  It starts in a
-- later turn.  Returns the Future of its results.  When nobody waits for the
-- Future any more because all were cancelled, CancelledError is raised where
-- fn waits.
function platform.run(fn, ...)
  argument.check_callable(fn, 1, "run", 2)
  local run = { fn = fn, thread = false, over = Future(), waiting = false,
    wake = conditions.new(), cancelled = false, thrown = 0 }
  core.set_canceller(run.over, function() run.gone = Future() end)
  waitgraph.describers[run.over] = function() return describe(run) end
  local future = start(run)
  if not future:done() then -- the loop is open
    local ok, failure = core.try(add, run, ...)
    if not ok then core.fail(run.over, failure) end
  end
  return future
end

-- await -----------------------------------------------------------------------

--- wait(future) returns the Future of a coroutine that waits for the Future.
local wait = core.coroutine(core.await)

--- Ends the wait for a Future when its coroutine leaves it.
local Leaving = { __close = function(self)
  if self.run then self.run.waiting = false end
  core.cancel(self.future)
end }

local function check_await()
  if not cqueues.running() then error(NOT_HERE.outside, 3) end
  if not stepping then error(NOT_HERE.own_loop, 3) end
end

--- Returns the results of a yieldable of lunado, or raises its error.  To be
-- called in a coroutine of cqueues that lunado's loop runs.
function platform.await(yieldable)
  check_await()
  local future = core.convert_yielded(yieldable)
  if future:done() then return core.result(future) end
  local run, waiting = runs[coroutine.running()], wait(future)
  local _ <close> = setmetatable({ run = run, future = waiting }, Leaving)
  local ready = conditions.new()
  waiting:add_done_callback(function() ready:signal() end)
  if run then
    run.waiting = waiting
    if run.cancelled then core.cancel(waiting) end
  end
  while not waiting:done() do cqueues.poll(ready) end
  return waiting:result()
end

-- Yieldables ------------------------------------------------------------------

--- Returns the values of a promise, or raises the reason of its rejection.
local function outcome_of(promise)
  while promise:status() == "pending" do promise:wait() end
  if promise:status() == "rejected" then error(promise.reason, 0) end
  if promise.n == 1 then return promise.tuple end
  return table.unpack(promise.tuple, 1, promise.n)
end

--- Steps another controller until it is empty; raises the first error of its
-- coroutines.
local function run_controller(controller)
  while not controller:empty() do
    local ok, err, _, thread = controller:step()
    if not ok then core.result(failed_future(err, thread)) end
  end
end

local function convert_promise(promise)
  return platform.run(outcome_of, promise)
end

local function convert_controller(controller)
  if bridge_of[controller] then
    error(BadYieldError("the controller of an IOLoop does not end"))
  end
  controller:empty() -- raises if it is closed
  return platform.run(run_controller, controller)
end

--- A condition has no memory: one that is signalled before cqueues waits for it
-- would be missed.  So the other way is named, as for all polls.
local function refuse() error(BadYieldError(NOT_HERE.poll)) end

-- The connection --------------------------------------------------------------

--- Replaces a method of controllers; make(old, name) returns the new one.
local function interpose(library, name, make)
  local old
  old = library.interpose(name, make(function(...) return old(...) end, name))
end

--- Raises an error of cqueues' own method, about an argument or the controller
-- itself, as that of the method that replaces it and calls this function.
local function raise_as(name, err)
  local position, what =
    tostring(err):match "%f[%w]bad argument #(%d+) to '.-' (%(.*%))$"
  if not position then error(err, 0) end
  position = math.tointeger(position)
  if debug.getinfo(2, "n").namewhat == "method" then position = position - 1 end
  if position == 0 then
    error(("calling '%s' on bad self %s"):format(name, what), 3)
  end
  error(("bad argument #%d to '%s' %s"):format(position, name, what), 3)
end

--- A method that adds a coroutine.
local function make_adding(old, name)
  return function(controller, ...)
    local called, added, err, code = pcall(old, controller, ...)
    if not called then raise_as(name, added) end
    local bridge = bridge_of[controller]
    if added and bridge then bridge:watch() end
    return added, err, code
  end
end

--- A step that may block does so in the place of a wait.
local function make_step(old)
  return function(controller, timeout)
    if timeout ~= 0 and not cqueues.running() and pcall(core.current_task) then
      error(NOT_HERE.poll, 2)
    end
    return old(controller, timeout)
  end
end

local function make_close(old, name)
  return function(controller)
    local bridge = bridge_of[controller]
    if bridge and not bridge.closing then
      error("the controller of an IOLoop is closed with the loop", 2)
    end
    local called, err = pcall(old, controller)
    if not called then raise_as(name, err) end
  end
end

--- Connects the module to cqueues' tables, which are new after a second require
-- of cqueues.
function platform._connect(library, promise)
  if library == platform._library then return end
  interpose(library, "wrap", make_adding)
  interpose(library, "attach", make_adding)
  interpose(library, "step", make_step)
  interpose(library, "close", make_close)
  core.convert_yielded.register(promise, convert_promise)
  platform._library = library
end

local some = cqueues.new()
core.convert_yielded.register(debug.getmetatable(some), convert_controller)
some:close()
core.convert_yielded.register(debug.getmetatable(conditions.new()), refuse)
core.convert_yielded.register(POLL, refuse)
core.set_foreign(function()
  if cqueues.running() then return NOT_HERE.await end
end)
platform._connect(cqueues, promises)

loaded[NAME] = platform
return platform
