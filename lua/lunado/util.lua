-- SPDX-License-Identifier: MIT
--- lunado.util: errors, time spans and keyword arguments.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.util"] then return loaded["lunado.util"] end

local argument = require "lunado.argument"
local util = {
  --- The root of lunado's error classes.  `Exception(message)` makes an error
  -- object, `Exception:subclass(name)` derives a class.
  Exception = core.Exception,
  --- What did not happen in time.
  TimeoutError = core.TimeoutError,
  --- `isinstance(value, class)`: whether value is an error object of the class
  -- or of one derived from it; never an error for any value.
  isinstance = core.isinstance,
}

--- A time span, for IOLoop:add_timeout and everything that takes a deadline.
-- @param span seconds, or a table of any of days, hours, minutes, seconds,
-- milliseconds
-- @return a table that counts as relative to the present
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

--- Keyword arguments: as the last argument of a call to anything that lunado
-- wrapped.  `callback` is taken out by the wrapper; what is left, if anything,
-- is passed on as the last argument.
-- @param names table name → value
function util.kwargs(names)
  argument.check_type(names, "table", 1, "kwargs", 2)
  local kwargs = {}
  for name, value in pairs(names) do kwargs[name] = value end
  return setmetatable(kwargs, Kwargs)
end

loaded["lunado.util"] = util
return util
