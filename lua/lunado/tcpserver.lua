-- SPDX-License-Identifier: MIT
--- lunado.tcpserver: runs a coroutine for each incoming connection.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.tcpserver"] then return loaded["lunado.tcpserver"] end

local argument = require "lunado.argument"
local inherit = require "lunado.inherit"
local iostream = require "lunado.iostream"
local log = require "lunado.log".app_log
local waiters = require "lunado.waiters"

-- More than any system allows, each of which then takes what it allows.
local BACKLOG <const> = 32767

-- Of a local socket: read and written by its user.
local PRIVATE <const> = 384 -- octal 0600

-- How many ports picked by the system are tried, if the port must be free on
-- several addresses.
local ATTEMPTS = 8

-- Seconds for which a client may take for its handshake.
local HANDSHAKE_TIMEOUT = 60

local TCPServer = waiters.class("TCPServer")

--- Returns how many connections may wait to be accepted; nil for a wrong
-- number.
local function backlog_of(self)
  local backlog = self.backlog
  if backlog == nil then return BACKLOG end
  local number = math.type(backlog) and math.tointeger(backlog)
  return number and number > 0 and number < 1 << 31 and number or nil
end

--- Returns the context of the server, which has ssl_options.  It is made once
-- for the same table of options.  Raises what is wrong with them.
local function context_of(self)
  local options = self.ssl_options
  if rawget(self, "_context_of") == options then return self._context end
  local context, wrong = require "lunado.tls"._to_context(true, options)
  if not context then error("ssl_options: " .. wrong, 0) end
  self._context_of, self._context = options, context
  return context
end

--- Returns the limit of a handshake in seconds; nil for a wrong one.
local function handshake_timeout_of(self)
  local limit = self.handshake_timeout
  if limit == nil then return HANDSHAKE_TIMEOUT end
  return math.type(limit) and limit > 0 and limit or nil
end

--- Checks what the server's fields say of TLS.
local function check_tls(self, level)
  if not handshake_timeout_of(self) then
    argument.bad(1, self.__name, "handshake_timeout: a positive number of "
      .. "seconds expected", level + 1)
  end
  if self.ssl_options == nil then return end
  local ok, err = pcall(context_of, self)
  if ok then return end
  if type(err) ~= "string" or not err:find("^ssl_options: ") then
    error(err, 0)
  end
  argument.bad(1, self.__name, err, level + 1)
end

--- @param options fields of the server: handle_stream, backlog, and the options
--   of IOStream; ssl_options, a table of options or a context of lunado.tls:
--   handle_stream runs after the handshake, which may take handshake_timeout
--   seconds (60 by default)
function TCPServer:_init(options)
  if options ~= nil then
    argument.check_type(options, "table", 1, self.__name, 3)
  end
  for name, value in pairs(options or {}) do self[name] = value end
  iostream._check_options(self, 1, self.__name, 4)
  if not backlog_of(self) then
    argument.bad(1, self.__name, "backlog: a positive number expected", 3)
  end
  check_tls(self, 3)
  self._listeners = {}
end

function TCPServer:_state()
  return ("%d listening"):format(#self._listeners)
end

--- Checks the object of a method, at the line of its caller.
local function check_self(self, name)
  argument.check_self(self, "_listeners", "TCPServer", name, 3)
end

--- Derives a class: `function Class:handle_stream(stream, address)`.
function TCPServer:subclass(name)
  argument.check_self(self, "handle_stream", "TCPServer", "subclass", 2)
  argument.check_type(name, "string", 1, "subclass", 2)
  return waiters.class(name, self)
end

--- Serves one connection, in a coroutine.  If it returns a Future, that Future
-- is awaited.
-- @param address { ip =, port =, family =, [1] = ip, [2] = port }; "" for a
--   local socket
function TCPServer:handle_stream() -- luacheck: ignore self
  error("a TCPServer needs a handle_stream", 0)
end

-- Connections ---------------------------------------------------------------

--- Whether the error of a handshake is worth a line in the log.  Clients that
-- go away are not.
local function is_remarkable(err)
  local cause = err.real_error
  return type(cause) ~= "string" and cause ~= nil
    and not tostring(cause.reason):find("unexpected eof", 1, true)
end

--- Waits for the handshake; returns whether it has ended well.  Tornado: what
-- SSLIOStream does when a handshake fails.
local function secure(self, stream)
  local loop = core.IOLoop.current()
  local limit = handshake_timeout_of(self) or HANDSHAKE_TIMEOUT
  local future, why = require "lunado.tls"._start(stream, context_of(self))
  if not future then error("cannot start TLS: " .. why, 0) end
  local timeout = loop:call_later(limit, function()
    stream:_abandon_start(core.TimeoutError("Timeout"))
  end)
  local ok, err = pcall(core.await, future)
  pcall(loop.remove_timeout, loop, timeout)
  if ok then return true end
  if not core.isinstance(err, core.StreamClosedError) then error(err, 0) end
  if is_remarkable(err) then
    local address = stream:_take_peer()
    log:warning("%s (client %s)", err.message,
      type(address) == "table" and address.ip or "of a local socket")
  end
  return false
end

--- Serves a connection. If that ends without returning, by an error or by
-- coroutine.close, the stream is closed: the peer must not wait in vain.
-- No local variable has the address, which few handlers keep.
local serve = core.coroutine(function(self, stream)
  local _ <close> = stream[1]
  if self.ssl_options ~= nil and not secure(self, stream) then return end
  local result = self:handle_stream(stream, stream:_take_peer())
  if core.is_future(result) then core.await(result) end
  stream:_served()
end)

-- Called with each connection that comes in, or with an error of the system's.
local function accept(self, listener, err)
  if err then error("accept: " .. err, 0) end
  local stream, refused = iostream._accept(listener, self)
  if stream then
    return core.discard(serve(self, stream), self.handle_stream)
  end
  if refused then error("accept: " .. refused, 0) end
end

-- Listening -----------------------------------------------------------------

--- Adds what listen(...) returns to the list, unless it is nil and an error.
-- The list has room for it before there is a listener: one that is in no list
-- could not be stopped.
local function add(list, listen, ...)
  local n = #list + 1
  list[n] = true
  list[n] = nil
  local listener, err = listen(...)
  list[n] = listener
  return listener, err
end

--- The arguments of core.listen and core.listen_on: the function that is
-- called for each connection, and the backlog.
local function service_of(self)
  return function(listener, err) accept(self, listener, err) end,
    backlog_of(self) or BACKLOG
end

local function close_all(listeners)
  for _, listener in ipairs(listeners) do listener:close() end
end

--- Of a list of listeners that is closed if an error comes before its end.
local UNWANTED <const> = {
  __close = function(listeners, err)
    if err ~= nil then close_all(listeners) end
  end,
}

--- The kinds of listeners: the name of core's function that makes one, and the
-- kind of its stream.
local KINDS <const> = {
  tcp = { "listen", "tcp" }, unix = { "listen_unix", "pipe" },
}

--- Adds a listener to the list and returns it; or nil and the error.  In a
-- worker it is one on the parent's socket, where there is one.
-- @param detail the port, or the permissions of a local socket
local function open(self, listeners, kind, address, detail)
  local on_connection, backlog = service_of(self)
  local port = kind == "tcp" and detail or 0
  local socket, err = inherit.take(kind, address, port)
  local listener
  if err then return nil, err end
  if socket then
    listener, err = add(listeners, core.listen_descriptor, on_connection,
      backlog, KINDS[kind][2], socket)
  else
    listener, err = add(listeners, core[KINDS[kind][1]], on_connection,
      backlog, address, detail)
  end
  if listener then inherit.note(self, listener, kind, address, port) end
  return listener, err
end

--- Listens on a bound stream handle of luv, TCP or a pipe.
function TCPServer:add_socket(handle)
  check_self(self, "add_socket")
  local name = iostream._type_of(handle)
  if name ~= "uv_tcp" and name ~= "uv_pipe" then
    argument.unexpected(1, "add_socket", "TCP handle or pipe of luv's", handle,
      2)
  end
  local waits = require "lunado.uvguard".waits
  local on_connection, backlog = service_of(self)
  waits[handle] = waits[handle] or core.listener_lost -- needs memory
  local listener, err =
    add(self._listeners, core.listen_on, on_connection, backlog, handle)
  if not listener then error(err, 0) end
  waits[handle] = core.listener_lost
end

--- Listens on a local socket, which is removed when listening ends.  A socket
-- that another program has left at the path is replaced.  Raises the system's
-- error if it fails.  Tornado: netutil.bind_unix_socket.
-- @param mode the permissions of the socket, 384 (octal 0600) by default: the
--   user's own programs connect
function TCPServer:listen_unix(path, mode)
  check_self(self, "listen_unix")
  argument.check_name(path, 1, "listen_unix", 2)
  mode = mode == nil and PRIVATE
    or argument.check_mode(mode, 2, "listen_unix", 2)
  local listeners <close> = setmetatable({}, UNWANTED)
  local listener, err = open(self, listeners, "unix", path, mode)
  if not listener then error(("%s (%s)"):format(err, path), 0) end
  table.insert(self._listeners, listener)
end

--- Whether the error means that the system has no IPv6, or no IPv4.
local function is_missing(err)
  return err:find("^EAFNOSUPPORT") or err:find("^EADDRNOTAVAIL")
end

--- Returns the error with the address that cannot be listened on.
local function listen_error(err, address, port)
  local format = address:find(":", 1, true) and "%s ([%s]:%d)" or "%s (%s:%d)"
  return format:format(err, address, port)
end

--- Adds listeners for all addresses, on one port, to the list, which is empty.
-- Returns true and that port; or nil and the error, and all are closed.
local function open_all(self, listeners, addresses, port)
  local failed = "no address"
  for _, address in ipairs(addresses) do
    local listener, err = open(self, listeners, "tcp", address.addr, port)
    if listener then
      port = listener:getsockname().port
    else
      failed = listen_error(err, address.addr, port)
      if not addresses[2] or not is_missing(err) then
        close_all(listeners)
        return nil, failed
      end
    end
  end
  if listeners[1] then return true, port end
  return nil, failed
end

--- Begins to accept connections; may be called for several ports.  Raises the
-- system's error if it fails.
-- @param port 0 stands for any free port
-- @param address an address or name of this machine; all addresses, if it is
--   nil or empty
-- @return the port
function TCPServer:listen(port, address)
  check_self(self, "listen")
  port = argument.check_port(port, 1, "listen", 2)
  if address ~= nil then argument.check_name(address, 2, "listen", 2) end
  if address == "" then address = nil end
  local addresses, refused = core.addresses(address, tostring(port))
  if not addresses then
    error(("%s (host %q)"):format(refused, address or "*"), 0)
  end
  local own = self._listeners
  local listeners <close> = setmetatable({}, UNWANTED)
  local ok, result
  for _ = 1, port == 0 and ATTEMPTS or 1 do
    ok, result = open_all(self, listeners, addresses, port)
    if ok or not result:find("^EADDRINUSE") then break end
    for i in ipairs(listeners) do listeners[i] = nil end
  end
  if not ok then error(result, 0) end
  table.move(listeners, 1, #listeners, #own + 1, own)
  return result
end

--- Stops accepting; existing connections continue.
function TCPServer:stop()
  check_self(self, "stop")
  close_all(self._listeners)
  self._listeners = {}
end

local tcpserver = { TCPServer = TCPServer }

loaded["lunado.tcpserver"] = tcpserver
return tcpserver
