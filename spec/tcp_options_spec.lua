-- SPDX-License-Identifier: MIT
-- What TCPServer and TCPClient make of a connection, and what they say when
-- there is none.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local IOStream = require "lunado.iostream".IOStream
local luv = require "luv"
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local uv = require "lunado.uv"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local streams = require "spec.support.streams"

local await = coroutine.yield

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

local closed_port = streams.closed_port

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

-- What small writes cost ------------------------------------------------------

-- A connection, both sides of it.
local function connection()
  local server, came = TCPServer(), concurrent.Future()
  function server.handle_stream(_, stream) came:set_result(stream) end
  local port = server:listen(0, "127.0.0.1")
  local here = await(TCPClient():connect("127.0.0.1", port))
  local there = await(came)
  server:stop()
  return here, there
end

-- How long it takes when one side asks by two small writes, and the other
-- answers, some times.
local function duration(from, to)
  local loop = IOLoop.current()
  local began = loop:time()
  local answer = gen.coroutine(function()
    for _ = 1, 10 do
      await(to:read_line())
      await(to:read_line())
      await(to:write("answer\n"))
    end
  end)()
  for _ = 1, 10 do
    await(from:write("head\n"))
    await(from:write("body\n"))
    await(from:read_line())
  end
  await(answer)
  return loop:time() - began
end

describe("TCP_NODELAY", function()
  -- Where a small write has to wait for the acknowledgement of the one before,
  -- each round takes some 40 ms; else it is not to be measured.
  local function is_set(pick)
    local from, to = pick(connection())
    local slow_from, slow_to = pick(connection())
    slow_from:set_nodelay(false)
    repeat
      local fast, slow = duration(from, to), duration(slow_from, slow_to)
    until fast * 3 < slow
    for _, stream in ipairs { from, to, slow_from, slow_to } do
      await(stream:close())
    end
  end

  spec("is set by TCPServer, and can be undone", function()
    is_set(function(here, there) return there, here end)
  end)

  spec("is set by TCPClient, and can be undone", function()
    is_set(function(here, there) return here, there end)
  end)

  spec("is none of a local socket's", function()
    local path = os.tmpname()
    os.remove(path)
    local pipe = uv.new_pipe(false)
    assert(uv.pipe_bind(pipe, path))
    local server = TCPServer()
    function server.handle_stream(_, stream)
      await(stream:write("hello\n"))
      stream:close()
    end
    server:add_socket(pipe)
    local stream = IOStream(uv.new_pipe(false))
    await(stream:connect(path))
    stream:set_nodelay(true)
    assert.equal("hello", await(stream:read_line()))
    await(stream:close())
    server:stop()
  end)
end)

describe("the backlog", function()
  -- How many of some connections the system makes while nobody accepts them:
  -- by the loopback that is at once.
  local function accepted(server, many)
    local port, made = server:listen(0, "127.0.0.1"), {}
    for i = 1, many do
      made[i] = luv.new_tcp()
      luv.tcp_connect(made[i], "127.0.0.1", port, function() end)
    end
    local count = 0
    for i = 1, many do
      if luv.tcp_getpeername(made[i]) then count = count + 1 end
    end
    server:stop()
    for i = 1, many do made[i] = uv.close(made[i]) end
    await(made)
    return count
  end

  local function server_with(backlog)
    return TCPServer { backlog = backlog, handle_stream = function() end }
  end

  spec("is how many connections may wait", function()
    local few = accepted(server_with(1), 20)
    local many = accepted(server_with(64), 20)
    assert.is_true(few < 20, few)
    assert.equal(20, many)
    assert.equal(20, accepted(server_with(nil), 20))
    assert.equal(20, accepted(server_with(64.0), 20))
  end)

  spec("that is wrong by now prevents no listening", function()
    local server = server_with(64)
    server.backlog = "wrong"
    assert.equal(20, accepted(server, 20))
  end)
end)

describe("a server whose limits have become wrong", function()
  spec("closes a connection, and says why", function()
    local server = TCPServer { handle_stream = function() end }
    local port = server:listen(0, "127.0.0.1")
    server.max_buffer_size = -1
    local stream = await(TCPClient():connect("127.0.0.1", port))
    assert.equal("", await(stream:read_until_close()))
    assert.equal(1, log:count("max_buffer_size: a number of bytes expected"))
    log:clear()
    server:stop()
  end)
end)

-- Messages --------------------------------------------------------------------

describe("the message of a connection that failed", function()
  -- What a script that does not catch it says.
  local function uncaught(connect)
    local result = child(([[
      local lunado = require "lunado"
      local uv, IOStream = lunado.uv, lunado.iostream.IOStream
      local TCPClient = lunado.tcpclient.TCPClient
      lunado.run(function() coroutine.yield(%s) end)
    ]]):format(connect))
    assert.equal(1, result.code)
    return result.err
  end

  local function names(text, ...)
    for _, word in ipairs { ... } do
      assert.is_truthy(text:find(word, 1, true), text)
    end
  end

  it("names cause, host and port", function()
    local port = closed_port()
    names(uncaught(('TCPClient():connect("127.0.0.1", %d)'):format(port)),
      ("StreamClosedError: cannot connect to 127.0.0.1:%d: ECONNREFUSED")
      :format(port))
    names(uncaught(('IOStream(uv.new_tcp()):connect("127.0.0.1", %d)')
      :format(port)),
      ("StreamClosedError: cannot connect to 127.0.0.1:%d: ECONNREFUSED")
      :format(port))
    -- There may be no IPv6 here, which is another cause.
    names(uncaught(('IOStream(uv.new_tcp()):connect("::1", %d)'):format(port)),
      ("StreamClosedError: cannot connect to [::1]:%d: E"):format(port))
  end)

  it("names the path of a local socket", function()
    names(uncaught 'IOStream(uv.new_pipe(false)):connect "/no/such/socket"',
      "StreamClosedError: cannot connect to /no/such/socket: ENOENT")
  end)

  it("names what was looked up", function()
    names(uncaught 'TCPClient():connect("no such name", 80)',
      "EAI_", 'host "no such name"')
  end)

  spec("is that of all that waits for the connection", function()
    local port = closed_port()
    local stream = IOStream(uv.new_tcp())
    local futures = { stream:connect("127.0.0.1", port), stream:read_line(),
      stream:write("text") }
    for i, future in ipairs(futures) do
      local ok, err = pcall(await, future)
      assert.is_false(ok)
      assert.equal(("cannot connect to 127.0.0.1:%d: ECONNREFUSED")
        :format(port), err.message, i)
      assert.equal("ECONNREFUSED", err.real_error)
    end
    local ok, err = pcall(await, stream:read_line())
    assert.is_false(ok)
    names(err.message, "127.0.0.1", tostring(port), "ECONNREFUSED")
  end)
end)

describe("a second connect", function()
  spec("is refused while the first is under way, and harms none", function()
    local server, came = TCPServer(), concurrent.Future()
    function server.handle_stream(_, stream) came:set_result(stream) end
    local port = server:listen(0, "127.0.0.1")
    local stream = IOStream(uv.new_tcp())
    local connected = stream:connect("127.0.0.1", port)
    local ok, err = pcall(function()
      local _ = stream:connect("127.0.0.1", port)
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("tcp_options_spec.lua:%d+: .*connected already"),
      err)
    assert.equal(stream, await(connected))
    await { stream:close(), await(came):close() }
    server:stop()
  end)
end)
