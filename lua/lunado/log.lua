-- SPDX-License-Identifier: MIT
--- lunado.log: where lunado reports what reached no caller.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.log"] then return loaded["lunado.log"] end

local log = {
  --- `set_handler(fn)`: fn(level, message) gets each message from now on, level
  -- being "debug", "info", "warning" or "error"; nil restores the default,
  -- which writes "level: message" to stderr.
  set_handler = core.set_log_handler,
  --- `set_level(level)`: messages below the level are dropped ("warning").
  set_level = core.set_log_level,
}

--- Tornado's application log.  Each method takes a format and its arguments,
-- as string.format; without arguments the text stands as it is.
local app_log = {}

for _, level in ipairs { "debug", "info", "warning", "error" } do
  app_log[level] = function(_, format, ...)
    if not core.log_enabled(level) then return end
    local text = tostring(format)
    if select("#", ...) > 0 then
      local ok, result = pcall(string.format, text, ...)
      if not ok then error(result, 2) end
      text = result
    end
    core.log(level, text)
  end
end

log.app_log = app_log

loaded["lunado.log"] = log
return log
