-- SPDX-License-Identifier: MIT
-- lua-http on lunado's loop: its server and its client, with HTTP/1.1, HTTP/2,
-- WebSockets and TLS.  Debian installs lua-http for Lua 5.1 to 5.3; its files
-- run on 5.4.
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"

for _, version in ipairs { "5.3", "5.1" } do
  local folder = "/usr/share/lua/" .. version
  package.path = ("%s;%s/?.lua;%s/?/init.lua"):format(package.path, folder,
    folder)
end

if not pcall(require, "http.server") then
  describe("lua-http", function()
    pending("lua-http, or a library that it needs, is not installed")
  end)
  return
end

local conditions = require "cqueues.condition"
local headers = require "http.headers"
local pkey = require "openssl.pkey"
local request = require "http.request"
local server = require "http.server"
local tls = require "http.tls"
local websocket = require "http.websocket"
local x509 = require "openssl.x509"
local core = require "lunado.core"
local gen = require "lunado.gen"
local lunado = require "lunado"
local platform = require "lunado.platform.cqueues"
local tasks = require "lunado.tasks"

local yield = coroutine.yield

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- Returns two contexts with a new self-signed certificate for localhost: the
-- server's, and that of a client that trusts it.  (luaossl loses the memory of
-- a certificate that is added to a store as an object.)
local function new_contexts()
  local certificate, key, errors = os.tmpname(), os.tmpname(), os.tmpname()
  local made = os.execute(("openssl req -x509 -newkey rsa:2048 -nodes "
    .. "-subj /CN=localhost -addext subjectAltName=DNS:localhost -days 2 "
    .. "-keyout %s -out %s 2>%s"):format(key, certificate, errors))
  assert(made, read(errors))
  local ours, theirs = tls.new_server_context(), tls.new_client_context()
  assert(ours:setCertificate(x509.new(read(certificate))))
  assert(ours:setPrivateKey(pkey.new(read(key))))
  theirs:getStore():add(certificate)
  for _, path in ipairs { certificate, key, errors } do os.remove(path) end
  return ours, theirs
end

-- Answers any path but those of `routes` with it and the version of HTTP.
local routes = {}

local function answer(stream, status, body)
  local reply = headers.new()
  reply:append(":status", status)
  assert(stream:write_headers(reply, false))
  assert(stream:write_chunk(body, true))
end

local function on_stream(_, stream)
  local request_headers = assert(stream:get_headers())
  local path = request_headers:get ":path"
  if routes[path] then return routes[path](stream, request_headers) end
  answer(stream, "200", ("%s by HTTP/%s"):format(path,
    stream.connection.version))
end

function routes.await(stream)
  platform.await(gen.sleep(0.05))
  answer(stream, "200", "awaited")
end
routes["/await"] = routes.await

routes["/echo"] = function(stream)
  answer(stream, "200", assert(stream:get_body_as_string()))
end

routes["/ws"] = function(stream, request_headers)
  local socket = assert(websocket.new_from_stream(stream, request_headers))
  assert(socket:accept())
  for message in socket:each() do assert(socket:send("echo " .. message)) end
end

local loop
before_each(function() loop = frame.begin() end)
after_each(function() frame.finish() end)

-- Runs fn(port) in a coroutine of lunado while a server runs.
local function with_server(options, fn)
  loops.run(loop, function()
    options.host, options.port = "127.0.0.1", 0
    options.tls = options.ctx ~= nil
    options.intra_stream_timeout = options.intra_stream_timeout
      or loops.PATIENCE
    options.onstream = on_stream
    -- A client that has its answer may be gone before the server has flushed.
    function options.onerror(_, _, operation, err)
      if operation == "close" or tostring(err):find "Broken pipe" then
        return
      end
      error(tostring(err), 0)
    end
    local listener = assert(server.listen(options))
    local port = yield(platform.run(function()
      assert(listener:listen())
      return (select(3, listener:localname()))
    end))
    local serving = platform.run(function() return listener:loop() end)
    local ok, err = pcall(fn, port)
    yield(platform.run(function() listener:close() end))
    yield(serving)
    if not ok then error(err, 0) end
  end)
end

-- Fetches in a coroutine of cqueues; returns the status and the body.
local function fetch(uri, fields)
  local wanted = request.new_from_uri(uri)
  for name, value in pairs(fields or {}) do wanted[name] = value end
  if wanted.body then wanted.headers:upsert(":method", "POST") end
  local reply, stream = assert(wanted:go(loops.PATIENCE))
  local body = assert(stream:get_body_as_string(loops.PATIENCE))
  stream:shutdown()
  return reply:get ":status", body
end

local function expect_pages(base, version, fields)
  local futures = {}
  for i = 1, 20 do
    futures[i] = platform.run(function()
      local status, body = fetch(base .. "/page" .. i, fields)
      return status .. " " .. body
    end)
  end
  for i, text in ipairs(yield(futures)) do
    assert.equal(("200 /page%d by HTTP/%s"):format(i, version), text)
  end
end

describe("lua-http", function()
  for name, version in pairs { ["1.1"] = 1.1, ["2"] = 2 } do
    it("serves 20 requests at once by HTTP/" .. name, function()
      with_server({}, function(port)
        expect_pages("http://127.0.0.1:" .. port, name, { version = version })
      end)
    end)

    it("transfers bodies both ways by HTTP/" .. name, function()
      with_server({}, function(port)
        local body = ("0123456789"):rep(100000)
        local status, echo = yield(platform.run(fetch,
          ("http://127.0.0.1:%d/echo"):format(port),
          { version = version, body = body }))
        assert.equal("200", status)
        assert.is_true(echo == body)
      end)
    end)
  end

  it("waits for lunado in handlers", function()
    with_server({}, function(port)
      local futures = {}
      for i = 1, 20 do
        futures[i] = platform.run(fetch,
          ("http://127.0.0.1:%d/await"):format(port))
      end
      for _, future in ipairs(futures) do
        assert.same({ "200", "awaited" }, { yield(future) })
      end
    end)
  end)

  it("shares the loop with lunado's coroutines", function()
    with_server({}, function(port)
      local ticks, over = 0, false
      local ticking = gen.coroutine(function()
        while not over do
          yield(gen.sleep(0.002))
          ticks = ticks + 1
        end
      end)()
      yield(platform.run(fetch, ("http://127.0.0.1:%d/await"):format(port)))
      over = true
      yield(ticking)
      assert.is_true(ticks > 1)
    end)
  end)

  it("echoes by a WebSocket", function()
    with_server({}, function(port)
      assert.same({ "echo 1", "echo 2", "echo 3" }, yield(platform.run(
        function()
          local socket = websocket.new_from_uri(
            ("ws://127.0.0.1:%d/ws"):format(port))
          assert(socket:connect(loops.PATIENCE))
          local echoes = {}
          for i = 1, 3 do
            assert(socket:send(tostring(i)))
            echoes[i] = assert(socket:receive(loops.PATIENCE))
          end
          assert(socket:close(1000, "done", loops.PATIENCE))
          return echoes
        end)))
    end)
  end)

  it("serves and fetches by TLS", function()
    local known = loops.run(loop, function()
      return (pcall(yield, core.resolve("localhost", "80", "inet")))
    end)
    if not known then return pending "localhost has no address here" end
    local ctx, trusting = new_contexts()
    with_server({ ctx = ctx }, function(port)
      for version, name in pairs { [1.1] = "1.1", [2] = "2" } do
        expect_pages("https://localhost:" .. port, name,
          { ctx = trusting, version = version })
      end
      local ok, err = pcall(yield, platform.run(fetch,
        "https://localhost:" .. port))
      assert.is_false(ok)
      assert.is_truthy(tostring(err):lower():find "certificate", tostring(err))
    end)
  end)

  it("refuses a client that nobody runs", function()
    loops.run(loop, function()
      local ok, err = pcall(fetch, "http://127.0.0.1:1")
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("lunado.platform.cqueues.run(fn)", 1,
        true), tostring(err))
    end)
  end)

  it("reports a refused connection", function()
    loops.run(loop, function()
      local ok, err = pcall(yield, platform.run(fetch, "http://127.0.0.1:1"))
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find "refused", tostring(err))
    end)
  end)

  it("gives up a fetch that is cancelled", function()
    local begun, condition = lunado.Future(), conditions.new()
    routes["/never"] = function()
      begun:set_result()
      condition:wait()
    end
    -- Nobody closes the connection of this fetch.
    with_server({ intra_stream_timeout = 0.1 }, function(port)
      local fetching = platform.run(fetch,
        ("http://127.0.0.1:%d/never"):format(port))
      yield(begun)
      tasks.cancel(fetching)
      local ok, err = pcall(yield, fetching)
      assert.is_false(ok)
      assert.is_true(lunado.util.isinstance(err, tasks.CancelledError))
      condition:signal()
    end)
    routes["/never"] = nil
  end)
end)
