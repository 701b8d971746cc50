-- SPDX-License-Identifier: MIT
-- lunado.tls with lunado on both sides: what is read and written, every way in
-- which a connection ends, and bytes that are changed or cut off.
local Future = require "lunado.concurrent".Future
local IOLoop = require "lunado.ioloop".IOLoop
local IOStream = require "lunado.iostream".IOStream
local tasks = require "lunado.tasks"
local tls = require "lunado.tls"
local util = require "lunado.util"
local uv = require "lunado.uv"
local certificates = require "spec.support.certificates"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local secure = require "spec.support.secure"
local streams = require "spec.support.streams"
local times = require "spec.support.times"

local await = coroutine.yield
local close, pair, error_of = secure.close, secure.pair, secure.error_of

local spec = secure.specs(it)

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

describe("reads and writes", function()
  spec("of every size arrive", function()
    local client, server = pair()
    for i = 1, 40 do
      local size = i * i * 97
      local text = ("%08d"):format(i):rep(size // 8 + 1)
      local future = client:write { text:sub(1, 10), "", text:sub(11) }
      assert.equal(text, await(server:read_bytes(#text)))
      await(future)
    end
    close(client, server)
  end)

  spec("arrive both ways at once", function()
    local client, server = pair(nil, nil, "pipe")
    local text = ("0123456789abcdef"):rep(1 << 17)
    local futures = {}
    for _, stream in ipairs { client, server } do
      futures[#futures + 1] = stream:write(text)
      futures[#futures + 1] = stream:read_bytes(#text)
    end
    local results = await(futures)
    assert.is_true(results[2] == text and results[4] == text)
    close(client, server)
  end)

  spec("of lists of many small strings arrive", function()
    local client, server = pair()
    local list = {}
    for i = 1, 5000 do list[i] = i .. "," end
    local text = table.concat(list)
    client:write(list)
    assert.equal(text, await(server:read_bytes(#text)))
    close(client, server)
  end)

  spec("wait for a peer that does not read", function()
    local client, server = pair()
    local text = ("x"):rep(1 << 24)
    local before = uv.resident_set_memory()
    local written = client:write(text)
    streams.turn(20)
    assert.is_false(written:done())
    local grown = uv.resident_set_memory() - before -- not all is encrypted
    assert.is_true(grown < 8 << 20 or times(2) == 1, grown)
    assert.is_true(streams.buffered(server) <= 1 << 18)
    local limited = client:write("more")
    client.max_write_buffer_size = 1000
    local ok, err = pcall(await, client:write("too much"))
    assert.is_false(ok)
    assert.equal("StreamBufferFullError: Reached maximum write buffer size",
      tostring(err))
    assert.is_true(text .. "more" == await(server:read_bytes(#text + 4)))
    await { written, limited }
    close(client, server)
  end)

  spec("take little memory, whatever their size", function()
    local client, server = pair()
    local piece, total = ("0123456789abcdef"):rep(1 << 16), times(256)
    local writer = require "lunado".coroutine(function()
      for _ = 1, total do await(client:write(piece)) end
      await(client:close_write())
    end)()
    local got, most, before = 0, 0, uv.resident_set_memory()
    while got < total * #piece do
      got = got + #await(server:read_bytes(1 << 18, true))
      most = math.max(most, uv.resident_set_memory() - before)
    end
    assert.equal(total * #piece, got)
    -- checkers keep memory that is free
    assert.is_true(most < 32 << 20 or times(2) == 1, most)
    await(writer)
    close(client, server)
  end)

  spec("that are cancelled leave the bytes", function()
    local client, server = pair()
    local task = require "lunado".coroutine(function()
      await(server:read_bytes(5))
    end)()
    tasks.cancel(task)
    pcall(await, task)
    client:write("hello")
    assert.equal("hello", await(server:read_bytes(5)))
    close(client, server)
  end)

  spec("go on through an update of the keys", function()
    local client, server = pair()
    for i = 1, 5 do
      assert.is_true((i % 2 == 0 and client or server):_filter():update_key())
      client:write(("ping %d\n"):format(i))
      server:write(("pong %d\n"):format(i))
      assert.equal("ping " .. i, await(server:read_line()))
      assert.equal("pong " .. i, await(client:read_line()))
    end
    close(client, server)
  end)
end)

describe("the end", function()
  spec("of one direction lets the other go on", function()
    local client, server = pair()
    client:write("question")
    await(client:close_write())
    assert.equal("question", await(server:read_bytes(8)))
    streams.wait_until(function() return streams.ended(server) end)
    assert.is_false(server:closed())
    await(server:write(("answer"):rep(100000)))
    await(server:close_write())
    assert.equal(600000, #await(client:read_until_close()))
    assert.is_nil(client.error)
    streams.closed_error(server:read_bytes(1))
    assert.is_nil(server.error)
    close(client, server)
  end)

  spec("by close is told as an end", function()
    for _, kind in ipairs { "tcp", "pipe" } do
      local client, server = pair(nil, nil, kind)
      await(server:write("last words"))
      server:close()
      assert.equal("last words", await(client:read_until_close()))
      assert.is_nil(client.error)
      close(client, server)
    end
  end)

  spec("without close_notify is an error", function()
    local client, server = pair()
    await(server:write("half of"))
    server.handle:close() -- luv's, behind lunado's back
    local _, err = error_of(client:read_until_close())
    assert.equal("unexpected eof while reading", err.reason)
    assert.equal(err, client.error)
    close(client, server)
  end)

  spec("by close of a side that never reads loses nothing", function()
    for _, ends in ipairs { "close", "close_write" } do
      local client, server = pair() -- which has sent sessions
      await(client:write "last words")
      client[ends](client)
      client:close()
      assert.equal("last words", await(server:read_until_close()))
      assert.is_nil(server.error)
      close(client, server)
    end
  end)

  spec("by close with data left is no end", function()
    local client, server = pair()
    local written = server:write(("x"):rep(1 << 24))
    assert.is_false(written:done())
    server:close()
    assert.is_false(pcall(await, client:read_until_close()))
    close(client, server)
  end)

  spec("in the handshake is an error", function()
    local client, server = secure.plain()
    local future = client:start_tls(false, certificates.client(), "localhost")
    await(server:read_bytes(100, true))
    await(server:close_write())
    local _, err = error_of(future)
    assert.equal("unexpected eof while reading", err.reason)
    close(client, server)
  end)

  spec("by close_notify in the handshake is an alert", function()
    local client, server = secure.plain()
    local future = client:start_tls(false, certificates.client(), "localhost")
    server:write "\x15\x03\x03\0\2\1\0"
    local _, err = error_of(future)
    assert.equal("alert close notify", err.reason)
    close(client, server)
  end)

  spec("is told to the close callback", function()
    local client, server = pair()
    local called = Future()
    client:set_close_callback(function() called:set_result() end)
    server:close()
    await(called)
    assert.is_nil(client.error)
    close(client, server)
  end)

  spec("of a stream that was dropped is told", function()
    local server = select(2, pair())
    gc.collect()
    assert.equal("", await(server:read_until_close()))
    close(server)
  end)

  spec("of the loop is clean", function()
    local outer = IOLoop.current()
    local inner = IOLoop(false)
    inner:make_current()
    local ends = uv.socketpair()
    local futures
    inner:run_sync(function()
      futures = { secure.start(IOStream.open(ends[1]), IOStream.open(ends[2])) }
      await(futures[1])
    end)
    inner:close()
    outer:make_current()
    assert.is_true(futures[1]:done())
  end)
end)

describe("garbage", function()
  spec("in the handshake ends it", function()
    for server_side = 0, 1 do
      local here, there = secure.plain()
      local future = server_side == 1
        and here:start_tls(true, certificates.server())
        or here:start_tls(false, certificates.client(), "localhost")
      there:write(("\22\3\1garbage"):rep(1000))
      error_of(future)
      assert.is_true(here:closed())
      close(here, there)
    end
  end)

  --- Lets `change` alter what goes from one raw stream to another.
  local function relay(from, to, change)
    return require "lunado".coroutine(function()
      pcall(function()
        local n = 0
        while true do
          local data = await(from:read_bytes(4096, true))
          for i = 1, #data do
            n = n + 1
            local byte = change(n, data:byte(i))
            if not byte then
              to:close()
              return from:close()
            end
            await(to:write(string.char(byte)))
          end
        end
      end)
      to:close()
    end)()
  end

  --- A client and a server, between which raw bytes are changed.
  local function between(change)
    local client, one = secure.plain("pipe")
    local other, server = secure.plain("pipe")
    relay(one, other, change)
    relay(other, one, function(_, byte) return byte end)
    return client, server, one, other
  end

  spec("is not needed: bytes may come one at a time", function()
    local client, server, one, other =
      between(function(_, byte) return byte end)
    await { secure.start(client, server) }
    client:write(("x"):rep(1000) .. "\n")
    assert.equal(1000, #await(server:read_line()))
    close(client, server, one, other)
  end)

  spec("in a record ends the connection, at any byte", function()
    local endings = {}
    for at = 1, 1200, 1200 // times(20) do
      local client, server, one, other = between(function(n, byte)
        return n == at and byte ~ 0x55 or byte
      end)
      local one_side, started = secure.start(client, server)
      local text = ("y"):rep(500)
      client:write(text)
      local ok, got = pcall(function()
        await(started)
        local result = await(server:read_bytes(#text))
        return result
      end)
      endings[ok] = true
      assert.is_true(not ok or got == text)
      close(client, server, one, other)
      pcall(await, one_side)
    end
    assert.is_true(endings[false])
  end)

  spec("or silence may begin at any byte", function()
    for at = 1, 1200, 1200 // times(20) do
      local client, server, one, other = between(function(n, byte)
        return n < at and byte or nil
      end)
      local started, other_side = secure.start(client, server)
      client:write(("y"):rep(1200))
      local ok, err = pcall(await, other_side)
      if ok then ok, err = pcall(await, server:read_bytes(1200)) end
      assert.is_false(ok)
      assert.is_true(util.isinstance(err,
        require "lunado.iostream".StreamClosedError))
      pcall(await, started)
      close(client, server, one, other)
    end
  end)
end)

describe("many connections", function()
  spec("leave nothing behind", function()
    local mine = tls.create_default_context(certificates.client())
    local theirs = tls.create_default_context(true, certificates.server())
    local function round()
      for _ = 1, times(100) do
        local client, server = pair(mine, theirs, "pipe")
        server:write "x"
        await(client:read_bytes(1))
        close(client, server)
      end
      gc.collect()
      return uv.resident_set_memory()
    end
    round()
    round()
    local before = round()
    for _ = 1, 3 do round() end
    local grown = round() - before
    assert.is_true(grown < 2 << 20 or times(2) == 1, grown)
  end)
end)
