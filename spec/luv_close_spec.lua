-- SPDX-License-Identifier: MIT
-- A handle that is closed by luv's own method ends what waits for it in
-- lunado.uv and lunado.iostream, as uv.close does.
local Future = require "lunado.concurrent".Future
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local IOLoop = require "lunado.ioloop".IOLoop
local luv = require "luv"
local uv = require "lunado.uv"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local streams = require "spec.support.streams"

local await = coroutine.yield

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

-- The ways to close a handle that are not lunado.uv's.
local ways = {
  { "handle:close()", function(handle) handle:close() end },
  { "handle:close(fn)", function(handle)
    local closed = Future()
    handle:close(function() closed:set_result() end)
    await(closed)
  end },
  { "luv.close(handle)", function(handle) luv.close(handle) end },
  { "uv.close(handle)", function(handle) await(uv.close(handle)) end },
  { "uv.walk", function(handle)
    luv.walk(function(each) if each == handle then each:close() end end)
  end },
}

-- A spec for each way to close, in a coroutine.
local function each_way(name, fn)
  for _, way in ipairs(ways) do
    it(name .. ": " .. way[1], function()
      IOLoop.instance():run_sync(function() fn(way[2]) end, loops.PATIENCE)
    end)
  end
end

local function fails(pattern, future)
  local ok, err = pcall(await, future)
  assert.is_false(ok)
  assert.is_truthy(tostring(err):find(pattern), err)
end

local function new_udp()
  local udp = uv.new_udp()
  assert(uv.udp_bind(udp, "127.0.0.1", 0))
  return udp
end

describe("waits fail", function()
  each_way("udp_recv, all of them", function(close)
    local udp = new_udp()
    local first, second = uv.udp_recv(udp), uv.udp_recv(udp)
    close(udp)
    fails("^ECANCELED: ", first)
    fails("^ECANCELED: ", second)
    fails("^EBADF: ", uv.udp_recv(udp))
  end)

  each_way("process:wait", function(close)
    local process = uv.spawn("sleep", { args = { "60" } })
    local ended = process:wait()
    process:kill "sigkill"
    close(process.handle)
    fails("^ECANCELED: ", ended)
    fails("^ECANCELED: ", process:wait())
  end)

  each_way("nothing is logged of a process that nobody waits for",
    function(close)
      local process = uv.spawn("true")
      close(process.handle)
    end)

  each_way("a process's Future that is settled stays as it is",
    function(close)
      local process = uv.spawn("true")
      process:wait():set_result "mine"
      close(process.handle)
      assert.equal("mine", await(process:wait()))
    end)

  each_way("a connect", function(close)
    local server, client = uv.new_tcp(), uv.new_tcp()
    assert(uv.tcp_bind(server, "127.0.0.1", 0))
    local future = uv.tcp_connect(client, "127.0.0.1",
      uv.tcp_getsockname(server).port)
    close(client)
    fails("^ECANCELED", future)
    await(uv.close(server))
  end)

  each_way("a write and the shutdown behind it", function(close)
    local stream, peer = streams.tcp()
    local write = uv.write(stream.handle, ("x"):rep(1 << 24))
    local shutdown = uv.shutdown(stream.handle)
    close(stream.handle)
    fails("^ECANCELED", write)
    fails("^ECANCELED", shutdown)
    await(uv.close(peer))
  end)

  each_way("a read of a stream", function(close)
    for _, kind in ipairs { "tcp", "pipe" } do
      local stream, peer = streams[kind]()
      local called = 0
      stream:set_close_callback(function() called = called + 1 end)
      local read = stream:read_line()
      close(stream.handle)
      assert.is_true(stream:closed())
      fails("Stream is closed: ECANCELED$", read)
      fails("Stream is closed: ECANCELED$", stream:read_bytes(1))
      fails("Stream is closed: ECANCELED$", stream:write "x")
      await(stream:close())
      await(gen.sleep(0))
      assert.equal(1, called)
      await(uv.close(peer))
    end
  end)

  each_way("a stream that nobody reads is closed", function(close)
    local stream, peer = streams.tcp()
    close(stream.handle)
    assert.is_true(stream:closed())
    fails("Stream is closed: ECANCELED$", stream:read_bytes(1))
    await(uv.close(peer))
  end)

  each_way("a write of a stream", function(close)
    local stream, peer = streams.tcp()
    local write = stream:write(("x"):rep(1 << 24))
    local later = stream:write "y"
    close(stream.handle)
    fails("Stream is closed: ECANCELED$", write)
    fails("Stream is closed: ECANCELED$", later)
    await(uv.close(peer))
  end)

  each_way("the connect of a stream", function(close)
    local stream = iostream.IOStream(uv.new_tcp())
    local server = uv.new_tcp()
    assert(uv.tcp_bind(server, "127.0.0.1", 0))
    assert(uv.listen(server, 8, function() end))
    local connect = stream:connect("127.0.0.1",
      uv.tcp_getsockname(server).port)
    close(stream.handle)
    fails("Stream is closed: ECANCELED$", connect)
    await(uv.close(server))
  end)

  it("a read of a stream that is reset", function()
    IOLoop.instance():run_sync(function()
      local stream, peer = streams.tcp()
      local read = stream:read_line()
      assert(stream.handle:close_reset())
      fails("Stream is closed: ECANCELED$", read)
      stream, peer = streams.tcp(), uv.close(peer)
      read = stream:read_line()
      assert(uv.tcp_close_reset(stream.handle))
      fails("Stream is closed: ECANCELED$", read)
      await(peer)
    end, loops.PATIENCE)
  end)

  it("a read of a file", function()
    IOLoop.instance():run_sync(function()
      local pipe = uv.pipe()
      local stream = await(iostream.open("/dev/fd/" .. pipe.read))
      local read = stream:read_line()
      stream.handle:close()
      fails("Stream is closed: ECANCELED$", read)
      assert.is_true(stream:closed())
      luv.fs_close(pipe.read)
      luv.fs_close(pipe.write)
    end, loops.PATIENCE)
  end)

  each_way("a read of a file that was opened as a pipe", function(close)
    local pipe = uv.new_pipe(false)
    assert(pipe:open(luv.fs_open("README.md", "r", 0)))
    local stream = iostream.IOStream(pipe)
    local read = stream:read_until_close()
    close(pipe)
    fails("Stream is closed: ECANCELED$", read)
    assert.is_true(stream:closed())
    await(stream:close())
  end)

  it("a write of a file", function()
    IOLoop.instance():run_sync(function()
      local path = os.tmpname()
      local stream = await(iostream.open(path, "w"))
      local write = stream:write "x"
      stream.handle:close()
      fails("Stream is closed: ECANCELED$", write)
      assert.is_true(stream:closed())
      os.remove(path)
    end, loops.PATIENCE)
  end)
end)

describe("luv's own close", function()
  local function line_of(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    return (err:gsub("0x%x+", "0x"))
  end

  it("fails as before", function()
    local timer = luv.new_timer()
    timer:close()
    local here = debug.getinfo(1, "l").currentline
    local errors = {
      line_of(function() timer:close() end),
      line_of(function() luv.close(timer) end),
      line_of(function() luv.new_timer():close(1) end),
      line_of(function() luv.close() end),
      line_of(function() luv.close(1) end),
      line_of(function() luv.close(io.stdout) end),
      line_of(function() timer.close() end),
    }
    local at = ("spec/luv_close_spec.lua:%d: ")
    local first = (at .. "handle 0x is already closing"):format(here + 2)
    assert.equal(first, errors[1])
    assert.equal((at .. "handle 0x is already closing"):format(here + 3),
      errors[2])
    for i = 3, #errors do
      local position = at:format(here + 1 + i):gsub("%p", "%%%0")
      assert.is_truthy(errors[i]:find("^" .. position .. "bad argument #1"),
        errors[i])
    end
  end)

  it("works for handles without waiters, and is the same everywhere", function()
    assert.equal(luv.close, luv.new_timer().close)
    assert.equal(luv.tcp_close_reset, luv.new_tcp().close_reset)
    luv.walk(function(handle)
      if not handle:is_closing() then handle:close() end
    end)
    IOLoop.instance():run_sync(function() await(gen.sleep(0)) end)
  end)

  it("calls no waiter at the end of the state", function()
    local r = child [[
      local lunado = require "lunado"
      local uv, iostream = lunado.uv, require "lunado.iostream"
      local udp = uv.new_udp()
      uv.udp_bind(udp, "127.0.0.1", 0)
      lunado.run(function()
        kept = { uv.udp_recv(udp), uv.spawn("sleep", { args = { "2" } }):wait(),
          iostream.IOStream(uv.new_tcp()) }
        kept[3]:set_close_callback(print)
        for _, future in ipairs { kept[1], kept[2] } do
          future:add_done_callback(print)
        end
      end)
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)
end)
