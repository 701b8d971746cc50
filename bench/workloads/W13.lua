-- SPDX-License-Identifier: MIT
-- A server that accepts connections and closes them: 100 clients at a time.
-- The figure is the server's CPU time for one connection.  In lunado and
-- cqueues each connection has a coroutine.
local servers = require "servers"

local w = {
  title = "accept a connection and close it (server CPU, each)",
  n = 5000, quick = 1000, measures_itself = true,
  client = { program = "connect_client", connections = 100, does = "close" },
  goals = { { "lunado", 1.3, "luv" } },
}

-- Clients, sockets and streams have the same method.
local function close(client) client:close() end

function w.luv() return servers.luv(close) end
function w.cqueues() return servers.cqueues(close) end
function w.lunado() return servers.lunado(close) end

return w
