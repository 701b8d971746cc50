-- SPDX-License-Identifier: MIT
-- A server that echoes over TCP: 100 connections, 64 bytes each way.  The
-- figure is the server's CPU time for one message; the client is in C.  Each
-- server prints its port, and serves until it is killed.  It echoes what
-- arrives as it arrives; "lunado, message" reads a whole message first.
local w = {
  title = "echo over TCP, 100 connections, 64 bytes (server CPU, each)",
  n = 50000, client = { connections = 100, bytes = 64 },
  measures_itself = true,
  goals = { { "lunado", 1.0, "luv" } },
}

local chunk <const> = 65536

local function serving(port)
  print(port)
  io.stdout:flush()
end

function w.luv()
  local uv = require "luv"
  return function()
    local server = uv.new_tcp()
    assert(server:bind("127.0.0.1", 0))
    server:listen(128, function(err)
      assert(not err, err)
      local client = uv.new_tcp()
      server:accept(client)
      client:read_start(function(_, data)
        if data then client:write(data) else client:close() end
      end)
    end)
    serving(server:getsockname().port)
    uv.run()
  end
end

function w.cqueues()
  local cqueues, socket = require "cqueues", require "cqueues.socket"
  return function()
    local cq = cqueues.new()
    local server = socket.listen("127.0.0.1", 0)
    assert(server:listen())
    cq:wrap(function()
      for client in server:clients() do
        client:setmode("bn", "bn")
        cq:wrap(function()
          for data in client:lines(-chunk) do client:write(data) end
          client:close()
        end)
      end
    end)
    serving(select(3, server:localname()))
    assert(cq:loop())
  end
end

function w.copas()
  local copas, socket = require "copas", require "socket"
  return function()
    local server = assert(socket.bind("127.0.0.1", 0))
    copas.addserver(server, function(client)
      repeat
        local data, err, part = copas.receivePartial(client, chunk)
        data = data or part
        if data ~= "" then copas.send(client, data) end
      until err == "closed"
    end)
    serving(select(2, server:getsockname()))
    copas.loop()
  end
end

-- Returns a server that has a coroutine for each connection, which reads n
-- bytes at a time; with `partial`, what has arrived.
local function lunado_server(n, partial)
  local lunado = require "lunado"
  local yield = coroutine.yield
  local server = lunado.tcpserver.TCPServer()
  function server:handle_stream(stream) -- luacheck: ignore self
    local function echo()
      while true do
        yield(stream:write((yield(stream:read_bytes(n, partial)))))
      end
    end
    pcall(echo)
    stream:close()
  end
  return function()
    serving(server:listen(0, "127.0.0.1"))
    lunado.IOLoop.current():start()
  end
end

function w.lunado() return lunado_server(chunk, true) end

w["lunado message"] = function(bytes) return lunado_server(bytes) end

-- The same on handles of luv: a coroutine takes arrived data from a queue.
w["lunado uv"] = function()
  local lunado = require "lunado"
  local Queue = require "lunado.queues".Queue
  local uv, yield = lunado.uv, coroutine.yield
  local serve = lunado.coroutine(function(client)
    local arrived = Queue()
    client:read_start(function(_, data) arrived:put_nowait(data or false) end)
    while true do
      local data = yield(arrived:get())
      if not data then break end
      yield(uv.write(client, data))
    end
    client:close()
  end)
  return function()
    local server = uv.new_tcp()
    assert(server:bind("127.0.0.1", 0))
    server:listen(128, function(err)
      assert(not err, err)
      local client = uv.new_tcp()
      server:accept(client)
      serve(client)
    end)
    serving(server:getsockname().port)
    lunado.IOLoop.current():start()
  end
end

return w
