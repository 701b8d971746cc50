-- SPDX-License-Identifier: MIT
--- lunado.udp: datagrams as Futures; uv.udp_recv is made of it.
--
-- libuv reads for as long as it is started. So the first wait starts it, and
-- the datagram that the last one gets stops it: what comes in between stays
-- with the system. Where the one that waited is gone, the datagram is kept for
-- the next; so are those that the system gave together, to a handle made with
-- `mmsgs`: libuv drops what is left of them when it is stopped.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.udp"] then return loaded["lunado.udp"] end

local luv = require "luv"
local guard = require "lunado.uvguard"
local waiters = require "lunado.waiters"

-- handle -> { line = who waits, kept = list of { data, address },
-- receiving = libuv is started }
local sockets = setmetatable({}, { __mode = "k" })

-- Handles that udp_recv_start has started for the user's own callback.
local started = setmetatable({}, { __mode = "k" })

-- luv has one callback for each handle: the second one takes the place of the
-- first, which is never called.
guard.add("udp_recv_start", function(handle)
  local socket = sockets[handle]
  if socket and socket.receiving then
    return 1, "udp_recv receives by the handle", "EALREADY"
  end
end)
function guard.after.udp_recv_start(handle) started[handle] = true end
function guard.after.udp_recv_stop(handle) started[handle] = nil end

--- Takes the first waiter out of the line; nil: there is none.
local function take(socket)
  local number, future = socket.line:first()
  if number then socket.line:remove(number) end
  return future
end

local function stop(handle, socket)
  socket.receiving = false
  if not luv.is_closing(handle) then luv.udp_recv_stop(handle) end
end

-- Without an address nothing has come: or, of several datagrams, the last was
-- before.
local function on_datagram(handle, socket, err, data, address, flags)
  local nothing = not err and not address
  local future = not nothing and take(socket)
  local more = address and flags and flags.mmsg_chunk
  if not more and not socket.line:first() then stop(handle, socket) end
  if nothing then return end
  if err then
    if future then future:set_exception(err) end
  elseif future then
    future:set_result(data, address)
  else
    table.insert(socket.kept, { data, address })
  end
end

--- Has libuv receive, if it does not; nil and an error where it cannot.
local function start(handle, socket)
  if socket.receiving then return true end
  local ok, err = luv.udp_recv_start(handle, function(...)
    return on_datagram(handle, socket, ...)
  end)
  if ok then socket.receiving = true end
  return ok, err
end

--- A kept datagram for the Future; false: there is none.
local function serve(socket, future)
  local datagram = table.remove(socket.kept, 1)
  if datagram then future:set_result(datagram[1], datagram[2]) end
  return datagram ~= nil
end

local function socket_of(handle)
  local socket = sockets[handle]
  if socket then return socket end
  socket = { kept = {}, receiving = false }
  local weak = setmetatable({ handle = handle }, { __mode = "v" })
  --- One that had withdrawn waits again.
  socket.line = waiters.new(function(future)
    if not serve(socket, future) and weak.handle
      and not luv.is_closing(weak.handle) then
      start(weak.handle, socket)
    end
  end)
  sockets[handle] = socket
  return socket
end

local udp = {}

--- Whether a callback of the user's receives by the handle.
function udp.is_started(handle) return started[handle] == true end

--- A Future of the data and the sender's address of the next datagram.
function udp.receive(handle)
  local socket = socket_of(handle)
  if #socket.kept > 0 then
    local future = core.Future()
    serve(socket, future)
    return future
  end
  local ok, err = start(handle, socket)
  if ok then return socket.line:add(nil, 1, "udp_recv") end
  local future = core.Future()
  future:set_exception(err)
  return future
end

--- The handle is closing: libuv does not tell the waiters.
function udp.closed(handle)
  local socket = sockets[handle]
  if not socket then return end
  sockets[handle] = nil
  local future = take(socket)
  while future do
    future:set_exception("ECANCELED: operation canceled")
    future = take(socket)
  end
end

loaded["lunado.udp"] = udp
return udp
