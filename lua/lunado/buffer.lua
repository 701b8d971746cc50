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

--- The first n bytes, of the pieces from the first to number k, of which the
-- last `needed` are of piece k.
local function gather(self, k, needed)
  local chunks, first = self.chunks, self.first
  local head, tail = chunks[first], chunks[k]
  local head_piece = sub(head, self.offset + 1)
  local tail_piece = sub(tail, 1, needed)
  chunks[first], chunks[k] = head_piece, tail_piece
  local ok, data = pcall(concat, chunks, "", first, k)
  chunks[first], chunks[k] = head, tail
  return ok and data or error(data, 0)
end

--- The first n bytes; at most `size`.
function Buffer:peek(n)
  if n == 0 then return "" end
  local chunks, offset, k = self.chunks, self.offset, self.first
  local chunk = chunks[k]
  local needed = n + offset
  if needed <= #chunk then
    if n == #chunk then return chunk end
    return sub(chunk, offset + 1, needed)
  end
  while needed > #chunk do
    needed, k = needed - #chunk, k + 1
    chunk = chunks[k]
  end
  return gather(self, k, needed)
end

--- Drops the first n bytes; at most `size`. Allocates nothing.
function Buffer:skip(n)
  local chunks = self.chunks
  self.size = self.size - n
  n = n + self.offset
  while n > 0 and n >= #chunks[self.first] do
    n = n - #chunks[self.first]
    chunks[self.first] = nil
    self.first = self.first + 1
  end
  self.offset = n
  if self.first > self.last then self.first, self.last = 1, 0 end
end

--- Takes the first n bytes.
function Buffer:take(n)
  local data = self:peek(n)
  self:skip(n)
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
  local length, tail = #chunk - offset, self.tail
  if keep > 0 and length >= keep then
    tail = sub(chunk, -keep)
  elseif keep > 0 then
    tail = sub(tail .. sub(chunk, offset + 1), -keep)
  end
  self.next, self.seen, self.tail = self.next + 1, self.seen + length, tail
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
  local text, chunks = self:peek(self.size), self.chunks
  for i = first + 1, self.last do chunks[i] = nil end
  chunks[first], self.last, self.offset = text, first, 0
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
