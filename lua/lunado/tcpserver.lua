-- SPDX-License-Identifier: MIT
--- lunado.tcpserver: runs a coroutine for each incoming connection.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.tcpserver"] then return loaded["lunado.tcpserver"] end

local argument = require "lunado.argument"
local iostream = require "lunado.iostream"
local luv = require "luv"
local stack_context = require "lunado.stack_context"
local waiters = require "lunado.waiters"

local IOLoop, IOStream = core.IOLoop, iostream.IOStream

local BACKLOG = 128

-- How many ports picked by the system are tried, if the port must be free on
-- several addresses.
local ATTEMPTS = 8

local TCPServer = waiters.class("TCPServer")

--- Returns how many connections may wait to be accepted; nil for a wrong
-- number.
local function backlog_of(self)
  local backlog = self.backlog
  if backlog == nil then return BACKLOG end
  local number = math.type(backlog) and math.tointeger(backlog)
  return number and number > 0 and number < 1 << 31 and number or nil
end

--- @param options fields of the server: handle_stream, backlog, and the options
--   of IOStream
function TCPServer:_init(options)
  if options ~= nil then
    argument.check_type(options, "table", 1, self.__name, 3)
  end
  for name, value in pairs(options or {}) do self[name] = value end
  iostream._check_options(self, 1, self.__name, 4)
  if not backlog_of(self) then
    argument.bad(1, self.__name, "backlog: a positive number expected", 3)
  end
  self._listeners = {}
end

function TCPServer:_state()
  return ("%d listening"):format(#self._listeners)
end

--- Derives a class: `function Class:handle_stream(stream, address)`.
function TCPServer:subclass(name)
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

local serve = core.coroutine(function(self, stream, address)
  local result = self:handle_stream(stream, address)
  if core.is_future(result) then core.await(result) end
end)

--- Starts the service of a connection.  An error of handle_stream goes to
-- handle_callback_exception, and the stream is closed, so that the peer does
-- not wait in vain.
local function start(self, stream, address)
  serve(self, stream, address):add_done_callback(function(future)
    local err, traceback = future:exc_info()
    if err == nil then return end
    stream:close()
    IOLoop.instance():handle_callback_exception(self.handle_stream, err,
      traceback)
  end)
end

--- Returns the address of the peer; nil if it has disconnected already.  A
-- local socket that connects has no name.
local function peer_of(handle, is_pipe)
  if is_pipe then return "" end
  local address = luv.tcp_getpeername(handle)
  if address then address[1], address[2] = address.ip, address.port end
  return address
end

local function accept(self, listener, err)
  if err then error("accept: " .. err, 0) end
  local is_pipe = debug.getmetatable(listener).__name == "uv_pipe"
  local handle = is_pipe and luv.new_pipe(false) or luv.new_tcp()
  local ok, refused = luv.accept(listener, handle)
  if not is_pipe then pcall(luv.tcp_nodelay, handle, true) end
  local address = ok and peer_of(handle, is_pipe)
  local made, stream
  if address then
    made, stream = pcall(IOStream, handle, self)
    if made then return start(self, stream, address) end
  end
  luv.close(handle)
  if not ok then error("accept: " .. refused, 0) end
  if address then error(stream, 0) end
end

-- Listening -----------------------------------------------------------------

local function listen(self, handle)
  local backlog = backlog_of(self) or BACKLOG
  return luv.listen(handle, backlog, stack_context.wrap(function(err)
    accept(self, handle, err)
  end))
end

--- Listens on a bound stream handle of luv, TCP or a pipe.
function TCPServer:add_socket(handle)
  local mt = debug.getmetatable(handle)
  if type(handle) ~= "userdata" or not mt
    or mt.__name ~= "uv_tcp" and mt.__name ~= "uv_pipe" then
    argument.unexpected(1, "add_socket", "TCP handle or pipe of luv's", handle,
      2)
  end
  local ok, err = listen(self, handle)
  if not ok then error(err, 0) end
  table.insert(self._listeners, handle)
end

--- Returns a listening handle; or nil and the error.
local function open(self, address, port)
  IOLoop.instance() -- the loop is shared before luv has a handle
  local handle = luv.new_tcp()
  local ok, err = luv.tcp_bind(handle, address.addr, port,
    { ipv6only = address.family == "inet6" })
  if ok then ok, err = listen(self, handle) end
  if ok then return handle end
  luv.close(handle)
  return nil, err
end

local function close_all(handles)
  for _, handle in ipairs(handles) do
    if not luv.is_closing(handle) then luv.close(handle) end
  end
end

--- Whether the error means that the system has no IPv6, or no IPv4.
local function is_missing(err)
  return err:find("^EAFNOSUPPORT") or err:find("^EADDRNOTAVAIL")
end

--- Returns luv's error with the address that cannot be listened on.
local function listen_error(err, address, port)
  local format = address:find(":", 1, true) and "%s ([%s]:%d)" or "%s (%s:%d)"
  return format:format(err, address, port)
end

--- Returns a list of handles for all addresses, on one port, and that port; or
-- nil and the error.
local function open_all(self, addresses, port)
  local handles, failed = {}, "no address"
  for _, address in ipairs(addresses) do
    local handle, err = open(self, address, port)
    if handle then
      table.insert(handles, handle)
      port = luv.tcp_getsockname(handle).port
    else
      failed = listen_error(err, address.addr, port)
      if not addresses[2] or not is_missing(err) then
        close_all(handles)
        return nil, failed
      end
    end
  end
  if handles[1] then return handles, port end
  return nil, failed
end

--- Begins to accept connections; may be called for several ports.  Raises luv's
-- error if it fails.
-- @param port 0 stands for any free port
-- @param address an address or name of this machine; all addresses, if it is
--   nil or empty
-- @return the port
function TCPServer:listen(port, address)
  port = argument.check_port(port, 1, "listen", 2)
  if address ~= nil then argument.check_name(address, 2, "listen", 2) end
  if address == "" then address = nil end
  local addresses, refused = luv.getaddrinfo(address, tostring(port),
    { socktype = "stream", passive = true })
  if not addresses then
    error(("%s (host %q)"):format(refused, address or "*"), 0)
  end
  local handles, result
  for _ = 1, port == 0 and ATTEMPTS or 1 do
    handles, result = open_all(self, addresses, port)
    if handles or not result:find("^EADDRINUSE") then break end
  end
  if not handles then error(result, 0) end
  table.move(handles, 1, #handles, #self._listeners + 1, self._listeners)
  return result
end

--- Stops accepting; existing connections continue.
function TCPServer:stop()
  close_all(self._listeners)
  self._listeners = {}
end

local tcpserver = { TCPServer = TCPServer }

loaded["lunado.tcpserver"] = tcpserver
return tcpserver
