-- SPDX-License-Identifier: MIT
--
-- A client for Redis: RESP2 over one connection, with pipelining; it connects
-- again when the connection is lost.
--
--   local client = await(redis.connect("redis://127.0.0.1:6379"))
--   await(client:call("SET", "key", "value"))
--
-- Calls do not wait for each other: all that are made in a row are sent at
-- once, and the replies come in the same order.

local gen = require "lunado.gen"
local lunado = require "lunado"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local client = require("lunado.tcpclient").TCPClient()

local CONNECT_TIMEOUT = 10 -- seconds for one attempt
local FIRST_DELAY, LAST_DELAY = 0.05, 2 -- seconds between attempts
local MAX_LINE = 64 * 1024

local await = coroutine.yield

local redis = {
  -- Redis could not be reached, or the reply to a call was lost with the
  -- connection: then the call may have had its effect, or not.
  ConnectionError = util.Exception:subclass "RedisConnectionError",
  -- Redis has replied with an error.
  ReplyError = util.Exception:subclass "RedisError",
}

-- redis://[:PASSWORD@]HOST[:PORT][/DATABASE]; nil for anything else.
local function parse_url(url)
  local rest = url:match "^redis://(.+)$"
  if not rest then return nil end
  local password, address = rest:match "^:([^@]*)@(.*)$"
  local host, port, database =
    (address or rest):match "^([^:/@]+):?(%d*)/?(%d*)$"
  port = port == "" and 6379 or math.tointeger(tonumber(port))
  if not port or port < 1 or port > 65535 then return nil end
  return { host = host, port = port, password = password,
    database = database ~= "" and database or nil }
end

-- A call as Redis reads it: an array of strings.
local function encode(...)
  local parts = { ("*%d\r\n"):format(select("#", ...)) }
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) ~= "string" and type(part) ~= "number" then
      error(("bad argument #%d to 'call' (string or number expected, got %s)")
        :format(i, type(part)), 3)
    end
    part = tostring(part)
    parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#part, part)
  end
  return table.concat(parts)
end

-- Returns the next reply; an error of Redis as an object, because an array may
-- contain one.
local function read_reply(stream)
  local line = await(stream:read_until("\r\n", MAX_LINE))
  local kind, rest = line:sub(1, 1), line:sub(2, -3)
  local number = math.tointeger(tonumber(rest))
  if kind == "+" then return rest end
  if kind == "-" then return redis.ReplyError(rest) end
  if kind == ":" and number then return number end
  if number == -1 and (kind == "$" or kind == "*") then return nil end
  if kind == "$" and number then
    return (await(stream:read_bytes(number + 2)):sub(1, -3))
  end
  if kind ~= "*" or not number then error("this is not Redis", 0) end
  local list = { n = number }
  for i = 1, number do list[i] = read_reply(stream) end
  return list
end

local function cause_of(err)
  local cause = type(err) == "table" and err.real_error or err
  return tostring(cause)
end

local function ignore(future) future:exception() end

-- The client ----------------------------------------------------------------

local Client = {}
Client.__index = Client

-- Says who we are.  While Redis reads its file, it replies to PING by an error.
local function greet(self, stream)
  local calls = { { "PING" } }
  if self.database then table.insert(calls, 1, { "SELECT", self.database }) end
  if self.password then table.insert(calls, 1, { "AUTH", self.password }) end
  for _, call in ipairs(calls) do
    await(stream:write(encode(table.unpack(call))))
    local reply = read_reply(stream)
    if util.isinstance(reply, redis.ReplyError) then error(reply, 0) end
  end
end

-- Returns a connection, or raises a ConnectionError.
local function open(self)
  local stream
  local ok, err = pcall(function()
    stream = await(client:connect(self.host, self.port,
      { timeout = { seconds = CONNECT_TIMEOUT } }))
    tasks.timeout({ seconds = CONNECT_TIMEOUT }, greet, self, stream)
  end)
  if ok then return stream end
  if stream then stream:close() end
  error(redis.ConnectionError(("cannot connect to Redis at %s:%d: %s"):format(
    self.host, self.port, cause_of(err))), 0)
end

local function send(self, call)
  self.last = self.last + 1
  self.sent[self.last] = call.future
  self.stream:write(call.request):add_done_callback(ignore)
end

-- Gives replies to the calls, in their order, until the connection ends.
local function read_replies(self, stream)
  while true do
    local reply = read_reply(stream)
    local future = self.sent[self.first]
    self.sent[self.first] = nil
    self.first = self.first + 1
    if not future then error("a reply to no call", 0) end
    local failed = util.isinstance(reply, redis.ReplyError)
    future[failed and "set_exception" or "set_result"](future, reply)
  end
end

local function fail_all(futures, first, last, err)
  for i = first, last do futures[i]:set_exception(err) end
end

-- Serves calls on the connection until it ends.
local function serve(self, stream)
  self.stream, self.sent, self.first, self.last = stream, {}, 1, 0
  local waiting = self.waiting
  self.waiting = {}
  for _, call in ipairs(waiting) do send(self, call) end
  local _, err = pcall(read_replies, self, stream)
  stream:close()
  self.stream = nil
  fail_all(self.sent, self.first, self.last, self.closed
    or redis.ConnectionError("the connection to Redis was lost: "
    .. cause_of(err)))
end

-- Fails what waits for a connection, and all later calls.
local function end_with(self, err)
  if self.closed then return end
  self.closed = err
  local waiting = self.waiting
  self.waiting = {}
  for _, call in ipairs(waiting) do call.future:set_exception(err) end
  if self.stream then self.stream:close() end
end

-- Returns a new connection; nil if the client is closed, or gives up.
local function reconnect(self)
  local loop, delay = lunado.IOLoop.current(), FIRST_DELAY
  local deadline = loop:time() + self.patience
  while not self.closed do
    local ok, stream = pcall(open, self)
    if ok and not self.closed then return stream end
    if ok then
      stream:close()
    elseif loop:time() >= deadline then
      end_with(self, stream)
    else
      await(gen.sleep(delay * (0.5 + math.random() / 2)))
      delay = math.min(2 * delay, LAST_DELAY)
    end
  end
end

local maintain = gen.coroutine(function(self, stream)
  while stream do
    serve(self, stream)
    stream = reconnect(self)
  end
end)

-- Calls a command -> Future of the reply: a string, an integer, nil, or a list
-- with the number of its elements in `n`.  It waits for the connection if there
-- is none.
function Client:call(...)
  local future = lunado.Future()
  local call = { future = future, request = encode(...) }
  if self.closed then
    future:set_exception(self.closed)
  elseif self.stream then
    send(self, call)
  else
    self.waiting[#self.waiting + 1] = call
  end
  return future
end

-- The same; calls again when the connection is lost, so the command may have
-- its effect twice.
Client.insist = gen.coroutine(function(self, ...)
  while true do
    local ok, reply = pcall(await, self:call(...))
    if ok then return reply end
    if self.closed or not util.isinstance(reply, redis.ConnectionError) then
      error(reply, 0)
    end
  end
end)

-- Calls a command whose reply nobody waits for.
function Client:tell(...) self:call(...):add_done_callback(ignore) end

function Client:close()
  end_with(self, redis.ConnectionError "the client of Redis is closed")
end

Client.__close = Client.close

-- connect(url [, patience]) -> Future of a client.  It fails if the first
-- attempt fails.  A client that has lost its connection for `patience` seconds
-- (60 by default) gives up: then all its calls fail.
function redis.connect(url, patience)
  local address = type(url) == "string" and parse_url(url)
  if not address then
    error("bad argument #1 to 'connect' (redis://[:PASSWORD@]HOST[:PORT]"
      .. "[/DATABASE] expected)", 2)
  end
  address.patience, address.waiting = patience or 60, {}
  local self = setmetatable(address, Client)
  return gen.coroutine(function()
    maintain(self, open(self))
    return self
  end)()
end

return redis
