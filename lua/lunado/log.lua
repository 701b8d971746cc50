-- SPDX-License-Identifier: MIT
--- lunado.log: the log, for errors that lunado cannot report to a caller.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.log"] then return loaded["lunado.log"] end

local log = {
  --- `set_handler(fn)` makes lunado call fn(level, message) for each message;
  -- level is "debug", "info", "warning" or "error". nil restores the default,
  -- which writes "level: message" to stderr.
  set_handler = core.set_log_handler,
  --- `set_level(level)` drops messages below the level; the default is
  -- "warning".
  set_level = core.set_log_level,
}

--- Tornado's application log.  Each method takes a format and its arguments,
-- like string.format; without arguments the text is logged unchanged.
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
