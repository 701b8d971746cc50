-- SPDX-License-Identifier: MIT
-- What comes in many small pieces costs as much as in a few large ones.  How
-- many bytes are compared and moved, core/bytes_test counts; were all of them
-- matched with a pattern for each one that comes, these would take minutes.
local gen = require "lunado.gen"
local IOStream = require "lunado.iostream".IOStream
local pattern = require "lunado.pattern"
local TCPServer = require "lunado.tcpserver".TCPServer
local uv = require "lunado.uv"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local streams = require "spec.support.streams"
local times = require "spec.support.times"

local await = coroutine.yield

local MANY = times(300000)

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

-- Two streams whose pieces arrive one by one, as they were written.
local function in_packets()
  local ends = assert(uv.socketpair("seqpacket", nil, { nonblock = true },
    { nonblock = true }))
  local here, there = uv.new_pipe(false), uv.new_pipe(false)
  assert(here:open(ends[1]))
  assert(there:open(ends[2]))
  return IOStream(here), IOStream(there)
end

-- Writes the piece MANY times, and then the last one.
local write_many = gen.coroutine(function(stream, piece, last)
  for _ = 1, MANY do await(stream:write(piece)) end
  await(stream:write(last))
end)

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

describe("300,000 pieces", function()
  spec("are searched for a delimiter", function()
    local here, there = in_packets()
    local all = write_many(there, "x", "\r\n")
    assert.equal(("x"):rep(MANY) .. "\r\n", await(here:read_until("\r\n")))
    await { all, here:close(), there:close() }
  end)

  spec("are searched for a pattern", function()
    local here, there = in_packets()
    local all = write_many(there, "x", "\r\n")
    assert.equal(MANY + 2, #await(here:read_until_pattern("\r?\n")))
    await { all, here:close(), there:close() }
  end)

  spec("are taken one by one, and all at once", function()
    local here, there = in_packets()
    local all = write_many(there, "xyz", "!")
    for _ = 1, MANY do assert(#await(here:read_bytes(2)) == 2) end
    assert.equal(MANY + 1, #await(here:read_bytes(MANY + 1)))
    await { all, here:close(), there:close() }
  end)

  it("are looked at once by a matcher", function()
    local size, seen = 0, 0
    local stream = {}
    function stream._peek(_, from)
      seen = seen + size - from
      return ("x"):rep(size - from), size
    end
    local match = pattern.matcher("\r?\n")
    for i = 1, MANY do
      size = i
      assert(not match(stream))
    end
    assert.is_true(seen <= 2 * MANY)
  end)
end)

describe("a large piece", function()
  spec("is taken in small ones", function()
    local here, there = streams.tcp()
    local all = uv.write(there, ("line\n"):rep(MANY) .. "end")
    assert.equal(3, #await(here:read_bytes(3)))
    assert.equal("e", await(here:read_line()))
    for _ = 2, MANY do assert(await(here:read_line()) == "line") end
    assert.equal("end", await(here:read_bytes(3)))
    await(all)
    await { here:close(), uv.close(there) }
  end)

  spec("is taken in small ones when it has arrived as a whole", function()
    local here, there = streams.tcp()
    local text = ("line\n"):rep(MANY)
    local whole = uv.write(there, text)
    local read = here:read_until_pattern("\nend\n$")
    await { whole, uv.write(there, "end\n") }
    assert.equal(#text + 4, #await(read))
    await { here:close(), uv.close(there) }
  end)
end)

-- What Lua has of it, with the coroutine that waits, and luv's handle at the
-- other end; the core's own part, core/stream_test knows.
describe("an idle connection", function()
  spec("takes little memory", function()
    local server, handles, count = TCPServer(), {}, 0
    function server.handle_stream(_, stream)
      count = count + 1
      await(stream:read_until_close())
    end
    local port = server:listen(0, "127.0.0.1")
    local function connect(n)
      for _ = 1, n do
        local handle = uv.new_tcp()
        await(uv.tcp_connect(handle, "127.0.0.1", port))
        table.insert(handles, handle)
      end
      while count < #handles do await() end
    end
    connect(16)
    gc.collect()
    local before = gc.kilobytes()
    connect(240)
    gc.collect()
    local bytes = (gc.kilobytes() - before) * 1024 / 240
    assert.is_true(bytes < 2200, bytes)
    for _, handle in ipairs(handles) do await(uv.close(handle)) end
    server:stop()
  end)
end)
