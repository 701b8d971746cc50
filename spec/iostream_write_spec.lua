-- SPDX-License-Identifier: MIT
-- lunado.iostream: what is written, and what is left when a write fails.
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local isinstance = require "lunado.util".isinstance
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
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

-- The other side sends its last words and goes, with what it was sent unread;
-- returns once they can be read here.
local function answer_and_go(peer, words)
  await(uv.write(peer, words))
  await(uv.close(peer))
end

-- Writes until that fails; returns the error.
local function break_write(stream)
  while true do
    local ok, err = pcall(await, stream:write("body "))
    if not ok then
      assert.is_true(isinstance(err, StreamClosedError), tostring(err))
      assert.is_truthy(tostring(err.real_error):find("^E[PC]"), err.real_error)
      assert.is_true(stream:closed())
      assert.equal(err.real_error, stream.error)
      assert.equal("Stream is closed: " .. err.real_error, err.message)
      return err
    end
    streams.turn()
  end
end

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

describe("when a write fails, what has come", function()
  with_stream("can be read, and then the error", function(stream, peer)
    answer_and_go(peer, "413\nToo much\n")
    local err = break_write(stream)
    assert.equal("413", await(stream:read_line()))
    assert.equal("Too much", await(stream:read_line()))
    assert.equal(err.real_error,
      closed_error(stream:read_line()).real_error)
    assert.equal(err.real_error, closed_error(stream:write("x")).real_error)
  end)

  with_stream("can be read though the answer was not to be had yet",
    function(stream, peer)
      stream:write("head ")
      answer_and_go(peer, "413\n")
      break_write(stream)
      assert.equal("413", await(stream:read_line()))
      closed_error(stream:read_bytes(1))
    end)

  with_stream("goes to the read that waits", function(stream, peer)
    local line = stream:read_line()
    answer_and_go(peer, "413\nmore")
    pcall(break_write, stream)
    assert.equal("413", await(line))
    assert.equal("more", await(stream:read_bytes(4)))
  end)

  with_stream("goes to read_until_close", function(stream, peer)
    answer_and_go(peer, "413\nToo much")
    break_write(stream)
    assert.equal("413\nToo much", await(stream:read_until_close()))
    assert.equal("", await(stream:read_until_close()))
  end)

  with_stream("stays where nobody reads, all of it", function(stream, peer)
    local text = ("0123456789"):rep(10000)
    answer_and_go(peer, text)
    break_write(stream)
    streams.turn(10)
    gc.collect()
    assert.is_true(#text > streams.buffered(stream))
    assert.is_true(text == await(stream:read_bytes(#text)))
    closed_error(stream:read_bytes(1))
  end, { read_chunk_size = 10 })

  with_stream("comes in parts, too", function(stream, peer)
    answer_and_go(peer, "ab,cd")
    break_write(stream)
    assert.equal("ab,", await(stream:read_until(",")))
    closed_error(stream:read_until(","))
    assert.equal("c", await(stream:read_bytes(1)))
    assert.equal("d", await(stream:read_bytes(9, true)))
    closed_error(stream:read_bytes(9, true))
  end)

  with_stream("is held against the limits", function(stream, peer)
    answer_and_go(peer, ("x"):rep(100))
    break_write(stream)
    local err = closed_error(stream:read_until("\n", 20)).real_error
    assert.is_true(isinstance(err, iostream.UnsatisfiableReadError))
    err = closed_error(stream:read_line()).real_error
    assert.is_true(isinstance(err, iostream.StreamBufferFullError))
    assert.equal(("x"):rep(100), await(stream:read_bytes(100)))
  end, { max_buffer_size = 40 })

  with_stream("need not be read: the handle is closed by itself",
    function(stream, peer)
      answer_and_go(peer, "413\n")
      break_write(stream)
      wait_until(function()
        streams.turn()
        return uv.is_closing(stream.handle)
      end)
      assert.equal("413", await(stream:read_line()))
    end)

  with_stream("goes with the stream that everybody forgot",
    function(_, peer, kind)
      local handle
      local weak = setmetatable({}, { __mode = "v" })
      -- A coroutine of its own: one that goes on keeps the last error that it
      -- has caught, with the functions that were active there.
      local forget = gen.coroutine(function()
        local stream, its_peer = streams[kind]({ read_chunk_size = 1 })
        handle, weak[1] = stream.handle, stream
        answer_and_go(its_peer, "413\n")
        break_write(stream)
        streams.turn(5)
      end)
      await(forget())
      wait_until(function()
        gc.collect()
        streams.turn()
        return not weak[1]
      end)
      assert.is_true(uv.is_closing(handle))
      assert.is_false(uv.is_closing(peer))
    end)

  with_stream("stays when the stream is closed then", function(stream, peer)
    answer_and_go(peer, "413\n")
    break_write(stream)
    streams.turn(5)
    await(stream:close())
    assert.equal("413", await(stream:read_line()))
  end)

  with_stream("is not waited for at the end of a scope",
    function(stream, peer)
      answer_and_go(peer, ("x"):rep(100))
      do
        local scoped <close> = stream
        break_write(scoped)
      end
      assert.is_true(uv.is_closing(stream.handle))
    end, { read_chunk_size = 1 })

  spec("of a reset can be read", function()
    local stream, peer = streams.tcp()
    await(uv.write(peer, "abc"))
    uv.tcp_close_reset(peer)
    assert.equal("ab", await(stream:read_bytes(2)))
    assert.equal("ECONNRESET", closed_error(stream:read_bytes(2)).real_error)
    assert.equal("c", await(stream:read_bytes(1)))
    stream, peer = streams.tcp()
    local all = stream:read_until_close()
    await(uv.write(peer, "abc"))
    uv.tcp_close_reset(peer)
    assert.equal("ECONNRESET", closed_error(all).real_error)
    assert.equal("abc", await(stream:read_until_close()))
  end)
end)

describe("a write that fails", function()
  with_stream("calls the close callback, once", function(stream, peer)
    local called = 0
    answer_and_go(peer, "413\n")
    stream:set_close_callback(function() called = called + 1 end)
    wait_until(function()
      pcall(break_write, stream)
      return called > 0
    end)
    assert.equal("413", await(stream:read_line()))
    streams.turn(5)
    assert.equal(1, called)
  end)

  with_stream("takes those behind it along, in their order",
    function(stream, peer)
      local order, writes = {}, {}
      for i = 1, 5 do
        writes[i] = stream:write(("x"):rep(4 << 20))
        writes[i]:add_done_callback(function() order[#order + 1] = i end)
      end
      assert.is_true(stream:writing())
      streams.turn(5)
      assert.is_false(writes[1]:done())
      answer_and_go(peer, "413\n")
      for i = 1, 5 do
        local err = closed_error(writes[i])
        assert.equal(stream.error, err.real_error)
      end
      assert.same({ 1, 2, 3, 4, 5 }, order)
      assert.is_false(stream:writing())
      closed_error(stream:write("x"))
      wait_until(function()
        streams.turn()
        return uv.is_closing(stream.handle)
      end)
    end)

  with_stream("may find its Future settled", function(stream, peer)
    local one, two = stream:write(("x"):rep(4 << 20)), stream:write("y")
    two:set_result("mine")
    one:set_result("mine, too")
    await(uv.close(peer))
    wait_until(function()
      streams.turn()
      return stream:closed()
    end)
    assert.equal("mine", await(two))
  end)

  with_stream("may be told to a callback that closes the stream",
    function(stream, peer)
      local second = stream:write(("x"):rep(4 << 20))
      second:add_done_callback(function(future)
        future:exception()
        stream:close()
        stream:write("z"):exception()
        stream:read_line():exception()
      end)
      local third = stream:write("y")
      await(uv.close(peer))
      closed_error(third)
      assert.is_true(uv.is_closing(stream.handle))
    end)

  it("keeps neither the loop nor the process", function()
    local result = child [[
      local lunado = require "lunado"
      local uv, IOStream = lunado.uv, lunado.iostream.IOStream
      local ends = assert(uv.socketpair())
      local here, there = uv.new_pipe(false), uv.new_pipe(false)
      here:open(ends[1])
      there:open(ends[2])
      local stream = IOStream(here)
      local ok, err = pcall(lunado.run, function()
        local writes = {}
        for i = 1, 3 do writes[i] = stream:write(("x"):rep(4 << 20)) end
        there:close()
        for i = 1, 3 do pcall(coroutine.yield, writes[i]) end
        coroutine.yield(lunado.Future())
      end)
      print(ok, stream:closed(), tostring(err):match "would never end")
    ]]
    assert.same({ code = 0, err = "", out = "false\ttrue\twould never end\n" },
      result)
  end)

  spec("closes a pipe that is only written at once", function()
    local fds = assert(uv.pipe({ nonblock = true }, { nonblock = true }))
    local to = uv.new_pipe(false)
    to:open(fds.write)
    local stream = IOStream(to)
    require("luv").fs_close(fds.read)
    local err = closed_error(stream:write("text"))
    assert.equal("StreamClosedError: Stream is closed: EPIPE", tostring(err))
    assert.is_true(uv.is_closing(to))
  end)
end)

describe("a list", function()
  with_stream("is written as it was, whatever becomes of it",
    function(stream, peer)
      local all = streams.read_all(peer)
      local small, large = { "one ", "", "two " }, {}
      for i = 1, 50 do large[i] = ("%d "):format(i):rep(50000) end
      local writes = { stream:write(large), stream:write(small) }
      local text = table.concat(large) .. table.concat(small)
      for i = 1, 50 do large[i] = "changed" end
      small[1], small[2], small[3] = nil, 5, {}
      gc.collect()
      await(writes)
      await(stream:close())
      assert.is_true(text == await(all))
    end)

  with_stream("may be one that computes what it holds",
    function(stream, peer)
      local asked = {}
      local list = setmetatable({}, {
        __len = function() return 3 end,
        __index = function(_, i)
          asked[#asked + 1] = i
          return ("%d "):format(i)
        end,
      })
      await(stream:write(list))
      assert.same({ 1, 2, 3 }, asked)
      local none = setmetatable({ "x" }, { __len = function() return 0 end })
      await(stream:write(none))
      local all = streams.read_all(peer)
      await(stream:close())
      assert.equal("1 2 3 ", await(all))
    end)

  with_stream("may change, or close the stream, while it is read",
    function(stream, peer)
      local all = streams.read_all(peer)
      local list = { "one ", "two " }
      setmetatable(list, { __len = function()
        stream:write("zero ")
        return 2
      end })
      await(stream:write(list))
      setmetatable(list, { __len = function()
        stream:close()
        return 2
      end })
      closed_error(stream:write(list))
      assert.equal("zero one two ", await(all))
    end)

  with_stream("with anything else in it is refused as a whole",
    function(stream, peer)
      local all = streams.read_all(peer)
      for _, wrong in ipairs { 5, 1.5, true, {}, { "nested" }, print } do
        bad(function() local _ = stream:write { "a", wrong } end, 1, "write",
          "list of strings", type(wrong))
        bad(function() local _ = stream:write { ("a"):rep(1 << 20), wrong } end,
          1, "write", "list of strings", type(wrong))
        bad(function() local _ = stream:write { wrong, "a" } end, 1, "write",
          "list of strings", type(wrong))
      end
      assert.is_false(stream:writing())
      await(stream:close())
      assert.equal("", await(all))
    end)

  with_stream("may not pretend to be endless", function(stream)
    local endless = setmetatable({}, {
      __len = function() return 1 << 60 end,
      __index = function() return "text" end,
    })
    bad(function() local _ = stream:write(endless) end, 1, "write",
      "list is too long")
  end)

  with_stream("may be of very many pieces", function(stream, peer)
    local all = streams.read_all(peer)
    local list, n = {}, times(200000)
    for i = 1, n do list[i] = ("%06d"):format(i) end
    await(stream:write(list))
    await(stream:close())
    assert.is_true(table.concat(list) == await(all))
  end)

  with_stream("of nothing waits for what is before it",
    function(stream, peer)
      local order = {}
      local function note(future, word)
        future:add_done_callback(function() order[#order + 1] = word end)
        return future
      end
      local writes = { note(stream:write(("x"):rep(10 << 20)), "large"),
        note(stream:write {}, "none"), note(stream:write { "", "" }, "empty") }
      assert.is_false(writes[2]:done())
      streams.read_all(peer)
      await(writes)
      assert.same({ "large", "none", "empty" }, order)
    end)

  with_stream("counts with all its pieces against the limit",
    function(stream, peer)
      local writes, piece = {}, ("x"):rep(1 << 19)
      repeat
        writes[#writes + 1] = stream:write { piece, piece }
      until stream:writing() or #writes > 100
      local ok, err = pcall(await, stream:write { piece, piece })
      assert.is_false(ok)
      assert.equal("StreamBufferFullError: Reached maximum write buffer size",
        tostring(err))
      streams.read_all(peer)
      await(writes)
      await(stream:write { piece, piece })
    end, { max_write_buffer_size = (1 << 20) + 1 })
end)

describe("a list given to lunado.uv", function()
  local function proxy(...)
    local pieces = { ... }
    return setmetatable({}, { __len = function() return #pieces end,
      __index = function(_, i) return pieces[i] end })
  end

  spec("is written as it was", function()
    local here, there = streams.handles()
    local all, list = streams.read_all(there), {}
    for i = 1, 50 do list[i] = ("%d "):format(i):rep(50000) end
    local text = table.concat(list) .. "one two "
    local writes = { uv.write(here, list),
      uv.write(here, proxy("one ", "two ")), uv.write(here, proxy()) }
    for i = 1, 50 do list[i] = "changed" end
    gc.collect()
    await(writes)
    await(uv.close(here))
    assert.is_true(text == await(all))
    await(uv.close(there))
  end)

  spec("is written to files and sent, too", function()
    local path = os.tmpname()
    local file = await(uv.fs_open(path, "w", 384))
    assert.equal(8, await(uv.fs_write(file, proxy("one ", "two "), -1)))
    assert.equal(4, await(uv.fs_write(file, { "x", "yz", "!" }, -1)))
    assert.equal(0, await(uv.fs_write(file, {}, -1)))
    await(uv.fs_close(file))
    local read = assert(io.open(path))
    assert.equal("one two xyz!", read:read("a"))
    read:close()
    os.remove(path)
    local to, from = uv.new_udp(), uv.new_udp()
    assert(uv.udp_bind(to, "127.0.0.1", 0))
    local got
    uv.udp_recv_start(to, function(_, data) got = got or data end)
    await(uv.udp_send(from, proxy("one ", "two "), "127.0.0.1",
      uv.udp_getsockname(to).port))
    wait_until(function()
      streams.turn()
      return got
    end)
    assert.equal("one two ", got)
    await { uv.close(to), uv.close(from) }
  end)
end)

spec("a write that is sent in parts hurries no collection", function()
  local data = ("x"):rep(1 << 20) -- more than the system takes
  local ends = {}
  for i = 1, 50 do
    local fds = uv.socketpair()
    ends[i] = { IOStream.open(fds[1]), IOStream.open(fds[2]) }
  end
  local n = gc.collections(function()
    for i = 1, #ends do ends[i].written = ends[i][1]:write(data) end
  end)
  assert.is_true(n < 15, n .. " collections")
  for i = 1, #ends do
    assert.is_false(ends[i].written:done())
    await(ends[i][1]:close(), ends[i][2]:close())
  end
end)
