-- SPDX-License-Identifier: MIT
-- Captures the messages that lunado logs, from this call to restore().
--   local log = capture()        -- warnings and errors
--   log:count("never retrieved") -- the messages that contain the plain text
--   log:restore()
-- A message that count, first or matching has found was asked for: the test
-- knows of it.
local Capture = {}
Capture.__index = Capture

local function text_of(entries)
  local lines = {}
  for i, entry in ipairs(entries) do
    lines[i] = entry.level .. ": " .. entry.message
  end
  return table.concat(lines, "\n")
end

--- Returns the messages that contain `text`, in order, as {level=, message=}.
function Capture:matching(text)
  local found = {}
  for _, entry in ipairs(self) do
    if entry.message:find(text, 1, true) then
      entry.asked = true
      found[#found + 1] = entry
    end
  end
  return found
end

function Capture:count(text)
  return #self:matching(text)
end

--- Returns the first message that contains `text` and its level; raises if
--- there is none.
function Capture:first(text)
  local entry = self:matching(text)[1]
  if not entry then
    error("not logged: " .. text .. "\nlogged were:\n" .. self:text(), 2)
  end
  return entry.message, entry.level
end

--- Returns all messages, each in a line behind its level.
function Capture:text()
  return text_of(self)
end

--- Says what text() must match at the end of the test: the test may log it only
--- then, when the loop is closed and all garbage is collected.
function Capture:expect(pattern)
  self._expected = pattern
end

--- Lets messages that contain the plain text come at any time, however many.
function Capture:allow(text)
  self._allowed = text
end

--- Returns what the test expects at its end, or nil, and the text of all
--- messages that it has neither asked for nor allowed.
function Capture:left()
  if self._allowed then self:matching(self._allowed) end
  local unasked = {}
  for _, entry in ipairs(self) do
    if not entry.asked then unasked[#unasked + 1] = entry end
  end
  return self._expected, text_of(unasked)
end

function Capture:clear()
  for i = #self, 1, -1 do
    self[i] = nil
  end
end

function Capture:restore()
  self._log.set_handler(nil)
  self._log.set_level("warning")
end

return function(level)
  local log = require "lunado.log"
  local self = setmetatable({ _log = log }, Capture)
  log.set_level(level or "warning")
  log.set_handler(function(of_level, message)
    self[#self + 1] = { level = of_level, message = message }
  end)
  return self
end
