-- SPDX-License-Identifier: MIT
-- Streams with a handle of lunado's own: how they are made, what their handle
-- can be asked, and servers of local sockets.
local core = require "lunado.core"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local IOLoop = require "lunado.ioloop".IOLoop
local IOStream = iostream.IOStream
local luv = require "luv"
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local streams = require "spec.support.streams"

local await = coroutine.yield
local closed_error = streams.closed_error

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

-- A server that echoes, and its port.
local function echo_server(options)
  local server = TCPServer(options)
  function server.handle_stream(_, stream)
    for line in stream:lines() do await(stream:write(line .. "\n")) end
    stream:close()
  end
  return server
end

local function echoes(stream, text)
  await(stream:write(text .. "\n"))
  assert.equal(text, await(stream:read_line()))
end

-- A path at which there is nothing.
local function free_path()
  local path = os.tmpname()
  os.remove(path)
  return path
end

describe("IOStream.tcp", function()
  spec("makes a stream to be connected", function()
    local server = echo_server()
    local port = server:listen(0, "127.0.0.1")
    local stream = IOStream.tcp { max_buffer_size = 1000 }
    assert.is_true(getmetatable(stream) == IOStream)
    assert.equal(1000, stream.max_buffer_size)
    assert.equal(stream, await(stream:connect("127.0.0.1", port)))
    echoes(stream, "text")
    await(stream:close())
    server:stop()
  end)

  spec("fails with cause and address where nobody listens", function()
    local port = streams.closed_port()
    local err = closed_error(IOStream.tcp():connect("127.0.0.1", port))
    assert.equal(("StreamClosedError: cannot connect to 127.0.0.1:%d: "
      .. "ECONNREFUSED"):format(port), tostring(err))
  end)

  spec("takes no name for an address", function()
    local err = closed_error(IOStream.tcp():connect("localhost", 1))
    assert.equal("EINVAL: not an IP address: localhost", err.real_error)
  end)

  it("is closed with the loop", function()
    local stream = IOStream.tcp()
    local handle = stream.handle
    IOLoop.current():close()
    assert.is_true(stream:closed())
    assert.is_true(handle:is_closing())
  end)

  it("is closed with the loop, if luv has made its handle, too", function()
    local handle = luv.new_tcp()
    local stream = IOStream(handle)
    IOLoop.current():close()
    assert.is_true(stream:closed())
    assert.is_true(handle:is_closing())
  end)

  spec("is closed when it is dropped", function()
    local handle = setmetatable({ IOStream.tcp() }, { __mode = "v" })
    gc.collect()
    gc.collect()
    assert.is_nil(handle[1])
  end)
end)

describe("IOStream.pipe", function()
  spec("makes a stream of a local socket to be connected", function()
    local server, path = echo_server(), free_path()
    server:listen_unix(path)
    local stream = IOStream.pipe()
    await(stream:connect(path))
    echoes(stream, "text")
    assert.equal(path, stream.handle:getpeername())
    assert.equal("", stream.handle:getsockname())
    await(stream:close())
    server:stop()
  end)

  spec("refuses a path that is too long for a local socket", function()
    local err = closed_error(IOStream.pipe():connect("/" .. ("x"):rep(200)))
    assert.equal("ENAMETOOLONG", err.real_error)
  end)
end)

describe("IOStream.tty", function()
  it("reads and writes a terminal", function()
    local probe = io.popen("script --version 2>&1")
    local has_script = probe:read("a"):find("script", 1, true)
    probe:close()
    if not has_script then return end
    local text = child([[
      local IOStream = require("lunado.iostream").IOStream
      require("lunado").run(function()
        local out = IOStream.tty(1)
        coroutine.yield(out:write("written\n"))
        print(out:_kind(), (out.handle:getpeername()))
      end)
    ]], nil, function(command)
      return ("script -qec %q /dev/null"):format(command)
    end).out
    assert.is_truthy(text:find("written\r?\n"), text)
    assert.is_truthy(text:find("tty\tnil"), text)
  end)

  it("raises where there is no terminal", function()
    local fds = assert(luv.pipe())
    bad(function() local _ = IOStream.tty(fds.read) end, 1, "tty", "terminal")
    assert.is_true(luv.fs_close(fds.read))
    luv.fs_close(fds.write)
  end)
end)

describe("IOStream.open", function()
  spec("makes a stream of a pipe's ends", function()
    local fds = assert(luv.pipe())
    local from = IOStream.open(fds.read, { mode = "r" })
    local to = IOStream.open(fds.write)
    assert.equal("pipe", from:_kind())
    assert.is_true(to.handle:is_writable())
    await(to:write("one\ntwo"))
    assert.equal("one", await(from:read_line()))
    to:close()
    assert.equal("two", await(from:read_until_close()))
    assert.is_true(from:closed())
  end)

  spec("makes a stream of a socket", function()
    local ends = assert(luv.socketpair())
    local here, there = IOStream.open(ends[1]), IOStream.open(ends[2])
    here:write("question\n")
    assert.equal("question", await(there:read_line()))
    await(here:close_write())
    closed_error(there:read_line())
    await { here:close(), there:close() }
  end)

  spec("makes a stream of a file, from where that is", function()
    local path = os.tmpname()
    local fd = assert(luv.fs_open(path, "w+", 384))
    assert(luv.fs_write(fd, "one\ntwo\n"))
    luv.fs_close(fd)
    fd = assert(luv.fs_open(path, "r", 384))
    assert.equal("one\n", luv.fs_read(fd, 4))
    local stream = IOStream.open(fd, { mode = "r" })
    assert.equal("file", stream:_kind())
    assert.equal(fd, stream.handle:fileno())
    assert.equal("two\n", await(stream:read_until_close()))
    await(stream:close())
    local again = luv.fs_open(path, "r", 384)
    assert.equal(fd, again) -- it was closed
    luv.fs_close(again)
    os.remove(path)
  end)

  it("reads the standard input, whatever that is", function()
    local script = [[
      local lunado = require "lunado"
      lunado.run(function()
        for line in lunado.iostream.IOStream.open(0):lines() do print(line) end
      end)
    ]]
    local input = os.tmpname()
    local file = assert(io.open(input, "w"))
    file:write "a\nb\nc"
    file:close()
    for _, line in ipairs { "%s <" .. input, "cat " .. input .. " | %s" } do
      local result = child(script, nil, function(command)
        return line:format(command)
      end)
      assert.same({ code = 0, out = "a\nb\nc\n", err = "" }, result)
    end
    os.remove(input)
  end)

  spec("refuses what is no open descriptor", function()
    local fds = assert(luv.pipe())
    luv.fs_close(fds.read)
    luv.fs_close(fds.write)
    local ok, err = pcall(IOStream.open, fds.read)
    assert.is_false(ok)
    assert.equal("EBADF: bad file descriptor", err)
    for _, name in ipairs { "open", "tty" } do
      bad(function() local _ = IOStream[name](-1) end, 1, name,
        "must not be negative")
      bad(function() local _ = IOStream[name](1 + (1 << 32)) end, 1, name,
        "a descriptor is at most 2147483647")
    end
  end)
end)

describe("the handle", function()
  spec("answers what luv's does", function()
    local server = echo_server()
    local port = server:listen(0, "127.0.0.1")
    local stream = await(TCPClient():connect("127.0.0.1", port))
    local handle = stream.handle
    local peer = handle:getpeername()
    assert.same({ ip = "127.0.0.1", port = port, family = "inet" }, peer)
    assert.same(peer, uv.tcp_getpeername(handle))
    assert.equal("127.0.0.1", uv.tcp_getsockname(handle).ip)
    assert.equal("number", math.type(handle:fileno()) and "number")
    assert.equal(handle:fileno(), uv.fileno(handle))
    assert.is_true(uv.is_readable(handle) and uv.is_writable(handle))
    assert.is_false(uv.is_closing(handle))
    assert.equal(0, handle:get_write_queue_size())
    assert.equal(0, handle:nodelay(true))
    assert.equal(0, uv.tcp_keepalive(handle, true, 60))
    assert.equal(0, handle:keepalive(false))
    assert.is_true(handle:recv_buffer_size() > 0)
    assert.equal(0, handle:send_buffer_size(65536))
    assert.is_true(uv.send_buffer_size(handle) > 0)
    for _, size in ipairs { -1, 1 << 32 } do
      bad(function() handle:send_buffer_size(size) end, 1, "send_buffer_size",
        "size expected")
    end
    await(stream:close())
    for _, method in ipairs { "getpeername", "getsockname", "fileno",
      "recv_buffer_size", "close_reset" } do
      local result, _, code = handle[method](handle)
      assert.is_nil(result)
      assert.equal("EBADF", code, method)
    end
    assert.is_true(handle:is_closing())
    assert.is_false(handle:is_active() or handle:is_readable())
    server:stop()
  end)

  spec("binds the connection to come to an address", function()
    local server = echo_server()
    local port = server:listen(0, "127.0.0.1")
    local stream = IOStream.tcp()
    local handle = stream.handle
    bad(function() handle:bind("localhost", 0) end, 1, "bind",
      "IP address expected")
    bad(function() handle:bind("127.0.0.1", 65536) end, 2, "bind",
      "port expected")
    local result, _, code = handle:bind("192.0.2.1", 0)
    assert.is_nil(result)
    assert.equal("EADDRNOTAVAIL", code)
    assert.equal(0, uv.tcp_bind(handle, "127.0.0.1", 0))
    local own = handle:getsockname()
    assert.equal("127.0.0.1", own.ip)
    await(stream:connect("127.0.0.1", port))
    assert.same(own, handle:getsockname())
    await(stream:close())
    assert.equal("EBADF", (select(3, handle:bind("127.0.0.1", 0))))
    local local_socket = IOStream.pipe()
    assert.equal("ENOTSUP",
      (select(3, local_socket.handle:bind("127.0.0.1", 0))))
    local_socket:close()
    server:stop()
  end)

  spec("that is closed closes the stream with an error", function()
    local server = echo_server()
    local port = server:listen(0, "127.0.0.1")
    local stream = await(TCPClient():connect("127.0.0.1", port))
    local read = stream:read_line()
    stream.handle:close()
    assert.equal("ECANCELED", closed_error(read).real_error)
    server:stop()
  end)

  spec("may lose its descriptor to other code", function()
    local ends = uv.socketpair()
    local other = IOStream.open(ends[2])
    local stream = IOStream.open(ends[1])
    luv.fs_close(ends[1])
    local err = closed_error(stream:read_line())
    assert.is_truthy(tostring(err):find "EBADF")
    other:close()
  end)

  spec("that is reset fails the reads of the other side", function()
    local server = TCPServer()
    local port, failed = server:listen(0, "127.0.0.1"), core.Future()
    function server.handle_stream(_, stream)
      failed:set_result(closed_error(stream:read_line()).real_error)
    end
    local stream = await(TCPClient():connect("127.0.0.1", port))
    assert.equal(0, stream.handle:close_reset())
    assert.equal("ECONNRESET", await(failed))
    assert.is_true(stream:closed())
    server:stop()
  end)

  it("names a wrong argument", function()
    local handle = IOStream.tcp().handle
    assert.has_error(function() handle:nodelay(1) end)
    assert.has_error(function() handle:keepalive(true) end)
    assert.has_error(function() handle:close(print) end)
    assert.has_error(function() handle.getsockname(5) end)
    assert.has_error(function() handle.getsockname(core.Future()) end)
  end)
end)

describe("a method", function()
  spec("drops the arguments that it has no use for", function()
    local methods = { _ended_well = 0, _kind = 0, _served = 0, _take_peer = 0,
      _waits = 0, close = 0, close_write = 0, closed = 0, read_bytes = 2,
      read_line = 1, read_until = 2, read_until_close = 0, reading = 0,
      set_close_callback = 1, set_nodelay = 1, write = 1, writing = 0,
      __close = 0 }
    local arguments = { read_bytes = { 1, true }, read_until = { "x", 9 },
      set_close_callback = { print }, write = { "" } }
    for name, count in pairs(methods) do
      local fds = assert(luv.pipe())
      local stream = IOStream.open(fds.read, { mode = "r" })
      local given = { table.unpack(arguments[name] or {}, 1, count) }
      for i = count + 1, 9 do given[i] = i % 2 == 0 and {} or "surplus" end
      local ok, err = pcall(stream[name], stream, table.unpack(given, 1, 9))
      assert.is_true(ok, name .. ": " .. tostring(err))
      if core.is_future(err) then
        err:add_done_callback(function(future) future:exception() end)
      end
      stream:set_close_callback(nil)
      await(stream:close("surplus", {}, 1))
      luv.fs_close(fds.write)
    end
  end)
end)

describe("listen_unix", function()
  spec("serves a local socket until it is stopped", function()
    local server, path = echo_server(), free_path()
    server:listen_unix(path)
    assert.equal(tonumber("600", 8), luv.fs_stat(path).mode & 511)
    local stream = await(IOStream.pipe():connect(path))
    server:stop()
    assert.is_nil(luv.fs_stat(path))
    echoes(stream, "still there")
    await(stream:close())
  end)

  spec("has the mode that it is given", function()
    local server, path = echo_server(), free_path()
    server:listen_unix(path, tonumber("660", 8))
    assert.equal(tonumber("660", 8), luv.fs_stat(path).mode & 511)
    server:stop()
  end)

  spec("takes the place of a socket that was left", function()
    local path = free_path()
    local left = luv.new_pipe(false)
    assert(left:bind(path))
    os.rename(path, path .. ".kept")
    await(uv.close(left))
    os.rename(path .. ".kept", path)
    local server = echo_server()
    server:listen_unix(path)
    local stream = await(IOStream.pipe():connect(path))
    echoes(stream, "text")
    await(stream:close())
    server:stop()
  end)

  spec("leaves another file alone", function()
    local path, server = os.tmpname(), echo_server()
    local ok, err = pcall(server.listen_unix, server, path)
    assert.is_false(ok)
    assert.is_truthy(err:find("^EADDRINUSE.*" .. path), err)
    assert.is_not_nil(luv.fs_stat(path))
    assert.is_truthy(tostring(server):find("0 listening", 1, true))
    os.remove(path)
  end)

  it("names a wrong argument", function()
    local server = TCPServer()
    bad(function() server:listen_unix() end, 1, "listen_unix", "string", "nil")
    bad(function() server:listen_unix("x", "y") end, 2, "listen_unix",
      "number", "string")
    bad(function() server:listen_unix("x", 1 << 32) end, 2, "listen_unix",
      "permissions are at most 4095")
  end)
end)

describe("a server", function()
  spec("takes many connections at once, by default", function()
    local server, made = echo_server(), {}
    local port = server:listen(0, "127.0.0.1")
    for i = 1, 300 do made[i] = TCPClient():connect("127.0.0.1", port) end
    for i = 1, 300 do made[i] = await(made[i]) end
    for i = 1, 300, 50 do echoes(made[i], "connection " .. i) end
    for i = 1, 300 do made[i] = made[i]:close() end
    await(made)
    server:stop()
  end)

  spec("whose handle of luv's is closed by luv has stopped", function()
    local handle, server = luv.new_tcp(), echo_server()
    assert(luv.tcp_bind(handle, "127.0.0.1", 0))
    server:add_socket(handle)
    local port = luv.tcp_getsockname(handle).port
    await(uv.close(handle))
    closed_error(IOStream.tcp():connect("127.0.0.1", port))
    server:stop()
  end)

  spec("leaves alone the handle of a stream", function()
    local stream, there = streams.tcp()
    local line = stream:read_line()
    assert.has_error(function() TCPServer():add_socket(stream.handle) end,
      "EBUSY: resource busy or locked")
    there:write "text\n"
    assert.equal("text", await(line))
    stream:close()
    await(uv.close(there))
  end)

  it("needs no luv", function()
    local result = child [[
      package.preload.luv = function() error "no luv here" end
      local lunado = require "lunado"
      local await = coroutine.yield
      local server = lunado.tcpserver.TCPServer()
      function server.handle_stream(_, stream)
        await(stream:write((await(stream:read_line())):upper() .. "\n"))
      end
      local port = server:listen(0)
      lunado.run(function()
        local client = lunado.tcpclient.TCPClient()
        local stream = await(client:connect("127.0.0.1", port))
        await(stream:write "text\n")
        print(await(stream:read_line()))
      end)
    ]]
    assert.same({ code = 0, out = "TEXT\n", err = "" }, result)
  end)

  it("is closed with the loop", function()
    local server = echo_server()
    local port = server:listen(0, "127.0.0.1")
    IOLoop.current():close()
    server:stop()
    IOLoop.current():run_sync(function()
      closed_error(IOStream.tcp():connect("127.0.0.1", port))
    end, loops.PATIENCE)
  end)
end)

describe("streams of coroutines that only yield and collect", function()
  spec("are closed", function()
    local handles = setmetatable({}, { __mode = "k" })
    local fds = {}
    local forget = gen.coroutine(function()
      for i = 1, 10 do
        local ends = assert(luv.socketpair())
        local stream = IOStream.open(ends[1])
        stream:write "text"
        await(gen.moment)
        handles[stream] = true
        fds[i] = ends[2]
      end
    end)
    await(forget())
    for _ = 1, 10 do
      await(gen.moment)
      collectgarbage()
    end
    assert.is_nil(next(handles))
    for _, fd in ipairs(fds) do
      local there = IOStream.open(fd)
      assert.equal("text", await(there:read_until_close()))
      await(there:close())
    end
  end)
end)

describe("a wrong option", function()
  it("of a stream is refused before anything is opened", function()
    local path = os.tmpname()
    local calls = {
      tcp = function(options) local _ = IOStream.tcp(options) end,
      pipe = function(options) local _ = IOStream.pipe(options) end,
      tty = function(options) local _ = IOStream.tty(0, options) end,
      open = function(options) local _ = IOStream.open(0, options) end,
      IOStream = function(options)
        local _ = IOStream(luv.new_tcp(), options)
      end,
    }
    local positions = { tcp = 1, pipe = 1, tty = 2, open = 2, IOStream = 2 }
    for name, call in pairs(calls) do
      local function refuses(options, what)
        local ok, err = pcall(call, options)
        assert.is_false(ok)
        assert.truthy(err:find(("_spec.lua:%%d+: bad argument #%d to '%s' (%s")
          :format(positions[name], name, what):gsub("[(#]", "%%%0")), err)
      end
      refuses({ max_bufer_size = 1 }, 'unknown option "max_bufer_size"')
      refuses({ 1 }, "unknown option 1")
      if name ~= "tty" then refuses({ readable = true }, "unknown option") end
      if name ~= "open" then refuses({ mode = "r" }, "unknown option") end
    end
    local count = 0
    local changing = setmetatable({}, { __index = function(_, name)
      if name ~= "max_buffer_size" then return nil end
      count = count + 1
      return count == 1 and 5 or "x"
    end })
    assert.equal(5, IOStream.tcp(changing).max_buffer_size)
    bad(function() local _ = IOStream.open(0, { mode = "x" }) end, 2, "open",
      "mode: invalid mode")
    bad(function() local _ = IOStream.open(0, { mode = false }) end, 2, "open",
      "mode: invalid mode")
    bad(function() local _ = IOStream.tty(0, { readable = 1 }) end, 2, "tty",
      "readable: boolean", "number")
    bad(function() local _ = iostream.open(path, "r", { mode = "w" }) end, 3,
      "open", 'unknown option "mode"')
    os.remove(path)
  end)
end)

describe("a stream whose loop was closed", function()
  -- Calls fn(stream, other end) on a loop that is closed then; returns what fn
  -- returns.
  local function on_closed_loop(fn)
    local loop = loops.open()
    local ends = assert(luv.socketpair())
    local stream, there = IOStream.open(ends[1]), IOStream.open(ends[2])
    local result = fn(stream, there)
    loops.close(loop)
    return stream, result
  end

  spec("is not being read for ever", function()
    local stream, read = on_closed_loop(function(stream)
      return stream:read_line()
    end)
    assert.is_false(stream:reading())
    closed_error(stream:read_bytes(1))
    closed_error(stream:read_until "x")
    assert.equal("", await(stream:read_until_close()))
    assert.is_false(read:done())
  end)

  spec("gives nothing more by lines", function()
    local stream = on_closed_loop(function(stream)
      gen.coroutine(function() for _ in stream:lines() do end end)()
    end)
    for _ in stream:lines() do error "a line" end
  end)

  spec("keeps what has come", function()
    local stream = on_closed_loop(function(stream, there)
      there:write "abc"
      return IOLoop.current():run_sync(function()
        await(stream:read_bytes(1))
        return stream:read_bytes(100) and nil
      end)
    end)
    assert.equal("bc", await(stream:read_bytes(2)))
    closed_error(stream:read_bytes(1))
  end)

  spec("is not being connected for ever", function()
    local loop = loops.open()
    local client = IOStream.tcp()
    local connect = client:connect("127.0.0.1", 1)
    loops.close(loop)
    closed_error(client:connect("127.0.0.1", 1))
    closed_error(client:write "text")
    assert.is_false(connect:done())
  end)

  spec("is closed, and closed for writing", function()
    local stream, ended = on_closed_loop(function(stream)
      stream:write(("x"):rep(10000000))
      return stream:close_write()
    end)
    await(stream:close_write())
    await(stream:close())
    assert.is_false(ended:done())
  end)

  spec("does not go on closing for ever", function()
    local stream, closing = on_closed_loop(function(stream)
      return stream:close()
    end)
    await(stream:close())
    assert.is_false(closing:done())
  end)
end)
