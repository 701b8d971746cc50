-- SPDX-License-Identifier: MIT
-- TCP servers, one for each Lua peer.  Each function returns the function that
-- serves: it listens on a free port of this machine, prints the port, and calls
-- serve(client) for each connection until the process is killed, or until
-- servers.stop is called.  A process has one server.
local servers = {}

local host <const> = "127.0.0.1"
-- With less, the client has to connect again after a second.
local backlog <const> = 4096

local stop_loop, found

-- Ends the server; the function that serves returns `result`.
function servers.stop(result)
  found = result
  stop_loop()
end

-- Tells the client, which has started this process, where to connect.
local function print_port(port)
  print(port)
  io.stdout:flush()
end

-- Listens by luv; serve(client) is called in a callback.
local function listen(uv, serve)
  local server = uv.new_tcp()
  assert(server:bind(host, 0))
  server:listen(backlog, function(err)
    assert(not err, err)
    local client = uv.new_tcp()
    server:accept(client)
    serve(client)
  end)
  print_port(server:getsockname().port)
end

function servers.luv(serve)
  local uv = require "luv"
  stop_loop = uv.stop
  return function()
    listen(uv, serve)
    uv.run()
    return found
  end
end

-- serve(client) is called in a coroutine of its own.
function servers.cqueues(serve)
  local cqueues, socket = require "cqueues", require "cqueues.socket"
  local stopped = false
  function stop_loop() stopped = true end
  return function()
    local cq = cqueues.new()
    local server = socket.listen(host, 0)
    assert(server:listen())
    cq:wrap(function()
      for client in server:clients() do cq:wrap(serve, client) end
    end)
    print_port(select(3, server:localname()))
    repeat assert(cq:step()) until stopped
    return found
  end
end

-- serve(client) is called in a coroutine of its own.
function servers.copas(serve)
  local copas, socket = require "copas", require "socket"
  return function()
    local server = assert(socket.bind(host, 0))
    copas.addserver(server, serve)
    print_port(select(2, server:getsockname()))
    copas.loop()
  end
end

-- serve(stream) is called in a coroutine of its own.
function servers.lunado(serve)
  local lunado = require "lunado"
  local loop = lunado.IOLoop.current()
  local server = lunado.tcpserver.TCPServer {
    backlog = backlog,
    handle_stream = function(_, stream) return serve(stream) end,
  }
  function stop_loop() loop:stop() end
  return function()
    print_port(server:listen(0, host))
    loop:start()
    return found
  end
end

-- The same on handles of luv; serve(client) is called in a callback.
function servers.lunado_uv(serve)
  local lunado = require "lunado"
  local loop = lunado.IOLoop.current()
  function stop_loop() loop:stop() end
  return function()
    listen(lunado.uv, serve)
    loop:start()
    return found
  end
end

return servers
