-- SPDX-License-Identifier: MIT
--- lunado.pattern: what a read up to the match of a Lua pattern looks for.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.pattern"] then return loaded["lunado.pattern"] end

local find, sub = string.find, string.sub

--- The position behind the set that begins at `from`; nil when it has no end.
local function end_of_set(pattern, from)
  local at = from + 1
  if sub(pattern, at, at) == "^" then at = at + 1 end
  repeat
    if at > #pattern then return nil end
    at = at + (sub(pattern, at, at) == "%" and 2 or 1)
  until sub(pattern, at, at) == "]"
  return at + 1
end

--- The maximum number of bytes of a match of the pattern; nil if there is no
-- limit, or if the bytes before the match count.
local function reach(pattern)
  if find(pattern, "^%^") then return nil end
  local at, count = 1, 0
  while at <= #pattern do
    local char = sub(pattern, at, at)
    if char == "(" or char == ")" or char == "$" and at == #pattern then
      at = at + 1
    else
      if char == "[" then
        at = end_of_set(pattern, at)
      elseif char == "%" then
        if find(pattern, "^[bf%d]", at + 1) then return nil end
        at = at + 2
      else
        at = at + 1
      end
      if not at or find(pattern, "^[*+-]", at) then return nil end
      if sub(pattern, at, at) == "?" then at = at + 1 end
      count = count + 1
    end
  end
  return count
end

-- Lua's error for want of memory, which is no fault of the pattern.
local NO_MEMORY <const> = "not enough memory"

--- The error of a pattern that Lua cannot match.
local function pattern_error(err)
  if err == NO_MEMORY then error(err, 0) end
  return (err:gsub("^.-:%d+: ", ""))
end

local function unsatisfiable(pattern, max)
  local shown = ("%q"):format(pattern):gsub("\\\n", "\\n")
  return core.UnsatisfiableReadError(
    ("pattern %s not found within %d bytes"):format(shown, max))
end

--- A function of a stream for its _read_match: returns how many bytes there are
-- up to the end of the pattern's first match; nil if there is none yet; nil and
-- an error if there will be none within `max` bytes.
local function matcher(pattern, max)
  local limit = reach(pattern)
  local seen = 0 -- bytes at which no match begins
  return function(stream)
    local text, size = stream:_peek(seen)
    local ok, first, last = pcall(find, text, pattern)
    if not ok then return nil, pattern_error(first) end
    local n = first and size > 0 and seen + last or nil
    if max and (n or size) > max then
      return nil, unsatisfiable(pattern, max)
    end
    if limit then seen = math.max(size - limit + 1, seen) end
    return n
  end
end

local pattern = { matcher = matcher, reach = reach }

loaded["lunado.pattern"] = pattern
return pattern
