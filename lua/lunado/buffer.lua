-- SPDX-License-Identifier: MIT
--- lunado.buffer: bytes that have arrived and are not read yet, in the pieces
-- in which they came.
--
-- Invariants: the pieces are chunks[first] to chunks[last], none of them
-- empty; `offset` bytes of the first one, never all, are read already; `size`
-- bytes are left.
--
-- A search goes on where it ended: the pieces before number `next` hold no
-- match. They have `seen` bytes; `tail` is the end of these, where one may
-- begin.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.buffer"] then return loaded["lunado.buffer"] end

local concat, find, sub = table.concat, string.find, string.sub

local Buffer = {}
Buffer.__index = Buffer

local function new()
  return setmetatable({ chunks = {}, first = 1, last = 0, offset = 0, size = 0,
    next = 1, seen = 0, tail = "" }, Buffer)
end

--- Puts a piece, which is not empty, behind the others.
function Buffer:append(chunk)
  local last = self.last + 1
  self.chunks[last], self.last = chunk, last
  self.size = self.size + #chunk
end

--- Takes the first n bytes, of several pieces; `size` is the caller's to
-- change.
local function gather(self, n)
  local chunks, first, k = self.chunks, self.first, self.first
  if self.offset > 0 then
    chunks[first] = sub(chunks[first], self.offset + 1)
  end
  local piece, before = chunks[k], 0
  while before + #piece < n do
    before, k = before + #piece, k + 1
    piece = chunks[k]
  end
  local needed = n - before
  if needed < #piece then
    chunks[k] = sub(piece, 1, needed)
  else
    needed = 0
  end
  local data = concat(chunks, "", first, k)
  chunks[k] = piece
  for i = first, needed == 0 and k or k - 1 do chunks[i] = nil end
  self.first, self.offset = needed == 0 and k + 1 or k, needed
  return data
end

--- Takes the first n bytes; at most `size`.
function Buffer:take(n)
  if n == 0 then return "" end
  local chunks, first, offset = self.chunks, self.first, self.offset
  local chunk = chunks[first]
  local rest = #chunk - offset - n
  self.size = self.size - n
  if rest > 0 then
    self.offset = offset + n
    return sub(chunk, offset + 1, offset + n)
  end
  local data
  if rest < 0 then
    data = gather(self, n)
  else
    data = offset == 0 and chunk or sub(chunk, offset + 1)
    chunks[first] = nil
    self.first, self.offset = first + 1, 0
  end
  if self.first > self.last then self.first, self.last = 1, 0 end
  return data
end

-- Searching -----------------------------------------------------------------

--- Begins a new search.
function Buffer:rewind()
  self.next, self.seen, self.tail = self.first, 0, ""
end

--- Notes that the next piece holds no match, of which the last `keep` bytes
-- are to be looked at again.
local function pass(self, chunk, offset, keep)
  local length = #chunk - offset
  self.next, self.seen = self.next + 1, self.seen + length
  if keep == 0 then return end
  if length >= keep then
    self.tail = sub(chunk, -keep)
  else
    self.tail = sub(self.tail .. sub(chunk, offset + 1), -keep)
  end
end

--- How many bytes there are up to the end of the first delimiter; nil where
-- there is none.
function Buffer:find(delimiter)
  local chunks, keep = self.chunks, #delimiter - 1
  while self.next <= self.last do
    local chunk = chunks[self.next]
    local offset = self.next == self.first and self.offset or 0
    local _, last
    if self.tail ~= "" then -- it may lie on the border
      _, last = find(self.tail .. sub(chunk, 1, keep), delimiter, 1, true)
      if last then return self.seen - #self.tail + last end
    end
    _, last = find(chunk, delimiter, offset + 1, true)
    if last then return self.seen + last - offset end
    pass(self, chunk, offset, keep)
  end
end

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

--- How many bytes a match of the pattern has at most; nil where that has no
-- limit, or where it matters what stands before it.
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

--- Makes all pieces one, of which nothing is read.
local function join(self)
  local first = self.first
  if first >= self.last and self.offset == 0 then return end
  local text = gather(self, self.size)
  self.chunks[1], self.first, self.last, self.offset = text, 1, 1, 0
end

--- As match, for a pattern that may have to look at everything again.
local function match_all(self, pattern)
  if self.size == 0 then return nil end
  if self.first < self.last or find(pattern, "%f", 1, true) then join(self) end
  local _, last = find(self.chunks[self.first], pattern, self.offset + 1)
  return last and last - self.offset
end

--- How many bytes there are up to the end of the pattern's first match; nil
-- where there is none. `limit` is what `reach` tells of the pattern.
function Buffer:match(pattern, limit)
  if not limit then return match_all(self, pattern) end
  while self.next <= self.last do
    local chunk, seen = self.chunks[self.next], self.seen
    local offset = self.next == self.first and self.offset or 0
    local text, from = chunk, offset
    if self.tail ~= "" then
      text, seen = self.tail .. chunk, seen - #self.tail
    end
    local _, last = find(text, pattern, from + 1)
    if last then return seen + last - from end
    pass(self, chunk, offset, math.max(limit - 1, 0))
  end
end

local buffer = { new = new, reach = reach }

loaded["lunado.buffer"] = buffer
return buffer
