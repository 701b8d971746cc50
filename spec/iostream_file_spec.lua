-- SPDX-License-Identifier: MIT
-- lunado.iostream: files as streams.
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local IOLoop = require "lunado.ioloop".IOLoop
local isinstance = require "lunado.util".isinstance
local luv = require "luv"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local streams = require "spec.support.streams"
local times = require "spec.support.times"

local await = coroutine.yield
local IOStream = iostream.IOStream
local wait_until = streams.wait_until

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

local path

local function write_file(text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function read_file()
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

-- A spec in which `path` is a file with this text.
local function with_file(name, text, fn)
  spec(name, function()
    write_file(text)
    fn()
  end)
end

local closed_error = streams.closed_error

local function open(mode, options)
  return await(iostream.open(path, mode, options))
end

-- How many descriptors this process has open; nil where that is not told.
local function descriptors()
  uv.new_pipe(false):close() -- the first one of a loop opens some
  gc.collect()
  streams.turn(3)
  local dir = luv.fs_scandir("/proc/self/fd")
  if not dir then return nil end
  local n = 0
  while luv.fs_scandir_next(dir) do n = n + 1 end
  return n
end

-- What was opened is closed again, as the loop turns.
local function not_more_than(before)
  wait_until(function() return not before or descriptors() <= before end)
end

before_each(function()
  frame.begin_default()
  path = os.tmpname()
end)
after_each(function()
  os.remove(path)
  frame.finish()
end)

describe("a file that is read", function()
  with_file("has IOStream's reads", "one\ntwo\r\nthree, four\0five;56rest",
    function()
      local stream = open()
      assert.is_true(getmetatable(stream) == IOStream)
      assert.equal("one", await(stream:read_line()))
      assert.equal("two", await(stream:read_line()))
      assert.equal("three, ", await(stream:read_until(", ")))
      assert.equal("four\0five;5", await(stream:read_until_pattern("%d")))
      assert.equal("6", await(stream:read_bytes(1)))
      assert.equal("rest", await(stream:read_until_close()))
      assert.is_true(stream:closed())
      assert.is_nil(stream.error)
      await(stream:close())
    end)

  with_file("gives its lines", "one\n\ntwo\r\nrest", function()
    local lines = {}
    for line in open("r"):lines() do lines[#lines + 1] = line end
    assert.same({ "one", "", "two", "rest" }, lines)
  end)

  with_file("may be empty", "", function()
    local stream = open("r")
    assert.equal("", await(stream:read_until_close()))
    assert.is_nil(closed_error(stream:read_bytes(1)).real_error)
  end)

  spec("may be large", function()
    local lines, n = {}, times(200000)
    for i = 1, n do lines[i] = ("line %d\n"):format(i) end
    write_file(table.concat(lines))
    local stream, i = open("r"), 0
    for line in stream:lines() do
      i = i + 1
      assert(line == lines[i]:sub(1, -2))
    end
    assert.equal(n, i)
    assert.equal(table.concat(lines),
      await(open("r"):read_until_close()))
  end)

  spec("is read no further than read_chunk_size when nobody asks", function()
    write_file(("x"):rep(1 << 20))
    local stream = open("r", { read_chunk_size = 10 })
    assert.equal("x", await(stream:read_bytes(1)))
    streams.turn(10)
    assert.is_true(streams.buffered(stream) <= 65536, streams.buffered(stream))
    assert.equal((1 << 20) - 1, #await(stream:read_bytes((1 << 20) - 1)))
    await(stream:close())
  end)

  with_file("has limits", ("x"):rep(100), function()
    local err = closed_error(open("r"):read_line(10)).real_error
    assert.is_true(isinstance(err, iostream.UnsatisfiableReadError))
    err = closed_error(open("r", { max_buffer_size = 50 })
      :read_until_close()).real_error
    assert.is_true(isinstance(err, iostream.StreamBufferFullError))
  end)

  with_file("cannot be written", "text", function()
    local stream = open("r")
    assert.is_truthy(closed_error(stream:write("x")).real_error
      :find("^EBADF"))
    assert.equal("text", read_file())
  end)

  with_file("may be left to the collector", "one\ntwo\n", function()
    local before = descriptors()
    assert.is_true(gc.collects(function()
      local stream = open("r")
      assert(await(stream:read_line()) == "one")
      streams.turn(3)
      return stream
    end))
    assert.is_true(gc.collects(function() return open("r") end))
    streams.turn(3)
    not_more_than(before)
  end)

  with_file("may be closed at any time", ("text\n"):rep(50000), function()
    local before = descriptors()
    local stream = open("r")
    local read = stream:read_line()
    local closed = stream:close()
    closed_error(read)
    await(closed)
    closed_error(stream:read_line())
    not_more_than(before)
    do
      local scoped <close> = open("r")
      assert.equal("text", await(scoped:read_line()))
    end
    streams.turn(3)
    not_more_than(before)
  end)

  with_file("waits for nobody that was closed", "one\ntwo\n", function()
    local stream, thread = open("r"), nil
    local first = gen.coroutine(function()
      thread = coroutine.running()
      await(stream:read_line())
    end)()
    coroutine.close(thread)
    assert.equal("one", await(stream:read_line()))
    assert.equal("two", await(stream:read_line()))
    await(stream:close())
    pcall(await, first)
  end)
end)

describe("a file that is written", function()
  with_file("is made empty first", "what was there", function()
    local stream = open("w")
    await(stream:write("one\n"))
    await(stream:write { "two", "\n" })
    local writes = {}
    for i = 1, 100 do writes[i] = stream:write(("%d "):format(i)) end
    await(writes)
    await(stream:close())
    local sent = { "one\ntwo\n" }
    for i = 1, 100 do sent[i + 1] = ("%d "):format(i) end
    assert.equal(table.concat(sent), read_file())
  end)

  spec("is made where there is none", function()
    os.remove(path)
    local stream = open("w")
    await(stream:write("text"))
    await(stream:close())
    assert.equal("text", read_file())
  end)

  with_file("may be continued", "one ", function()
    local stream, other = open("a"), open("a")
    await(stream:write("two "))
    await(other:write("three "))
    await(stream:write("four"))
    await { stream:close(), other:close() }
    assert.equal("one two three four", read_file())
  end)

  spec("may be large, by few writes and by many", function()
    local data = ("0123456789"):rep(1 << 19)
    local stream = open("w")
    local written = stream:write(data)
    assert.is_true(stream:writing())
    await(written)
    assert.is_false(stream:writing())
    await { stream:write(data), stream:write("end") }
    await(stream:close())
    assert.is_true(data .. data .. "end" == read_file())
  end)

  spec("has a limit for what waits", function()
    local stream = open("w", { max_write_buffer_size = 100 })
    local first = stream:write(("x"):rep(60))
    local ok, err = pcall(await, stream:write(("y"):rep(60)))
    assert.is_false(ok)
    assert.is_true(isinstance(err, iostream.StreamBufferFullError))
    await(first)
    await(stream:write(("z"):rep(60)))
    await(stream:close())
    assert.equal(("x"):rep(60) .. ("z"):rep(60), read_file())
  end)

  spec("takes lists of many strings, empty ones too", function()
    local stream, list = open("w"), {}
    for i = 1, 5000 do list[i] = i % 7 == 0 and "" or tostring(i) end
    await(stream:write(list))
    await(stream:write({}))
    await(stream:write({ "", "end" }))
    await(stream:close())
    assert.equal(table.concat(list) .. "end", read_file())
  end)

  spec("is done once all has been written, by close_write", function()
    local stream = open("w")
    stream:write(("x"):rep(1 << 20))
    await(stream:close_write())
    assert.equal(1 << 20, #read_file())
    assert.is_true(stream:closed())
  end)

  with_file("may still be read when it was closed for writing",
    "one\ntwo\nrest", function()
      local stream = open("r+")
      assert.equal("one", await(stream:read_line()))
      local write = stream:write("TWO\n")
      await(stream:close_write())
      assert.is_true(write:done())
      assert.equal("one\nTWO\nrest", read_file())
      assert.is_truthy(tostring(closed_error(stream:write("x"))):find(
        "closed"))
      assert.equal("rest", await(stream:read_until_close()))
      assert.is_true(stream:closed())
      await(stream:close_write())
    end)

  with_file("that is only read cannot be closed for writing", "text",
    function()
      local stream = open("r")
      for _ = 1, 2 do
        assert.equal("StreamClosedError: Stream is open for reading only",
          tostring(closed_error(stream:close_write())))
      end
      assert.is_false(stream:closed())
      assert.equal("text", await(stream:read_bytes(4)))
      await(stream:close())
    end)

  spec("that is a pipe cannot, either, where it is only read", function()
    local pipe = uv.pipe()
    local stream = await(iostream.open("/dev/fd/" .. pipe.read))
    assert.equal("StreamClosedError: Stream is open for reading only",
      tostring(closed_error(stream:close_write())))
    luv.fs_write(pipe.write, "text")
    assert.equal("text", await(stream:read_bytes(4)))
    await(stream:close())
    luv.fs_close(pipe.read)
    luv.fs_close(pipe.write)
  end)

  spec("that is a named pipe says why it cannot be ended on one side",
    function()
      local fifo = os.tmpname()
      os.remove(fifo)
      assert(os.execute("mkfifo " .. fifo))
      local stream = await(iostream.open(fifo, "r+"))
      for _ = 1, 2 do
        local ok, err = pcall(await, stream:close_write())
        assert.is_false(ok)
        assert.is_truthy(err:find("^ENOTSOCK: .*for writing alone$"), err)
      end
      await(stream:write("text"))
      assert.equal("text", await(stream:read_bytes(4)))
      await(stream:close())
      os.remove(fifo)
    end)

  with_file("cannot be read", "text", function()
    local stream = open("a")
    stream:set_close_callback(function() end)
    streams.turn(3)
    assert.is_false(stream:closed())
    assert.is_truthy(closed_error(stream:read_bytes(1)).real_error
      :find("^EBADF"))
  end)

  it("that is full says so", function()
    if not luv.fs_stat("/dev/full") then
      pending("there is no /dev/full here")
      return
    end
    IOLoop.instance():run_sync(function()
      local stream = await(iostream.open("/dev/full", "w"))
      local first, second = stream:write("one"), stream:write("two")
      assert.is_truthy(closed_error(first).real_error:find("^ENOSPC"))
      assert.is_truthy(closed_error(second).message:find("ENOSPC"))
      assert.is_true(stream:closed())
    end, loops.PATIENCE)
  end)
end)

describe("a file that is read and written", function()
  with_file("has one position", "one\ntwo\nfour\n", function()
    local stream = open("r+")
    assert.equal("one", await(stream:read_line()))
    streams.turn(3)
    await(stream:write("TWO\n"))
    assert.equal("four", await(stream:read_line()))
    await(stream:write("five\n"))
    await(stream:close())
    assert.equal("one\nTWO\nfour\nfive\n", read_file())
  end)

  with_file("has it also where writes are not waited for", "aabbccdd",
    function()
      local stream = open("r+")
      assert.equal("aa", await(stream:read_bytes(2)))
      stream:write("B")
      stream:write("B")
      assert.equal("cc", await(stream:read_bytes(2)))
      stream:write("D")
      await(stream:write("D"))
      await(stream:close())
      assert.equal("aaBBccDD", read_file())
    end)

  with_file("is not made empty, and must be there", "text", function()
    local stream = open("r+")
    await(stream:write("T"))
    assert.equal("ext", await(stream:read_bytes(3)))
    await(stream:close())
    os.remove(path)
    assert.is_false((pcall(open, "r+")))
  end)
end)

describe("opening", function()
  it("fails with luv's error, which names the path", function()
    IOLoop.instance():run_sync(function()
      local ok, err = pcall(await, iostream.open("/no/such/file"))
      assert.is_false(ok)
      assert.equal("ENOENT: no such file or directory: /no/such/file", err)
      local before = descriptors()
      ok, err = pcall(await, iostream.open("."))
      assert.is_false(ok)
      assert.equal("EISDIR: illegal operation on a directory: .", err)
      streams.turn(2)
      not_more_than(before)
    end, loops.PATIENCE)
  end)

  it("is refused where an argument is wrong", function()
    bad(function() local _ = iostream.open() end, 1, "open", "string", "nil")
    bad(function() local _ = iostream.open(5) end, 1, "open", "string",
      "number")
    for _, wrong in ipairs { "x", "rw", "", 5, false } do
      bad(function() local _ = iostream.open(path, wrong) end, 2, "open",
        "mode")
    end
    bad(function() local _ = iostream.open(path, "r", 5) end, 3, "open",
      "table", "number")
    bad(function()
      local _ = iostream.open(path, "r", { max_buffer_size = 0 })
    end, 3, "open", "max_buffer_size")
  end)

  spec("takes what is no usual file, too", function()
    local null = await(iostream.open("/dev/null", "r"))
    assert.equal("", await(null:read_until_close()))
    null = await(iostream.open("/dev/null", "w"))
    await(null:write(("x"):rep(100000)))
    await(null:close())
    local zero = await(iostream.open("/dev/zero", "r"))
    assert.equal(("\0"):rep(100000), await(zero:read_bytes(100000)))
    await(zero:close())
  end)

  spec("takes a named pipe", function()
    os.remove(path)
    assert(os.execute("mkfifo " .. path))
    local ends = await { from = iostream.open(path, "r"),
      to = iostream.open(path, "w") }
    await(ends.to:write("one\n"))
    assert.equal("one", await(ends.from:read_line()))
    await(ends.to:close_write())
    assert.equal("", await(ends.from:read_until_close()))
    assert.is_true(ends.to:closed())
  end)

  spec("may be given up", function()
    local before = descriptors()
    write_file("text")
    iostream.open(path):set_result("mine")
    iostream.open(path)
    wait_until(function()
      streams.turn()
      gc.collect()
      return not before or descriptors() <= before
    end)
  end)
end)

describe("a pipe of luv's that was opened on a file", function()
  with_file("is read as one", "one\ntwo\nrest", function()
    local before = descriptors()
    local pipe = uv.new_pipe(false)
    assert(pipe:open(assert(luv.fs_open(path, "r", 0))))
    local stream = IOStream(pipe)
    assert.equal("one", await(stream:read_line()))
    streams.turn(3)
    assert.equal("two", await(stream:read_line()))
    assert.equal("rest", await(stream:read_until_close()))
    await(stream:close())
    assert.is_true(uv.is_closing(pipe))
    not_more_than(before)
  end)

  with_file("goes on where its descriptor is", "one\ntwo\nthree\n", function()
    local fd = assert(luv.fs_open(path, "r", 0))
    assert.equal("one\n", luv.fs_read(fd, 4, -1))
    local pipe = uv.new_pipe(false)
    assert(pipe:open(fd))
    local stream = IOStream(pipe, { read_chunk_size = 1 })
    assert.equal("two", await(stream:read_line()))
    streams.turn(3)
    assert.equal("three", await(stream:read_line()))
    await(stream:close())
  end)

  with_file("is written as one", "", function()
    local pipe = uv.new_pipe(false)
    assert(pipe:open(assert(luv.fs_open(path, "w", 0))))
    local stream = IOStream(pipe)
    await(stream:write("one "))
    await { stream:write("two "), stream:write("three") }
    await(stream:close())
    assert.equal("one two three", read_file())
  end)
end)

describe("what only sockets can do", function()
  with_file("is refused, or has no effect", "text", function()
    local stream = open("r+")
    stream:set_nodelay(true)
    local ok, err = pcall(function()
      local _ = stream:connect("127.0.0.1", 1)
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("iostream_file_spec.lua:%d+: .*cannot be conn"),
      err)
    assert.equal("text", await(stream:read_bytes(4)))
    await(stream:close())
  end)
end)

describe("the end of the state", function()
  it("is clean with files in every state", function()
    write_file(("text\n"):rep(100000))
    local result = child(([[
      local lunado = require "lunado"
      local path = %q
      local open = lunado.iostream.open
      open(path)
      local idle, reading, writing
      lunado.run(function()
        idle = coroutine.yield(open(path))
        coroutine.yield(idle:read_line())
        reading = coroutine.yield(open(path))
        writing = coroutine.yield(open(path, "a"))
        lunado.coroutine(function() reading:read_until_close() end)()
        writing:write(("x"):rep(1000000))
        coroutine.yield(open(path)):close()
      end)
      io.write("end")
    ]]):format(path))
    assert.same({ code = 0, out = "end", err = "" }, result)
  end)
end)

