-- SPDX-License-Identifier: MIT
-- A server that echoes over TCP: 100 connections, 64 bytes each way.  The
-- figure is the server's CPU time for one message; the client is in C.  Each
-- server echoes what arrives as it arrives; "lunado, message" reads a whole
-- message first.
local servers = require "servers"

local w = {
  title = "echo over TCP, 100 connections, 64 bytes (server CPU, each)",
  n = 50000, client = { connections = 100, bytes = 64 },
  measures_itself = true,
  goals = { { "lunado", 1.0, "luv" } },
}

local chunk <const> = 65536

function w.luv()
  return servers.luv(function(client)
    client:read_start(function(_, data)
      if data then client:write(data) else client:close() end
    end)
  end)
end

function w.cqueues()
  return servers.cqueues(function(client)
    client:setmode("bn", "bn")
    for data in client:lines(-chunk) do client:write(data) end
    client:close()
  end)
end

function w.copas()
  local copas = require "copas"
  return servers.copas(function(client)
    repeat
      local data, err, part = copas.receivePartial(client, chunk)
      data = data or part
      if data ~= "" then copas.send(client, data) end
    until err == "closed"
  end)
end

-- Returns a server that reads n bytes at a time; with `partial`, what has
-- arrived.
local function lunado_server(n, partial)
  local yield = coroutine.yield
  local function echo(stream)
    while true do
      yield(stream:write((yield(stream:read_bytes(n, partial)))))
    end
  end
  return servers.lunado(function(stream)
    pcall(echo, stream)
    stream:close()
  end)
end

function w.lunado() return lunado_server(chunk, true) end

w["lunado message"] = function(bytes) return lunado_server(bytes) end

-- The same on handles of luv: a coroutine takes arrived data from a queue.
w["lunado uv"] = function()
  local lunado = require "lunado"
  local Queue = require "lunado.queues".Queue
  local uv, yield = lunado.uv, coroutine.yield
  return servers.lunado_uv(lunado.coroutine(function(client)
    local arrived = Queue()
    client:read_start(function(_, data) arrived:put_nowait(data or false) end)
    while true do
      local data = yield(arrived:get())
      if not data then break end
      yield(uv.write(client, data))
    end
    client:close()
  end))
end

return w
