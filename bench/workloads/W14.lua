-- SPDX-License-Identifier: MIT
-- A server with n connections on which nothing happens.  The figure is the
-- server's resident memory for one of them, after a collection; the first 20
-- are not counted.  The server waits to read a line from each; in lunado and
-- cqueues a coroutine does.
local measure = require "measure"

local w = {
  title = "bytes for each idle connection of 10,000",
  n = 10000, quick = 2000, measures_itself = true,
  client = { program = "connect_client", connections = 20, does = "keep" },
  metrics = { { key = "bytes", unit = "bytes" } },
  goals = { { "lunado", 2600 } },
}

local uncounted <const> = 20

local function serving(port)
  print(port)
  io.stdout:flush()
end

-- Returns a function to call at each new connection.  At the last of n it
-- returns what was found.
local function counter(n)
  local count, before = 0, nil
  local function resident()
    collectgarbage()
    collectgarbage() -- what finalizers left over
    return measure.rss()
  end
  return function()
    count = count + 1
    if count == uncounted then
      before = resident()
    elseif count == n then
      return { bytes = (resident() - before) * 1024 / (n - uncounted) }
    end
  end
end

function w.luv(n)
  local uv, found = require "luv", nil
  local arrived = counter(n)
  return function()
    local server, clients = uv.new_tcp(), {}
    assert(server:bind("127.0.0.1", 0))
    server:listen(128, function(err)
      assert(not err, err)
      local client = uv.new_tcp()
      server:accept(client)
      client:read_start(function(_, data)
        if not data then client:close() end
      end)
      clients[#clients + 1] = client
      found = arrived()
      if found then uv.stop() end
    end)
    serving(server:getsockname().port)
    uv.run()
    return found
  end
end

function w.cqueues(n)
  local cqueues, socket = require "cqueues", require "cqueues.socket"
  local arrived, found = counter(n), nil
  return function()
    local cq = cqueues.new()
    local server = socket.listen("127.0.0.1", 0)
    assert(server:listen())
    cq:wrap(function()
      for client in server:clients() do
        cq:wrap(function() client:read "*l" end)
        found = arrived()
      end
    end)
    serving(select(3, server:localname()))
    repeat assert(cq:step()) until found
    return found
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local loop, server = lunado.IOLoop.current(), lunado.tcpserver.TCPServer()
  local arrived, found = counter(n), nil
  function server:handle_stream(stream) -- luacheck: ignore self
    found = arrived()
    if found then loop:stop() end
    coroutine.yield(stream:read_line())
  end
  return function()
    serving(server:listen(0, "127.0.0.1"))
    loop:start()
    return found
  end
end

return w
