-- SPDX-License-Identifier: MIT
--
-- A small HTTP/1.1 client: one GET for each connection, over plain TCP, with
-- bodies by Content-Length, in chunks, or up to the end of the connection.

local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local isinstance = require("lunado.util").isinstance
local tasks = require "lunado.tasks"
local client = require("lunado.tcpclient").TCPClient()

local MAX_HEAD = 64 * 1024
local MAX_BODY = 64 * 1024 * 1024
local MAX_PIECE = 64 * 1024

local await = coroutine.yield

-- http://host[:port][/path][?query], as { host, port, authority, target }; nil
-- and a reason for anything else.
local function parse_url(url)
  local scheme, rest = url:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then return nil, "not a URL" end
  if scheme:lower() ~= "http" then
    return nil, ("%s is not spoken here, only http"):format(scheme)
  end
  local authority, target = rest:match("^([^/?#]*)([^#]*)")
  local host, port = authority:match("^%[([%x:.]+)%]:?(%d*)$")
  if not host then host, port = authority:match("^([^%s:@%[%]]+):?(%d*)$") end
  port = port == "" and 80 or tonumber(port)
  if not host or port < 1 or port > 65535 then
    return nil, "no host and port in the URL"
  end
  if target:find("[%s%c]") then return nil, "a blank in the URL" end
  if target:sub(1, 1) ~= "/" then target = "/" .. target end
  return { host = host, port = port, authority = authority, target = target }
end

local function parse_head(head)
  local status, reason = head:match("^HTTP/1%.%d (%d%d%d) ?([^\r\n]*)")
  if not status then error("the answer is not HTTP/1.1", 0) end
  local headers = {}
  for name, value in head:gmatch("\n([^:\r\n]+):[ \t]*([^\r\n]*)") do
    local key = name:lower()
    headers[key] = headers[key] and headers[key] .. ", " .. value or value
  end
  return { status = tonumber(status), reason = reason, headers = headers }
end

-- Returns the result of a read's Future; nil if the other side has ended.
local function before_end(future)
  local ok, value = pcall(await, future)
  if ok then return value end
  if not isinstance(value, iostream.StreamClosedError) then error(value, 0) end
  local cause = value.real_error
  if isinstance(cause, iostream.UnsatisfiableReadError) then
    error("line or header is too long", 0)
  end
  if cause then error(cause, 0) end
end

-- Returns the bytes before the delimiter; nil if the other side ends first.
local function read_before(connection, delimiter, max)
  local text = before_end(connection:read_until(delimiter, max))
  return text and text:sub(1, -#delimiter - 1)
end

-- Calls sink(piece) for the next `count` bytes; returns how many of them are
-- missing.
local function read_bytes(connection, count, sink)
  while count > 0 do
    local piece = before_end(
      connection:read_bytes(math.min(count, MAX_PIECE), true))
    if not piece then break end
    count = count - #piece
    sink(piece)
  end
  return count
end

-- Reads the head of the answer; skips the heads of interim answers (100
-- Continue, 103 Early Hints).
local function read_head(connection)
  repeat
    local head = read_before(connection, "\r\n\r\n", MAX_HEAD)
    if not head then error("closed before an answer came", 0) end
    local answer = parse_head(head)
    if answer.status >= 200 then return answer end
  until false
end

local function truncated(missing)
  error(("cut off %d byte%s before the end"):format(missing,
    missing == 1 and "" or "s"), 0)
end

local function read_chunked(connection, sink)
  local line
  repeat
    line = read_before(connection, "\r\n", MAX_HEAD)
    if not line then error("cut off before the last chunk", 0) end
    local digits = line:match("^%x+")
    if not digits or #digits > 8 then error("a bad size of a chunk", 0) end
    local size = tonumber(digits, 16)
    local missing = read_bytes(connection, size, sink)
    if missing > 0 then truncated(missing) end
    if size > 0 and read_before(connection, "\r\n", MAX_HEAD) ~= "" then
      error("a chunk without its end", 0)
    end
  until size == 0
  repeat -- trailers, up to an empty line
    line = read_before(connection, "\r\n", MAX_HEAD)
  until line == "" or not line
end

local function read_body(connection, answer, sink)
  local headers = answer.headers
  local length = headers["content-length"]
  if answer.status == 204 or answer.status == 304 then return end
  if (headers["transfer-encoding"] or ""):lower():find("chunked", 1, true) then
    read_chunked(connection, sink)
  elseif length then
    local digits = length:match("^%d+$")
    if not digits or #digits > 15 then error("a bad Content-Length", 0) end
    local missing = read_bytes(connection, math.tointeger(digits), sink)
    if missing > 0 then truncated(missing) end
  else
    read_bytes(connection, math.maxinteger, sink)
  end
end

local function exchange(connection, url, progress)
  await(connection:write(table.concat({
    ("GET %s HTTP/1.1"):format(url.target),
    "Host: " .. url.authority,
    "User-Agent: lunado-fetch",
    "Accept: */*",
    "Connection: close",
    "\r\n",
  }, "\r\n")))
  local answer = read_head(connection)
  local pieces, bytes = {}, 0
  progress(answer, bytes)
  read_body(connection, answer, function(piece)
    bytes = bytes + #piece
    if bytes > MAX_BODY then error("the page is too long", 0) end
    pieces[#pieces + 1] = piece
    progress(answer, bytes)
  end)
  answer.body = table.concat(pieces)
  return answer
end

-- Connects, and closes the connection on every way out: after the exchange, at
-- an error, and where a cancellation is raised.
local function get(url, progress)
  local ok, got = pcall(await, client:connect(url.host, url.port))
  if not ok then error(type(got) == "table" and got.real_error or got, 0) end
  local connection <close> = got
  return exchange(connection, url, progress)
end

-- fetch(url, seconds [, progress]) -> a Future of { status, reason, headers,
-- body }. `progress(answer, bytes)` is called when the head has arrived and
-- after each piece of the body.  At the timeout, and when it is cancelled, the
-- work ends where it waits, and the connection closes.
local fetch = gen.coroutine(function(url, seconds, progress)
  local parsed, complaint = parse_url(url)
  if not parsed then error(complaint, 0) end
  return tasks.timeout({ seconds = seconds }, get, parsed,
    progress or function() end)
end)

return { fetch = fetch, parse_url = parse_url }
