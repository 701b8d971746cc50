-- SPDX-License-Identifier: MIT
--
-- A buffered reader and writer on one of luv's streams, for coroutines.
--
-- Reading is switched on only while somebody waits, so a slow reader holds at
-- most one piece of what the other side has sent.

local Future = require("lunado.concurrent").Future
local uv = require "lunado.uv"

local Stream = {}
Stream.__index = Stream

local CLOSED = "stream is closed"

-- A stream of its own for each of luv's handles; without one, `connect` makes
-- it.
local function new(handle)
  return setmetatable({ handle = handle, buffer = "" }, Stream)
end

-- Tries the addresses of the host in order and keeps the first that answers.
function Stream:connect(host, port)
  local addresses = coroutine.yield(
    uv.getaddrinfo(host, tostring(port), { socktype = "stream" }))
  local ok, err
  for _, address in ipairs(addresses) do
    if self.closed then error(CLOSED, 0) end
    self.handle = uv.new_tcp()
    ok, err = pcall(coroutine.yield,
      uv.tcp_connect(self.handle, address.addr, address.port))
    if ok then return end
    if not self.closed then uv.close(self.handle) end
  end
  error(err or "no address", 0)
end

-- A Future of the next piece that arrives, of nil at the end.
local function next_piece(self)
  local future = Future()
  local function arrived(err, piece)
    uv.read_stop(self.handle)
    self.waiting = nil
    if err then
      future:set_exception(err)
    else
      future:set_result(piece)
    end
  end
  local started, err = uv.read_start(self.handle, arrived)
  if started then
    self.waiting = future
  else
    future:set_exception(err)
  end
  return future
end

-- Some bytes, those already here first; nil when the other side has ended.
function Stream:read_some()
  if self.closed then error(CLOSED, 0) end
  local piece = self.buffer
  self.buffer = ""
  if piece ~= "" then return piece end
  return coroutine.yield(next_piece(self))
end

-- What comes before the delimiter, which is taken away too; nil when the other
-- side ends first.
function Stream:read_until(delimiter, limit)
  local text, from = "", 1
  while true do
    local piece = self:read_some()
    if not piece then return nil end
    text = text .. piece
    local first, last = text:find(delimiter, from, true)
    if first then
      self.buffer = text:sub(last + 1)
      return text:sub(1, first - 1)
    end
    if #text > limit then error("line or header is too long", 0) end
    from = math.max(1, #text - #delimiter + 2)
  end
end

-- Calls sink(piece) for the next `count` bytes; returns how many of them never
-- came.
function Stream:read_bytes(count, sink)
  while count > 0 do
    local piece = self:read_some()
    if not piece then break end
    if #piece > count then
      self.buffer = piece:sub(count + 1)
      piece = piece:sub(1, count)
    end
    count = count - #piece
    sink(piece)
  end
  return count
end

function Stream:write(data)
  if self.closed then error(CLOSED, 0) end
  coroutine.yield(uv.write(self.handle, data))
end

-- Closes it; whoever waits for something to read gets an error.
function Stream:close()
  if self.closed then return end
  self.closed = true
  if self.handle and not uv.is_closing(self.handle) then
    uv.close(self.handle)
  end
  if self.waiting then self.waiting:set_exception(CLOSED) end
end

Stream.__close = Stream.close

return { new = new, CLOSED = CLOSED }
