-- SPDX-License-Identifier: MIT
-- lunado.iostream, lunado.tcpclient: what comes for a coroutine that is not
-- there any more goes to the next one.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local IOLoop = require "lunado.ioloop".IOLoop
local isinstance = require "lunado.util".isinstance
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local uv = require "lunado.uv"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local streams = require "spec.support.streams"

local await = coroutine.yield
local Future = concurrent.Future
local wait_until = streams.wait_until

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

-- The same with a stream and luv's handle at the other end.
local with_stream = streams.specs(spec)

-- Runs fn in a coroutine up to its first wait. Returns its Future and a
-- function that closes the coroutine.
local function start(fn)
  local thread
  local future = gen.coroutine(function()
    thread = coroutine.running()
    fn()
  end)()
  return future, function() assert(coroutine.close(thread)) end
end

-- Its coroutine was closed, and that is all that became of it.
local function was_closed(future)
  local ok, err = pcall(await, future)
  assert.is_false(ok)
  assert.is_truthy(tostring(err):find("resumed or closed by somebody else"),
    tostring(err))
end

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

describe("a Future is forsaken", function()
  local function waiting(wait)
    local wanted = Future()
    local future, close = start(function() wait(wanted) end)
    return wanted, future, close
  end

  local function is_forsaken(wait)
    local wanted, future, close = waiting(wait)
    assert.is_false(core.forsaken(wanted))
    close()
    assert.is_true(core.forsaken(wanted))
    wanted:set_result()
    assert.is_false(core.forsaken(wanted))
    streams.turn()
    was_closed(future)
  end

  spec("when the coroutine that waits was closed", function()
    is_forsaken(function(wanted) await(wanted) end)
    is_forsaken(function(wanted) gen.await(wanted) end)
    is_forsaken(function(wanted) pcall(await, wanted) end)
  end)

  spec("also where that waits for more", function()
    is_forsaken(function(wanted)
      await { wanted, gen.sleep(0) }
    end)
    is_forsaken(function(wanted)
      await { a = { wanted } }
    end)
    is_forsaken(function(wanted)
      await(gen.with_timeout({ seconds = 60 }, wanted))
    end)
  end)

  spec("unless something else waits, too, or nothing did", function()
    assert.is_false(core.forsaken(Future()))
    local wanted, future, close = waiting(await)
    wanted:add_done_callback(function() end)
    close()
    assert.is_false(core.forsaken(wanted))
    wanted:set_result()
    was_closed(future)
    wanted, future, close = waiting(await)
    local other = gen.coroutine(function() return await(wanted) end)()
    close()
    assert.is_false(core.forsaken(wanted))
    wanted:set_result("text")
    was_closed(future)
    assert.equal("text", await(other))
    wanted, future, close = waiting(await)
    local copy = Future()
    concurrent.chain_future(wanted, copy)
    close()
    assert.is_false(core.forsaken(wanted))
    wanted:set_result("text")
    was_closed(future)
    assert.equal("text", await(copy))
  end)

  spec("by many that were closed", function()
    local wanted, futures, closers = Future(), {}, {}
    for i = 1, 10 do
      futures[i], closers[i] = start(function() await(wanted) end)
    end
    for i = 1, 10 do
      assert.is_false(core.forsaken(wanted))
      closers[i]()
    end
    assert.is_true(core.forsaken(wanted))
    wanted:set_result()
    for i = 1, 10 do was_closed(futures[i]) end
  end)
end)

describe("a read of a coroutine that was closed", function()
  with_stream("leaves the bytes to the next", function(stream, peer)
    local first, close = start(function() await(stream:read_line()) end)
    assert.is_true(stream:reading())
    close()
    assert.is_false(stream:reading())
    await(uv.write(peer, "one\ntwo\n"))
    assert.equal("one", await(stream:read_line()))
    assert.equal("two", await(stream:read_line()))
    was_closed(first)
  end)

  with_stream("leaves those that come before the next begins",
    function(stream, peer)
      local first, close = start(function() await(stream:read_bytes(3)) end)
      close()
      await(uv.write(peer, "abcdef"))
      wait_until(function()
        streams.turn()
        return streams.buffered(stream) == 6
      end)
      assert.equal("abcdef", await(stream:read_bytes(6)))
      was_closed(first)
    end)

  with_stream("leaves what had come for it already", function(stream, peer)
    local first, close = start(function() await(stream:read_until(";")) end)
    await(uv.write(peer, "ab"))
    wait_until(function()
      streams.turn()
      return streams.buffered(stream) == 2
    end)
    close()
    await(uv.write(peer, "c;d;"))
    assert.equal("abc;", await(stream:read_until(";")))
    assert.equal("d;", await(stream:read_until(";")))
    was_closed(first)
  end)

  with_stream("does not disturb a second one that begins at once",
    function(stream, peer)
      local first, close = start(function() await(stream:read_line()) end)
      close()
      local line = stream:read_line()
      assert.is_true(stream:reading())
      was_closed(first)
      assert.is_false(line:done())
      await(uv.write(peer, "text\n"))
      assert.equal("text", await(line))
    end)

  with_stream("that waited for several, or by with_timeout, does, too",
    function(stream, peer)
      for _, wait in ipairs {
        function() await { stream:read_line(), gen.sleep(0) } end,
        function()
          await(gen.with_timeout({ seconds = 60 }, stream:read_line()))
        end,
        function() for _ in stream:lines() do error("a line") end end,
      } do
        local first, close = start(wait)
        close()
        await(uv.write(peer, "text\n"))
        assert.equal("text", await(stream:read_line()))
        was_closed(first)
        gc.collect()
        log:clear() -- a multi that nobody looks at
      end
    end)

  with_stream("until the close leaves all", function(stream, peer)
    local first, close = start(function() await(stream:read_until_close()) end)
    await(uv.write(peer, "abc"))
    wait_until(function()
      streams.turn()
      return streams.buffered(stream) == 3
    end)
    close()
    await(uv.close(peer))
    wait_until(function()
      streams.turn()
      return streams.ended(stream)
    end)
    assert.equal("abc", await(stream:read_until_close()))
    was_closed(first)
  end)

  with_stream("does not hold the stream against its own close",
    function(stream)
      local first, close = start(function() await(stream:read_line()) end)
      close()
      await(stream:close())
      was_closed(first)
    end)

  spec("does not hold the stream once something has come", function()
    local here, there = streams.handles()
    local weak = setmetatable({}, { __mode = "v" })
    local first
    do
      local close
      first, close = start(function()
        local stream = iostream.IOStream(here)
        weak[1] = stream
        await(stream:read_line())
      end)
      close()
    end
    await(uv.write(there, "text\n"))
    wait_until(function()
      streams.turn()
      gc.collect()
      return not weak[1]
    end)
    assert.is_true(uv.is_closing(here))
    was_closed(first)
    await(uv.close(there))
  end)
end)

describe("a read whose Future somebody else has settled", function()
  with_stream("leaves the bytes to the next", function(stream, peer)
    for _, settle in ipairs { "set_result", "set_exception" } do
      local first = stream:read_line()
      first[settle](first, "mine")
      assert.is_false(stream:reading())
      await(uv.write(peer, "one\ntwo\n"))
      assert.equal("one", await(stream:read_line()))
      assert.equal("two", await(stream:read_line()))
      first:exception()
    end
  end)

  with_stream("until the close leaves all", function(stream, peer)
    stream:read_until_close():set_result("mine")
    await(uv.write(peer, "abc"))
    await(uv.close(peer))
    assert.equal("abc", await(stream:read_until_close()))
  end)
end)

describe("a read for which something waited, and nothing does,", function()
  -- Waits for the read, but not as long as it takes.
  local function give_up(read)
    local ok, err = pcall(await, gen.with_timeout({ milliseconds = 2 }, read))
    assert.is_false(ok)
    assert.equal("TimeoutError: Timeout", tostring(err))
  end

  with_stream("leaves the bytes to the next", function(stream, peer)
    for _ = 1, 3 do
      give_up(stream:read_line())
      give_up(stream:read_bytes(10))
    end
    await(uv.write(peer, "one\ntwo\n"))
    assert.equal("one", await(stream:read_line()))
    assert.equal("two", await(stream:read_line()))
  end)

  with_stream("leaves those that come before the next begins",
    function(stream, peer)
      give_up(stream:read_line())
      await(uv.write(peer, "one\n"))
      streams.turn(5)
      gc.collect()
      assert.equal("one", await(stream:read_line()))
    end)

  with_stream("goes on when it is waited for again", function(stream, peer)
    local read = stream:read_line()
    give_up(read)
    give_up(read)
    assert.is_true(stream:reading())
    uv.write(peer, "one\ntwo\n")
    assert.equal("one", await(read))
    assert.equal("two", await(stream:read_line()))
  end)

  with_stream("gets what has come meanwhile when it is looked at",
    function(stream, peer)
      local read = stream:read_line()
      give_up(read)
      assert.is_false(read:done())
      await(uv.write(peer, "one\ntwo\n"))
      wait_until(function()
        streams.turn()
        return streams.buffered(stream) > 0
      end)
      assert.is_true(read:done())
      assert.equal("one", read:result())
      assert.is_false(stream:reading())
      assert.equal("two", await(stream:read_line()))
    end)

  with_stream("gets it when it is waited for", function(stream, peer)
    local read = stream:read_line()
    give_up(read)
    await(uv.write(peer, "one\ntwo\n"))
    streams.turn(5)
    assert.equal("one", await(read))
    read = stream:read_until(";")
    give_up(read)
    await(uv.write(peer, "thr"))
    streams.turn(5)
    give_up(read)
    await(uv.write(peer, "ee;"))
    assert.equal("two\nthree;", await(read))
  end)

  with_stream("fails when another has begun", function(stream, peer)
    local read = stream:read_line()
    give_up(read)
    local other = stream:read_line()
    await(uv.write(peer, "one\n"))
    assert.equal("one", await(other))
    local ok, err = pcall(await, read)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("another read of the stream"))
  end)

  with_stream("ends with the stream", function(stream, peer)
    local read = stream:read_line()
    give_up(read)
    await(uv.write(peer, "on"))
    await(uv.close(peer))
    streams.turn(5)
    assert.is_false(stream:closed())
    local ok, err = pcall(await, read)
    assert.is_false(ok)
    assert.is_true(isinstance(err, iostream.StreamClosedError))
    assert.is_true(stream:closed())
    assert.equal("on", await(stream:read_until_close()))
  end)

  with_stream("until the close gets all", function(stream, peer)
    local read = stream:read_until_close()
    give_up(read)
    await(uv.write(peer, "one"))
    await(uv.close(peer))
    streams.turn(5)
    assert.equal("one", await(read))
  end)

  with_stream("may be looked at after the close", function(stream)
    local read = stream:read_line()
    give_up(read)
    await(stream:close())
    assert.is_true(read:done())
    assert.is_true(isinstance(read:exception(), iostream.StreamClosedError))
  end)

  with_stream("may be dropped", function(stream)
    give_up(stream:read_line())
    await(stream:close())
  end)

  with_stream("is held against the limits", function(stream, peer)
    local read = stream:read_line(10)
    give_up(read)
    await(uv.write(peer, ("x"):rep(50)))
    streams.turn(5)
    assert.is_true(isinstance(read:exception().real_error,
      iostream.UnsatisfiableReadError))
    assert.is_true(stream:closed())
  end)

  with_stream("takes no more than the buffer holds", function(stream, peer)
    local read = stream:read_until_close()
    give_up(read)
    local sent = uv.write(peer, ("x"):rep(10 << 20))
    streams.turn(20)
    local buffered = streams.buffered(stream)
    assert.is_true(buffered <= 1 << 17, buffered)
    assert.is_false(sent:done())
    sent:add_done_callback(function() uv.close(peer) end)
    assert.equal(10 << 20, #await(read))
  end)

  with_stream("by a WaitIterator or a multi, too", function(stream, peer)
    local read = stream:read_line()
    local race = gen.WaitIterator(read, gen.sleep(0))
    await(race:next())
    race = nil -- luacheck: ignore
    gc.collect()
    await(uv.write(peer, "one\ntwo\n"))
    assert.equal("one", await(read))
    assert.equal("two", await(stream:read_line()))
  end)

  it("does not keep the loop running once something has come", function()
    local result = child [[
      local lunado = require "lunado"
      local uv, IOStream = lunado.uv, lunado.iostream.IOStream
      local ends = assert(uv.socketpair())
      local here, there = uv.new_pipe(false), uv.new_pipe(false)
      here:open(ends[1])
      there:open(ends[2])
      local stream = IOStream(here)
      print(pcall(lunado.run, function()
        pcall(coroutine.yield, lunado.with_timeout({ milliseconds = 2 },
          stream:read_line()))
        coroutine.yield(uv.write(there, "text"))
        coroutine.yield(lunado.Future())
      end))
    ]]
    assert.equal("", result.err)
    assert.is_truthy(result.out:find("^false\t.*would never end"), result.out)
  end)
end)

describe("a write of a coroutine that was closed", function()
  with_stream("is written, and so are those behind it", function(stream, peer)
    local data = ("x"):rep(10 << 20)
    local first, close = start(function() await(stream:write(data)) end)
    local second = stream:write("text")
    close()
    local all = streams.read_all(peer)
    await(second)
    await(stream:close())
    assert.is_true(data .. "text" == await(all))
    was_closed(first)
  end)

  with_stream("may fail", function(stream, peer)
    local first, close = start(function()
      await(stream:write(("x"):rep(10 << 20)))
    end)
    close()
    await(uv.close(peer))
    wait_until(function()
      streams.turn()
      return stream:closed()
    end)
    was_closed(first)
  end)
end)

describe("a connection for a coroutine that was closed", function()
  -- Serves connections; how many there were, and how many have ended.
  local function counting_server()
    local server = TCPServer()
    server.came, server.left = 0, 0
    function server:handle_stream(stream)
      self.came = self.came + 1
      await(stream:read_until_close())
      self.left = self.left + 1
    end
    return server, server:listen(0, "127.0.0.1")
  end

  -- Runs fn with a look-up that is done at once, so that connecting has begun.
  local function with_address(port, fn)
    local resolve = core.resolve
    function core.resolve()
      local future = Future()
      future:set_result { { addr = "127.0.0.1", port = port, family = "inet" },
        { addr = "127.0.0.1", port = port, family = "inet6" } }
      return future
    end
    local ok, err = pcall(fn)
    core.resolve = resolve
    assert(ok, err)
  end

  spec("is closed", function()
    local server, port = counting_server()
    local first, close
    with_address(port, function()
      first, close = start(function()
        await(TCPClient():connect("a", 1, { timeout = { seconds = 60 } }))
      end)
    end)
    close()
    wait_until(function()
      streams.turn()
      return server.came == 1 and server.left == 1
    end)
    was_closed(first)
    server:stop()
  end)

  spec("is closed when its Future was settled", function()
    local server, port = counting_server()
    with_address(port, function()
      TCPClient():connect("a", 1):set_result("mine")
    end)
    wait_until(function()
      streams.turn()
      return server.came == 1 and server.left == 1
    end)
    server:stop()
  end)

  spec("is not begun while it is looked up", function()
    local server, port = counting_server()
    local resolve, looked_up = core.resolve, Future()
    function core.resolve() return looked_up end
    local first, close = start(function()
      await(TCPClient():connect("a", 1))
    end)
    core.resolve = resolve
    close()
    local address = { addr = "127.0.0.1", port = port, family = "inet" }
    looked_up:set_result { address }
    was_closed(first)
    streams.turn(10)
    assert.equal(0, server.came)
    server:stop()
  end)

  spec("of a stream is the stream's all the same", function()
    local server, port = counting_server()
    local stream = iostream.IOStream(uv.new_tcp())
    local first, close = start(function()
      await(stream:connect("127.0.0.1", port))
    end)
    close()
    await(stream:write("text"))
    was_closed(first)
    await(stream:close())
    wait_until(function()
      streams.turn()
      return server.left == 1
    end)
    server:stop()
  end)

  spec("that everybody forgot is made, and closed when it is collected",
    function()
      local server, port = counting_server()
      TCPClient():connect("127.0.0.1", port)
      local function forget()
        iostream.IOStream(uv.new_tcp()):connect("127.0.0.1", port)
      end
      forget()
      wait_until(function()
        streams.turn()
        gc.collect()
        return server.came == 2 and server.left == 2
      end)
      server:stop()
    end)
end)

describe("a handler that was closed", function()
  spec("does not keep its connection", function()
    local loop, got = IOLoop.instance(), Future()
    function loop.handle_callback_exception(_, ...) got:set_result(...) end
    local server, thread = TCPServer(), nil
    function server.handle_stream(_, stream)
      thread = coroutine.running()
      await(stream:read_line())
    end
    local port = server:listen(0, "127.0.0.1")
    local stream = await(TCPClient():connect("127.0.0.1", port))
    wait_until(function() return thread end)
    coroutine.close(thread)
    stream:write("text\n")
    local _, err = await(got)
    loop.handle_callback_exception = nil
    assert.is_truthy(tostring(err):find("closed by somebody else"))
    local ok, problem = pcall(await, stream:read_until_close())
    assert.is_true(ok or isinstance(problem, iostream.StreamClosedError))
    server:stop()
    await(stream:close())
  end)
end)

describe("a read that is given up", function()
  -- Whether nothing keeps the loop running any more. (A run that waits for
  -- nothing and finds nothing to wait for says so.)
  local function is_at_rest()
    local ok, err = pcall(IOLoop.instance().run_sync, IOLoop.instance(),
      function() await(Future()) end)
    gc.collect()
    log:clear() -- of that coroutine
    return not ok and tostring(err):find("would never end", 1, true) ~= nil
  end
  local ways = {
    ["by somebody who settles its Future"] = function(read)
      read():set_result()
    end,
    ["by a with_timeout"] = function(read)
      assert.is_false(pcall(await, gen.with_timeout({ milliseconds = 1 },
        read())))
    end,
  }
  for way, give_up in pairs(ways) do
    for _, kind in ipairs { "tcp", "pipe" } do
      it(("%s lets the loop end (%s)"):format(way, kind), function()
        local stream, peer
        IOLoop.instance():run_sync(function()
          stream, peer = streams[kind]()
          uv.unref(peer)
          give_up(function() return stream:read_line() end)
        end, loops.PATIENCE)
        assert.is_true(is_at_rest())
        IOLoop.instance():run_sync(function()
          await(uv.write(peer, "a line\n"))
          assert.equal("a line", await(stream:read_line()))
          await(uv.close(peer))
          await(stream:close())
        end, loops.PATIENCE)
      end)
    end
  end
end)

with_stream("reads that time out hurry no collection", function(stream)
  local n = gc.collections(function()
    for _ = 1, 100 do
      local ok = pcall(await, gen.with_timeout(0, stream:read_bytes(1)))
      assert.is_false(ok)
    end
  end)
  assert.is_true(n < 30, n .. " collections")
end)
