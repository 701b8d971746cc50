-- SPDX-License-Identifier: MIT
-- Cancelled waits for requests of libuv, processes, signals and datagrams.
local luv = require "luv"
local tasks = require "lunado.tasks"
local uv = require "lunado.uv"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local streams = require "spec.support.streams"

local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

local function descriptors()
  local count, list = 0, assert(luv.fs_scandir "/proc/self/fd")
  while luv.fs_scandir_next(list) do count = count + 1 end
  return count
end

local function exists(path) return luv.fs_stat(path) ~= nil end

-- Occupies all threads of libuv's pool until the function that is returned is
-- called.
local function occupy()
  local ends = assert(luv.pipe())
  local jobs = {}
  for i = 1, tonumber(os.getenv "UV_THREADPOOL_SIZE") or 4 do
    jobs[i] = uv.fs_read(ends.read, 1)
  end
  return function()
    assert(luv.fs_write(ends.write, ("x"):rep(#jobs)))
    yield(jobs)
    luv.fs_close(ends.read)
    luv.fs_close(ends.write)
  end
end

describe("a cancelled request", function()
  spec("that has not begun never runs", function()
    local path = os.tmpname()
    local release = occupy()
    local future = start(function() yield(uv.fs_unlink(path)) end)
    assert.is_true(tasks.cancel(future))
    assert_cancelled(future)
    release()
    yield(uv.fs_stat ".")
    assert.is_true(exists(path))
    os.remove(path)
  end)

  spec("for which others wait goes on", function()
    local request = uv.fs_stat "."
    local future = start(function() yield(request) end)
    local other = start(function() return (yield(request)) end)
    tasks.cancel(future)
    assert_cancelled(future)
    assert.equal("directory", yield(other).type)
  end)

  spec("that is done before gives its result", function()
    local future, got
    future = start(function()
      local request = uv.fs_stat "."
      request:add_done_callback(function() tasks.cancel(future) end)
      got = yield(request)
      yield()
    end)
    assert_cancelled(future)
    assert.equal("directory", got.type)
  end)

  spec("that fails later is not logged", function()
    for turns = 0, 2 do
      local future = start(function()
        pcall(yield, uv.fs_stat "/there/is/no/such/file")
        yield()
      end)
      for _ = 1, turns do yield() end
      tasks.cancel(future)
      assert_cancelled(future)
    end
    yield(uv.fs_stat ".")
  end)

  spec("closes a descriptor that comes late", function()
    local before = descriptors()
    for turns = 0, 4 do
      for _, open in ipairs {
        function() return uv.fs_open("README.md", "r") end,
        function() return uv.fs_opendir "." end,
        function() return uv.fs_mkstemp "/tmp/lunado_tasks_XXXXXX" end,
      } do
        local got, path
        local future = start(function() got, path = yield(open()) end)
        for _ = 1, turns do yield() end
        tasks.cancel(future)
        pcall(yield, future)
        if math.type(got) then
          luv.fs_close(got)
        elseif got then
          luv.fs_closedir(got)
        end
        if path then os.remove(path) end
      end
    end
    local deadline = os.time() + loops.PATIENCE
    while descriptors() ~= before and os.time() < deadline do
      yield(uv.fs_stat ".")
    end
    assert.equal(before, descriptors())
  end)

  spec("for a name ends at once", function()
    local future = start(function()
      yield(uv.getaddrinfo("localhost", nil, { socktype = "stream" }))
    end)
    tasks.cancel(future)
    assert_cancelled(future)
  end)

  spec("for bytes leaves them with its Future", function()
    local ends = assert(luv.pipe())
    local bytes = uv.fs_read(ends.read, 5)
    local future = start(function() yield(bytes) end)
    tasks.cancel(future)
    assert_cancelled(future)
    luv.fs_write(ends.write, "bytes")
    assert.equal("bytes", yield(bytes))
    luv.fs_close(ends.read)
    luv.fs_close(ends.write)
  end)
end)

describe("a cancelled wait", function()
  spec("for a process lets it go on", function()
    local process = uv.spawn("sleep", { args = { "100" } })
    local future = start(function() yield(process:wait()) end)
    tasks.cancel(future)
    assert_cancelled(future)
    assert.is_true(process:kill "sigterm")
    local _, signal = yield(process:wait())
    assert.equal(15, signal)
  end)

  spec("for a signal keeps one that comes later", function()
    local future = start(function() yield(uv.signal "sigusr1") end)
    tasks.cancel(future)
    assert_cancelled(future)
    luv.kill(luv.os_getpid(), "sigusr1")
    assert.equal("sigusr1", yield(uv.signal "sigusr1"))
  end)

  spec("for a signal that came before gives it", function()
    local future, got
    future = start(function()
      local signal = uv.signal "sigusr1"
      signal:add_done_callback(function() tasks.cancel(future) end)
      got = yield(signal)
      yield()
    end)
    luv.kill(luv.os_getpid(), "sigusr1")
    assert_cancelled(future)
    assert.equal("sigusr1", got)
  end)

  spec("for a datagram leaves it with the system", function()
    local here, there = uv.new_udp(), uv.new_udp()
    assert(here:bind("127.0.0.1", 0))
    local port = here:getsockname().port
    local future = start(function() yield(uv.udp_recv(here)) end)
    tasks.cancel(future)
    assert_cancelled(future)
    yield(uv.udp_send(there, "datagram", "127.0.0.1", port))
    streams.turn(2)
    assert.equal("datagram", (yield(uv.udp_recv(here))))
    here:close()
    there:close()
  end)
end)
