-- SPDX-License-Identifier: MIT
-- A server that accepts connections and closes them: 100 clients at a time.
-- The figure is the server's CPU time for one connection.  In lunado and
-- cqueues each connection has a coroutine.
local w = {
  title = "accept a connection and close it (server CPU, each)",
  n = 5000, quick = 1000, measures_itself = true,
  client = { program = "connect_client", connections = 100, does = "close" },
  goals = { { "lunado", 1.3, "luv" } },
}

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
      client:close()
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
        cq:wrap(function() client:close() end)
      end
    end)
    serving(select(3, server:localname()))
    assert(cq:loop())
  end
end

function w.lunado()
  local lunado = require "lunado"
  local server = lunado.tcpserver.TCPServer()
  function server:handle_stream(stream) -- luacheck: ignore self
    stream:close()
  end
  return function()
    serving(server:listen(0, "127.0.0.1"))
    lunado.IOLoop.current():start()
  end
end

return w
