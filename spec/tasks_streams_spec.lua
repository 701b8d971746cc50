-- SPDX-License-Identifier: MIT
-- Cancelled waits for streams: no byte is lost or given twice.
local luv = require "luv"
local IOStream = require "lunado.iostream".IOStream
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local tasks = require "lunado.tasks"
local uv = require "lunado.uv"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"
local streams = require "spec.support.streams"

local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

-- Each begins a read that "hello\n" ends, and returns its Future.
local reads = {
  read_bytes = function(s) return s:read_bytes(6) end,
  read_partial = function(s) return s:read_bytes(6, true) end,
  read_until = function(s) return s:read_until "\n" end,
  read_line = function(s) return s:read_line() end,
  read_until_pattern = function(s) return s:read_until_pattern "o\n" end,
}

describe("a cancelled read", function()
  for name, read in pairs(reads) do
    spec(name .. " leaves bytes that come later", function()
      local stream, peer = streams.tcp()
      local future = start(function() yield(read(stream)) end)
      tasks.cancel(future)
      yield(uv.write(peer, "hello\n"))
      assert_cancelled(future)
      assert.equal("hello\n", yield(stream:read_bytes(6)))
      stream:close()
      peer:close()
    end)

    spec(name .. " that is done before arrives", function()
      local stream, peer = streams.tcp()
      local future, got
      future = start(function()
        local data = read(stream)
        data:add_done_callback(function() tasks.cancel(future) end)
        got = yield(data)
        yield()
      end)
      yield(uv.write(peer, "hello\nrest"))
      assert_cancelled(future)
      assert.equal("hello", (got:gsub("\n", "")))
      assert.equal("rest", yield(stream:read_bytes(4)))
      stream:close()
      peer:close()
    end)
  end

  spec("keeps what had come", function()
    local stream, peer = streams.tcp()
    local future = start(function() yield(stream:read_bytes(6)) end)
    yield(uv.write(peer, "hel"))
    streams.wait_until(function() return streams.buffered(stream) == 3 end)
    tasks.cancel(future)
    assert_cancelled(future)
    yield(uv.write(peer, "lo\n"))
    assert.equal("hello", yield(stream:read_line()))
    stream:close()
    peer:close()
  end)

  spec("read_until_close keeps all", function()
    local stream, peer = streams.tcp()
    local future = start(function() yield(stream:read_until_close()) end)
    yield(uv.write(peer, "all of it"))
    streams.wait_until(function() return streams.buffered(stream) > 0 end)
    tasks.cancel(future)
    assert_cancelled(future)
    yield(uv.close(peer))
    assert.equal("all of it", yield(stream:read_until_close()))
  end)

  spec("within a timeout can be tried again", function()
    local stream, peer = streams.tcp()
    assert.is_false(pcall(tasks.timeout, { seconds = 0.001 }, yield,
      stream:read_line()))
    yield(uv.write(peer, "line\n"))
    assert.equal("line", tasks.timeout({ seconds = 9 }, yield,
      stream:read_line()))
    stream:close()
    peer:close()
  end)
end)

describe("a cancelled write", function()
  spec("goes on, whole and once", function()
    local stream, peer = streams.tcp()
    local long = ("0123456789"):rep(3000000)
    local future = start(function() yield(stream:write(long)) end)
    assert.is_false(future:done())
    local all = streams.read_all(peer)
    tasks.cancel(future)
    assert_cancelled(future)
    yield(stream:write "end")
    stream:close()
    assert.is_true(yield(all) == long .. "end")
    peer:close()
  end)
end)

-- A port that takes no connection: its queue is full.
local function busy_port()
  local server = uv.new_tcp()
  assert(uv.tcp_bind(server, "127.0.0.1", 0))
  return server, uv.tcp_getsockname(server).port
end

describe("a cancelled connect", function()
  spec("closes the stream", function()
    local server = TCPServer()
    local accepted = 0
    function server:handle_stream(stream) -- luacheck: ignore self
      accepted = accepted + 1
      pcall(yield, stream:read_line())
    end
    local port = server:listen(0, "127.0.0.1")
    local stream = IOStream.tcp()
    local connected = stream:connect("127.0.0.1", port)
    local future = start(function() yield(connected) end)
    assert.is_true(tasks.cancel(future))
    assert.is_true(stream:closed())
    assert_cancelled(future)
    assert.matches("cancelled",
      tostring(streams.closed_error(stream:read_line())))
    server:stop()
  end)

  spec("that is done before gives the stream", function()
    local server = TCPServer()
    function server:handle_stream(stream) -- luacheck: ignore self
      stream:close()
    end
    local port = server:listen(0, "127.0.0.1")
    local stream, future, got = IOStream.tcp(), nil, nil
    future = start(function()
      local connected = stream:connect("127.0.0.1", port)
      connected:add_done_callback(function() tasks.cancel(future) end)
      got = yield(connected)
      yield()
    end)
    assert_cancelled(future)
    assert.equal(stream, got)
    assert.is_false(stream:closed())
    stream:close()
    server:stop()
  end)

  spec("for which others wait goes on", function()
    local server, port = busy_port()
    assert(uv.listen(server, 1, function() end))
    local stream = IOStream.tcp()
    local connected = stream:connect("127.0.0.1", port)
    local future = start(function() yield(connected) end)
    local other = start(function() return (yield(connected)) end)
    tasks.cancel(future)
    assert_cancelled(future)
    assert.equal(stream, yield(other))
    stream:close()
    yield(uv.close(server))
  end)

  spec("of a TCPClient closes what it has opened", function()
    local server, port = busy_port()
    assert(uv.listen(server, 1, function() end))
    for turns = 0, 3 do
      local client = TCPClient()
      local future = start(function()
        return (yield(client:connect("127.0.0.1", port)))
      end)
      for _ = 1, turns do yield() end
      if tasks.cancel(future) then
        assert_cancelled(future)
      else
        future:result():close()
      end
    end
    yield(uv.close(server))
  end)

  spec("of a TCPClient ends its timeout and its race", function()
    local server, port = busy_port()
    assert(uv.listen(server, 1, function() end))
    local opened, tcp = {}, IOStream.tcp
    IOStream.tcp = function(...)
      local stream = tcp(...)
      opened[#opened + 1] = stream
      return stream
    end
    local future = start(function()
      yield(TCPClient():connect("127.0.0.1", port, { timeout = { hours = 1 } }))
    end)
    streams.wait_until(function() return #opened > 0 end)
    IOStream.tcp = tcp
    assert.is_true(tasks.cancel(future))
    assert.is_true(opened[1]:closed())
    assert_cancelled(future)
    yield(uv.close(server))
  end)
end)

describe("a cancelled open", function()
  local function descriptors()
    local count, list = 0, assert(luv.fs_scandir "/proc/self/fd")
    while luv.fs_scandir_next(list) do count = count + 1 end
    return count
  end

  spec("closes a descriptor that comes late", function()
    local open = require "lunado.iostream".open
    yield(open "README.md"):close()
    yield(uv.fs_stat ".")
    local before = descriptors()
    for turns = 0, 3 do
      local stream
      local future = start(function() stream = yield(open "README.md") end)
      for _ = 1, turns do yield() end
      if tasks.cancel(future) and not stream then assert_cancelled(future) end
      if stream then stream:close() end
    end
    local function settled() return descriptors() == before end
    for _ = 1, 100 do
      if settled() then break end
      yield(uv.fs_stat ".")
    end
    assert.is_true(settled())
  end)
end)
