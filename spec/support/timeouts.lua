-- SPDX-License-Identifier: MIT
-- Valid and invalid timeouts, for the specs of all functions that take one.
local IOLoop = require "lunado.ioloop".IOLoop
local util = require "lunado.util"
local bad = require "spec.support.bad"

local timeouts = {}

local function now()
  return IOLoop.current():time()
end

--- A list of { name, make }: every form of time that add_timeout takes.  The
--- times are so near that they pass during a test.
timeouts.forms = {
  { "an absolute time", function() return now() + 0.001 end },
  { "a float of the past", function() return now() - 10 end },
  { "an integer of the past", function() return 0 end },
  { "milliseconds", function() return { milliseconds = 1 } end },
  { "seconds", function() return { seconds = 0.001 } end },
  { "a sum", function() return { minutes = 0, milliseconds = 1 } end },
  { "a timedelta", function() return util.timedelta(0.001) end },
  { "nothing", function() return { seconds = 0 } end },
  { "less", function() return { seconds = -1 } end },
}

--- Checks that object:name(timeout), or object:name(5, timeout) if n is 2,
--- refuses every wrong timeout.
function timeouts.check(n, object, name)
  local function refuses(timeout, ...)
    bad(function()
      local _ = n == 1 and object[name](object, timeout)
        or object[name](object, 5, timeout)
    end, n, name, ...)
  end
  refuses("x", "number or timedelta", "string")
  refuses(true, "number or timedelta", "boolean")
  refuses(0/0, "NaN")
  refuses({})
  refuses({ seconds = "1" })
  refuses({ seconds = 0/0 })
  refuses({ second = 1 })
end

return timeouts
