-- SPDX-License-Identifier: MIT
--- lunado.finders: for each kind of read of lunado.iostream, a function that
-- finds the end of the bytes to be read.
--
-- Each finder gets the stream, and returns the number of bytes that the read
-- takes from its buffer.  It returns nil if the end has not arrived yet, and
-- nil and an error if it cannot arrive any more.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.finders"] then return loaded["lunado.finders"] end

--- The read cannot be satisfied: its end is not within `max` bytes.
local UnsatisfiableReadError = core.Exception:subclass("UnsatisfiableReadError")

local function find_bytes(self)
  local wanted, size = self._what, self._buffer.size
  if size >= wanted then return wanted end
  if self._partial and size > 0 then return size end
end

--- Returns n; but nil and an error if n, or the size of a buffer without an end
-- (n nil), is more than `max`.
local function within(self, n, what)
  local max = self._max
  if not max or (n or self._buffer.size) <= max then return n end
  local shown = ("%q"):format(self._what):gsub("\\\n", "\\n")
  return nil, UnsatisfiableReadError(("%s %s not found within %d bytes")
    :format(what, shown, max))
end

local function find_delimiter(self)
  return within(self, self._buffer:find(self._what), "delimiter")
end

-- Lua's error for want of memory.  It is not an error of the pattern.
local NO_MEMORY <const> = "not enough memory"

local function find_pattern(self)
  local ok, n = pcall(self._buffer.match, self._buffer, self._what,
    self._reach)
  if not ok and n == NO_MEMORY then error(n, 0) end
  if not ok then return nil, (n:gsub("^.-:%d+: ", "")) end
  return within(self, n, "pattern")
end

local function find_close() return nil end

local finders = {
  bytes = find_bytes,
  delimiter = find_delimiter,
  pattern = find_pattern,
  close = find_close,
  UnsatisfiableReadError = UnsatisfiableReadError,
}

loaded["lunado.finders"] = finders
return finders
