-- SPDX-License-Identifier: MIT
-- lunado.tcpclient and lunado.tcpserver, over the loopback.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local IOLoop = require "lunado.ioloop".IOLoop
local IOStream = iostream.IOStream
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local util = require "lunado.util"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local contexts = require "spec.support.contexts"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local selves = require "spec.support.selves"
local streams = require "spec.support.streams"
local testing = require "lunado.testing"

local await = coroutine.yield
local wait_until = streams.wait_until

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

local function connect(port, options)
  return await(TCPClient():connect("127.0.0.1", port, options))
end

-- A server that sends back each line.
local function echo_server()
  local server = TCPServer()
  function server:handle_stream(stream) -- luacheck: ignore self
    pcall(function()
      while true do
        await(stream:write(await(stream:read_until("\n"))))
      end
    end)
  end
  return server, server:listen(0, "127.0.0.1")
end

local function echoes(stream, text)
  stream:write(text .. "\n")
  assert.equal(text, await(stream:read_line()))
end

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

describe("the modules", function()
  it("are fields of lunado, the same after package.loaded was cleared",
    function()
      for _, name in ipairs { "tcpclient", "tcpserver" } do
        local module = require("lunado." .. name)
        assert.equal(module, require("lunado")[name])
        package.loaded["lunado." .. name] = nil
        assert.equal(module, require("lunado." .. name))
      end
    end)
end)

describe("TCPServer", function()
  spec("gives each connection to handle_stream, as a coroutine", function()
    local server, port = echo_server()
    local clients = {}
    for i = 1, 5 do clients[i] = connect(port) end
    for i = 5, 1, -1 do echoes(clients[i], "client " .. i) end
    for i = 1, 5 do await(clients[i]:close()) end
    server:stop()
  end)

  spec("tells where a connection comes from", function()
    local server, came = TCPServer(), concurrent.Future()
    function server.handle_stream(_, ...) came:set_result(...) end
    local stream = connect(server:listen(0, "127.0.0.1"))
    local there, address = await(came)
    assert.is_true(getmetatable(there) == iostream.IOStream)
    local own = uv.tcp_getsockname(stream.handle)
    assert.same({ own.ip, own.port, ip = own.ip, port = own.port,
      family = "inet" }, address)
    await { stream:close(), there:close() }
    server:stop()
  end)

  spec("takes handle_stream from a subclass, or as an option", function()
    local Greeter = TCPServer:subclass("Greeter")
    function Greeter:handle_stream(stream)
      await(stream:write(self.greeting .. "\n"))
    end
    local server = Greeter { greeting = "hello" }
    assert.is_truthy(tostring(server):find("^Greeter: .*%(0 listening%)$"))
    local stream = connect(server:listen(0, "127.0.0.1"))
    assert.is_truthy(tostring(server):find("^Greeter: .*%(1 listening%)$"))
    assert.equal("hello", await(stream:read_line()))
    await(stream:close())
    server:stop()

    local Loud = Greeter:subclass("Loud")
    Loud.greeting = "HELLO"
    server = Loud()
    stream = connect(server:listen(0, "127.0.0.1"))
    assert.equal("HELLO", await(stream:read_line()))
    await(stream:close())
    server:stop()

    server = TCPServer { handle_stream = function(_, it)
      await(it:write("option\n"))
    end }
    stream = connect(server:listen(0, "127.0.0.1"))
    assert.equal("option", await(stream:read_line()))
    await(stream:close())
    server:stop()
  end)

  spec("gives its streams the limits that it has", function()
    local server, came = TCPServer { max_buffer_size = 1000 },
      concurrent.Future()
    function server.handle_stream(_, stream) came:set_result(stream) end
    local stream = connect(server:listen(0, "127.0.0.1"),
      { max_buffer_size = 2000 })
    local there = await(came)
    assert.equal(1000, there.max_buffer_size)
    assert.equal(2000, stream.max_buffer_size)
    await { stream:close(), there:close() }
    server:stop()
  end)

  -- What handle_callback_exception gets from a connection.
  local function trouble(handle_stream)
    local loop, got = IOLoop.instance(), concurrent.Future()
    function loop.handle_callback_exception(_, ...) got:set_result(...) end
    local server = TCPServer { handle_stream = handle_stream }
    local stream = connect(server:listen(0, "127.0.0.1"))
    assert.equal("", await(stream:read_until_close()))
    local callback, err, traceback = await(got)
    loop.handle_callback_exception = nil
    assert.equal(server.handle_stream, callback)
    server:stop()
    return err, traceback
  end

  spec("reports an error of handle_stream, and closes the stream", function()
    local function deep() error("in the handler") end
    local err, traceback = trouble(function() deep() end)
    assert.is_truthy(err:find("in the handler", 1, true))
    assert.is_truthy(traceback:find("in upvalue 'deep'", 1, true), traceback)
    local mine = {}
    assert.equal(mine, (trouble(function()
      await()
      error(mine)
    end)))
  end)

  spec("reports an error of a Future that handle_stream returns", function()
    assert.equal("later", (trouble(gen.coroutine(function()
      await()
      error("later", 0)
    end))))
  end)

  spec("logs what nobody takes", function()
    local server = TCPServer()
    local stream = connect(server:listen(0, "127.0.0.1"))
    assert.equal("", await(stream:read_until_close()))
    assert.equal(1, log:count("needs a handle_stream"))
    log:clear()
    server:stop()
  end)

  spec("goes on when a client fails it", function()
    local server, port = echo_server()
    for _ = 1, 10 do
      local client = connect(port)
      client:write("text\n")
      uv.tcp_close_reset(client.handle)
    end
    local stream = connect(port)
    echoes(stream, "text")
    await(stream:close())
    server:stop()
  end)

  spec("reports what prevents a connection, and goes on", function()
    local server, port = echo_server()
    local accept = iostream._accept
    function iostream._accept(listener)
      iostream._accept = accept
      local stream = accept(listener, {})
      stream:close()
      return nil, "EMFILE: too many open files"
    end
    local refused = connect(port)
    assert.equal("", await(refused:read_until_close()))
    assert.equal(1, log:count("accept: EMFILE"))
    log:clear()
    local stream = connect(port)
    echoes(stream, "text")
    await(stream:close())
    server:stop()
  end)

  spec("reports what listening brings", function()
    local listen, called = core.listen, nil
    function core.listen(fn, ...)
      called = fn
      return listen(fn, ...)
    end
    local server = echo_server()
    core.listen = listen
    local ok, err = pcall(called, nil, "EMFILE")
    assert.is_false(ok)
    assert.equal("accept: EMFILE", err)
    server:stop()
  end)

  spec("listens on several ports, until it is stopped", function()
    local server, first = echo_server()
    local second = server:listen(0, "127.0.0.1")
    assert.not_equal(first, second)
    assert.is_truthy(tostring(server):find("2 listening", 1, true))
    local one, two = connect(first), connect(second)
    server:stop()
    assert.is_truthy(tostring(server):find("0 listening", 1, true))
    server:stop()
    echoes(one, "still there")
    echoes(two, "too")
    for _, port in ipairs { first, second } do
      local ok, err = pcall(connect, port)
      assert.is_false(ok)
      assert.equal("ECONNREFUSED", err.real_error)
    end
    await { one:close(), two:close() }
    assert.equal(first, server:listen(first, "127.0.0.1"))
    local stream = connect(first)
    echoes(stream, "again")
    await(stream:close())
    server:stop()
  end)

  spec("listens on all addresses unless one is named", function()
    for _, address in ipairs { false, "" } do
      local server = echo_server()
      server:stop()
      local port = server:listen(0, address or nil)
      local stream = connect(port)
      echoes(stream, "by IPv4")
      await(stream:close())
      local six, missing = pcall(await, TCPClient():connect("::1", port))
      if six then
        echoes(missing, "by IPv6")
        await(missing:close())
      end
      server:stop()
    end
  end)

  spec("does without what the system lacks", function()
    local addresses = core.addresses
    function core.addresses() -- 192.0.2.1 is nobody's
      return { { addr = "127.0.0.1", family = "inet" },
        { addr = "192.0.2.1", family = "inet" } }
    end
    local server = echo_server()
    core.addresses = addresses
    assert.is_truthy(tostring(server):find("1 listening", 1, true))
    server:stop()
  end)

  spec("raises the system's error when it cannot listen, and keeps nothing",
    function()
      local server, port = echo_server()
      local listen, addresses, made = core.listen, core.addresses, {}
      function core.listen(...)
        local listener, err = listen(...)
        made[#made + 1] = listener or err
        return listener, err
      end
      local other = TCPServer()
      local ok, err = pcall(other.listen, other, port, "127.0.0.1")
      assert.is_false(ok)
      assert.equal(("EADDRINUSE: address already in use (127.0.0.1:%d)")
        :format(port), err)
      ok, err = pcall(other.listen, other, 0, "192.0.2.1")
      assert.is_false(ok)
      assert.is_truthy(err:find("^EADDRNOTAVAIL.* %(192%.0%.2%.1:0%)$"), err)
      ok, err = pcall(other.listen, other, 0, "no such name")
      assert.is_false(ok)
      assert.is_truthy(err:find('^EAI_.* %(host "no such name"%)$'), err)
      function core.addresses() -- on one port, this cannot be
        return { { addr = "127.0.0.1", family = "inet" },
          { addr = "127.0.0.1", family = "inet" } }
      end
      ok, err = pcall(other.listen, other, 0)
      core.listen, core.addresses = listen, addresses
      assert.is_false(ok)
      assert.is_truthy(err:find("^EADDRINUSE.* %(127.0.0.1:%d+%)$"), err)
      assert.is_truthy(tostring(other):find("0 listening", 1, true))
      assert.equal(2 + 2 * 8, #made)
      for _, listener in ipairs(made) do
        assert.is_true(type(listener) == "string"
          or listener:getsockname() == nil)
      end
      server:stop()
    end)

  spec("serves local sockets, too", function()
    local path = os.tmpname()
    os.remove(path)
    local pipe = uv.new_pipe(false)
    assert(uv.pipe_bind(pipe, path))
    local server, from = echo_server(), nil
    local serve = server.handle_stream
    function server:handle_stream(stream, peer)
      from = peer
      assert(stream.handle:getsockname() == path)
      serve(self, stream)
    end
    server:add_socket(pipe)
    local stream = iostream.IOStream(uv.new_pipe(false))
    await(stream:connect(path))
    echoes(stream, "text")
    assert.equal("", from)
    await(stream:close())
    server:stop()
  end)

  spec("lives while it listens, and is collected then", function()
    local port
    local weak = setmetatable({}, { __mode = "v" })
    local function make()
      weak[1], port = echo_server()
    end
    make()
    gc.collect()
    local stream = connect(port)
    echoes(stream, "text")
    await(stream:close())
    weak[1]:stop()
    wait_until(function()
      gc.collect()
      return not weak[1]
    end)
  end)

  spec("runs handle_stream in the stack contexts of listen", function()
    local active, context = contexts()
    local server, seen = TCPServer(), concurrent.Future()
    function server.handle_stream() seen:set_result(table.concat(active)) end
    local port
    context("a"):run(function() port = server:listen(0, "127.0.0.1") end)
    local stream = connect(port)
    assert.equal("a", await(seen))
    await(stream:close())
    server:stop()
  end)
end)

-- Ports that nobody serves --------------------------------------------------

-- A port on which nobody listens.
local closed_port = streams.closed_port

-- A port that does not answer, and a function that closes it: the listener
-- accepts nobody, and has no room left.
local function silent_port()
  local listener, called = uv.new_tcp(), concurrent.Future()
  assert(uv.tcp_bind(listener, "127.0.0.1", 0))
  assert(uv.listen(listener, 1, function() called:set_result() end))
  local port, handles = uv.tcp_getsockname(listener).port, { listener }
  for i = 1, 8 do
    handles[i + 1] = uv.new_tcp()
    uv.tcp_connect(handles[i + 1], "127.0.0.1", port)
      :add_done_callback(function(future) future:exception() end)
    if i == 1 then await(called) end
  end
  return port, function()
    for i, handle in ipairs(handles) do handles[i] = uv.close(handle) end
    await(handles)
  end
end

-- Runs fn while every name has these addresses; afterwards all sockets that
-- it made, but the one it returns, are closed.
local function with_addresses(addresses, fn)
  local resolve, tcp, made = core.resolve, IOStream.tcp, {}
  function core.resolve()
    local future = concurrent.Future()
    future:set_result(addresses)
    return future
  end
  function IOStream.tcp(...)
    made[#made + 1] = tcp(...)
    return made[#made]
  end
  local ok, result = pcall(fn)
  core.resolve, IOStream.tcp = resolve, tcp
  assert.is_true(ok, result)
  for _, stream in ipairs(made) do
    assert.is_true(stream == result or stream.handle:is_closing())
  end
  return #made, result
end

local function address(port, family)
  return { addr = "127.0.0.1", port = port, family = family or "inet" }
end

local closed_error = streams.closed_error

local function timed_out(future)
  local ok, err = pcall(await, future)
  assert.is_false(ok)
  assert.equal("TimeoutError: Timeout", tostring(err))
end

describe("a server that cannot accept a connection", function()
  spec("closes it, and accepts the next one", function()
    local server, port = echo_server()
    local accept = iostream._accept
    function iostream._accept()
      iostream._accept = accept
      error("no memory", 0)
    end
    local lost = connect(port)
    assert.is_false(pcall(await, lost:read_line()))
    local stream = connect(port)
    echoes(stream, "text")
    stream:close()
    server:stop()
    assert.equal(1, log:count("no memory"))
    log:clear()
  end)
end)

describe("TCPClient", function()
  spec("connects to a name or an address", function()
    local server, port = echo_server()
    assert.is_truthy(tostring(TCPClient()):find("^TCPClient: "))
    local hosts = { "127.0.0.1" }
    if pcall(await, uv.getaddrinfo("localhost", nil, {})) then -- it is known
      hosts[2] = "localhost"
    end
    for _, host in ipairs(hosts) do
      local stream = await(TCPClient():connect(host, port))
      assert.is_true(getmetatable(stream) == iostream.IOStream)
      echoes(stream, host)
      await(stream:close())
    end
    server:stop()
  end)

  spec("keeps to one family where it is told to", function()
    local server, port = echo_server()
    local stream = connect(port, { family = "inet" })
    await(stream:close())
    local ok, err = pcall(connect, port, { family = "inet6" })
    assert.is_false(ok)
    assert.is_truthy(err:find("^EAI_"), err)
    server:stop()
  end)

  spec("fails with what keeps it from making a stream", function()
    local tcp = IOStream.tcp
    function IOStream.tcp() error("no memory", 0) end
    local ok, err = pcall(connect, 1)
    IOStream.tcp = tcp
    assert.same({ false, "no memory" }, { ok, err })
  end)

  spec("fails with what the look-up says", function()
    local ok, err = pcall(await, TCPClient():connect("no such name", 80))
    assert.is_false(ok)
    assert.is_truthy(err:find('^EAI_%u+ %(host "no such name"%)$'), err)
  end)

  spec("fails as its last attempt did", function()
    local port = closed_port()
    local err = closed_error(TCPClient():connect("127.0.0.1", port))
    assert.equal("ECONNREFUSED", err.real_error)
    assert.equal(("StreamClosedError: cannot connect to 127.0.0.1:%d: "
      .. "ECONNREFUSED"):format(port), tostring(err))
    assert.equal(3, (with_addresses({ address(port), address(port),
      address(port, "inet6") }, function()
      err = closed_error(TCPClient():connect("a", 1))
      assert.equal(("StreamClosedError: cannot connect to a:%d (127.0.0.1): "
        .. "ECONNREFUSED"):format(port), tostring(err))
    end)))
    with_addresses({}, function()
      local ok
      ok, err = pcall(await, TCPClient():connect("a", 1))
      assert.is_false(ok)
      assert.equal('no address (host "a")', err)
    end)
  end)

  spec("tries one address after the other", function()
    local server, port = echo_server()
    local count, stream = with_addresses({ address(closed_port()),
      address(closed_port()), address(port), address(port) }, function()
      return await(TCPClient():connect("a", 1))
    end)
    assert.equal(3, count)
    echoes(stream, "text")
    await(stream:close())
    server:stop()
  end)

  spec("lets the other family begin when the first has failed once",
    function()
      local silent, close = silent_port()
      local server, port = echo_server()
      local loop = IOLoop.instance()
      local _ <close> = testing.virtual_clock(loop)
      local began = loop:time()
      local count, stream = with_addresses({ address(closed_port()),
        address(silent), address(port, "inet6") }, function()
        return await(TCPClient():connect("a", 1))
      end)
      assert.equal(3, count)
      assert.equal(began, loop:time())
      echoes(stream, "text")
      await(stream:close())
      server:stop()
      close()
    end)

  spec("lets the other family begin when the first does not answer",
    function()
      local silent, close = silent_port()
      local server, port = echo_server()
      local loop = IOLoop.instance()
      local began = loop:time()
      local count, stream = with_addresses({ address(silent),
        address(port, "inet6"), address(silent) }, function()
        return await(TCPClient():connect("a", 1))
      end)
      assert.equal(2, count)
      assert.is_true(loop:time() >= began + 0.3)
      echoes(stream, "text")
      await(stream:close())
      server:stop()
      close()
    end)

  spec("waits for those that are under way when the others have failed",
    function()
      local silent, close = silent_port()
      with_addresses({ address(silent), address(closed_port(), "inet6") },
        function()
          timed_out(TCPClient():connect("a", 1,
            { timeout = { seconds = 0.4 } }))
        end)
      close()
    end)

  spec("gives up after a timeout, and closes what it began", function()
    local silent, close = silent_port()
    for _, timeout in ipairs { { milliseconds = 5 }, util.timedelta(0.005),
      IOLoop.instance():time() + 0.005 } do
      with_addresses({ address(silent), address(silent, "inet6") }, function()
        timed_out(TCPClient():connect("a", 1, { timeout = timeout }))
      end)
    end
    close()
  end)

  spec("gives up while the name is looked up", function()
    local getaddrinfo, looked_up = uv.getaddrinfo, concurrent.Future()
    function uv.getaddrinfo() return looked_up end
    local future = TCPClient():connect("a", 1, { timeout = 0 })
    uv.getaddrinfo = getaddrinfo
    timed_out(future)
    looked_up:set_result({})
  end)

  spec("forgets the timeout when it is connected", function()
    local server, port = echo_server()
    local _ <close> = testing.virtual_clock()
    local stream = connect(port, { timeout = { milliseconds = 200 } })
    await(gen.sleep(0.25))
    echoes(stream, "text")
    await(stream:close())
    server:stop()
  end)

  spec("closes what nobody waits for any more", function()
    local server, port = echo_server()
    with_addresses({ address(port) }, function()
      local future = TCPClient():connect("a", 1)
      future:set_result("somebody else's")
      streams.turn(10)
    end)
    server:stop()
  end)
end)

describe("the timers of a connection", function()
  it("are gone when it is made", function()
    local result = child [[
      local lunado = require "lunado"
      local server = lunado.tcpserver.TCPServer { handle_stream = print }
      local port = server:listen(0, "127.0.0.1")
      local core = require "lunado.core"
      function core.resolve()
        local future = lunado.Future()
        future:set_result {
          { addr = "127.0.0.1", port = port, family = "inet" },
          { addr = "127.0.0.1", port = port, family = "other" },
        }
        return future
      end
      function server.handle_stream(_, stream)
        server:stop()
        stream:close()
      end
      local never = lunado.Future()
      print(pcall(lunado.run, function()
        local stream = coroutine.yield(lunado.tcpclient.TCPClient():connect(
          "a", 1, { timeout = { seconds = 50 } }))
        lunado.testing.virtual_clock()
        local began = lunado.IOLoop.current():time()
        coroutine.yield(stream:read_until_close())
        print(lunado.IOLoop.current():time() == began)
        coroutine.yield(never)
      end))
    ]]
    assert.equal("", result.err)
    assert.is_truthy(result.out:find("^true\nfalse\t.*would never end"),
      result.out)
  end)
end)

describe("the end of the state", function()
  it("is clean while a server listens and a client connects", function()
    local result = child [[
      local lunado = require "lunado"
      local server = lunado.tcpserver.TCPServer()
      function server:handle_stream(stream) stream:read_line() end
      local port = server:listen(0, "127.0.0.1")
      local client = lunado.tcpclient.TCPClient()
      lunado.run(function()
        local stream = coroutine.yield(client:connect("127.0.0.1", port))
        coroutine.yield(stream:write("text"))
        client:connect("127.0.0.1", port, { timeout = { seconds = 9 } })
      end)
      io.write("end")
    ]]
    assert.same({ code = 0, out = "end", err = "" }, result)
  end)
end)

describe("a wrong argument", function()
  it("may be the object itself", function()
    selves(TCPClient(), "TCPClient", "connect")
    selves(TCPServer(), "TCPServer", "listen", "listen_unix", "add_socket",
      "stop", "subclass")
    bad(function() local _ = TCPServer:listen(0) end, 1, "listen",
      "TCPServer", "table")
  end)

  it("is named at the caller's line", function()
    local client, server = TCPClient(), TCPServer()
    bad(function() local _ = client:connect() end, 1, "connect", "string",
      "nil")
    bad(function() local _ = client:connect("a") end, 2, "connect", "number",
      "nil")
    bad(function() local _ = client:connect("a", 65536) end, 2, "connect")
    bad(function() local _ = client:connect("a", 1, 5) end, 3, "connect",
      "table", "number")
    bad(function() local _ = client:connect("a", 1, { timeout = "x" }) end, 3,
      "connect", "timeout")
    bad(function() local _ = client:connect("a", 1, { time_out = 1 }) end, 3,
      "connect", 'unknown option "time_out"')
    bad(function() local _ = client:connect("a", 1, { timeout = 0 / 0 }) end,
      3, "connect", "timeout")
    bad(function() local _ = client:connect("a", 1, { family = "x" }) end, 3,
      "connect", "family")
    bad(function() local _ = client:connect("a", 1,
      { max_buffer_size = 0 }) end, 3, "connect", "max_buffer_size")
    bad(function() local _ = TCPServer(5) end, 1, "TCPServer", "table",
      "number")
    bad(function() local _ = TCPServer { max_buffer_size = "x" } end, 1,
      "TCPServer", "max_buffer_size")
    for _, wrong in ipairs { 0, -1, 1.5, "5", false, 1 << 31 } do
      bad(function() local _ = TCPServer { backlog = wrong } end, 1,
        "TCPServer", "backlog")
    end
    bad(function() local _ = TCPServer:subclass() end, 1, "subclass",
      "string", "nil")
    bad(function() local _ = server:listen() end, 1, "listen", "number",
      "nil")
    bad(function() local _ = server:listen(-1) end, 1, "listen")
    bad(function() local _ = server:listen(65536) end, 1, "listen")
    bad(function() local _ = server:listen(0, 5) end, 2, "listen", "string",
      "number")
    bad(function() server:add_socket(5) end, 1, "add_socket", "luv", "number")
    bad(function() server:add_socket(io.stdout) end, 1, "add_socket")
  end)
end)
