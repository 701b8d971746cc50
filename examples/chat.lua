-- SPDX-License-Identifier: MIT
--
-- A chat: each line that a guest sends goes to all other guests.
--
--   lua chat.lua [-a ADDRESS] [PORT]
--
--   -a ADDRESS   where to listen (default 127.0.0.1)
--
-- Listens on the port (default 4000; 0: any that is free) and writes it as its
-- first line. Talk to it with `nc 127.0.0.1 4000` or telnet: the first line is
-- your name, each later line is sent to the other guests.  A guest that does
-- not read for too long is disconnected.  The chat runs until it is
-- interrupted.

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/?.lua;" .. package.path

local lunado = require "lunado"
local terminal = require "support.terminal"
local TCPServer = require("lunado.tcpserver").TCPServer

local MAX_LINE = 1024
local MAX_UNHEARD = 1 << 20 -- bytes that may wait for a guest who does not read

local await = coroutine.yield

local function usage()
  io.stderr:write("usage: lua chat.lua [-a ADDRESS] [PORT]\n")
  os.exit(2)
end

local function parse_arguments()
  local address, port, i = "127.0.0.1", nil, 1
  while arg[i] do
    if arg[i] == "-a" and arg[i + 1] then
      i = i + 1
      address = arg[i]
    else
      if port then usage() end
      port = math.tointeger(tonumber(arg[i]) or -1)
      if not port or port < 0 or port > 65535 then usage() end
    end
    i = i + 1
  end
  return port or 4000, address
end

local Chat = TCPServer:subclass("Chat")

-- Sends the text to all guests but one.  It does not wait for slow readers: too
-- much unread data ends the reader's stream, and with it the reader's
-- coroutine.
function Chat:say(text, but)
  for stream in pairs(self.guests) do
    if stream ~= but then
      local future = stream:write(text .. "\r\n")
      if future:done() and future:exception() then stream:close() end
    end
  end
end

function Chat:talk(stream)
  await(stream:write("Your name?\r\n"))
  local name = terminal.plain(await(stream:read_line(MAX_LINE)))
  self.guests[stream] = name
  self:say(("* %s is here"):format(name), stream)
  while true do
    local line = await(stream:read_line(MAX_LINE))
    self:say(("%s: %s"):format(name, terminal.plain(line)), stream)
  end
end

-- Serves one guest.  The reads of talk raise when the guest disconnects or
-- sends too long a line.
function Chat:handle_stream(stream)
  local guest <close> = stream
  local _, err = pcall(self.talk, self, guest)
  local name = self.guests[guest]
  self.guests[guest] = nil
  if name then
    self:say(("* %s has gone"):format(name))
    if err.real_error then
      terminal.line(("%s: %s"):format(name, err.real_error))
    end
  end
end

local port, address = parse_arguments()
local chat = Chat { guests = {}, max_write_buffer_size = MAX_UNHEARD }
terminal.end_on_interrupt()
terminal.line(tostring(chat:listen(port, address)))
lunado.IOLoop.current():start()
