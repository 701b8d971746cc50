-- SPDX-License-Identifier: MIT
--- lunado.util: errors, time spans and keyword arguments.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.util"] then return loaded["lunado.util"] end

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
  if type(span) ~= "number" then
    error(("bad argument #1 to 'timedelta' (number expected, got %s)")
      :format(type(span)), 2)
  end
  if span ~= span then
    error("bad argument #1 to 'timedelta' (a time cannot be NaN)", 2)
  end
  return { seconds = span }
end

loaded["lunado.util"] = util
return util
