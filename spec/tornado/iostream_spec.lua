-- SPDX-License-Identifier: MIT
-- Tornado's iostream_test, by the names of its functions.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local tcpserver = require "lunado.tcpserver"
local util = require "lunado.util"
local case = require "spec.tornado.case"
local certificates = require "spec.support.certificates"
local pipes = require "spec.support.pipes"
local streams = require "spec.support.streams"

local IOStream, Future = iostream.IOStream, concurrent.Future
local await = coroutine.yield

local t
before_each(function() t = case() end)
after_each(function() t:close() end)

-- A spec whose body runs as a coroutine on the loop.
local function test(name, fn)
  it(name, function() t:run(fn) end)
end

-- Lets what is on its way arrive.
local function settle()
  for _ = 1, 5 do await(gen.sleep(0.001)) end
end

-- A server that gives its connections to `accepted`, in order.
local function listen(options)
  local server = tcpserver.TCPServer(options)
  local accepted, kept = {}, Future()
  t.log:allow "Coroutine was collected while waiting" -- handle_stream does
  function server.handle_stream(_, stream)
    table.insert(accepted, 1, stream)
    if not kept:done() then kept:set_result() end
    await(Future()) -- the stream is the spec's
  end
  return server, server:listen(0, "127.0.0.1"), function()
    await(kept)
    return table.remove(accepted)
  end
end

local closing = {}
after_each(function()
  for _, object in ipairs(closing) do object:close() end
  closing = {}
end)
local function closes(...)
  for _, object in ipairs { ... } do closing[#closing + 1] = object end
  return ...
end

-- Two connected streams: the server's and the client's.
local function pair(options, secure)
  local server, port, accept = listen(options)
  local client = IOStream.tcp(options)
  await(client:connect("127.0.0.1", port))
  local ours = accept()
  server:stop()
  if secure then ours, client = secure(ours, client) end
  return closes(ours, client)
end

local function fails_with(class, future)
  local ok, err = pcall(await, future)
  assert.is_false(ok)
  assert.is_true(util.isinstance(err, class), tostring(err))
  return err
end

-- A Future that is done when the stream is closed.
local function closed(stream)
  local future = Future()
  stream:set_close_callback(function() future:set_result() end)
  return future
end

-- The web classes -----------------------------------------------------------

-- A server that answers each request with Hello.
local function serve_hello()
  local server = tcpserver.TCPServer()
  function server:handle_stream(stream) -- luacheck: ignore self
    while true do
      local ok, head = pcall(await, stream:read_until "\r\n\r\n")
      if not ok then break end
      await(stream:write "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello")
      if head:find "HTTP/1.0" or head:find "close" then break end
    end
    stream:close()
  end
  return server, server:listen(0, "127.0.0.1")
end

describe("TestIOStreamWebHTTP", function()
  local server, port, stream

  -- A spec with a stream to the server.
  local function web(name, fn)
    test(name, function()
      server, port = serve_hello()
      stream = IOStream.tcp()
      fn()
      stream:close()
      server:stop()
    end)
  end

  local function connect()
    return await(stream:connect("127.0.0.1", port))
  end

  web("test_connection_closed", function()
    connect()
    stream:write "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert.truthy(await(stream:read_until_close()):find "Hello$")
  end)

  web("test_read_until_close", function()
    connect()
    stream:write "GET / HTTP/1.0\r\n\r\n"
    local data = await(stream:read_until_close())
    assert.truthy(data:find "^HTTP/1.1 200")
    assert.truthy(data:find "Hello$")
  end)

  web("test_read_zero_bytes", function()
    connect()
    stream:write "GET / HTTP/1.0\r\n\r\n"
    assert.equal("HTTP/1.1 ", await(stream:read_bytes(9)))
    assert.equal("", await(stream:read_bytes(0)))
    assert.equal("200", await(stream:read_bytes(3)))
  end)

  web("test_write_while_connecting", function()
    local connected = stream:connect("127.0.0.1", port)
    local written =
      stream:write "GET / HTTP/1.0\r\nConnection: close\r\n\r\n"
    assert.is_false(connected:done())
    await { connected, written }
    assert.truthy(await(stream:read_until_close()):find "Hello$")
  end)

  web("test_future_interface", function()
    assert.equal(stream, connect())
    await(stream:write "GET / HTTP/1.0\r\n\r\n")
    assert.equal("HTTP/1.1 200 OK\r\n", await(stream:read_until "\r\n"))
    local head = await(stream:read_until "\r\n\r\n")
    local length = tonumber(head:match "Content%-Length: (%d+)")
    assert.equal("Hello", await(stream:read_bytes(length)))
  end)

  web("test_future_close_while_reading", function()
    connect()
    await(stream:write "GET / HTTP/1.0\r\n\r\n")
    fails_with(iostream.StreamClosedError, stream:read_bytes(1024 * 1024))
  end)

  web("test_future_read_until_close", function()
    connect()
    await(stream:write "GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
    await(stream:read_until "\r\n\r\n")
    assert.equal("Hello", await(stream:read_until_close()))
    local late = stream:read_bytes(1)
    assert.is_true(late:done())
    fails_with(iostream.StreamClosedError, late)
  end)
end)

-- The classes of a pair of streams ------------------------------------------

-- Registers the specs for streams that `secure` makes of two plain ones; nil:
-- for plain ones.
local function specs_of_pairs(secure)
  -- A spec with two connected streams.
  local function paired(name, options, fn)
    test(name, function()
      fn(pair(options, secure))
    end)
  end

  paired("test_streaming_callback_with_data_in_buffer", {},
    function(server, client)
      client:write "abcd\r\nefgh"
      assert.equal("abcd\r\n", await(server:read_until "\r\n"))
      assert.equal("efgh", await(server:read_bytes(1 << 20, true)))
    end)

  paired("test_write_zero_bytes", {}, function(server)
    await(server:write "")
  end)

  test("test_connection_refused", function()
    local stream = closes(IOStream.tcp())
    local gone = closed(stream)
    local err = fails_with(iostream.StreamClosedError,
      stream:connect("127.0.0.1", streams.closed_port()))
    assert.truthy(err.real_error:find "ECONNREFUSED")
    await(gone)
    assert.truthy(stream.error:find "ECONNREFUSED")
  end)

  paired("test_streaming_callback", {}, function(server, client)
    client:write "1234"
    assert.equal("1234", await(server:read_bytes(6, true)))
    client:write "5678"
    assert.equal("56", await(server:read_bytes(2, true)))
    assert.equal("78", await(server:read_bytes(2)))
  end)

  paired("test_streaming_until_close", {}, function(server, client)
    server:write "1234"
    assert.equal("1234", await(client:read_bytes(99, true)))
    await(server:write "5678")
    server:close()
    assert.equal("5678", await(client:read_bytes(99, true)))
    fails_with(iostream.StreamClosedError, client:read_bytes(99, true))
  end)

  paired("test_delayed_close_callback", {}, function(server, client)
    -- The peer closes while a read can be served from the buffer: the close
    -- callback comes after that read.
    local gone = closed(client)
    server:write "12"
    local first = client:read_bytes(1)
    local chunks = {}
    first:add_done_callback(function()
      chunks[1] = first:result()
      local second = client:read_bytes(1)
      second:add_done_callback(function()
        chunks[2] = second:result()
        client:read_bytes(1):add_done_callback(function(f) f:exception() end)
      end)
      server:close()
    end)
    await(gone)
    assert.same({ "1", "2" }, chunks)
  end)

  paired("test_future_delayed_close_callback", {}, function(server, client)
    server:write "12"
    local chunks = { await(client:read_bytes(1)) }
    server:close()
    chunks[2] = await(client:read_bytes(1))
    assert.same({ "1", "2" }, chunks)
  end)

  paired("test_close_buffered_data", { read_chunk_size = 256 },
    function(server, client)
      await(server:write(("A"):rep(512)))
      assert.equal(("A"):rep(256), await(client:read_bytes(256)))
      await(server:close())
      settle()
      assert.equal(("A"):rep(256), await(client:read_bytes(256)))
    end)

  paired("test_read_until_close_after_close", {}, function(server, client)
    server:write "1234"
    server:close()
    assert.equal("1", await(client:read_bytes(1)))
    assert.equal("234", await(client:read_until_close()))
  end)

  paired("test_large_read_until", {}, function(server, client)
    for _ = 1, 4096 do client:write(("A"):rep(1024)) end
    client:write "\r\n"
    assert.equal(4096 * 1024 + 2, #await(server:read_until "\r\n"))
  end)

  paired("test_close_callback_with_pending_read", {},
    function(server, client)
      local gone = closed(client)
      server:write "OK\r\n"
      assert.equal("OK\r\n", await(client:read_until "\r\n"))
      server:close()
      local pending = client:read_until "\r\n"
      await(gone)
      fails_with(iostream.StreamClosedError, pending)
    end)

  paired("test_future_close_callback", {}, function(server, client)
    local gone = closed(server)
    client:write "a"
    assert.equal("a", await(server:read_bytes(1)))
    assert.is_false(gone:done())
    client:close()
    fails_with(iostream.StreamClosedError, server:read_bytes(1))
    await(gone)
  end)

  paired("test_read_bytes_partial", {}, function(server, client)
    server:write "hello"
    assert.equal("hello", await(client:read_bytes(50, true)))
    server:write "world"
    assert.equal("wor", await(client:read_bytes(3, true)))
    assert.equal("", await(client:read_bytes(0, true)))
  end)

  for method, word in pairs { read_until = "until",
    read_until_pattern = "until_regex" } do
    paired("test_read_" .. word .. "_max_bytes", {},
      function(server, client)
        local gone = closed(client)
        local read = client[method](client, "def", 50)
        server:write "abcdef"
        assert.equal("abcdef", await(read))
        read = client[method](client, "def", 6)
        server:write "abcdef"
        assert.equal("abcdef", await(read))
        read = client[method](client, "def", 5)
        server:write "123456"
        local err = fails_with(iostream.StreamClosedError, read)
        assert.is_true(
          util.isinstance(err.real_error, iostream.UnsatisfiableReadError))
        await(gone)
      end)

    paired("test_read_" .. word .. "_max_bytes_inline", {},
      function(server, client)
        local gone = closed(client)
        await(server:write "123456")
        fails_with(iostream.StreamClosedError, client[method](client, "def", 5))
        await(gone)
      end)

    paired("test_read_" .. word .. "_max_bytes_ignores_extra", {},
      function(server, client)
        local gone = closed(client)
        await(server:write "abcdef")
        fails_with(iostream.StreamClosedError, client[method](client, "def", 5))
        await(gone)
      end)
  end

  paired("test_small_reads_from_large_buffer",
    { max_buffer_size = 10 * 1024 }, function(server, client)
      server:write(("a"):rep(1024 * 100))
      for _ = 1, 100 do
        assert.equal(("a"):rep(1024), await(client:read_bytes(1024)))
      end
    end)

  paired("test_small_read_untils_from_large_buffer",
    { max_buffer_size = 10 * 1024 }, function(server, client)
      local line = ("a"):rep(1023) .. "\n"
      server:write(line:rep(100))
      for _ = 1, 100 do
        assert.equal(line, await(client:read_until("\n", 4096)))
      end
    end)

  local MB <const> = 1 << 20
  paired("test_flow_control", { max_buffer_size = 5 * MB },
    function(server, client)
      client:write(("a"):rep(10 * MB))
      assert.equal(MB, #await(server:read_bytes(MB)))
      settle()
      for _ = 1, 9 do assert.equal(MB, #await(server:read_bytes(MB))) end
    end)

  paired("test_future_write", {}, function(server, client)
    -- Writers that write at once more than the system takes; every Future of
    -- theirs is done.
    local m, n, producers = 10000, 100, 10
    local produce = gen.coroutine(function()
      local data = ("x"):rep(m)
      for _ = 1, n do await(server:write(data)) end
    end)
    local work = {}
    for i = 1, producers do work[i] = produce() end
    local got = 0
    while got < m * n * producers do
      got = got + #await(client:read_bytes(m))
    end
    await(work)
  end)
end

describe("TestIOStream", function() specs_of_pairs(nil) end)

-- The classes with TLS ------------------------------------------------------

local has_tls, tls = pcall(require, "lunado.tls")
local with_tls = has_tls and describe
  or function(name) it(name, function() pending "needs lunado.tls" end) end

local function server_options()
  return { certfile = certificates.path "server.pem" }
end

-- Starts TLS on both streams.
local function start_both(server, client, server_tls, client_tls)
  local ours, theirs = server:start_tls(true, server_tls),
    client:start_tls(false, client_tls)
  return await(ours, theirs)
end

with_tls("TestIOStreamSSL", function()
  specs_of_pairs(function(server, client)
    return start_both(server, client, server_options(),
      { cert_reqs = "none" })
  end)
end)

with_tls("TestIOStreamSSLContext", function()
  specs_of_pairs(function(server, client)
    return start_both(server, client,
      tls.create_default_context(true, server_options()),
      tls.create_default_context(false, { cert_reqs = "none" }))
  end)
end)

with_tls("TestIOStreamStartTLS", function()
  local function send_line(from, to, line)
    from:write(line)
    assert.equal(line, await(to:read_until "\r\n"))
  end

  test("test_start_tls_smtp", function()
    local server, client = pair()
    send_line(server, client, "220 mail.example.com ready\r\n")
    send_line(client, server, "EHLO mail.example.com\r\n")
    send_line(server, client, "250-mail.example.com welcome\r\n")
    send_line(server, client, "250 STARTTLS\r\n")
    send_line(client, server, "STARTTLS\r\n")
    send_line(server, client, "220 Go ahead\r\n")
    server, client = start_both(server, client, server_options(),
      { cert_reqs = "none" })
    assert.truthy(tls.connection_info(client))
    assert.truthy(tls.connection_info(server))
    send_line(client, server, "EHLO mail.example.com\r\n")
    send_line(server, client, "250 mail.example.com welcome\r\n")
  end)

  -- Both handshakes fail; the client's for the reason.
  local function refuses(client_tls, host, reason)
    local server, client = pair()
    local ours = server:start_tls(true, server_options())
    local theirs = client:start_tls(false, client_tls, host)
    local err = fails_with(iostream.StreamClosedError, theirs)
    assert.is_true(util.isinstance(err.real_error, tls.SSLError))
    assert.truthy(err.real_error.verify_message:find(reason),
      err.real_error.verify_message)
    fails_with(iostream.StreamClosedError, ours)
  end

  test("test_handshake_fail", function()
    refuses(nil, "localhost", "certificate")
  end)

  test("test_check_hostname", function()
    refuses(tls.create_default_context(certificates.client()),
      "wrong.example", "ostname")
  end)
end)

with_tls("WaitForHandshakeTest", function()
  test("test_wait_for_handshake_future", function()
    -- handle_stream runs after the handshake.
    local server = tcpserver.TCPServer { ssl_options = server_options() }
    local info = Future()
    function server.handle_stream(_, stream)
      info:set_result(tls.connection_info(stream))
    end
    local port = server:listen(0, "127.0.0.1")
    local client = closes(IOStream.tcp())
    await(client:connect("127.0.0.1", port))
    await(client:start_tls(false, { cert_reqs = "none" }))
    assert.truthy(tls.connection_info(client).cipher)
    assert.truthy(await(info).cipher)
    server:stop()
  end)
end)

-- The class of pipes --------------------------------------------------------

describe("TestPipeIOStream", function()
  local function open_pipe()
    local fds = pipes.pipe()
    return closes(IOStream.open(fds.read), IOStream.open(fds.write))
  end

  test("test_pipe_iostream", function()
    local rs, ws = open_pipe()
    ws:write "hel"
    ws:write "lo world"
    assert.equal("hello ", await(rs:read_until " "))
    assert.equal("wor", await(rs:read_bytes(3)))
    ws:close()
    assert.equal("ld", await(rs:read_until_close()))
  end)

  test("test_pipe_iostream_big_write", function()
    local rs, ws = open_pipe()
    ws:write(("1"):rep(1048576))
    assert.equal(("1"):rep(1048576), await(rs:read_bytes(1048576)))
  end)
end)
