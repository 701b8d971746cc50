-- SPDX-License-Identifier: MIT
--- lunado.callback: connects callbacks and Futures: return_future, Task,
-- engine, and the keyword argument `callback`.  `lunado.concurrent` and
-- `lunado.gen` export its functions.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.callback"] then return loaded["lunado.callback"] end

local argument = require "lunado.argument"
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"

local Future, IOLoop, result = core.Future, core.IOLoop, core.result
local ExceptionStackContext = stack_context.ExceptionStackContext
local ReturnValueIgnoredError = core.ReturnValueIgnoredError
local Kwargs = getmetatable(util.kwargs {})

local is_callable = core.is_callable

local callback = {}

local function check_function(name, position, value)
  argument.check_callable(value, position, name, 3)
end

-- Names ---------------------------------------------------------------------

--- Wrapper that a decorator has made -> the user's function that it calls.
local decorated = setmetatable({}, { __mode = "k" })
core.set_behind(decorated)

--- Makes messages show `made`, a wrapper of fn, under the name of fn; returns
-- `made`.
function callback.name_after(made, fn)
  decorated[made] = fn
  return made
end

-- Keyword arguments ---------------------------------------------------------

--- Functions that take a callback by util.kwargs.
local takes_kwargs = setmetatable({}, { __mode = "k" })

--- Marks fn as a function that takes its callback by util.kwargs.
function callback.mark(fn)
  takes_kwargs[fn] = true
  return fn
end

--- Splits arguments: returns the callback from their util.kwargs, and a packed
-- list of the other arguments.
function callback.take(...)
  local arguments = table.pack(...)
  local kwargs = arguments[arguments.n]
  if arguments.n == 0 or getmetatable(kwargs) ~= Kwargs then
    return nil, arguments
  end
  local fn, rest = nil, {}
  for name, value in next, kwargs do
    if name == "callback" then fn = value else rest[name] = value end
  end
  if next(rest) == nil then
    arguments[arguments.n] = nil
    arguments.n = arguments.n - 1
  else
    arguments[arguments.n] = util.kwargs(rest)
  end
  return fn, arguments
end

local function check_callback(fn, level)
  if fn == nil or is_callable(fn) then return end
  error(("the callback is a %s, not a function"):format(type(fn)), level + 1)
end

--- When the future is done, calls fn with its result on the loop.  An error of
-- fn goes to the stack contexts that are current now; if there are none, to the
-- loop.
local function call_with_result(future, fn)
  IOLoop.current():add_future(future, core.on_behalf(fn, function(done)
    fn(result(done))
  end))
end

core.set_kwargs(Kwargs, function(fn, ...)
  local done, arguments = callback.take(...)
  check_callback(done, 3) -- level 3: the core calls this function
  -- The other keyword arguments are passed to fn only.
  local future = core.coroutine(function()
    return fn(table.unpack(arguments, 1, arguments.n))
  end)()
  if done then call_with_result(future, done) end
  return future
end)

-- The position of a callback ------------------------------------------------

--- Engine function -> the user's function that it calls.
local behind = setmetatable({}, { __mode = "k" })

--- Returns the number of the parameter that takes fn's callback: the last
-- declared one.  Returns nil if the number is unknown.  A callable object
-- is itself the first argument of its __call.
local function callback_position(fn)
  fn = behind[fn] or fn
  local selves = 0
  while type(fn) ~= "function" do
    fn = debug.getmetatable(fn).__call
    selves = selves + 1
  end
  local info = debug.getinfo(fn, "u")
  if info.isvararg or info.nparams <= selves then return nil end
  return info.nparams - selves
end

--- Puts a callback into packed arguments where fn expects it.
local function put_callback(fn, arguments, done)
  if takes_kwargs[fn] or core.is_coroutine_function(fn) then
    arguments.n = arguments.n + 1
    arguments[arguments.n] = util.kwargs { callback = done }
    return
  end
  local position = callback_position(fn) or arguments.n + 1
  arguments[position] = done
  if arguments.n < position then arguments.n = position end
end

--- Whether a function has returned any value but nil.
local function returned_something(...)
  return next({ ... }) ~= nil
end

-- return_future -------------------------------------------------------------

--- Removes the caller's own callback from packed arguments, if it is in the
-- position of fn's callback, and returns it.
local function take_positional(fn, arguments)
  local position = callback_position(fn)
  if not position or arguments.n < position then return nil end
  local done = arguments[position]
  arguments[position] = nil
  return done
end

--- Wraps a function that takes a callback as its last declared parameter; the
-- wrapper returns a Future. Tornado: concurrent.return_future.
-- @raise the error of fn, if it raises at once; ReturnValueIgnoredError if it
--   returns anything but nil
function callback.return_future(fn)
  check_function("return_future", 1, fn)
  return callback.mark(callback.name_after(function(...)
    local done, arguments = callback.take(...)
    if done == nil then done = take_positional(fn, arguments) end
    check_callback(done, 2)
    local future = Future()
    put_callback(fn, arguments, function(...)
      if not future:done() then future:set_result(...) end
    end)
    local function fail(err, traceback)
      if future:done() then return false end
      future:set_exc_info(err, traceback)
      return true
    end
    local raised = true
    ExceptionStackContext(fail):run(function()
      if returned_something(fn(table.unpack(arguments, 1, arguments.n))) then
        error(ReturnValueIgnoredError(core.describe(fn)
          .. ", decorated with return_future, returned a value: use the "
          .. "callback"))
      end
      raised = false
    end)
    if raised and future:done() then result(future) end
    if done then call_with_result(future, done) end
    return future
  end, fn))
end

-- Task ----------------------------------------------------------------------

--- The arguments of a callback that was called with more than one.
local Arguments = {}
Arguments.__index = Arguments
Arguments.__name = "Arguments"

--- The positional values.
function Arguments:unpack()
  return table.unpack(self.args, 1, self.args.n)
end

--- @param args packed list of positional values
-- @param kwargs table of the named values
local function new_arguments(args, kwargs)
  return setmetatable({ args, kwargs, args = args, kwargs = kwargs },
    Arguments)
end

callback.Arguments = setmetatable(Arguments, {
  __call = function(_, args, kwargs)
    if args ~= nil and type(args) ~= "table" then
      argument.unexpected(1, "Arguments", "table", args, 2)
    end
    args = args or {}
    if args.n == nil then args.n = #args end
    return new_arguments(args, kwargs or {})
  end,
})

--- Converts the arguments of a callback to one value: nil, the only argument,
-- or an Arguments.
function callback.adapt(...)
  local n = select("#", ...)
  local kwargs = n > 0 and select(n, ...) or nil
  if getmetatable(kwargs) == Kwargs then
    local args = table.pack(...)
    args[n], args.n = nil, n - 1
    return new_arguments(args, kwargs)
  end
  if n > 1 then return new_arguments(table.pack(...), {}) end
  return (...)
end

--- Calls fn with the arguments and a callback, and returns a Future of the
-- callback's arguments.  Tornado: gen.Task.
function callback.Task(fn, ...)
  check_function("Task", 1, fn)
  local future = Future()
  local arguments = table.pack(...)
  put_callback(fn, arguments, function(...)
    if not future:done() then future:set_result(callback.adapt(...)) end
  end)
  ExceptionStackContext(function(err, traceback)
    if future:done() then return false end
    future:set_exc_info(err, traceback)
    return true
  end):run(function()
    fn(table.unpack(arguments, 1, arguments.n))
  end)
  return future
end

-- engine --------------------------------------------------------------------

local function finish_engine(future, fn)
  if returned_something(result(future)) then
    error(ReturnValueIgnoredError(("the engine %s returned a value")
      :format(core.describe(fn))))
  end
end

--- Like gen.coroutine, but the made function returns no Future: errors go to
-- the stack contexts, or are logged by the loop.  A callback is an ordinary
-- argument; if it is given by util.kwargs, fn gets it as its last argument.
-- Tornado: gen.engine.
function callback.engine(fn)
  check_function("engine", 1, fn)
  local run = core.coroutine(fn)
  local finish = core.on_behalf(fn, function(future)
    finish_engine(future, fn)
  end)
  local function engine(...)
    local done, arguments = callback.take(...)
    check_callback(done, 2)
    if done then put_callback(fn, arguments, done) end
    local future = run(table.unpack(arguments, 1, arguments.n))
    if future:done() then
      stack_context.wrap(finish)(future)
    else
      IOLoop.current():add_future(future, finish)
    end
  end
  behind[engine] = fn
  return callback.name_after(engine, fn)
end

loaded["lunado.callback"] = callback
return callback
