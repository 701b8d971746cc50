-- SPDX-License-Identifier: MIT
-- lunado.iostream: streams that are read line by line, and ended on one side.
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local IOLoop = require "lunado.ioloop".IOLoop
local isinstance = require "lunado.util".isinstance
local luv = require "luv"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local streams = require "spec.support.streams"
local times = require "spec.support.times"

local await = coroutine.yield
local IOStream, StreamClosedError =
  iostream.IOStream, iostream.StreamClosedError
local wait_until = streams.wait_until

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

-- The same with a stream and luv's handle at the other end.
local with_stream = streams.specs(spec)

local closed_error = streams.closed_error

-- All lines, and the error that ended them, if one did.
local function all_lines(stream, max)
  local list = {}
  local ok, err = pcall(function()
    for line in stream:lines(max) do list[#list + 1] = line end
  end)
  if ok then return list end
  return list, err
end

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

describe("lines", function()
  with_stream("are given as they come, up to the end", function(stream, peer)
    gen.coroutine(function()
      for _, piece in ipairs { "one\ntw", "o\r\n", "\n", "three\n" } do
        await(uv.write(peer, piece))
        streams.turn()
      end
      await(uv.close(peer))
    end)()
    assert.same({ "one", "two", "", "three" }, all_lines(stream))
    assert.is_true(stream:closed())
    assert.same({}, all_lines(stream))
  end)

  with_stream("may end without an end of line", function(stream, peer)
    await(uv.write(peer, "one\nt\rwo\r"))
    await(uv.shutdown(peer))
    assert.same({ "one", "t\rwo\r" }, all_lines(stream))
    assert.equal("", await(stream:read_until_close()))
  end)

  with_stream("of nothing are none", function(stream, peer)
    await(uv.shutdown(peer))
    assert.same({}, all_lines(stream))
  end)

  with_stream("are many", function(stream, peer)
    local n, sent = times(20000), {}
    for i = 1, n do sent[i] = ("%d\n"):format(i) end
    uv.write(peer, table.concat(sent)):add_done_callback(function()
      uv.close(peer)
    end)
    local count = 0
    for line in stream:lines() do
      count = count + 1
      assert(line == tostring(count))
    end
    assert.equal(n, count)
  end)

  with_stream("can be left, and the rest be read otherwise",
    function(stream, peer)
      await(uv.write(peer, "one\ntwo\nthree\nfour"))
      for line in stream:lines() do
        if line == "two" then break end
      end
      assert.is_false(stream:reading())
      assert.equal("thr", await(stream:read_bytes(3)))
      assert.equal("ee", stream:lines()())
      assert.equal("four", await(stream:read_bytes(4)))
    end)

  with_stream("that are too long raise the error", function(stream, peer)
    await(uv.write(peer, "one\nmuch too long\n"))
    local lines, err = all_lines(stream, 8)
    assert.same({ "one" }, lines)
    assert.is_true(isinstance(err.real_error,
      iostream.UnsatisfiableReadError))
    assert.equal("much too long\n", await(stream:read_until_close()))
  end)

  with_stream("that are too long at the end raise it, too",
    function(stream, peer)
      await(uv.write(peer, "one\nmuch too long"))
      await(uv.shutdown(peer))
      local lines, err = all_lines(stream, 8)
      assert.same({ "one" }, lines)
      assert.is_true(isinstance(err.real_error,
        iostream.UnsatisfiableReadError))
    end)

  spec("of a connection that is reset raise the error", function()
    local stream, peer = streams.tcp()
    await(uv.write(peer, "one\ntw"))
    uv.tcp_close_reset(peer)
    local lines, err = all_lines(stream)
    assert.same({ "one" }, lines)
    assert.is_true(isinstance(err, StreamClosedError))
    assert.equal("ECONNRESET", err.real_error)
    assert.equal("tw", await(stream:read_until_close()))
  end)

  spec("that came before a write failed end as the other side does",
    function()
      local stream, peer = streams.pipe()
      await(uv.write(peer, "413\nToo much"))
      await(uv.close(peer))
      closed_error(stream:write("text"))
      assert.same({ "413", "Too much" }, all_lines(stream))
    end)

  with_stream("end with one's own close", function(stream, peer)
    uv.write(peer, "one\ntw")
    local lines = gen.coroutine(all_lines)(stream)
    wait_until(function() return streams.buffered(stream) == 2 end)
    stream:close()
    assert.same({ "one" }, await(lines))
    assert.equal("tw", await(stream:read_until_close()))
  end)

  with_stream("of a stream that is read are refused", function(stream, peer)
    local read = stream:read_bytes(3)
    local _, err = all_lines(stream)
    assert.is_truthy(err:find("iostream_lines_spec.lua:%d+: .*read already"),
      err)
    uv.write(peer, "abc")
    assert.equal("abc", await(read))
  end)

  it("outside of a coroutine raise, and the stream can be read", function()
    local stream, peer
    IOLoop.instance():run_sync(function()
      stream, peer = streams.tcp()
    end, loops.PATIENCE)
    local _, err = all_lines(stream)
    assert.is_truthy(err:find(
      "iostream_lines_spec.lua:%d+: cannot await outside of a coroutine"), err)
    IOLoop.instance():run_sync(function()
      uv.write(peer, "one\n")
      assert.equal("one", stream:lines()())
      await { stream:close(), uv.close(peer) }
    end, loops.PATIENCE)
  end)

  with_stream("with a wrong limit are refused", function(stream)
    bad(function() local _ = stream:lines("x") end, 1, "lines", "number",
      "string")
    bad(function() local _ = stream:lines(-1) end, 1, "lines")
    assert.is_false(stream:reading())
  end)
end)

describe("close_write", function()
  spec("may be followed by close, at once", function()
    for _, kind in ipairs { "tcp", "pipe" } do
      local stream, peer = streams[kind]()
      local closed = stream:close_write()
      closed:add_done_callback(function() stream:close() end)
      await(closed)
      assert.is_true(stream:closed())
      await(uv.close(peer))
    end
  end)

  with_stream("ends what the other side reads, and reading goes on",
    function(stream, peer)
      local all = streams.read_all(peer)
      stream:write("question")
      await(stream:close_write())
      assert.equal("question", await(all))
      assert.is_false(stream:closed())
      await(uv.write(peer, "answer\n"))
      assert.equal("answer", await(stream:read_line()))
    end)

  with_stream("lets leave what was written before", function(stream, peer)
    local data = ("x"):rep(10 << 20)
    local order = {}
    stream:write(data):add_done_callback(function()
      order[#order + 1] = "written"
    end)
    local closed = stream:close_write()
    closed:add_done_callback(function() order[#order + 1] = "closed" end)
    streams.turn(5)
    assert.is_false(closed:done())
    local all = streams.read_all(peer)
    await(closed)
    assert.same({ "written", "closed" }, order)
    assert.is_true(data == await(all))
  end)

  with_stream("lets no write follow, and closes nothing", function(stream, peer)
    local all = streams.read_all(peer)
    local closed = stream:close_write()
    assert.equal("StreamClosedError: Stream is closed for writing",
      tostring(closed_error(stream:write("late"))))
    closed_error(stream:write(""))
    closed_error(stream:write {})
    await(closed)
    closed_error(stream:write("late"))
    assert.equal("", await(all))
    assert.is_false(stream:closed())
  end)

  with_stream("may be called again", function(stream)
    local one, two = stream:close_write(), stream:close_write()
    await { one, two }
    await(stream:close_write())
    await(stream:close())
    await(stream:close_write())
  end)

  with_stream("closes the stream whose other side has ended",
    function(stream, peer)
      await(uv.write(peer, "text"))
      await(uv.shutdown(peer))
      assert.equal("te", await(stream:read_bytes(2)))
      wait_until(function()
        streams.turn()
        return streams.ended(stream)
      end)
      assert.is_false(stream:closed())
      await(stream:close_write())
      assert.is_true(stream:closed())
      assert.equal("xt", await(stream:read_bytes(2)))
      assert.is_nil(closed_error(stream:read_bytes(1)).real_error)
    end)

  with_stream("before the other side's end closes the stream then",
    function(stream, peer)
      await(stream:close_write())
      await(uv.write(peer, "text"))
      await(uv.shutdown(peer))
      assert.equal("t", await(stream:read_bytes(1)))
      wait_until(function()
        streams.turn()
        return stream:closed()
      end)
      assert.equal("ext", await(stream:read_until_close()))
    end)

  with_stream("on both sides closes a stream that is not read",
    function(stream, peer)
      await(stream:close_write())
      await(uv.shutdown(peer))
      wait_until(function()
        streams.turn()
        return stream:closed()
      end)
    end)

  with_stream("fails as the writes before it do", function(stream, peer)
    local written, closed =
      stream:write(("x"):rep(10 << 20)), stream:close_write()
    await(uv.close(peer))
    local err = closed_error(written)
    assert.equal(err.real_error, closed_error(closed).real_error)
    assert.is_truthy(err.real_error:find "^E")
    closed_error(stream:write("x"))
  end)

  with_stream("is given up by close", function(stream)
    stream:write(("x"):rep(10 << 20))
    local closed = stream:close_write()
    stream:close()
    assert.is_nil(closed_error(closed).real_error)
  end)

  with_stream("may be settled by somebody else", function(stream, peer)
    local data = ("x"):rep(1 << 20)
    stream:write(data)
    stream:close_write():set_result("mine")
    local all = streams.read_all(peer)
    assert.is_true(data == await(all))
    assert.is_false(stream:closed())
  end)

  spec("waits until the stream is connected", function()
    local server = uv.new_tcp()
    uv.tcp_bind(server, "127.0.0.1", 0)
    local all
    uv.listen(server, 1, function()
      local peer = uv.new_tcp()
      uv.accept(server, peer)
      all = streams.read_all(peer)
      uv.write(peer, "answer\n")
      all:add_done_callback(function() uv.close(peer) end)
    end)
    local stream = IOStream(uv.new_tcp())
    local connected = stream:connect("127.0.0.1",
      uv.tcp_getsockname(server).port)
    stream:write("question")
    await(stream:close_write())
    assert.is_true(connected:done())
    assert.equal("answer", await(stream:read_line()))
    await { stream:close(), uv.close(server) }
    assert.equal("question", await(all))
  end)

  spec("fails where there is no connection", function()
    local stream = IOStream(uv.new_tcp())
    assert.is_truthy(closed_error(stream:close_write()).real_error
      :find("^ENOTCONN"))
    assert.is_true(stream:closed())
    closed_error(stream:close_write())
  end)

  spec("closes a pipe that goes one way", function()
    local to, from = streams.one_way()
    local writer, reader = IOStream(to), IOStream(from)
    local data = ("text"):rep(1 << 18)
    writer:write(data)
    local closed = writer:close_write()
    assert.is_true(data == await(reader:read_until_close()))
    await(closed)
    assert.is_true(writer:closed())
  end)

  it("of a terminal fails, and changes nothing", function()
    local fd = luv.fs_open("/dev/ptmx",
      luv.constants.O_RDWR | luv.constants.O_NOCTTY, 0)
    if not fd then
      pending("there are no terminals here")
      return
    end
    IOLoop.instance():run_sync(function()
      local stream = IOStream(assert(uv.new_tty(fd, true)))
      local ok, err = pcall(await, stream:close_write())
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("ENOTSOCK"), tostring(err))
      assert.is_false(stream:closed())
      await(stream:close())
    end, loops.PATIENCE)
  end)
end)
