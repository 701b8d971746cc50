-- SPDX-License-Identifier: MIT
--- lunado.tcpclient: connects streams to hosts by name.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.tcpclient"] then return loaded["lunado.tcpclient"] end

local argument = require "lunado.argument"
local iostream = require "lunado.iostream"
local waiters = require "lunado.waiters"

local Future, IOLoop, IOStream = core.Future, core.IOLoop, iostream.IOStream

-- Seconds for which the other family's addresses wait for those of the first.
local HEAD_START = 0.3

-- The address that stands for all addresses of this machine.
local ANY <const> = { inet = "0.0.0.0", inet6 = "::" }

local STREAM_OPTIONS <const> = iostream._options_and()
local OPTIONS <const> = iostream._options_and("timeout", "family", "source_ip",
  "source_port", "ssl_options")

-- The race ------------------------------------------------------------------

--- A Race connects to one of several addresses.  The addresses of the first
-- address's family are tried one after another.  The others are tried in
-- parallel after a first failure, or after the head start.  The first connected
-- stream wins, and the other streams are closed.  Invariant: once the Future is
-- done, only the winner is still open.
local Race = {}
Race.__index = Race

local function new_race(host, options)
  local of_stream = {}
  for name in next, STREAM_OPTIONS do of_stream[name] = options[name] end
  return setmetatable({ host = host, options = options, of_stream = of_stream,
    future = Future(), streams = {}, queues = { {}, {} } }, Race)
end

local function cancel(loop, timeout)
  if timeout then pcall(loop.remove_timeout, loop, timeout) end
end

--- Ends the race and closes all streams but the winner.
function Race:finish(winner)
  cancel(self.loop, self.timeout)
  cancel(self.loop, self.head_start)
  self.queues = nil
  core.withdraw(self.lookup)
  for stream in pairs(self.streams) do
    if stream ~= winner then stream:close() end
  end
  self.streams = nil
end

function Race:fail(err)
  if self.queues then self:finish() end
  core.fail(self.future, err)
end

--- Calls a method of the race, in a callback of the loop.  An error that it
-- raises ends the race.
function Race:go_on(method, ...)
  local ok, err = pcall(method, self, ...)
  if ok then return end
  if not self.queues then error(err, 0) end
  self:fail(err)
end

function Race:win(stream)
  if self:is_over() then return end
  if self.secure then return self:start_tls(stream) end
  self:finish(stream)
  self.future:set_result(stream)
end

--- Starts TLS on the connected stream; the other attempts are given up.  A
-- handshake that fails ends the race: the other addresses are those of the same
-- host.
function Race:start_tls(stream)
  cancel(self.loop, self.head_start)
  self.head_start, self.securing = nil, true
  for other in pairs(self.streams) do
    if other ~= stream then other:close() end
  end
  self.streams = { [stream] = true }
  local secured = self.secure(stream)
  secured:add_done_callback(function(future)
    local err = future:exception()
    if not self.queues then return end
    if err ~= nil then return self:fail(err) end
    self:go_on(self.secured, stream)
  end)
end

function Race:secured(stream)
  if self:is_over() then return end
  self:finish(stream)
  self.future:set_result(stream)
end

--- Ends the race if its Future is done or can have no waiter any more; returns
-- whether the race has ended.
function Race:is_over()
  waiters.fail_forsaken(self.future)
  if self.queues and self.future:done() then self:finish() end
  return not self.queues
end

--- Gives the stream the local address and port that the options name, if they
-- do.  Returns the error if it cannot have them.
local function bind_source(stream, family, options)
  local ip, port = options.source_ip, options.source_port
  if not ip and not port then return end
  ip, port = ip or ANY[family], port or 0
  local ok, err = stream.handle:bind(ip, port)
  if not ok then
    return ("cannot connect from %s:%d: %s"):format(ip, port, err)
  end
end

--- Tries the next address of a queue, if there is one.
function Race:try(queue)
  local address = table.remove(queue, 1)
  if not address then
    if next(self.streams) == nil and not self.head_start then
      self:fail(self.err or ("no address (host %q)"):format(self.host))
    end
    return
  end
  if self:is_over() then return end
  local stream = IOStream.tcp(self.of_stream)
  stream:set_nodelay(true)
  local refused = bind_source(stream, address.family, self.options)
  if refused then
    stream:close()
    return self:tried(stream, queue, refused)
  end
  self.streams[stream] = true
  local connected = stream:_connect_to(address.addr, address.port, self.host)
  connected:add_done_callback(function(future)
    local err = future:exception()
    if self.queues and not self.securing then
      self:go_on(self.tried, stream, queue, err)
    end
  end)
end

--- The stream is connected, or is not: the next address of its queue is tried.
function Race:tried(stream, queue, err)
  if err == nil then return self:win(stream) end
  self.streams[stream], self.err = nil, err
  self:start_others()
  if self.queues then self:try(queue) end
end

--- Starts the addresses of the other family, unless they have started.
function Race:start_others()
  if not self.head_start then return end
  cancel(self.loop, self.head_start)
  self.head_start = nil
  self:try(self.queues[2])
end

function Race:start(addresses)
  local first = addresses[1] and addresses[1].family
  for _, address in ipairs(addresses) do
    table.insert(self.queues[address.family == first and 1 or 2], address)
  end
  if self.queues[2][1] then
    self.head_start = self.loop:call_later(HEAD_START, function()
      self:go_on(self.start_others)
    end)
  end
  self:try(self.queues[1])
end

-- The client ----------------------------------------------------------------

local TCPClient = waiters.class("TCPClient")

function TCPClient:_init() end -- luacheck: ignore self

function TCPClient:_state() return "ready" end -- luacheck: ignore self

--- Checks source_ip and source_port.
local function check_source(options)
  local ip, port = options.source_ip, options.source_port
  if ip ~= nil then
    local family = type(ip) == "string" and core.ip_family(ip)
    if not family then
      argument.bad(3, "connect", "source_ip: IP address expected", 4)
    end
    if options.family and options.family ~= family then
      argument.bad(3, "connect", "source_ip: not of the family", 4)
    end
  end
  if port ~= nil then
    local number = math.type(port) and math.tointeger(port)
    if not number or number < 0 or number > argument.MOST_PORT then
      argument.bad(3, "connect", "source_port: port expected", 4)
    end
  end
end

local function check_options(options)
  if options == nil then return {} end
  argument.check_type(options, "table", 3, "connect", 3)
  local wrong
  options, wrong = argument.copy_options(options, OPTIONS)
  if not options then argument.bad(3, "connect", wrong, 3) end
  iostream._check_options(options, 3, "connect", 4)
  local family = options.family
  if family ~= nil and family ~= "inet" and family ~= "inet6" then
    argument.bad(3, "connect", "family: 'inet' or 'inet6' expected", 3)
  end
  check_source(options)
  return options
end

--- Sets the race's timeout; raises at the line of connect's caller.
local function set_timeout(race, timeout)
  if timeout == nil then return end
  local ok, handle = pcall(race.loop.add_timeout, race.loop, timeout,
    function() race:fail(core.TimeoutError("Timeout")) end)
  if ok then
    race.timeout = handle
    return
  end
  local what = tostring(handle)
  what = what:match "%((.*)%)$" or what
  argument.bad(3, "connect", "timeout: " .. what, 3)
end

--- Returns a function that starts TLS on a stream, and returns a Future; nil if
-- the options do not ask for TLS.
local function securer(host, ssl_options)
  if ssl_options == nil then return nil end
  local tls = require "lunado.tls"
  local context, wrong = tls._to_context(false, ssl_options)
  if not context then
    argument.bad(3, "connect", "ssl_options: " .. wrong, 3)
  end
  local name
  name, wrong = tls._to_host(host)
  if not name then argument.bad(1, "connect", wrong, 3) end
  return function(stream)
    local future, why = tls._start(stream, context, name)
    return future or error("cannot start TLS: " .. why, 0)
  end
end

--- Returns a Future of an IOStream that is connected to the host.
-- @param options `timeout`: a deadline as for IOLoop:add_timeout; `family`:
--   "inet" or "inet6" restricts the addresses; `source_ip`, `source_port`: the
--   stream's own address; `ssl_options`: a table of options or a context of
--   lunado.tls, which asks for TLS; and the options of IOStream
function TCPClient:connect(host, port, options)
  argument.check_self(self, "connect", "TCPClient", "connect", 2)
  argument.check_name(host, 1, "connect", 2)
  port = argument.check_port(port, 2, "connect", 2)
  options = check_options(options)
  local secure = securer(host, options.ssl_options)
  local race = new_race(host, options)
  race.secure = secure
  race.loop = IOLoop.current()
  set_timeout(race, options.timeout)
  core.set_canceller(race.future, function()
    if race.queues then race:finish() end
  end)
  local family = options.family
    or options.source_ip and core.ip_family(options.source_ip)
  race.lookup = core.resolve(host, tostring(port), family)
  race.lookup:add_done_callback(
    function(future)
      local err = future:exception()
      if not race.queues then return end
      if err ~= nil then
        return race:fail(("%s (host %q)"):format(err, host))
      end
      race:go_on(race.start, future:result())
    end)
  return race.future
end

local tcpclient = { TCPClient = TCPClient }

loaded["lunado.tcpclient"] = tcpclient
return tcpclient
