-- SPDX-License-Identifier: MIT
-- Groups of scenarios for memory_calls.c: fetches of lunado.httpclient.  The
-- host exports lunado's functions to lunado/curl.so, which is in the folder
-- LUNADO_BUILD.
package.cpath = os.getenv "LUNADO_BUILD" .. "/?.so"
local lunado = require "lunado"
local httpclient = require "lunado.httpclient"
local httputil = require "lunado.httputil"
local gen, tcpserver = lunado.gen, lunado.tcpserver
local yield = coroutine.yield

-- Seconds after which a fetch ends that the server has lost.
local LOST <const> = 0.1 + 0.05 * (tonumber(os.getenv "LUNADO_SCALE") or 1)

local group = {}

--- A server whose answers are right as long as it has memory.
local function serve()
  local server = tcpserver.TCPServer()
  function server:handle_stream(stream) -- luacheck: ignore self
    while true do
      local head = yield(stream:read_until "\r\n\r\n")
      local length = tonumber(head:match "Content%-Length: (%d+)")
      if length then yield(stream:read_bytes(length)) end
      local more = head:find "GET /redirect" and "Location: /end\r\n" or ""
      yield(stream:write(("HTTP/1.1 %d OK\r\nContent-Length: 5\r\n%s\r\nhello")
        :format(more == "" and 200 or 302, more)))
    end
  end
  return server, "http://127.0.0.1:" .. server:listen(0, "127.0.0.1")
end

--- What fetch(client, url) returns is awaited.  A call that raised can be made
-- again.
local function scenario(name, fetch)
  group[#group + 1] = { name, function()
    local server, url = serve()
    local client = httpclient.AsyncHTTPClient { force_instance = true,
      max_clients = 1, defaults = { request_timeout = LOST } }
    local function is_idle()
      return tostring(client):find "0 active, 0 queued" ~= nil
    end
    local function call()
      lunado.run(function() yield(fetch(client, url)) end)
    end
    local function wait_until_idle()
      lunado.run(function()
        while not is_idle() do yield(gen.sleep(0.001)) end
      end)
    end
    return call, function(raised)
      wait_until_idle()
      if raised then
        -- What the server has lost is lost; a new one answers.
        server:stop()
        server, url = serve()
        client.defaults.request_timeout = 20
        call()
        wait_until_idle()
      end
      client:close()
      server:stop()
    end
  end }
end

scenario("a fetch", function(client, url) return client:fetch(url) end)

scenario("a fetch with headers", function(client, url)
  return client:fetch(url, { method = "POST", body = "abc",
    headers = { ["X-A"] = "1" }, auth_username = "me" })
end)

scenario("a fetch in pieces", function(client, url)
  return client:fetch(url, {
    header_callback = function() end,
    streaming_callback = function() return gen.sleep(0) end })
end)

scenario("a fetch of a producer", function(client, url)
  return client:fetch(url, { method = "POST",
    headers = { ["Content-Length"] = "4" },
    body_producer = gen.coroutine(function(write)
      yield(write "ab")
      yield(write "cd")
    end) })
end)

scenario("a redirect", function(client, url)
  return client:fetch(url .. "/redirect")
end)

scenario("a queue", function(client, url)
  return { client:fetch(url), client:fetch(url), client:fetch(url) }
end)

scenario("a fetch that is cancelled", function(client, url)
  local fetch = client:fetch(url)
  local waits = gen.coroutine(function() yield(fetch) end)()
  lunado.tasks.cancel(waits)
  return client:fetch(url)
end)

group[#group + 1] = { "a client", function()
  local client
  return function()
    client = httpclient.AsyncHTTPClient { force_instance = true }
  end, function(raised)
    if raised then
      client = httpclient.AsyncHTTPClient { force_instance = true }
    end
    client:close()
  end
end }

-- A name that has a value is iterated over, once.
group[#group + 1] = { "headers", function()
  local headers = httputil.HTTPHeaders()
  local function check()
    local seen = {}
    for name, value in pairs(headers) do
      assert(value == headers[name] and not seen[name], name)
      seen[name] = true
    end
    for _, name in ipairs { "A", "B", "C", "D", "E" } do
      assert(headers[name] == nil or seen[name], name)
    end
    assert(#headers:copy() == #headers)
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert(count == #headers)
    return count
  end
  local function call()
    for _, name in ipairs { "A", "B", "C", "D", "E" } do
      headers:add(name, "1")
      headers:add(name, "2")
      headers[name] = "3"
    end
  end
  return call, function(raised)
    check()
    if raised then call() end
    assert(check() == 5)
  end
end }

return { http = group }
