-- SPDX-License-Identifier: MIT
--- lunado.argument: checks of arguments, and the errors about bad ones.
--
-- `level` selects the line at which an error is raised, as in Lua's `error`: 1
-- is the line that calls one of these functions, 2 the line that calls the
-- function around that, and so on.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.argument"] then return loaded["lunado.argument"] end

local MOST_PORT <const> = 65535
local MOST_DESCRIPTOR <const> = 0x7fffffff
local MOST_MODE <const> = 4095 -- octal 07777

--- Raises "bad argument #position to 'name' (what)".
local function bad(position, name, what, level)
  error(("bad argument #%d to '%s' (%s)"):format(position, name, what),
    level + 1)
end

--- Raises the error for a value that is not of the type `expected`, such as
-- "function".
local function unexpected(position, name, expected, value, level)
  bad(position, name, ("%s expected, got %s"):format(expected, type(value)),
    level + 1)
end

--- Checks the object of a method of `class`: a table with the field `field`,
-- which each object of the class has.  A method that is called with a dot
-- instead of a colon has its first argument there.
local function check_self(self, field, class, name, level)
  if type(self) == "table" and self[field] ~= nil then return end
  unexpected(1, name, class, self, level + 1)
end

local function check_type(value, expected, position, name, level)
  if type(value) == expected then return end
  unexpected(position, name, expected, value, level + 1)
end

local function check_callable(value, position, name, level)
  if core.is_callable(value) then return end
  unexpected(position, name, "function", value, level + 1)
end

--- Checks a name for the system, which would cut the name off at a zero.
local function check_name(value, position, name, level)
  check_type(value, "string", position, name, level + 1)
  if not value:find("\0", 1, true) then return end
  bad(position, name, "string contains zeros", level + 1)
end

--- Checks a count, a number of at least 0; returns it as an integer.
local function check_count(value, position, name, level)
  local count = math.type(value) and math.tointeger(value)
  if count and count >= 0 then return count end
  local what = count and "must not be negative"
    or math.type(value) and "number has no integer representation"
    or ("number expected, got %s"):format(type(value))
  bad(position, name, what, level + 1)
end

--- Returns the text about a name that is no option, or no other `kind` of name.
local function unknown(kind, name)
  if type(name) == "string" then name = ("%q"):format(name) end
  return ("unknown %s %s"):format(kind, tostring(name))
end

--- Returns a plain copy of a table of options, whose values cannot change any
-- more, as those of a table with metamethods may; or nil and what is wrong:
-- each name must be one of the keys of `known`.
local function copy_options(options, known)
  for name in pairs(options) do
    if known[name] == nil then return nil, unknown("option", name) end
  end
  local copy = {}
  for name in next, known do copy[name] = options[name] end
  return copy
end

--- Returns the length of a list, which a metamethod may give; nil if that is no
-- count.
local function length_of(list)
  local length = #list
  length = math.type(length) and math.tointeger(length)
  return length and length >= 0 and length or nil
end

--- Whether all keys of a table are those of a list.
local function is_list(value)
  local length, count = rawlen(value), 0
  for key in next, value do
    if math.type(key) ~= "integer" or key < 1 or key > length then
      return false
    end
    count = count + 1
  end
  return count == length
end

--- A check of counts that are at most `most`; `what` names them.
local function check_of(what, most)
  return function(value, position, name, level)
    local count = check_count(value, position, name, level + 1)
    if count <= most then return count end
    bad(position, name, ("%s at most %d"):format(what, most), level + 1)
  end
end

local argument = {
  MOST_PORT = MOST_PORT,
  bad = bad,
  unexpected = unexpected,
  check_self = check_self,
  check_type = check_type,
  check_callable = check_callable,
  check_name = check_name,
  check_count = check_count,
  unknown = unknown,
  copy_options = copy_options,
  length_of = length_of,
  is_list = is_list,
  check_descriptor = check_of("a descriptor is", MOST_DESCRIPTOR),
  check_mode = check_of("permissions are", MOST_MODE),
  check_port = check_of("a port is", MOST_PORT),
}

loaded["lunado.argument"] = argument
return argument
