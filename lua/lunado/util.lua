-- SPDX-License-Identifier: MIT
--- lunado.util: errors, time spans and keyword arguments.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.util"] then return loaded["lunado.util"] end

local argument = require "lunado.argument"
local util = {
  --- The base of lunado's error classes.  `Exception(message)` makes an error
  -- object, `Exception:subclass(name)` derives a class.
  Exception = core.Exception,
  --- The class of the errors raised when a deadline passes.
  TimeoutError = core.TimeoutError,
  --- `isinstance(value, class)` returns whether value is an error object of the
  -- class or of a derived class.  It never raises.
  isinstance = core.isinstance,
}

--- Returns a time span, for IOLoop:add_timeout and all functions that take a
-- deadline.
-- @param span seconds, or a table of any of days, hours, minutes, seconds,
-- milliseconds
-- @return a table, which these functions take as relative to the present
function util.timedelta(span)
  if type(span) == "table" then
    local copy = {}
    for key, value in pairs(span) do copy[key] = value end
    return copy
  end
  argument.check_type(span, "number", 1, "timedelta", 2)
  if span ~= span then
    argument.bad(1, "timedelta", "a time cannot be NaN", 2)
  end
  return { seconds = span }
end

local Kwargs = { __name = "kwargs" }

--- Makes keyword arguments, for the last argument of a call to a function that
-- lunado has wrapped.  The wrapper removes `callback`.  If there are other
-- names, it passes them on as the last argument.
-- @param names table name → value
function util.kwargs(names)
  argument.check_type(names, "table", 1, "kwargs", 2)
  local kwargs = {}
  for name, value in pairs(names) do kwargs[name] = value end
  return setmetatable(kwargs, Kwargs)
end

loaded["lunado.util"] = util
return util
