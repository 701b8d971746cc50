-- SPDX-License-Identifier: MIT
-- Checks that a wrong argument raises Lua's usual message, at the line of the
-- call.
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

--- bad(fn, n, name, expected, got): checks the error of fn, which calls the
--- function `name` with a wrong argument #n.  fn must not return the result of
--- that call, because a tail call has no line.  `expected` may be a pattern;
--- `expected` and `got` may be nil.
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
