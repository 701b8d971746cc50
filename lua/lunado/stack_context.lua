-- SPDX-License-Identifier: MIT
--- lunado.stack_context: context that follows asynchronous calls.
--
-- A context is entered with `ctx:run(fn, ...)`.  Callbacks that fn registers
-- with the loop run later within the same contexts: these are entered again
-- around each callback, and an error of the callback passes through them from
-- the innermost outwards.
--
-- The current contexts are one immutable list, linked from the innermost to the
-- outermost: { context, outer }; false if there is none.  The core stores it,
-- and captures it for callbacks and coroutines.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.stack_context"] then
  return loaded["lunado.stack_context"]
end

local argument = require "lunado.argument"
local get_context, set_context = core.get_context, core.set_context
local is_callable = core.is_callable

local StackContextInconsistentError =
  core.Exception:subclass("StackContextInconsistentError")

local function inconsistent()
  return StackContextInconsistentError("stack_context inconsistency (probably "
    .. "caused by a yield within StackContext:run)")
end

local try, raise, exc_info = core.try, core.raise, core.exc_info

--- Calls fn(...); returns nil, or the Failure of its error.
local function call(fn, ...)
  local ok, failure = try(fn, ...)
  if not ok then return failure end
end

--- Returns the contexts of a list that are still active, the outermost first.
local function active_contexts(contexts)
  local list = {}
  while contexts do
    if contexts.context.active then table.insert(list, 1, contexts.context) end
    contexts = contexts.outer
  end
  return list
end

--- Leaves the contexts entered[n] to entered[1], in this order, with a failure
-- or nil.  Each context may handle or replace the failure.  Returns the failure
-- that remains, or nil.
local function leave(entered, n, failure)
  for i = n, 1, -1 do
    local context = entered[i]
    local handled
    local new = call(function() handled = context:_leave(failure) end)
    if new then
      if failure then core.raised_during(new, failure) end
      failure = new
    elseif handled then
      failure = nil
    end
  end
  return failure
end

--- Enters contexts in order.  Returns the number of entered contexts and, if
-- the next context could not be entered, its failure.
local function enter(contexts)
  for i, context in ipairs(contexts) do
    local failure = call(context._enter, context)
    if failure then return i - 1, failure end
  end
  return #contexts
end

--- The body of a wrapped function: calls fn(...) within `contexts`, whatever
-- the caller's contexts are.
local function run_within(contexts, fn, ...)
  local before = get_context()
  local entered = active_contexts(contexts)
  set_context(contexts)
  local n, failure = enter(entered)
  local results
  if not failure then
    failure = call(function(...) results = table.pack(fn(...)) end, ...)
  end
  failure = leave(entered, n, failure)
  set_context(before)
  if failure then raise(failure) end
  if results then return table.unpack(results, 1, results.n) end
end

--- Wrapped function -> the function that it calls.  A wrapped function is not
-- wrapped again.
local wrapped = setmetatable({}, { __mode = "k" })

local function wrap_once(fn)
  if wrapped[fn] then return fn end
  local contexts = get_context()
  local function within(...) return run_within(contexts, fn, ...) end
  wrapped[within] = fn
  return within
end

core.set_context_hooks(wrap_once, inconsistent, wrapped)

--- Returns the list without inactive contexts at its inner end. (Inactive
-- contexts further out are skipped when the list is entered.)
local function without_inactive(contexts)
  while contexts and not contexts.context.active do
    contexts = contexts.outer
  end
  return contexts
end

--- The base of StackContext and ExceptionStackContext.
local Context = {}
Context.__index = Context

--- Calls fn(deactivate, ...) within the context, and returns its results.
-- deactivate() removes the context from all callbacks that were registered in
-- it.  Raises the error of fn, unless the context handles it.
function Context:run(fn, ...)
  argument.check_callable(fn, 1, "run", 2)
  local before = get_context()
  local context = setmetatable({ definition = self, active = true },
    getmetatable(self))
  local function deactivate() context.active = false end
  local failure = call(context._enter, context)
  if failure then raise(failure) end
  local mine = { context = context, outer = without_inactive(before) }
  set_context(mine)
  local results
  failure = call(function(...)
    results = table.pack(fn(...))
  end, deactivate, ...)
  local consistent = get_context() == mine
  set_context(before)
  failure = leave({ context }, 1, failure)
  if failure then raise(failure) end
  if not consistent then error(inconsistent(), 2) end
  if results then return table.unpack(results, 1, results.n) end
end

local function class(name, enter_context, leave_context, takes_function)
  local methods = { run = Context.run, _enter = enter_context,
    _leave = leave_context }
  local metatable = { __index = methods, __name = name }
  return function(value)
    if takes_function then argument.check_callable(value, 1, name, 2) end
    return setmetatable({ value = value }, metatable)
  end
end

local function method(object, name)
  local fn = object[name]
  if not is_callable(fn) then
    error(("a StackContext's factory returned an object without '%s'")
      :format(name), 0)
  end
  return fn
end

--- `StackContext(factory)`: factory() returns an object with enter(self) and
-- exit(self [, err, traceback]), which are called before and after each
-- callback; exit returns true if it has handled the error.
local StackContext = class("StackContext",
  function(self)
    local object = self.definition.value()
    if type(object) ~= "table" and type(object) ~= "userdata" then
      error("a StackContext's factory returned no object", 0)
    end
    method(object, "exit")
    method(object, "enter")(object)
    self.objects = { object = object, outer = self.objects }
  end,
  function(self, failure)
    local object = self.objects.object
    self.objects = self.objects.outer
    if failure then
      return object:exit(exc_info(failure)) == true
    end
    object:exit()
  end, true)

--- `ExceptionStackContext(handler)`: handler(err, traceback) is called with
-- each error, and returns true if it has handled the error.
local ExceptionStackContext = class("ExceptionStackContext",
  function() end,
  function(self, failure)
    if not failure then return false end
    local handler = self.definition.value
    return handler(exc_info(failure)) == true
  end, true)

--- `NullContext()`: within it, no context is current.
local NullContext
do
  local metatable = { __name = "NullContext", __index = {
    run = function(_, fn, ...)
      argument.check_callable(fn, 1, "run", 2)
      local before = get_context()
      set_context(false)
      local results
      local failure = call(function(...)
        results = table.pack(fn(...))
      end, function() end, ...)
      set_context(before)
      if failure then raise(failure) end
      return table.unpack(results, 1, results.n)
    end,
  } }
  NullContext = function() return setmetatable({}, metatable) end
end

--- `wrap(fn)` returns a function that calls fn within the contexts that are
-- current now, whatever contexts are current then; nil for nil.
local function wrap(fn)
  if fn == nil then return nil end
  argument.check_callable(fn, 1, "wrap", 2)
  return wrap_once(fn)
end

--- `run_with_stack_context(context, fn)` calls fn() within the context and
-- returns its result, usually a Future.
local function run_with_stack_context(context, fn)
  local ok, run = pcall(function() return context.run end)
  if not ok or not is_callable(run) then
    argument.unexpected(1, "run_with_stack_context", "context", context, 2)
  end
  argument.check_callable(fn, 2, "run_with_stack_context", 2)
  return context:run(function() return fn() end)
end

local stack_context = {
  StackContext = StackContext,
  ExceptionStackContext = ExceptionStackContext,
  NullContext = NullContext,
  StackContextInconsistentError = StackContextInconsistentError,
  wrap = wrap,
  run_with_stack_context = run_with_stack_context,
}

loaded["lunado.stack_context"] = stack_context
return stack_context
