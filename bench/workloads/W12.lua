-- SPDX-License-Identifier: MIT
-- A server that answers HTTP requests: 100 connections that are kept, on each
-- of which the next request follows the answer.  A request is read up to its
-- blank line, and answered by 13 bytes.  The figure is the server's CPU time
-- for one request.  Node's is its own HTTP server, which parses the headers and
-- adds some to the answer; the others do no more than is said here.
local servers = require "servers"

local w = {
  title = "HTTP hello, 100 connections kept alive (server CPU, each)",
  n = 50000, quick = 10000, client = { connections = 100, does = "http" },
  measures_itself = true,
  goals = { { "lunado", 1.05, "luv" }, { "lunado", 0.35, "node" } },
}

local answer <const> = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
  .. "Content-Length: 13\r\n\r\nHello, world!"
local blank <const> = "\r\n\r\n"

-- Returns the callback that reads the requests of one connection.
local function luv_reader(client)
  local rest = ""
  return function(_, data)
    if not data then return client:close() end
    rest = rest == "" and data or rest .. data
    local from = 1
    while true do
      local _, last = rest:find(blank, from, true)
      if not last then break end
      client:write(answer)
      from = last + 1
    end
    rest = from > #rest and "" or rest:sub(from)
  end
end

function w.luv()
  return servers.luv(function(client)
    client:read_start(luv_reader(client))
  end)
end

function w.cqueues()
  return servers.cqueues(function(client)
    client:setmode("bn", "bn")
    while true do
      local line
      repeat line = client:read "*L" until not line or line == "\r\n"
      if not line then break end
      client:write(answer)
    end
    client:close()
  end)
end

function w.lunado()
  local yield = coroutine.yield
  local function answer_all(stream)
    while true do
      yield(stream:read_until(blank))
      yield(stream:write(answer))
    end
  end
  return servers.lunado(function(stream)
    pcall(answer_all, stream)
    stream:close()
  end)
end

return w
