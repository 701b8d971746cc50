-- SPDX-License-Identifier: MIT
-- A server with n connections on which nothing happens.  The figure is the
-- server's resident memory for one of them, after a collection; the first 20
-- are not counted.  The server waits to read a line from each; in lunado and
-- cqueues a coroutine does.
local measure = require "measure"
local servers = require "servers"

local w = {
  title = "bytes for each idle connection of 10,000",
  n = 10000, quick = 2000, measures_itself = true,
  client = { program = "connect_client", connections = 20, does = "keep" },
  metrics = { { key = "bytes", unit = "bytes" } },
  goals = { { "lunado", 2600 } },
}

local uncounted <const> = 20

-- Returns a function to call at each new connection.  At the last of n it ends
-- the server with what was found.
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
      servers.stop {
        bytes = (resident() - before) * 1024 / (n - uncounted) }
    end
  end
end

function w.luv(n)
  local arrived, clients = counter(n), {}
  return servers.luv(function(client)
    client:read_start(function(_, data)
      if not data then client:close() end
    end)
    clients[#clients + 1] = client
    arrived()
  end)
end

function w.cqueues(n)
  local arrived = counter(n)
  return servers.cqueues(function(client)
    arrived()
    client:read "*l"
  end)
end

function w.lunado(n)
  local arrived = counter(n)
  return servers.lunado(function(stream)
    arrived()
    coroutine.yield(stream:read_line())
  end)
end

return w
