-- SPDX-License-Identifier: MIT
-- Wrong arguments: Lua's usual message, at the line of the call.
local assert = require "luassert"

--- Asserts that fn raises an error whose position lies within fn itself;
--- returns the error without that position.
local function raised_within(fn)
  local info = debug.getinfo(fn, "S")
  local ok, err = pcall(fn)
  assert.is_false(ok, "no error was raised")
  assert.is_string(err)
  local source, line, message = err:match("^(.-):(%d+): (.*)$")
  assert.is_truthy(source, "no position in: " .. err)
  assert.equal(info.short_src, source, err)
  line = tonumber(line)
  assert.is_true(info.linedefined <= line and line <= info.lastlinedefined,
    "not at the caller's line: " .. err)
  return message
end

--- bad(fn, n, name, expected, got): fn makes a call with a wrong argument and
--- does not return its result (a tail call has no line).  `expected` may be a
--- pattern; `got` may be left out.
return function(fn, n, name, expected, got)
  local message = raised_within(fn)
  local head = ("bad argument #%d to '%s' "):format(n, name)
  assert.equal(head, message:sub(1, #head), message)
  local wanted, given =
    message:sub(#head + 1):match("^%((.*) expected, got (.*)%)$")
  if not wanted then
    wanted = message:sub(#head + 1):match("^%((.*)%)$")
  end
  assert.is_truthy(wanted, message)
  if expected then
    assert.is_truthy(wanted:find(expected), message)
  end
  if got then
    assert.equal(got, given, message)
  end
end
