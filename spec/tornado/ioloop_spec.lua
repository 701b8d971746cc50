-- SPDX-License-Identifier: MIT
-- Tornado's ioloop_test, by the names of its functions.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local ioloop = require "lunado.ioloop"
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"
local case = require "spec.tornado.case"
local loops = require "spec.support.loops"
local pipes = require "spec.support.pipes"

local Future = concurrent.Future
local IOLoop, PeriodicCallback = ioloop.IOLoop, ioloop.PeriodicCallback
local yield = coroutine.yield

local t, loop
before_each(function() t, loop = case() end)
after_each(function() t:close() end)

local function nothing() end

-- The loop's descriptors as objects that count how often they are closed.
local function file_object(fd)
  local object = { closed = 0 }
  function object.fileno() return fd end
  function object.close()
    object.closed = object.closed + 1
    pipes.close(fd)
  end
  return object
end

describe("TestIOLoop", function()
  -- Of callbacks that add callbacks each turn runs those of the turn before.
  it("test_add_callback_return_sequence", function()
    local turns, stopped = 0, false
    loop:call_later(0, function()
      stopped = true
      loop:stop()
    end)
    local function again()
      turns = turns + 1
      if not stopped then loop:add_callback(again) end
    end
    loop:add_callback(again)
    loop:start()
    assert.is_true(turns >= 1)
    assert.is_true(stopped)
  end)

  it("test_add_callback_wakeup", function()
    -- Added from a timeout, it is run without waiting for an event.
    local called
    local start = loop:time()
    t:wait(function()
      loop:call_later(0.001, function()
        loop:add_callback(function()
          called = true
          t.stop()
        end)
        assert.is_nil(called)
      end)
    end)
    assert.is_true(called)
    assert.is_true(loop:time() - start < 5)
  end)

  it("test_add_callback_wakeup_other_thread", function()
    -- A worker's result wakes the loop that waits.
    local executor <close> = concurrent.ThreadPoolExecutor(1)
    t:wait(function()
      loop:add_future(executor:submit(function() return 1 end), t.stop)
    end)
  end)

  it("test_add_timeout_timedelta", function()
    t:wait(function()
      loop:add_timeout(util.timedelta(0.001), function() t.stop() end)
    end)
  end)

  it("test_multiple_add", function()
    local fds = pipes.pipe()
    loop:add_handler(fds.read, nothing, IOLoop.READ)
    assert.has_error(function()
      loop:add_handler(fds.read, nothing, IOLoop.READ)
    end)
    loop:remove_handler(fds.read)
    pipes.close(fds.read)
    pipes.close(fds.write)
  end)

  it("test_remove_without_add", function()
    local fds = pipes.pipe()
    loop:remove_handler(fds.read)
    pipes.close(fds.read)
    pipes.close(fds.write)
  end)

  it("test_add_callback_from_signal", function()
    t:wait(function()
      loop:add_callback_from_signal(function() t.stop() end)
    end)
  end)

  it("test_handle_callback_exception", function()
    local caught
    function loop.handle_callback_exception(_self, callback, err)
      caught = { callback, err }
      t.stop()
    end
    local function fail() error("boom", 0) end
    t:wait(function()
      -- Outside of the test's own context, which would take it.
      stack_context.NullContext():run(function()
        loop:add_callback(fail)
      end)
    end)
    assert.equal(fail, caught[1])
    assert.equal("boom", caught[2])
    assert.equal(0, #t.log)
  end)

  it("test_read_while_writeable", function()
    -- One end is writable all the time; that it is readable, too, arrives.
    local client, server = pipes.pair()
    t:wait(function()
      loop:add_handler(client, function(fd, events)
        assert.equal(client, fd)
        assert.equal(IOLoop.READ, events)
        t.stop()
      end, IOLoop.READ)
      loop:call_later(0.001, pipes.write, server, "asdf")
    end)
    loop:remove_handler(client)
    pipes.close(client)
    pipes.close(server)
  end)

  it("test_remove_timeout_after_fire", function()
    local handle
    t:wait(function()
      handle = loop:call_at(loop:time(), function() t.stop() end)
    end)
    loop:remove_timeout(handle)
  end)

  it("test_remove_timeout_cleanup", function()
    -- Thousands of them that are removed do no harm, and hold nothing.
    local weak = setmetatable({}, { __mode = "k" })
    t:run(function()
      for _ = 1, 2000 do
        local object = {}
        weak[object] = true
        local handle = loop:add_timeout({ seconds = 3600 }, function()
          return object
        end)
        loop:remove_timeout(handle)
      end
      yield()
    end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("test_remove_timeout_from_timeout", function()
    local calls = { false, false }
    t:wait(function()
      local now = loop:time()
      local second
      loop:add_timeout(now + 0.001, function()
        calls[1] = true
        loop:remove_timeout(second)
      end)
      second = loop:add_timeout(now + 0.001, function() calls[2] = true end)
      loop:add_timeout(now + 0.002, function() t.stop() end)
    end)
    assert.same({ true, false }, calls)
  end)

  it("test_timeout_with_arguments", function()
    local results = {}
    local function note(value) results[#results + 1] = value end
    t:wait(function()
      local now = loop:time()
      loop:add_timeout(now, note, 1)
      loop:add_timeout(util.timedelta(0), note, 2)
      loop:call_at(now, note, 3)
      loop:call_later(0, note, 4)
      loop:call_later(0.001, function() t.stop() end)
    end)
    table.sort(results)
    assert.same({ 1, 2, 3, 4 }, results)
  end)

  it("test_add_timeout_return", function()
    local handle = loop:add_timeout(loop:time(), nothing)
    assert.is_not_nil(handle)
    loop:remove_timeout(handle)
  end)

  it("test_call_at_return", function()
    local handle = loop:call_at(loop:time(), nothing)
    assert.is_not_nil(handle)
    loop:remove_timeout(handle)
  end)

  it("test_call_later_return", function()
    local handle = loop:call_later(0, nothing)
    assert.is_not_nil(handle)
    loop:remove_timeout(handle)
  end)

  it("test_close_file_object", function()
    -- close(true) closes what it watches; an object loses its descriptor.
    local other = IOLoop(false)
    local fds = pipes.pipe()
    other:add_handler(fds.read, nothing, IOLoop.READ)
    other:close(true)
    assert.is_false(pipes.is_open(fds.read))
    assert.is_true(pipes.is_open(fds.write))
    pipes.close(fds.write)

    other = IOLoop(false)
    fds = pipes.pipe()
    local object = file_object(fds.read)
    other:add_handler(object, nothing, IOLoop.READ)
    other:close(true)
    assert.is_false(pipes.is_open(fds.read))
    pipes.close(fds.write)
  end)

  it("test_handler_callback_file_object", function()
    -- The handler gets what it was registered with.
    local client, server = pipes.pair()
    local object = file_object(client)
    local got
    local function handler(fd)
      got = fd
      loop:remove_handler(fd)
      t.stop()
    end
    pipes.write(server, "x")
    t:wait(function() loop:add_handler(object, handler, IOLoop.READ) end)
    assert.equal(object, got)
    t:wait(function() loop:add_handler(client, handler, IOLoop.READ) end)
    assert.equal(client, got)
    pipes.close(client)
    pipes.close(server)
  end)

  it("test_mixed_fd_fileobj", function()
    -- Object and descriptor name the same handler.
    local client, server = pipes.pair()
    local object = file_object(client)
    loop:add_handler(object, nothing, IOLoop.READ)
    assert.has_error(function()
      loop:add_handler(client, nothing, IOLoop.READ)
    end)
    loop:remove_handler(client)
    loop:add_handler(client, nothing, IOLoop.READ)
    loop:remove_handler(object)
    pipes.close(client)
    pipes.close(server)
  end)

  it("test_reentrant", function()
    local returned
    t:wait(function()
      loop:add_callback(function()
        returned = pcall(loop.start, loop)
        t.stop()
      end)
    end)
    assert.is_false(returned)
  end)

  local function apart(fn, ...)
    local args = table.pack(...)
    stack_context.NullContext():run(function()
      fn(table.unpack(args, 1, args.n))
    end)
  end

  it("test_exception_logging", function()
    t:wait(function()
      apart(loop.add_callback, loop, function() error("boom", 0) end)
      loop:add_callback(function() t.stop() end)
    end)
    local message, level = t.log:first("Exception in callback")
    assert.matches("boom", message, 1, true)
    assert.equal("error", level)
  end)

  it("test_exception_logging_future", function()
    t:wait(function()
      apart(loop.add_callback, loop, gen.coroutine(function()
        loop:add_callback(function() t.stop() end)
        error("boom", 0)
      end))
    end)
    assert.equal(1, t.log:count("Exception in callback"))
  end)

  it("test_exception_logging_native_coro", function()
    t:wait(function()
      apart(loop.add_callback, loop, gen.coroutine(function()
        loop:add_callback(loop.add_callback, loop, function() t.stop() end)
        gen.await(gen.moment)
        error("boom", 0)
      end))
    end)
    assert.equal(1, t.log:count("Exception in callback"))
  end)

  it("test_spawn_callback", function()
    -- It runs outside of the contexts that are current, unlike add_callback.
    local ok, err = pcall(function()
      t:wait(function()
        loop:add_callback(function() error("caught", 0) end)
      end)
    end)
    assert.is_false(ok)
    assert.equal("caught", err)
    assert.equal(0, #t.log)

    t:wait(function()
      loop:spawn_callback(function() error("logged", 0) end)
      loop:add_callback(function() t.stop() end)
    end)
    assert.equal(1, t.log:count("logged"))
  end)

  it("test_remove_handler_from_handler", function()
    -- Both are ready in one turn; the first to run removes both.
    local client, server = pipes.pair()
    pipes.write(client, "abc")
    pipes.write(server, "abc")
    local chunks = {}
    t:wait(function()
      local function handler(fd)
        chunks[#chunks + 1] = pipes.read(fd)
        loop:remove_handler(client)
        loop:remove_handler(server)
        loop:call_later(0.001, function() t.stop() end)
      end
      loop:add_handler(client, handler, IOLoop.READ)
      loop:add_handler(server, handler, IOLoop.READ)
    end)
    assert.same({ "abc" }, chunks)
    pipes.close(client)
    pipes.close(server)
  end)
end)

describe("TestIOLoopCurrent", function()
  before_each(function() IOLoop.clear_current() end)
  after_each(function() loop:make_current() end)

  it("test_default_current", function()
    local first = IOLoop()
    assert.equal(first, IOLoop.current(false))
    local second = IOLoop()
    assert.equal(first, IOLoop.current(false))
    first:close()
    second:close()
  end)

  it("test_non_current", function()
    local other = IOLoop(false)
    assert.is_nil(IOLoop.current(false))
    other:add_callback(function()
      assert.equal(other, IOLoop.current(false))
      other:stop()
    end)
    other:start()
    assert.is_nil(IOLoop.current(false))
    assert.equal(0, #t.log, t.log:text())
    other:close()
  end)

  it("test_force_current", function()
    local first = IOLoop(true)
    assert.equal(first, IOLoop.current())
    local second = IOLoop(true)
    assert.equal(second, IOLoop.current())
    first:close()
    second:close()
  end)
end)

for _, kind in ipairs {
  { "TestIOLoopAddCallback", "add_callback" },
  { "TestIOLoopAddCallbackFromSignal", "add_callback_from_signal" },
} do
  describe(kind[1], function()
    local function add_callback(...)
      return loop[kind[2]](loop, ...)
    end

    -- A wrapped function keeps the contexts in which it was wrapped, wherever
    -- it is added.
    local function check_pre_wrap(...)
      local expected = table.pack(...)
      local wrapped
      t.context("c1"):run(function()
        wrapped = stack_context.wrap(function(...)
          assert.same({ "c1" }, t.active)
          assert.same(expected, table.pack(...))
          t.stop()
        end)
      end)
      t:wait(function()
        t.context("c2"):run(function()
          add_callback(wrapped, table.unpack(expected, 1, expected.n))
        end)
      end)
    end

    it("test_pre_wrap", function() check_pre_wrap() end)

    it("test_pre_wrap_with_args", function() check_pre_wrap("foo", nil) end)
  end)
end

describe("TestIOLoopFutures", function()
  it("test_add_future_threads", function()
    local executor <close> = concurrent.ThreadPoolExecutor(1)
    local future = t:wait(function()
      loop:add_future(executor:submit(function() end), t.stop)
    end)
    assert.is_true(future:done())
    assert.is_nil(future:result())
  end)

  it("test_add_future_stack_context", function()
    local ready, failed = Future(), nil
    t:wait(function()
      stack_context.ExceptionStackContext(function(err)
        failed = err
        t.stop()
        return true
      end):run(function()
        loop:add_future(ready, function(future)
          assert.equal(ready, future)
          error("worker's callback", 0)
        end)
      end)
      -- Set from outside of the context.
      loop:add_callback(ready.set_result, ready)
    end)
    assert.equal("worker's callback", failed)
  end)
end)

describe("TestIOLoopRunSync", function()
  it("test_sync_result", function()
    assert.equal(42, loop:run_sync(function() return 42 end))
  end)

  it("test_sync_exception", function()
    local err = {}
    assert.equal(err,
      select(2, pcall(loop.run_sync, loop, function() error(err) end)))
  end)

  it("test_async_result", function()
    assert.equal(42, loop:run_sync(gen.coroutine(function()
      yield(gen.Task(loop.add_callback, loop))
      error(gen.Return(42))
    end)))
  end)

  it("test_async_exception", function()
    local err = {}
    assert.equal(err, select(2, pcall(loop.run_sync, loop,
      gen.coroutine(function()
        yield(gen.Task(loop.add_callback, loop))
        error(err)
      end))))
  end)

  it("test_current", function()
    IOLoop.clear_current()
    loop:run_sync(function() assert.equal(loop, IOLoop.current(false)) end)
    assert.is_nil(IOLoop.current(false))
    loop:make_current()
  end)

  it("test_timeout", function()
    local ok, err = pcall(loop.run_sync, loop, gen.coroutine(function()
      yield(gen.sleep(3600))
    end), 0.005)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, util.TimeoutError))
  end)

  it("test_native_coroutine", function()
    assert.equal(42, loop:run_sync(function()
      gen.await(gen.Task(loop.add_callback, loop))
      return 42
    end))
  end)
end)

describe("TestPeriodicCallback", function()
  -- A loop whose time is told to the callback under test: a table with what
  -- PeriodicCallback asks of a loop would be refused, hence real time.
  it("test_basic", function()
    local calls, start = {}, nil
    t:wait(function()
      start = loop:time()
      local periodic
      periodic = PeriodicCallback(function()
        calls[#calls + 1] = loop:time() - start
        if #calls == 3 then
          periodic:stop()
          t.stop()
        end
      end, 4)
      periodic:start()
    end)
    for i = 1, 3 do
      assert.is_true(calls[i] >= 0.004 * i - 1e-9 - i * loops.grain(loop))
    end
    loops.turn(loop)
    assert.equal(3, #calls)
  end)

  it("test_overrun", function()
    -- A call that takes longer than a period: the periods that it overran
    -- are skipped, and the next call keeps to the grid of whole periods.
    local period = 0.01
    local calls, ends, start = {}, {}, nil
    t:wait(function()
      local periodic
      start = loop:time()
      periodic = PeriodicCallback(function()
        calls[#calls + 1] = loop:time() - start
        if #calls == 1 then
          while loop:time() - start < 3.5 * period do end -- luacheck: ignore
        end
        ends[#ends + 1] = loop:time() - start
        if #calls == 2 then
          periodic:stop()
          t.stop()
        end
      end, period * 1000)
      periodic:start()
    end)
    assert.is_true(ends[1] >= 3.5 * period)
    assert.is_true(calls[2] >= 4 * period - 1e-9 - 4 * loops.grain(loop))
  end)
end)
