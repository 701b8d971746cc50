-- SPDX-License-Identifier: MIT
--- lunado.udp: datagrams as Futures; the implementation of uv.udp_recv.
--
-- libuv reads datagrams as long as receiving is started.  So the first wait
-- starts receiving, and the datagram for the last waiter stops it: datagrams
-- that arrive between waits remain with the system.  If the waiter no longer
-- exists, the datagram is kept for the next wait.  A handle made with `mmsgs`
-- gets several datagrams together; those without a waiter are kept as well,
-- because libuv would drop them when receiving stops.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.udp"] then return loaded["lunado.udp"] end

local luv = require "luv"
local guard = require "lunado.uvguard"
local waiters = require "lunado.waiters"

-- handle -> { waitqueue = the waiters, kept = list of { data, address },
-- receiving = whether libuv receives }
local sockets = setmetatable({}, { __mode = "k" })

-- Handles on which udp_recv_start receives for the user's own callback.
local started = setmetatable({}, { __mode = "k" })

-- luv has one callback for each handle: a second callback would replace the
-- first one, which then would never be called.
guard.add("udp_recv_start", function(handle)
  local socket = sockets[handle]
  if socket and socket.receiving then
    return 1, "udp_recv receives by the handle", "EALREADY"
  end
end)
function guard.after.udp_recv_start(handle) started[handle] = true end
function guard.after.udp_recv_stop(handle) started[handle] = nil end

--- Removes the first waiter from the wait queue and returns it; nil if there is
-- none.
local function take(socket)
  local number, future = socket.waitqueue:first()
  if number then socket.waitqueue:remove(number) end
  return future
end

local function stop(handle, socket)
  socket.receiving = false
  if not luv.is_closing(handle) then luv.udp_recv_stop(handle) end
end

-- The callback of libuv.  A call without an address has no datagram: nothing
-- has arrived, or the last of several datagrams has already been delivered.
local function on_datagram(handle, socket, err, data, address, flags)
  local nothing = not err and not address
  local future = not nothing and take(socket)
  local more = address and flags and flags.mmsg_chunk
  if not more and not socket.waitqueue:first() then stop(handle, socket) end
  if nothing then return end
  if err then
    if future then future:set_exception(err) end
  elseif future then
    future:set_result(data, address)
  else
    table.insert(socket.kept, { data, address })
  end
end

--- Starts receiving, unless it was started before; on failure returns nil and
-- an error.
local function start(handle, socket)
  if socket.receiving then return true end
  local ok, err = luv.udp_recv_start(handle, function(...)
    return on_datagram(handle, socket, ...)
  end)
  if ok then socket.receiving = true end
  return ok, err
end

--- Settles the Future with a kept datagram; returns false if there is none.
local function serve(socket, future)
  local datagram = table.remove(socket.kept, 1)
  if datagram then future:set_result(datagram[1], datagram[2]) end
  return datagram ~= nil
end

--- Fails the waiters of a closing handle, because libuv does not call back.
local function fail_all(socket)
  local future = take(socket)
  while future do
    future:set_exception("ECANCELED: operation canceled")
    future = take(socket)
  end
end

local function socket_of(handle)
  local socket = sockets[handle]
  if socket then return socket end
  socket = { kept = {}, receiving = false }
  local weak = setmetatable({ handle = handle }, { __mode = "v" })
  --- Serves a withdrawn ticket that the program uses again.
  socket.waitqueue = waiters.new(function(future)
    if not serve(socket, future) and weak.handle
      and not luv.is_closing(weak.handle) then
      start(weak.handle, socket)
    end
  end)
  sockets[handle] = socket
  guard.waits[handle] = function() fail_all(socket) end
  return socket
end

local udp = {}

--- Whether a callback of the user receives on the handle.
function udp.is_started(handle) return started[handle] == true end

--- Returns a Future of the data and the sender's address of the next datagram.
function udp.receive(handle)
  local socket = socket_of(handle)
  if #socket.kept > 0 then
    local future = core.Future()
    serve(socket, future)
    return future
  end
  local ok, err = start(handle, socket)
  if ok then return socket.waitqueue:add(nil, 1, "udp_recv") end
  local future = core.Future()
  future:set_exception(err)
  return future
end

loaded["lunado.udp"] = udp
return udp
