-- SPDX-License-Identifier: MIT
--- lunado.signals: handlers and Futures of signals.
--
-- A signal for which a Future was requested is watched until the end of the
-- state, even if loops are closed before.  So its default effect, which ends
-- most programs, is not restored.  Any loop may notice the signal first; that
-- loop notifies all waiters and handlers.
--
-- Invariant: the Lua state watches a signal exactly while the signal is in
-- `wanted`, or has a handler, or had one on a loop that was closed.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.signals"] then return loaded["lunado.signals"] end

local argument = require "lunado.argument"
local Future, IOLoop = core.Future, core.IOLoop

local function weak(mode) return setmetatable({}, { __mode = mode }) end

local wanted = {}   -- numbers for which a Future was requested
local waits = {}    -- number -> { future =, loops = set of waiting loops }
local held = weak "k" -- loop -> number of its waits
local dropped = weak "v" -- number -> Future settled without a waiter
local kept = {}     -- numbers that arrived while no Future waited
local handlers = {} -- number -> ephemeron: loop -> { fn, arguments }

-- Names -----------------------------------------------------------------------

--- Returns the number of a signal given by name or number; otherwise nil, and
-- the type or the unknown name for the message.
local function number_of(signal)
  if math.type(signal) == "integer" then return signal end
  if type(signal) ~= "string" then return nil, type(signal) end
  return core.signal_number(signal:lower()), signal
end

-- Futures ---------------------------------------------------------------------

local function hold(loop, change)
  held[loop] = (held[loop] or 0) + change
  core.signal_hold(loop, held[loop] > 0)
end

--- Ends a wait whose Future was settled, by the signal or by other code.
local function finish(number, wait)
  if waits[number] == wait then waits[number] = nil end
  for loop in pairs(wait.loops) do hold(loop, -1) end
end

local function new_wait(number)
  local wait = { future = Future(), loops = weak "k",
    name = core.signal_name(number) or number }
  wait.future:add_done_callback(function() finish(number, wait) end)
  waits[number] = wait
  return wait
end

--- Returns true if a signal arrived while no Future waited, and has not been
-- delivered since.  If it settled a Future that the program still references,
-- it counts as delivered.
local function take_kept(number)
  local arrived = kept[number]
  kept[number] = nil
  if arrived ~= "set" then return arrived end
  if dropped[number] then collectgarbage() end
  return dropped[number] == nil
end

local dispatch

--- Returns the Future of the next signal of that number, on the current loop.
local function wait_for(number)
  local loop = IOLoop.current()
  core.signal_attach(loop, dispatch)
  local ok, err = core.signal_watch(number)
  if not ok then
    local future = Future()
    future:set_exception(err)
    return future
  end
  wanted[number] = true
  dispatch()
  if take_kept(number) then
    local future = Future()
    future:set_result(core.signal_name(number) or number)
    return future
  end
  local wait = waits[number] or new_wait(number)
  if not wait.loops[loop] then
    hold(loop, 1)
    wait.loops[loop] = true
  end
  return wait.future
end

-- Dispatch --------------------------------------------------------------------

local function set_future(number)
  local wait = waits[number]
  if not wait then return false end
  if not core.signal_awaited(wait.future) then
    dropped[number], kept[number] = wait.future, "set"
  end
  wait.future:set_result(wait.name)
  return true
end

--- Schedules the calls of all handlers.  Finalizers may change the handlers
-- meanwhile, hence the copy.
local function call_handlers(number)
  local all = {}
  for loop, handler in pairs(handlers[number] or {}) do all[loop] = handler end
  for loop, handler in pairs(all) do
    if not core.is_closed(loop) then loop:spawn_callback(handler.run) end
  end
end

function dispatch()
  for number in core.signal_next do
    local delivered = set_future(number)
    core.signal_take()
    call_handlers(number)
    if not delivered and wanted[number] then kept[number] = true end
  end
end

-- Broken pipes ----------------------------------------------------------------

local broken_pipe -- the number of SIGPIPE, while it must not end the process

--- From now on a write to a peer that has disconnected fails and does not end
-- the process.  Child processes do not inherit this.  It has no effect on
-- systems without SIGPIPE.
local function survive_broken_pipes()
  if broken_pipe then return end
  local number = number_of("sigpipe")
  if number then core.signal_watch(number) end
  broken_pipe = number
end

-- Handlers --------------------------------------------------------------------

local function check_loop(loop, name)
  if not core.is_loop(loop) then
    argument.unexpected(1, name, "IOLoop", loop, 3)
  end
  if core.is_closed(loop) then error("the IOLoop is closed", 3) end
end

local function check_signal(signal, name)
  local number, got = number_of(signal)
  if number then return number end
  argument.bad(1, name, "signal expected, got " .. got, 3)
end

--- Makes a handler.  Its run() calls fn(...) while the handler is installed.
-- Messages show run under the name of fn.
local function new_handler(fn, ...)
  local handler, arguments = { active = true }, table.pack(...)
  local call = fn
  if core.get_context() then
    call = require("lunado.stack_context").wrap(fn)
  end
  function handler.run()
    if not handler.active then return end
    return call(table.unpack(arguments, 1, arguments.n))
  end
  core.signal_alias(handler.run, fn)
  return handler
end

local function set_handler(number, loop, handler)
  local of_number = handlers[number]
  if of_number[loop] then of_number[loop].active = false end
  of_number[loop] = handler
end

--- loop:add_signal_handler(signal, fn, ...): calls fn(...) on the loop each
-- time the process gets the signal.  It replaces an earlier handler of the
-- loop.
function IOLoop.add_signal_handler(loop, signal, fn, ...)
  check_loop(loop, "add_signal_handler")
  local number = check_signal(signal, "add_signal_handler")
  argument.check_callable(fn, 2, "add_signal_handler", 2)
  local handler = new_handler(fn, ...)
  handlers[number] = handlers[number] or weak "k"
  core.signal_attach(loop, dispatch)
  dispatch() -- earlier signals are not for this handler
  local ok, err = core.signal_watch(number)
  if not ok then
    error(("signal %s cannot be handled: %s"):format(signal, err), 2)
  end
  set_handler(number, loop, handler)
end

local function has_handler(number)
  for loop in pairs(handlers[number]) do
    if not core.is_closed(loop) then return true end
  end
  return false
end

--- loop:remove_signal_handler(signal): removes the loop's handler, if it has
-- one.  If nothing else needs the signal, its default effect is restored.
function IOLoop.remove_signal_handler(loop, signal)
  check_loop(loop, "remove_signal_handler")
  local number = check_signal(signal, "remove_signal_handler")
  if not handlers[number] then return end
  set_handler(number, loop, nil)
  dispatch()
  if has_handler(number) then return end
  handlers[number] = nil
  if wanted[number] or number == broken_pipe then return end
  core.signal_unwatch(number)
end

local signals = {
  number_of = number_of,
  survive_broken_pipes = survive_broken_pipes,
  wait_for = wait_for,
}

loaded["lunado.signals"] = signals
return signals
