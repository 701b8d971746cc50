-- SPDX-License-Identifier: MIT
--- lunado.executor: runs functions on other threads or, with the DummyExecutor,
-- at once in the caller's thread.  `lunado.concurrent` exports its functions.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.executor"] then return loaded["lunado.executor"] end

local argument = require "lunado.argument"
local callback = require "lunado.callback"

local Future, IOLoop, multi = core.Future, core.IOLoop, core.multi
local is_callable, unpack = core.is_callable, table.unpack

-- Whether value is an object with the method `name`.
local function has_method(value, name)
  if type(value) ~= "table" and type(value) ~= "userdata" then return false end
  local ok, method = pcall(function() return value[name] end)
  return ok and is_callable(method)
end

-- The dummy -----------------------------------------------------------------

--- Runs functions at once, in the caller's thread.
-- Tornado: concurrent.DummyExecutor.
local DummyExecutor = { __name = "DummyExecutor" }
DummyExecutor.__index = DummyExecutor

local function settle(future, ok, ...)
  if ok then
    future:set_result(...)
  else
    core.fail(future, (...))
  end
  return future
end

--- Calls fn(...) and returns a Future that is done with its results.
function DummyExecutor.submit(_, fn, ...)
  argument.check_callable(fn, 1, "submit", 2)
  return settle(Future(), core.try(fn, ...))
end

--- Calls fn(item) for each item; returns a Future of the list of results.
function DummyExecutor:map(fn, list)
  argument.check_callable(fn, 1, "map", 2)
  argument.check_type(list, "table", 2, "map", 2)
  local futures = {}
  for i = 1, #list do futures[i] = self:submit(fn, list[i]) end
  return multi(futures)
end

--- Does nothing: there are no threads to end.
function DummyExecutor:shutdown() end -- luacheck: ignore self

DummyExecutor.__close = DummyExecutor.shutdown

setmetatable(DummyExecutor, {
  __call = function(class) return setmetatable({}, class) end,
})

-- Methods -------------------------------------------------------------------

local function describe(value)
  return value == nil and "nil" or "a " .. type(value)
end

-- These two raise at level 3: the line of the method's call.
local function find_executor(self, names)
  if type(self) ~= "table" and type(self) ~= "userdata" then
    error("a method that runs on an executor wants an object, not "
      .. describe(self), 3)
  end
  local executor = self[names.executor]
  if has_method(executor, "submit") then return executor end
  error(("the object's field '%s' is %s, not an executor")
    :format(names.executor, describe(executor)), 3)
end

local function find_loop(self, names)
  local loop = self[names.io_loop]
  if loop == nil and not names.own_loop then return IOLoop.current() end
  if has_method(loop, "add_future") then return loop end
  error(("the object's field '%s' is %s, not an IOLoop")
    :format(names.io_loop, describe(loop)), 3)
end

-- Calls the method `fn` on its object's executor.  The decorator's function
-- ends with a tail call of this one, so the caller's frame is the next one.
local function call(fn, names, self, done, ...)
  local executor = find_executor(self, names)
  local loop, future
  if done ~= nil then
    if not is_callable(done) then
      error("the callback is " .. describe(done) .. ", not a function", 2)
    end
    loop = find_loop(self, names)
  end
  if core.is_thread_pool(executor) then
    future = core.submit_method(executor, names.executor, names.io_loop, fn,
      self, ...)
  else
    future = executor:submit(fn, self, ...)
  end
  if loop then
    loop:add_future(future, core.on_behalf(done, function(ended)
      done(core.result(ended))
    end))
  end
  return future
end

-- Returns a function that does the same as the callable object fn, but needs no
-- metatable.
local function without_metatable(fn)
  if type(fn) == "function" then return fn end
  local handler = without_metatable(debug.getmetatable(fn).__call)
  return function(...) return handler(fn, ...) end
end

local function decorator(names)
  return function(fn)
    argument.check_callable(fn, 1, "run_on_executor", 2)
    local function method(self, ...)
      local done, arguments = callback.take(...)
      return call(fn, names, self, done, unpack(arguments, 1, arguments.n))
    end
    core.send_as(method, without_metatable(fn)) -- workers call fn
    return callback.mark(callback.name_after(method, fn))
  end
end

-- Reads the field names passed to run_on_executor; raises at level 3.
local function read_names(options)
  for key, value in pairs(options) do
    if key ~= "executor" and key ~= "io_loop" or type(value) ~= "string" then
      argument.bad(1, "run_on_executor",
        "the fields 'executor' and 'io_loop' may be named", 3)
    end
  end
  return {
    executor = options.executor or "executor",
    io_loop = options.io_loop or "io_loop",
    own_loop = options.io_loop ~= nil,
  }
end

--- Makes a method run on the executor of its object, and return a Future.
-- Tornado: concurrent.run_on_executor.
-- @param what the method, a function.  Or a table with the names of the
--   object's fields, by default {executor = "executor", io_loop = "io_loop"},
--   or nothing: then it returns a decorator for functions.
local function run_on_executor(...)
  local what, n = ..., select("#", ...)
  if n > 1 then
    local named = type(what) == "table" or type((select(2, ...))) == "table"
    error(named and "run_on_executor takes a function or names, not both"
      or "run_on_executor takes 1 argument, got " .. n, 2)
  end
  if is_callable(what) then return decorator(read_names {})(what) end
  if n == 0 or type(what) == "table" then
    return decorator(read_names(what or {}))
  end
  argument.unexpected(1, "run_on_executor", "function or table", what, 2)
end

local executor = {
  ThreadPoolExecutor = core.ThreadPoolExecutor,
  DummyExecutor = DummyExecutor,
  dummy_executor = DummyExecutor(),
  run_on_executor = run_on_executor,
}

loaded["lunado.executor"] = executor
return executor
