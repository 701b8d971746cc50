-- SPDX-License-Identifier: MIT
-- lunado.httpclient: the queue, times, cancellation and ends.
local child = require "spec.support.child"
local concurrent = require "lunado.concurrent"
local gc = require "spec.support.gc"
local gen = require "lunado.gen"
local lunado = require "lunado"
local streams = require "spec.support.streams"
local tasks = require "lunado.tasks"
local web = require "spec.support.web"

local await, spec = coroutine.yield, web.specs(it, pending)
local http_error = web.http_error
local httpclient = not web.missing and require "lunado.httpclient" or {}
local SCALE = tonumber(os.getenv("LUNADO_SCALE")) or 1

local function own(options)
  options.force_instance = true
  return httpclient.AsyncHTTPClient(options)
end

--- A server whose answers wait for go(); it counts what runs at once.  An
--- answer is the request's path.
local function patient()
  local self = { running = 0, most = 0, paths = {}, closed = 0 }
  local gate = concurrent.Future()
  function self.go() gate:set_result() end
  local port = web.raw(function(stream)
    local _ <close> = setmetatable({}, { __close = function()
      self.closed = self.closed + 1
    end })
    while true do
      local request = web.read_request(stream)
      table.insert(self.paths, request.path)
      self.running = self.running + 1
      self.most = math.max(self.most, self.running)
      if not gate:done() then
        local wait = concurrent.Future()
        gate:add_done_callback(function()
          if not wait:done() then wait:set_result() end
        end)
        stream:set_close_callback(function()
          if not wait:done() then wait:set_result() end
        end)
        await(wait)
        stream:set_close_callback(nil)
      end
      self.running = self.running - 1
      await(web.answer(stream, 200, request.path))
    end
  end)
  self.url = "http://127.0.0.1:" .. port
  return self
end

describe("max_clients", function()
  spec("fetches run at once, the others in order", function()
    local client <close> = own { max_clients = 3 }
    local server = patient()
    local futures = {}
    for i = 1, 10 do
      futures[i] = client:fetch(server.url .. "/" .. i)
    end
    assert.is_truthy(tostring(client):find "3 active, 7 queued")
    streams.wait_until(function() return server.running == 3 end)
    await(gen.sleep(0.01))
    assert.equal(3, server.most)
    server.go()
    for i, future in ipairs(futures) do
      assert.equal("/" .. i, await(future).body)
    end
    assert.equal(3, server.most)
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
  end)

  spec("counts the waiting, which has an end", function()
    local client <close> = own { max_clients = 1 }
    local server = patient()
    local first = client:fetch(server.url .. "/1")
    local second = client:fetch(server.url .. "/2", { request_timeout = 0.02 })
    local third = client:fetch(server.url .. "/3", { connect_timeout = 0.02 })
    local fourth = client:fetch(server.url .. "/4")
    assert.equal("Timeout in request queue", http_error(second))
    assert.equal("Timeout in request queue", http_error(third))
    server.go()
    assert.equal("/1", await(first).body)
    local response = await(fourth)
    assert.equal("/4", response.body)
    assert.is_true(response.time_info.queue >= 0.02)
    assert.same({ "/1", "/4" }, server.paths)
  end)

  spec("is free again after an error", function()
    local client <close> = own { max_clients = 1 }
    local port = streams.closed_port()
    local url = web.serve(function() return 200, "ok" end)
    local futures = {}
    for i = 1, 20 do
      futures[i] = client:fetch(i % 2 == 0 and url
        or "http://127.0.0.1:" .. port)
    end
    for i, future in ipairs(futures) do
      if i % 2 == 0 then await(future) else http_error(future) end
    end
  end)
end)

describe("request_timeout", function()
  spec("ends the transfer at once", function(client)
    local server = patient()
    local message = http_error(client:fetch(server.url,
      { request_timeout = 0.03 }))
    assert.is_truthy(message:find "timed out", message)
    streams.wait_until(function() return server.closed == 1 end)
    server.go()
  end)

  spec("of 0 or infinity means never", function(client)
    local url = web.serve(function() return 200, "ok" end)
    for _, time in ipairs { 0, math.huge, 1e9 } do
      assert.equal("ok", await(client:fetch(url,
        { request_timeout = time, connect_timeout = time })).body)
    end
  end)

  spec("includes the body", function(client)
    local hold = concurrent.Future()
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
      await(hold)
    end)
    local limit, message = 0.003
    repeat -- until the machine is fast enough for the limit
      limit = limit * 10
      message = http_error(client:fetch("http://127.0.0.1:" .. port,
        { request_timeout = limit }))
    until limit > 1 or message:find "3 out of 9 bytes"
    assert.is_truthy(message:find "3 out of 9 bytes", message)
    hold:set_result()
    await()
  end)
end)

describe("a cancelled fetch", function()
  spec("ends its transfer", function(client)
    local server = patient()
    local started = gen.coroutine(function()
      return await(client:fetch(server.url))
    end)
    local future = started()
    streams.wait_until(function() return server.running == 1 end)
    tasks.cancel(future)
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
    assert.is_truthy(tostring(web.error_of(future)):find "CancelledError")
    streams.wait_until(function() return server.closed == 1 end)
    server.go()
  end)

  spec("leaves the queue", function()
    local client <close> = own { max_clients = 1 }
    local server = patient()
    local first = client:fetch(server.url .. "/1")
    local second = gen.coroutine(function()
      return await(client:fetch(server.url .. "/2"))
    end)()
    local third = client:fetch(server.url .. "/3")
    tasks.cancel(second)
    assert.is_truthy(tostring(client):find "1 active, 1 queued")
    web.error_of(second)
    server.go()
    await(first)
    assert.equal("/3", await(third).body)
    assert.same({ "/1", "/3" }, server.paths)
  end)

  spec("may be one of several waiters, which go on", function(client)
    local server = patient()
    local fetch = client:fetch(server.url .. "/x")
    local one = gen.coroutine(function() return await(fetch) end)()
    local other = gen.coroutine(function() return await(fetch).body end)()
    tasks.cancel(one)
    web.error_of(one)
    server.go()
    assert.equal("/x", await(other))
  end)

  spec("is what tasks.timeout leaves behind", function(client)
    local server = patient()
    local err = web.error_of(gen.coroutine(function()
      local scope <close> = tasks.timeout { seconds = 60 }
      local fetch = client:fetch(server.url)
      streams.wait_until(function() return server.running == 1 end)
      scope:reschedule { seconds = 0.001 }
      await(fetch)
    end)())
    assert.is_truthy(tostring(err):find "TimeoutError")
    streams.wait_until(function() return server.closed == 1 end)
    server.go()
  end)

  spec("may have an outcome by other code", function(client)
    local url = web.serve(function() return 200, "ok" end)
    local future = client:fetch(url)
    future:set_result "mine"
    assert.equal("mine", await(future))
    streams.wait_until(function()
      return tostring(client):find "0 active" ~= nil
    end)
  end)
end)

describe("a forgotten fetch", function()
  spec("goes on to its end", function()
    local server, got = patient(), 0
    do
      local client = own { max_clients = 1 }
      for i = 1, 3 do
        client:fetch(server.url .. "/" .. i, { streaming_callback = function()
          got = got + 1
        end })
      end
    end
    gc.collect()
    server.go()
    streams.wait_until(function() return got == 3 end)
    gc.collect()
  end)

  spec("reports its error", function(client)
    local port = streams.closed_port()
    client:fetch("http://127.0.0.1:" .. port)
    streams.wait_until(function()
      gc.collect()
      return web.log():count "never retrieved" == 1
    end)
    web.log():clear()
  end)

  spec("is collected afterwards, and so is its client", function()
    local url = web.serve(function() return 200, "ok" end)
    local weak = setmetatable({}, { __mode = "v" })
    do
      weak.client = own {}
      weak.future = weak.client:fetch(url)
      await(weak.future)
    end
    for _ = 1, 3 do await(gen.sleep(0.001)) end
    gc.collect()
    assert.same({}, weak)
  end)
end)

describe("client:close()", function()
  spec("fails what is pending, queued or not", function()
    local client = own { max_clients = 2 }
    local server = patient()
    local futures = {}
    for i = 1, 5 do futures[i] = client:fetch(server.url .. "/" .. i) end
    streams.wait_until(function() return server.running == 2 end)
    client:close()
    for _, future in ipairs(futures) do
      assert.is_truthy(http_error(future):find "closed")
    end
    streams.wait_until(function() return server.closed == 2 end)
    client:close()
    local ok, err = pcall(client.fetch, client, server.url)
    assert.is_false(ok)
    assert.is_truthy(err:find "closed AsyncHTTPClient")
    server.go()
  end)

  spec("comes with the loop, and says so", function()
    local port = streams.closed_port()
    local loop = lunado.IOLoop(false)
    local client
    loop:run_sync(function()
      client = own { max_clients = 1 }
      for _ = 1, 2 do client:fetch("http://127.0.0.1:" .. port) end
    end)
    loop:close()
    assert.is_truthy(tostring(client):find "%(closed%)")
    local ok, err = pcall(function()
      local _ = client:fetch("http://127.0.0.1:" .. port)
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find
      "_spec.lua:%d+: fetch.* closed AsyncHTTPClient: its IOLoop is closed$")
  end)

  spec("may come in any callback", function()
    local url = web.serve(function() return 200, "body" end)
    for _, name in ipairs { "header_callback", "streaming_callback" } do
      local client = own {}
      local future = client:fetch(url, { [name] = function()
        client:close()
        gc.collect()
      end })
      http_error(future)
    end
    local client = own {}
    http_error(client:fetch(url, { method = "POST",
      body_producer = function() client:close() end }))
    client = own {}
    local future = client:fetch(url)
    future:add_done_callback(function() client:close() end)
    await(future)
  end)

  spec("in a callback does not hide the error that follows", function()
    local url = web.serve(function() return 200, "body" end)
    for _, name in ipairs { "header_callback", "streaming_callback",
      "body_producer" } do
      local client = own {}
      local message = http_error(client:fetch(url, { [name] = function()
        client:close()
        error("after the end", 0)
      end, method = name == "body_producer" and "POST" or nil }))
      assert.is_truthy(message:find "was closed", message)
      local text = web.log():text()
      assert.is_truthy(text:find "^error: Exception in callback", text)
      assert.is_truthy(text:find("after the end", 1, true), text)
      web.log():clear()
    end
  end)

  spec("in a metamethod of the arguments is seen", function()
    local client = own {}
    local ok, err = pcall(client.fetch, client, "http://127.0.0.1:1/", {
      headers = setmetatable({}, { __pairs = function()
        client:close()
        return next, {}
      end }) })
    assert.is_false(ok)
    assert.is_truthy(err:find "closed AsyncHTTPClient", err)
  end)
end)

describe("the end", function()
  local SERVER <const> = [[
    local lunado = require "lunado"
    local httpclient = require "lunado.httpclient"
    local await = coroutine.yield
    local server = lunado.tcpserver.TCPServer()
    function server:handle_stream(stream)
      await(stream:read_until "\r\n\r\n")
      await(stream:write "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
      await(lunado.sleep(100))
    end
    local port = server:listen(0, "127.0.0.1")
    local client = httpclient.AsyncHTTPClient { max_clients = 3 }
    local got = lunado.Future()
    local function fetch()
      return client:fetch("http://127.0.0.1:" .. port, {
        streaming_callback = function()
          if not got:done() then got:set_result() end
        end })
    end
    for _ = 1, 5 do fetch() end
  ]]

  for name, code in pairs {
    ["of the loop"] = [[
      lunado.run(function() await(got) end)
      lunado.IOLoop.current():close()
      print(pcall(client.fetch, client, "http://127.0.0.1:1"))]],
    ["of the loop in a callback"] = [[
      lunado.IOLoop.current():add_callback(function() end)
      got:add_done_callback(function() lunado.IOLoop.current():close() end)
      lunado.IOLoop.current():start()
      print(pcall(client.fetch, client, "http://127.0.0.1:1"))]],
    ["of the loop in a body_producer"] = [[
      local own = httpclient.AsyncHTTPClient { force_instance = true }
      own:fetch("http://127.0.0.1:" .. port, {
        method = "POST",
        body_producer = lunado.coroutine(function(write)
          lunado.IOLoop.current():close()
          local ok, err = pcall(write, "x")
          print(ok, lunado.util.isinstance(err,
            lunado.iostream.StreamClosedError) and "closed" or err)
          write "y"
        end) })]],
    ["of the state"] = [[
      lunado.run(function() await(got) end)
      print "false closed"]],
    ["of the state, with luv"] = [[
      local luv = require "luv"
      luv.new_timer():start(10, 10, function() end)
      lunado.run(function() await(got) end)
      print "false closed"]],
    ["of the state, at once"] = [[print "false closed"]],
    ["of the state, in a fetch"] = [[
      got:add_done_callback(function()
        print "false closed"
        os.exit(0, true)
      end)
      lunado.run(function() await(got) await(lunado.sleep(100)) end)]],
  } do
    if not web.missing then
      it(name .. " is clean while transfers run", function()
        local result = child(SERVER .. code)
        assert.equal("", result.err)
        assert.equal(0, result.code)
        assert.is_truthy(result.out:find "^false.*closed", result.out)
      end)
    end
  end

  spec("of a run does not wait for idle connections", function()
    local result = child [[
      local lunado = require "lunado"
      local await = coroutine.yield
      local server = lunado.tcpserver.TCPServer()
      function server:handle_stream(stream)
        await(stream:read_until "\r\n\r\n")
        await(stream:write "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        kept = stream
      end
      local port = server:listen(0, "127.0.0.1")
      lunado.run(function()
        local client = lunado.httpclient.AsyncHTTPClient()
        await(client:fetch("http://127.0.0.1:" .. port))
        server:stop()
        future = lunado.Future()
        print(pcall(await, future))
      end)]]
    assert.is_truthy((result.out .. result.err):find "nothing", result.out)
  end)
end)

describe("many fetches", function()
  spec("at once and one after another leave nothing behind", function()
    local url = web.serve(function() return 200, "ok" end)
    local client <close> = own { max_clients = 100 }
    local function round(n)
      local futures = {}
      for i = 1, n do
        futures[i] = client:fetch(url,
          { request_timeout = 0, connect_timeout = 0 })
      end
      for _, future in ipairs(futures) do await(future) end
    end
    local n = math.max(200, 10000 // (SCALE * 5))
    round(n)
    for _ = 1, 5 do await(gen.sleep(0.001)) end
    local before = gc.kilobytes()
    for _ = 1, 3 do round(n) end
    for _ = 1, 5 do await(gen.sleep(0.001)) end
    assert.is_true(gc.kilobytes() - before < 200)
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
  end, 300)

  spec("show in debug.dump where they are awaited", function(client)
    local server = patient()
    local future = gen.coroutine(function()
      return await(client:fetch(server.url))
    end)()
    local tree = {}
    for _, task in ipairs(lunado.debug.tasks()) do
      tree[#tree + 1] = task.where
    end
    server.go()
    await(future)
    assert.is_truthy(table.concat(tree, " "):find "httpclient_limit_spec")
  end)
end)
