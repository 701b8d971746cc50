-- SPDX-License-Identifier: MIT
-- lunado.iostream: reading, writing, closing luv's streams.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local isinstance = require "lunado.util".isinstance
local luv = require "luv"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local contexts = require "spec.support.contexts"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local selves = require "spec.support.selves"
local streams = require "spec.support.streams"
local times = require "spec.support.times"

local await = coroutine.yield
local IOStream, StreamClosedError =
  iostream.IOStream, iostream.StreamClosedError
local wait_until = streams.wait_until

local run = frame.run
-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

-- The same with a stream and luv's handle at the other end.
local with_stream = streams.specs(spec)

-- Sends pieces, in turns of the loop of their own.
local send = gen.coroutine(function(peer, ...)
  for _, piece in ipairs { ... } do
    await(uv.write(peer, piece))
    streams.turn()
  end
end)

-- The StreamClosedError of a Future, whose message says why.
local function closed_error(future, message)
  local ok, err = pcall(await, future)
  assert.is_false(ok)
  assert.is_true(isinstance(err, StreamClosedError), tostring(err))
  local why = "Stream is closed"
  if err.real_error then why = why .. ": " .. tostring(err.real_error) end
  assert.equal(message or why, err.message)
  return err
end

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

describe("the module", function()
  it("is a field of lunado, the same after package.loaded was cleared",
    function()
      assert.equal(iostream, require("lunado").iostream)
      package.loaded["lunado.iostream"] = nil
      assert.equal(iostream, require "lunado.iostream")
    end)

  it("needs no luv", function()
    local result = child [[
      for i, searcher in ipairs(package.searchers) do
        package.searchers[i] = function(name)
          if name == "luv" then return "\n\tnowhere" end
          return searcher(name)
        end
      end
      local lunado = require "lunado"
      local stream = lunado.iostream.IOStream.tcp()
      lunado.run(function() coroutine.yield(stream:close()) end)
      print(stream:closed(), package.loaded.luv)
    ]]
    assert.same({ code = 0, out = "true\tnil\n", err = "" }, result)
  end)
end)

describe("read_bytes", function()
  with_stream("gives so many, of several pieces, and leaves the rest",
    function(stream, peer)
      send(peer, "abc", "def", "ghi")
      assert.equal("abcd", await(stream:read_bytes(4)))
      assert.equal("ef", await(stream:read_bytes(2)))
      assert.equal("ghi", await(stream:read_bytes(3)))
    end)

  with_stream("is done at once where they are there", function(stream, peer)
    send(peer, "abcdef")
    assert.equal("a", await(stream:read_bytes(1)))
    local future = stream:read_bytes(5)
    assert.is_true(future:done())
    assert.equal("bcdef", future:result())
  end)

  with_stream("gives what there is, where that may be less",
    function(stream, peer)
      await(send(peer, "abcdef"))
      assert.equal("abcd", await(stream:read_bytes(4, true)))
      assert.equal("ef", await(stream:read_bytes(4, true)))
      local future = stream:read_bytes(4, true)
      assert.is_false(future:done())
      send(peer, "g")
      assert.equal("g", await(future))
    end)

  with_stream("of none is done at once", function(stream)
    assert.equal("", stream:read_bytes(0):result())
    assert.equal("", stream:read_bytes(0, true):result())
  end)

  with_stream("takes bytes of every kind", function(stream, peer)
    local all = {}
    for i = 0, 255 do all[i + 1] = string.char(i) end
    local text = table.concat(all)
    send(peer, text)
    assert.equal(text, await(stream:read_bytes(256)))
  end)
end)

describe("read_until", function()
  with_stream("gives what comes up to and with the delimiter",
    function(stream, peer)
      send(peer, "one, two, three")
      assert.equal("one, ", await(stream:read_until(", ")))
      assert.equal("two, ", await(stream:read_until(", ")))
      assert.equal("three", await(stream:read_bytes(5)))
    end)

  with_stream("finds a delimiter that comes in parts", function(stream, peer)
    send(peer, "GET / HTTP/1.0\r", "\n", "\r", "\nbo", "dy")
    assert.equal("GET / HTTP/1.0\r\n\r\n", await(stream:read_until("\r\n\r\n")))
    assert.equal("body", await(stream:read_bytes(4)))
  end)

  with_stream("takes bytes of every kind", function(stream, peer)
    send(peer, "a\0", "%b\0\0", "c")
    assert.equal("a\0%b\0\0", await(stream:read_until("\0\0")))
    assert.equal("c", await(stream:read_bytes(1)))
  end)
end)

describe("read_until_pattern", function()
  with_stream("gives what comes up to and with the first match",
    function(stream, peer)
      send(peer, "a12b", "c345", "d")
      assert.equal("a12b", await(stream:read_until_pattern("%d%d?%a")))
      assert.equal("c345d", await(stream:read_until_pattern("%d+%a")))
    end)

  with_stream("finds lines of either kind", function(stream, peer)
    send(peer, "one\n", "two\r", "\nthree\r\n")
    for _, line in ipairs { "one\n", "two\r\n", "three\r\n" } do
      assert.equal(line, await(stream:read_until_pattern("\r?\n")))
    end
  end)

  with_stream("may be anchored where the read begins", function(stream, peer)
    send(peer, "one two")
    assert.equal("one", await(stream:read_bytes(3)))
    assert.equal(" t", await(stream:read_until_pattern("^ %a")))
  end)

  with_stream("that turns out wrong closes the stream", function(stream, peer)
    send(peer, "ab")
    local err = closed_error(stream:read_until_pattern("a%"))
    assert.is_truthy(err.real_error:find("malformed pattern", 1, true))
  end)
end)

describe("read_line", function()
  with_stream("gives lines without their ends", function(stream, peer)
    send(peer, "one\ntwo\r", "\n\n\r\nfo\rur\r\r\nrest")
    for _, line in ipairs { "one", "two", "", "", "fo\rur\r" } do
      assert.equal(line, await(stream:read_line()))
    end
    await(uv.close(peer))
    closed_error(stream:read_line())
    assert.equal("rest", await(stream:read_until_close()))
  end)
end)

describe("read_until_close", function()
  with_stream("gives all, the buffer first", function(stream, peer)
    send(peer, "line\nrest ")
    assert.equal("line", await(stream:read_line()))
    local future = stream:read_until_close()
    await(send(peer, "and ", "more"))
    await(uv.close(peer))
    assert.equal("rest and more", await(future))
    assert.is_true(stream:closed())
    assert.equal("", await(stream:read_until_close()))
  end)

  with_stream("ends at one's own close, too", function(stream, peer)
    local future = stream:read_until_close()
    await(send(peer, "text"))
    wait_until(function() return streams.buffered(stream) == 4 end)
    stream:close()
    assert.equal("text", await(future))
  end)
end)

describe("a read with a timeout", function()
  with_stream("goes on until the stream is closed", function(stream, peer)
    local read = stream:read_line()
    local ok, err = pcall(await, gen.with_timeout({ milliseconds = 5 }, read,
      StreamClosedError))
    assert.is_false(ok)
    assert.equal("TimeoutError: Timeout", tostring(err))
    assert.is_true(stream:reading())
    send(peer, "text\n")
    assert.equal("text", await(read))
    pcall(await, gen.with_timeout({ milliseconds = 5 }, stream:read_line(),
      StreamClosedError))
    await(stream:close())
  end)
end)

describe("a second read", function()
  with_stream("at the same time is refused", function(stream, peer)
    local future = stream:read_bytes(3)
    assert.is_true(stream:reading())
    local ok, err = pcall(function()
      local _ = stream:read_line()
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("iostream_spec.lua:%d+: .*being read already"),
      err)
    send(peer, "abc\n")
    assert.equal("abc", await(future))
    assert.is_false(stream:reading())
    assert.equal("", await(stream:read_line()))
  end)

  with_stream("may take what the first was not given any more",
    function(stream, peer)
      local future = stream:read_bytes(3)
      future:set_result("somebody else's")
      send(peer, "abc")
      assert.equal("abc", await(stream:read_bytes(3)))
    end)

  with_stream("may begin in a callback of the first", function(stream, peer)
    local second = concurrent.Future()
    stream:read_bytes(2):add_done_callback(function()
      concurrent.chain_future(stream:read_bytes(2), second)
    end)
    send(peer, "ab", "cd")
    assert.equal("cd", await(second))
  end)
end)

describe("a limit", function()
  local function refuses(stream, words, future, was_closed)
    local err = closed_error(future).real_error
    assert.is_true(isinstance(err, iostream.UnsatisfiableReadError))
    assert.equal("UnsatisfiableReadError: " .. words, tostring(err))
    assert.is_true(stream:closed())
    assert.equal(not was_closed and err or nil, stream.error)
  end

  with_stream("is kept by what just fits", function(stream, peer)
    send(peer, "abc\nabc\nabc\n")
    assert.equal("abc\n", await(stream:read_until("\n", 4)))
    assert.equal("abc\n", await(stream:read_until_pattern("%s", 4)))
    assert.equal("abc", await(stream:read_line(4)))
  end)

  with_stream("ends a read_until whose delimiter comes later",
    function(stream, peer)
      send(peer, "abc", "d")
      refuses(stream, [[delimiter "\n" not found within 3 bytes]],
        stream:read_until("\n", 3))
    end)

  with_stream("ends one whose delimiter is in the buffer, beyond it",
    function(stream, peer)
      send(peer, "xabcd\r\n")
      assert.equal("x", await(stream:read_bytes(1)))
      refuses(stream, [[delimiter "\13\n" not found within 5 bytes]],
        stream:read_until("\r\n", 5))
      assert.equal("abcd\r\n", await(stream:read_until_close()))
    end)

  with_stream("counts in what was left when the stream was closed, too",
    function(stream, peer)
      send(peer, "abcdef")
      assert.equal("a", await(stream:read_bytes(1)))
      stream:close()
      refuses(stream, [[delimiter "\n" not found within 3 bytes]],
        stream:read_until("\n", 3), true)
      assert.equal("bcdef", await(stream:read_until_close()))
    end)

  with_stream("ends a read_until_pattern", function(stream, peer)
    send(peer, "abcd")
    refuses(stream, [[pattern "%d" not found within 3 bytes]],
      stream:read_until_pattern("%d", 3))
  end)

  with_stream("ends a read_line", function(stream, peer)
    send(peer, "abcd")
    refuses(stream, [[delimiter "\n" not found within 3 bytes]],
      stream:read_line(3))
  end)

  with_stream("is max_buffer_size for every read", function(stream, peer)
    send(peer, ("x"):rep(100))
    assert.equal(("x"):rep(20), await(stream:read_bytes(20)))
    local err = closed_error(stream:read_until("\n")).real_error
    assert.is_true(isinstance(err, iostream.StreamBufferFullError))
    assert.equal(("x"):rep(80), await(stream:read_until_close()))
  end, { max_buffer_size = 40 })

  with_stream("is max_buffer_size for what comes until the close",
    function(stream, peer)
      local future = stream:read_until_close()
      send(peer, ("x"):rep(41))
      local err = closed_error(future).real_error
      assert.equal("StreamBufferFullError: Reached maximum read buffer size",
        tostring(err))
    end, { max_buffer_size = 40 })
end)

describe("write", function()
  with_stream("is done when the data has left", function(stream, peer)
    local all = streams.read_all(peer)
    await(stream:write("one "))
    await(stream:write("t\0o "))
    await(stream:write { "three ", "", "four" })
    await { stream:write(""), stream:write {} }
    await(stream:close())
    assert.equal("one t\0o three four", await(all))
  end)

  with_stream("is done at once where the system has room", function(stream)
    assert.is_true(stream:write("text"):done())
    assert.is_false(stream:writing())
  end)

  with_stream("keeps the order of what is small and large, and waited for",
    function(stream, peer)
      local sent, writes = {}, {}
      for i = 1, 300 do
        sent[i] = ("%d "):format(i):rep(i * i % 9000)
        writes[i] = stream:write(i % 3 == 0 and { sent[i], "" } or sent[i])
      end
      assert.is_false(writes[300]:done())
      local all = streams.read_all(peer)
      await(writes)
      await(stream:close())
      assert.is_true(table.concat(sent) == await(all))
    end)

  with_stream("waits while the other side does not read",
    function(stream, peer)
      local data = ("0123456789"):rep(1 << 20)
      local future = stream:write(data)
      streams.turn(10)
      assert.is_false(future:done())
      assert.is_true(stream:writing())
      local all = streams.read_all(peer)
      await(future)
      assert.is_false(stream:writing())
      stream:close()
      assert.is_true(data == await(all))
    end)

  with_stream("holds max_write_buffer_size at most", function(stream, peer)
    local data = ("x"):rep(1 << 20)
    local writes = {}
    repeat
      writes[#writes + 1] = stream:write(data)
    until stream:writing() or #writes > 100
    local ok, err = pcall(await, stream:write(data))
    assert.is_false(ok)
    assert.equal("StreamBufferFullError: Reached maximum write buffer size",
      tostring(err))
    assert.is_false(stream:closed())
    streams.read_all(peer)
    await(writes)
    await(stream:write(data))
  end, { max_write_buffer_size = (1 << 20) + 1 })

  with_stream("fails when the other side is gone", function(stream, peer)
    await(uv.close(peer))
    local ok, err
    repeat
      ok, err = pcall(await, stream:write("text"))
    until not ok
    assert.is_true(isinstance(err, StreamClosedError))
    assert.is_truthy(err.real_error:find("^EPIPE")
      or err.real_error:find("^ECONNRESET"), err.real_error)
    assert.is_true(stream:closed())
    assert.equal(err.real_error, stream.error)
  end)

  with_stream("is given up by close", function(stream)
    local future = stream:write(("x"):rep(10 << 20))
    stream:close()
    assert.is_nil(closed_error(future).real_error)
  end)

  with_stream("may be settled by somebody else", function(stream, peer)
    local one, two = stream:write(("x"):rep(10 << 20)), stream:write("y")
    one:set_result("mine")
    two:set_exception("mine, too")
    streams.read_all(peer)
    wait_until(function() return not stream:writing() end)
    streams.turn(2)
    assert.equal("mine", await(one))
    assert.equal("mine, too", two:exception())
    local three = stream:write(("x"):rep(10 << 20))
    three:set_result()
    await(stream:close())
    streams.turn(2)
  end)

  with_stream("that nobody waits for fails quietly when it is given up",
    function(stream)
      stream:write(("x"):rep(10 << 20))
      await(stream:close())
    end)
end)

describe("both directions", function()
  with_stream("carry megabytes at once", function(stream, peer)
    local many, data = times(50000), {}
    for i = 1, many do data[i] = ("%d\n"):format(i) end
    data = table.concat(data)
    local other = IOStream(peer)
    local function lines(from)
      local n = 0
      while n < many do
        n = n + 1
        assert(await(from:read_line()) == tostring(n))
      end
    end
    await { stream:write(data), other:write(data),
      gen.coroutine(lines)(stream), gen.coroutine(lines)(other) }
    await(other:close())
  end)
end)

describe("a stream that nobody reads", function()
  with_stream("takes no more than its buffer holds", function(stream, peer)
    local data = ("0123456789abcdef"):rep(1 << 18)
    local sent = uv.write(peer, data)
    assert.equal("0", await(stream:read_bytes(1)))
    streams.turn(10)
    assert.is_false(sent:done())
    assert.is_true(streams.buffered(stream) < 1 << 18, streams.buffered(stream))
    local rest = await(stream:read_bytes(#data - 1))
    assert.is_true(data == "0" .. rest)
    await(sent)
  end)

  with_stream("takes read_chunk_size and one piece at most",
    function(stream, peer)
      uv.write(peer, ("x"):rep(1 << 20))
      assert.equal("x", await(stream:read_bytes(1)))
      streams.turn(10)
      local buffered = streams.buffered(stream)
      assert.is_true(buffered <= 65536, buffered)
      assert.equal((1 << 20) - 1, #await(stream:read_bytes((1 << 20) - 1)))
    end, { read_chunk_size = 10 })

  it("does not keep the loop running", function()
    local result = child [[
      local lunado = require "lunado"
      local uv, never = lunado.uv, lunado.Future()
      local ends = assert(uv.socketpair())
      local here = uv.new_pipe(false)
      assert(here:open(ends[1]))
      local stream = lunado.iostream.IOStream(here)
      uv.fs_write(ends[2], "ab")
      print(pcall(lunado.run, function()
        coroutine.yield(stream:read_bytes(1))
        coroutine.yield(never)
      end))
      local _, _, reads = require("lunado.core").stream_state(stream)
      print(reads, stream:read_bytes(1):result())
      local ok = pcall(lunado.run, function()
        stream:set_close_callback(function() never:set_result() end)
        lunado.IOLoop.current():call_later(0.01, function()
          uv.fs_close(ends[2])
        end)
        coroutine.yield(never)
      end)
      print(ok)
    ]]
    assert.equal("", result.err)
    assert.is_truthy(result.out:find("^false\t[^\n]*wait[^\n]*\n"
      .. "true\tb\ntrue\n$"), result.out)
  end)
end)

describe("a read", function()
  it("keeps the loop running, also after a time in which nobody read",
    function()
      local path = os.tmpname()
      os.remove(path)
      local result = child(([[
        local path = %q
        os.execute("mkfifo " .. path)
        os.execute("(echo one; sleep 0.1; echo two) >" .. path .. " &")
        local lunado = require "lunado"
        local uv = lunado.uv
        local pipe = uv.new_pipe(false)
        pipe:open(require("luv").fs_open(path, "r", 0))
        local stream = lunado.iostream.IOStream(pipe)
        for _ = 1, 2 do
          print(lunado.run(function()
            return coroutine.yield(stream:read_line())
          end))
        end
        print(stream:close())
      ]]):format(path))
      os.remove(path)
      assert.equal("", result.err)
      assert.is_truthy(result.out:find("^one\ntwo\nFuture"), result.out)
    end)
end)

describe("the peer's end", function()
  with_stream("fails a read that waits", function(stream, peer)
    local future = stream:read_bytes(5)
    send(peer, "abc")
    uv.shutdown(peer)
    assert.is_nil(closed_error(future).real_error)
    assert.is_true(stream:closed())
    assert.is_nil(stream.error)
  end)

  with_stream("leaves what is in the buffer to be read",
    function(stream, peer)
      await(send(peer, "one\ntwo\nthree"))
      await(uv.close(peer))
      assert.equal("one", await(stream:read_line()))
      assert.equal("two", await(stream:read_line()))
      closed_error(stream:read_line())
      assert.is_true(stream:closed())
      assert.equal("th", await(stream:read_bytes(2)))
      assert.equal("r", await(stream:read_until("r")))
      assert.equal("e", await(stream:read_until_pattern(".")))
      closed_error(stream:read_bytes(2))
      assert.equal("e", await(stream:read_bytes(2, true)))
      closed_error(stream:read_bytes(1, true))
    end)

  with_stream("does not close who owes an answer", function(stream, peer)
    local answer = streams.read_all(peer)
    send(peer, "question\n")
    uv.shutdown(peer)
    assert.equal("question", await(stream:read_line()))
    streams.turn(10)
    assert.is_false(stream:closed())
    await(stream:write("answer"))
    closed_error(stream:read_line())
    assert.equal("answer", await(answer))
  end)

  with_stream("lets leave what was written before", function(stream, peer)
    local data = ("x"):rep(10 << 20)
    local written = stream:write(data)
    await(uv.shutdown(peer))
    assert.equal("", await(stream:read_until_close()))
    assert.is_true(stream:closed())
    assert.is_false(written:done())
    local all = streams.read_all(peer)
    await(written)
    assert.is_true(data == await(all))
  end)

  with_stream("leaves close to give up what was written",
    function(stream, peer)
      local written = stream:write(("x"):rep(10 << 20))
      await(uv.shutdown(peer))
      assert.equal("", await(stream:read_until_close()))
      stream:close()
      closed_error(written)
    end)

  spec("may be a reset", function()
    local stream, peer = streams.tcp()
    local future = stream:read_bytes(5)
    await(send(peer, "abc"))
    wait_until(function() return streams.buffered(stream) == 3 end)
    uv.tcp_close_reset(peer)
    assert.equal("ECONNRESET", closed_error(future).real_error)
    assert.equal("ECONNRESET", stream.error)
    assert.equal("abc", await(stream:read_bytes(3)))
    assert.equal("ECONNRESET", closed_error(stream:write("x")).real_error)
    local other, its_peer = streams.tcp()
    future = other:read_until_close()
    uv.tcp_close_reset(its_peer)
    assert.equal("ECONNRESET", closed_error(future).real_error)
  end)
end)

describe("close", function()
  with_stream("fails a read that waits, and all that is begun later",
    function(stream)
      local read = stream:read_bytes(5)
      assert.is_false(stream:closed())
      assert.is_truthy(tostring(stream):find("^IOStream: .+ %(open%)$"))
      local closed = stream:close()
      assert.is_true(stream:closed())
      assert.is_truthy(tostring(stream):find("^IOStream: .+ %(closed%)$"))
      closed_error(read)
      closed_error(stream:write("x"))
      closed_error(stream:write { "x" })
      closed_error(stream:read_bytes(1))
      closed_error(stream:read_bytes(1, true))
      closed_error(stream:read_until("x"))
      closed_error(stream:read_until_pattern("x"))
      closed_error(stream:read_line())
      closed_error(stream:connect("127.0.0.1", 1))
      assert.equal("", await(stream:read_until_close()))
      assert.is_false(stream:writing())
      assert.is_false(stream:reading())
      stream:set_nodelay(true)
      await(closed)
      assert.is_false(stream:writing())
      await(stream:close())
      assert.is_true(uv.is_closing(stream.handle))
    end)

  with_stream("is the end of the other side", function(stream, peer)
    local all = streams.read_all(peer)
    await(stream:write("text"))
    await(stream:close())
    assert.equal("text", await(all))
  end)

  with_stream("may happen in a callback of a read", function(stream, peer)
    local future = stream:read_bytes(1)
    future:add_done_callback(function() stream:close() end)
    send(peer, "abc")
    assert.equal("a", await(future))
    assert.equal("bc", await(stream:read_bytes(2)))
    closed_error(stream:read_bytes(1))
  end)

  with_stream("happens at the end of a scope", function(stream, peer)
    local all = streams.read_all(peer)
    do
      local scoped <close> = stream
      await(scoped:write("text"))
    end
    assert.is_true(stream:closed())
    assert.equal("text", await(all))
  end)

  with_stream("finds a handle that somebody else has closed",
    function(stream)
      uv.close(stream.handle)
      local read = stream:read_bytes(1)
      closed_error(read)
      await(stream:close())
    end)
end)

describe("the close callback", function()
  -- A Future that is done when the close callback is called.
  local function closing(stream)
    local future = concurrent.Future()
    stream:set_close_callback(function() future:set_result(true) end)
    return future
  end

  with_stream("is called after one's own close", function(stream)
    local called = closing(stream)
    stream:close()
    assert.is_false(called:done())
    assert.is_true(await(called))
  end)

  with_stream("is called when the other side ends, though nobody reads",
    function(stream, peer)
      local called = closing(stream)
      await(send(peer, "text"))
      uv.close(peer)
      assert.is_true(await(called))
      assert.is_true(stream:closed())
      assert.equal("text", await(stream:read_bytes(4)))
    end)

  with_stream("is called behind the read that finds the end",
    function(stream, peer)
      local order = {}
      local called = closing(stream)
      called:add_done_callback(function() order[#order + 1] = "closed" end)
      gen.coroutine(function()
        order[#order + 1] = closed_error(stream:read_bytes(5)).message
      end)()
      uv.close(peer)
      await(called)
      assert.same({ "Stream is closed", "closed" }, order)
    end)

  with_stream("is called when it is set too late", function(stream, peer)
    send(peer, "a")
    uv.shutdown(peer)
    assert.equal("a", await(stream:read_bytes(1)))
    wait_until(function() return streams.ended(stream) end)
    assert.is_true(await(closing(stream)))
    assert.is_true(stream:closed())
    assert.is_true(await(closing(stream)))
  end)

  with_stream("notices the end once a full buffer has been read",
    function(stream, peer)
      local called = closing(stream)
      local sent = uv.write(peer, ("x"):rep(1000))
      wait_until(function() return streams.buffered(stream) > 10 end)
      await(sent)
      await(uv.shutdown(peer))
      streams.turn(10)
      assert.is_false(stream:closed())
      assert.equal(1000, #await(stream:read_bytes(1000)))
      assert.is_true(await(called))
    end, { read_chunk_size = 10 })

  with_stream("is called once, and may close again", function(stream)
    local count = 0
    stream:set_close_callback(function()
      count = count + 1
      stream:close()
    end)
    stream:close()
    streams.turn(10)
    assert.equal(1, count)
  end)

  with_stream("can be taken back", function(stream, peer)
    stream:set_close_callback(error)
    stream:set_close_callback(nil)
    await(uv.close(peer))
    closed_error(stream:read_bytes(1))
    await()
  end)

  with_stream("that fails goes to handle_callback_exception",
    function(stream)
      stream:set_close_callback(function() error("in the callback", 0) end)
      stream:close()
      await()
      await()
      assert.equal(1, log:count("in the callback"))
      log:clear()
    end)

  with_stream("runs in the stack contexts it was set in", function(stream)
    local active, context = contexts()
    local seen
    context("a"):run(function()
      stream:set_close_callback(function() seen = table.concat(active) end)
    end)
    stream:close()
    await()
    await()
    assert.equal("a", seen)
  end)

  spec("may be set before the stream is connected", function()
    local server = uv.new_tcp()
    uv.tcp_bind(server, "127.0.0.1", 0)
    uv.listen(server, 1, function()
      local peer = uv.new_tcp()
      uv.accept(server, peer)
      uv.close(peer)
    end)
    local stream = IOStream(uv.new_tcp())
    local called = closing(stream)
    assert.equal(stream, await(stream:connect("127.0.0.1",
      uv.tcp_getsockname(server).port)))
    assert.is_true(await(called))
    await(uv.close(server))
  end)
end)

describe("connect", function()
  spec("lets reads and writes wait until it is done", function()
    local server = uv.new_tcp()
    uv.tcp_bind(server, "127.0.0.1", 0)
    local peer = uv.new_tcp()
    uv.listen(server, 1, function()
      uv.accept(server, peer)
      uv.read_start(peer, function(_, data)
        if data then uv.write(peer, data) else uv.close(peer) end
      end)
    end)
    local stream = IOStream(uv.new_tcp())
    local connected = stream:connect("127.0.0.1",
      uv.tcp_getsockname(server).port)
    local read = stream:read_line()
    stream:write("text\n")
    assert.equal("text", await(read))
    assert.equal(stream, await(connected))
    stream:set_nodelay(true)
    await { stream:close(), uv.close(server) }
  end)

  spec("fails with why, and closes the stream", function()
    local probe = uv.new_tcp()
    uv.tcp_bind(probe, "127.0.0.1", 0)
    local port = uv.tcp_getsockname(probe).port
    local stream = IOStream(uv.new_tcp())
    assert.equal("ECONNREFUSED",
      closed_error(stream:connect("127.0.0.1", port),
        ("cannot connect to 127.0.0.1:%d: ECONNREFUSED"):format(port))
        .real_error)
    assert.is_true(stream:closed())
    await(uv.close(probe))
    local _, err = pcall(await, IOStream(uv.new_tcp()):connect("nowhere", 1))
    assert.is_truthy(err.real_error:find("nowhere", 1, true))
    err = closed_error(IOStream(uv.new_pipe(false)):connect("/no/such"),
      "cannot connect to /no/such: ENOENT")
    assert.is_truthy(err.real_error:find("^ENOENT"), err.real_error)
  end)

  spec("is given up by close", function()
    local stream = IOStream(uv.new_tcp())
    local connected = stream:connect("127.0.0.1", 1)
    stream:close()
    closed_error(connected)
  end)
end)

describe("a stream that is not connected", function()
  spec("says so", function()
    local stream = IOStream(uv.new_tcp())
    assert.is_truthy(closed_error(stream:read_bytes(1)).real_error
      :find("^ENOTCONN"))
    stream = IOStream(uv.new_tcp())
    assert.is_truthy(closed_error(stream:write("x")).real_error
      :find("^EBADF"))
  end)
end)

describe("an error that nobody sees", function()
  spec("of a read is logged", function()
    local stream, peer = streams.tcp()
    stream:read_bytes(1)
    await(uv.close(peer))
    wait_until(function() return stream:closed() end)
    gc.collect()
    assert.equal(1, log:count("never retrieved: StreamClosedError"))
    log:clear()
    stream:write("too late")
    gc.collect()
    assert.equal(1, log:count("never retrieved: StreamClosedError"))
    log:clear()
  end)
end)

describe("an abandoned stream", function()
  with_stream("is collected and closed", function(_, peer)
    local all
    do
      local ends = assert(uv.socketpair())
      local here, there = uv.new_pipe(false), uv.new_pipe(false)
      here:open(ends[1])
      there:open(ends[2])
      all = streams.read_all(there)
      assert.is_true(gc.collects(function()
        local stream = IOStream(here)
        send(there, "text")
        assert(await(stream:read_bytes(1)) == "t")
        stream:write("text")
        return stream
      end))
      assert.is_true(uv.is_closing(here))
      assert.equal("text", await(all))
      await(uv.close(there))
    end
    assert.is_false(uv.is_closing(peer))
  end)

  with_stream("is none while a read or a callback waits for it",
    function(_, peer)
      local here, there = streams.handles()
      local got, closed
      gen.coroutine(function()
        local stream = IOStream(here)
        stream:set_close_callback(function() closed = true end)
        got = await(stream:read_line())
      end)()
      gc.collect()
      send(there, "text\n")
      wait_until(function() return got end)
      assert.equal("text", got)
      gc.collect()
      assert.is_false(uv.is_closing(here))
      uv.close(there)
      wait_until(function() return closed end)
      assert.is_false(uv.is_closing(peer))
    end)

  spec("is one though it was read, by somebody who gave that up", function()
    local here, there = streams.handles()
    local stream = IOStream(here)
    stream:read_line():set_result()
    await(send(there, "text"))
    wait_until(function() return streams.buffered(stream) == 4 end)
    local weak = setmetatable({ stream }, { __mode = "v" })
    stream = nil
    gc.collect()
    assert.is_nil(weak[1])
    await(uv.close(there))
    return stream
  end)

  spec("is one again when its close callback is taken back", function()
    local here, there = streams.handles()
    assert.is_true(gc.collects(function()
      local stream = IOStream(here)
      stream:set_close_callback(error)
      stream:set_close_callback(nil)
      return stream
    end))
    await(uv.close(there))
  end)

  with_stream("is none while it writes", function(_, peer)
    local here, there = streams.handles()
    local data = ("x"):rep(10 << 20)
    local function write() IOStream(here):write(data) end
    write()
    gc.collect()
    local all = streams.read_all(there)
    wait_until(function()
      gc.collect()
      return uv.is_closing(here)
    end)
    assert.is_true(data == await(all))
    await(uv.close(there))
    assert.is_false(uv.is_closing(peer))
  end)

  spec("leaves nothing behind", function()
    local left = setmetatable({}, { __mode = "k" })
    local function some()
      for _ = 1, 50 do
        local stream, peer = streams.pipe()
        left[stream], left[stream.handle], left[peer] = true, true, true
        send(peer, "a\nb")
        await(stream:read_line())
        await(uv.close(peer))
      end
    end
    some()
    wait_until(function()
      gc.collect()
      streams.turn()
      return next(left) == nil
    end)
  end)
end)

describe("a terminal", function()
  -- The master of a terminal is one itself, and echoes what is typed.
  it("is read and written as other streams are", function()
    local fd = luv.fs_open("/dev/ptmx",
      luv.constants.O_RDWR | luv.constants.O_NOCTTY, 0)
    if not fd then
      pending("there are no terminals here")
      return
    end
    run(function()
      local stream = IOStream(assert(uv.new_tty(fd, true)))
      await(stream:write("typed\n"))
      assert.equal("typed", await(stream:read_line()))
      await(stream:close())
    end)
  end)
end)

describe("a pipe of one direction", function()
  spec("is written at one end and read at the other", function()
    local to, from = streams.one_way()
    local writer, reader = IOStream(to), IOStream(from)
    writer:set_close_callback(function() end)
    assert.is_false(writer:closed())
    local data = ("text"):rep(1 << 18)
    writer:write(data)
    writer:write("\n"):add_done_callback(function() writer:close() end)
    assert.is_true(data == await(reader:read_line()))
    closed_error(reader:read_line())
  end)

  spec("may take a part of what is written at once", function()
    local to, from = streams.one_way()
    local writer, reader = IOStream(to), IOStream(from)
    local sent, writes = {}, {}
    repeat -- 10,007 bytes do not divide what a pipe holds
      local piece = ("%d "):format(#sent):rep(5000):sub(1, 10007)
      sent[#sent + 1] = piece
      writes[#sent] = writer:write(piece)
    until not writes[#sent]:done()
    writes[#sent]:add_done_callback(function() writer:close() end)
    assert.is_true(table.concat(sent) == await(reader:read_until_close()))
  end)
end)

describe("a broken pipe", function()
  it("is an error also where luv alone has made the stream", function()
    local result = child [[
      local luv = require "luv"
      local lunado = require "lunado"
      local fds = assert(luv.pipe())
      local to = luv.new_pipe(false)
      assert(to:open(fds.write))
      luv.fs_close(fds.read)
      local stream = lunado.iostream.IOStream(to)
      lunado.run(function()
        local _, err = pcall(coroutine.yield, stream:write("text"))
        print(err, err.real_error)
      end)
    ]]
    assert.same({ code = 0, err = "",
      out = "StreamClosedError: Stream is closed: EPIPE\tEPIPE\n" }, result)
  end)
end)

describe("the end of the state", function()
  local PRELUDE = [[
    local lunado = require "lunado"
    local uv, IOStream = lunado.uv, lunado.iostream.IOStream
    local function pair()
      local ends = assert(uv.socketpair())
      local here, there = uv.new_pipe(false), uv.new_pipe(false)
      assert(here:open(ends[1]))
      assert(there:open(ends[2]))
      return IOStream(here), IOStream(there)
    end
    local a, b = pair()
    local wait = lunado.coroutine(function(stream) stream:read_line() end)
  ]]

  local function clean(script, out)
    local result = child(PRELUDE .. script)
    assert.same({ code = 0, out = out or "", err = "" }, result)
  end

  it("is clean with streams in every state", function()
    clean [[
      a:set_close_callback(print)
      wait(b)
      a:write(("x"):rep(1000000))
      local c, d = pair()
      c:close()
      local e, f = pair()
      e:write("text")
      lunado.run(function() coroutine.yield(f:read_bytes(1)) end)
      IOStream(uv.new_tcp()):connect("127.0.0.1", 1)
    ]]
  end)

  it("is clean after the loop was closed", function()
    clean([[
      wait(b)
      local c = pair()
      c:set_close_callback(function() end)
      c:close()
      lunado.run(function() coroutine.yield(a:write("text")) end)
      lunado.IOLoop.current():close()
      print(a:write("more\n"):exception())
      a:set_close_callback(function() io.write("closed") end)
      a:close()
      lunado.run(function() coroutine.yield(lunado.sleep(0)) end)
    ]], "StreamClosedError: Stream is closed\nclosed")
  end)
end)

describe("a wrong argument", function()
  it("may be the object itself", function()
    selves(IOStream.tcp(), "IOStream", "read_bytes", "read_until", "read_line",
      "read_until_pattern", "read_until_close", "write", "close_write", "close",
      "closed", "reading", "writing", "connect", "start_tls",
      "peer_certificate", "lines", "set_close_callback", "set_nodelay")
  end)

  it("is named at the caller's line", function()
    bad(function() local _ = IOStream() end, 1, "IOStream", "stream", "nil")
    bad(function() local _ = IOStream({}) end, 1, "IOStream", "stream",
      "table")
    bad(function() local _ = IOStream(io.stdout) end, 1, "IOStream")
    local tcp = uv.new_tcp()
    bad(function() local _ = IOStream(tcp, 1) end, 2, "IOStream", "table",
      "number")
    for _, name in ipairs { "max_buffer_size", "read_chunk_size",
      "max_write_buffer_size" } do
      for _, wrong in ipairs { 0, -1, 1.5, "1", false } do
        bad(function() local _ = IOStream(tcp, { [name] = wrong }) end, 2,
          "IOStream", name)
      end
    end
    local stream = IOStream(tcp)
    bad(function() local _ = stream:read_bytes() end, 1, "read_bytes",
      "number", "nil")
    bad(function() local _ = stream:read_bytes(-1) end, 1, "read_bytes")
    bad(function() local _ = stream:read_bytes(1.5) end, 1, "read_bytes")
    bad(function() local _ = stream:read_until(1) end, 1, "read_until",
      "string", "number")
    bad(function() local _ = stream:read_until("") end, 1, "read_until")
    bad(function() local _ = stream:read_until("a", "b") end, 2,
      "read_until", "number", "string")
    bad(function() local _ = stream:read_until_pattern() end, 1,
      "read_until_pattern", "string", "nil")
    bad(function() local _ = stream:read_until_pattern("[a") end, 1,
      "read_until_pattern", "malformed pattern")
    bad(function() local _ = stream:read_until_pattern("a", -1) end, 2,
      "read_until_pattern")
    bad(function() local _ = stream:read_line("x") end, 1, "read_line",
      "number", "string")
    bad(function() local _ = stream:write() end, 1, "write", "string", "nil")
    bad(function() local _ = stream:write { "a", 5 } end, 1, "write",
      "list of strings", "number")
    bad(function() stream:set_close_callback(5) end, 1,
      "set_close_callback", "function", "number")
    bad(function() local _ = stream:connect() end, 1, "connect", "string",
      "nil")
    bad(function() local _ = stream:connect("127.0.0.1") end, 2, "connect",
      "number", "nil")
    assert.is_false(stream:closed())
    run(function() await(stream:close()) end)
    bad(function() local _ = IOStream(tcp) end, 1, "IOStream")
  end)
end)
