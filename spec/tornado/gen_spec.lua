-- SPDX-License-Identifier: MIT
-- Tornado's gen_test, by the names of its functions.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local util = require "lunado.util"
local case = require "spec.tornado.case"
local gc = require "spec.support.gc"

local Future = concurrent.Future
local isinstance = util.isinstance
local yield = coroutine.yield

local t, loop
before_each(function() t, loop = case() end)
after_each(function() t:close() end)

-- What ZeroDivisionError is to Tornado's tests.
local BOOM = "boom"

local function boom()
  error(BOOM, 0)
end

-- Waits for the loop's next turn, by way of a callback.
local function turn()
  return gen.Task(loop.add_callback, loop)
end

local function delayed(turns, value)
  return gen.Task(t.delay, t, turns, value)
end

local async_future = concurrent.return_future(function(result, callback)
  loop:add_callback(callback, result)
end)

local async_error = gen.coroutine(function(err)
  yield(gen.moment)
  error(err, 0)
end)

local add_one = gen.engine(function(x, callback)
  yield(turn())
  callback(x + 1)
end)

local function assert_raises(class, fn)
  local ok, err = pcall(fn)
  assert.is_false(ok, "no error was raised")
  if type(class) == "table" then
    assert.is_true(isinstance(err, class), tostring(err))
  else
    assert.equal(class, err)
  end
  return err
end

-- An engine function, run to its stop().
local function run_engine(fn)
  return t:wait(gen.engine(fn))
end

local function assert_engine_raises(class, fn)
  return assert_raises(class, function() run_engine(fn) end)
end

-- Asserts that yield(value) raises.
local function assert_yield_raises(class, value)
  return assert_raises(class, function() yield(value) end)
end

local function ok_future(...)
  local f = Future()
  f:set_result(...)
  return f
end

describe("GenEngineTest", function()
  it("test_no_yield", function()
    run_engine(function() t.stop() end)
  end)

  it("test_inline_cb", function()
    run_engine(function()
      yield(gen.Callback("k1"))()
      assert.is_nil(yield(gen.Wait("k1")))
      t.stop()
    end)
  end)

  it("test_ioloop_cb", function()
    run_engine(function()
      loop:add_callback(yield(gen.Callback("k1")))
      yield(gen.Wait("k1"))
      t.stop()
    end)
  end)

  it("test_exception_phase1", function()
    assert_engine_raises(BOOM, function() boom() end)
  end)

  it("test_exception_phase2", function()
    assert_engine_raises(BOOM, function()
      loop:add_callback(yield(gen.Callback("k1")))
      yield(gen.Wait("k1"))
      boom()
    end)
  end)

  it("test_exception_in_task_phase1", function()
    run_engine(function()
      assert_yield_raises(BOOM, gen.Task(function(_callback) boom() end))
      t.stop()
    end)
  end)

  it("test_exception_in_task_phase2", function()
    run_engine(function()
      assert_yield_raises(BOOM, gen.Task(function(_callback)
        loop:add_callback(boom)
      end))
      t.stop()
    end)
  end)

  it("test_with_arg", function()
    run_engine(function()
      yield(gen.Callback("k1"))(42)
      assert.equal(42, yield(gen.Wait("k1")))
      t.stop()
    end)
  end)

  it("test_with_arg_tuple", function()
    local key = { "a", 1 }
    run_engine(function()
      yield(gen.Callback(key))(42)
      assert.equal(42, yield(gen.Wait(key)))
      t.stop()
    end)
  end)

  it("test_key_reuse", function()
    assert_engine_raises(gen.KeyReuseError, function()
      yield(gen.Callback("k1"))
      yield(gen.Callback("k1"))
      t.stop()
    end)
  end)

  it("test_key_reuse_tuple", function()
    local key = { "a", 1 }
    assert_engine_raises(gen.KeyReuseError, function()
      yield(gen.Callback(key))
      yield(gen.Callback(key))
      t.stop()
    end)
  end)

  it("test_key_mismatch", function()
    assert_engine_raises(gen.UnknownKeyError, function()
      yield(gen.Callback("k1"))
      yield(gen.Wait("k2"))
      t.stop()
    end)
  end)

  -- Tables are keys by identity, as everywhere in Lua.
  it("test_key_mismatch_tuple", function()
    assert_engine_raises(gen.UnknownKeyError, function()
      yield(gen.Callback({ "a", 1 }))
      yield(gen.Wait({ "a", 1 }))
      t.stop()
    end)
  end)

  it("test_leaked_callback", function()
    local err = assert_engine_raises(gen.LeakedCallbackError, function()
      yield(gen.Callback("k1"))
      t.stop()
    end)
    assert.matches("'k1'", tostring(err), 1, true)
  end)

  it("test_leaked_callback_tuple", function()
    assert_engine_raises(gen.LeakedCallbackError, function()
      yield(gen.Callback({ "a", 1 }))
      t.stop()
    end)
  end)

  it("test_parallel_callback", function()
    run_engine(function()
      for key = 1, 3 do
        loop:add_callback(yield(gen.Callback(key)))
      end
      yield(gen.Wait(2))
      loop:add_callback(yield(gen.Callback(4)))
      yield(gen.Wait(1))
      yield(gen.Wait(4))
      yield(gen.Wait(3))
      t.stop()
    end)
  end)

  it("test_bogus_yield", function()
    assert_engine_raises(gen.BadYieldError, function() yield(42) end)
  end)

  it("test_bogus_yield_tuple", function()
    assert_engine_raises(gen.BadYieldError, function() yield(1, 2) end)
  end)

  it("test_reuse", function()
    local function fn()
      loop:add_callback(yield(gen.Callback(0)))
      yield(gen.Wait(0))
      t.stop()
    end
    local engine = gen.engine(fn)
    t:wait(engine)
    t:wait(engine)
  end)

  it("test_task", function()
    run_engine(function()
      yield(gen.Task(loop.add_callback, loop))
      t.stop()
    end)
  end)

  it("test_wait_all", function()
    run_engine(function()
      yield(gen.Callback("k1"))("v1")
      yield(gen.Callback("k2"))("v2")
      assert.same({ "v1", "v2" }, yield(gen.WaitAll { "k1", "k2" }))
      t.stop()
    end)
  end)

  it("test_exception_in_yield", function()
    run_engine(function()
      assert_yield_raises(gen.UnknownKeyError, gen.Wait("k1"))
      t.stop()
    end)
  end)

  it("test_resume_after_exception_in_yield", function()
    run_engine(function()
      assert_yield_raises(gen.UnknownKeyError, gen.Wait("k1"))
      yield(gen.Callback("k2"))("v2")
      assert.equal("v2", yield(gen.Wait("k2")))
      t.stop()
    end)
  end)

  it("test_orphaned_callback", function()
    local orphan
    assert_engine_raises(gen.LeakedCallbackError, function()
      orphan = yield(gen.Callback(1))
      t.stop()
    end)
    orphan()
  end)

  it("test_none", function()
    t:run(function() assert.is_nil(yield(nil)) end)
  end)

  it("test_multi", function()
    run_engine(function()
      yield(gen.Callback("k1"))("v1")
      yield(gen.Callback("k2"))("v2")
      assert.same({ "v1", "v2" },
        yield { gen.Wait("k1"), gen.Wait("k2") })
      t.stop()
    end)
  end)

  it("test_multi_dict", function()
    run_engine(function()
      yield(gen.Callback("k1"))("v1")
      yield(gen.Callback("k2"))("v2")
      assert.same({ foo = "v1", bar = "v2" },
        yield { foo = gen.Wait("k1"), bar = gen.Wait("k2") })
      t.stop()
    end)
  end)

  it("test_multi_delayed", function()
    run_engine(function()
      assert.same({ "v1", "v2" },
        yield { delayed(3, "v1"), delayed(1, "v2") })
      t.stop()
    end)
  end)

  it("test_multi_dict_delayed", function()
    run_engine(function()
      assert.same({ foo = "v1", bar = "v2" },
        yield { foo = delayed(3, "v1"), bar = delayed(1, "v2") })
      t.stop()
    end)
  end)

  -- Children that all are ready one after the other must not be looked at
  -- again by all for each.
  it("test_multi_performance", function()
    local start = os.clock()
    t:run(function()
      local tasks = {}
      for i = 1, 500 do tasks[i] = turn() end
      yield(tasks)
      local waits = {}
      for i = 1, 100 do
        loop:add_callback(yield(gen.Callback(i)))
        waits[i] = gen.Wait(i)
      end
      yield(waits)
    end)
    assert.is_true(os.clock() - start < 10)
  end)

  it("test_multi_empty", function()
    t:run(function()
      local results = yield {}
      assert.same({}, results)
    end)
  end)

  it("test_multi_mixed_types", function()
    t:run(function()
      yield(gen.Callback("k1"))("v1")
      assert.same({ "v1", "v2" },
        yield { gen.Wait("k1"), delayed(3, "v2") })
      loop:add_callback(yield(gen.Callback("k1")), "v3")
      assert.same({ foo = "v3", bar = "v4" },
        yield { foo = gen.Wait("k1"), bar = delayed(1, "v4") })
    end)
  end)

  it("test_future", function()
    t:run(function() assert.equal(1, yield(async_future(1))) end)
  end)

  it("test_multi_future", function()
    t:run(function()
      assert.same({ 1, 2 }, yield { async_future(1), async_future(2) })
    end)
  end)

  it("test_multi_future_delayed", function()
    t:run(function()
      assert.same({ "v1", "v2" },
        yield(gen.multi_future { t:later(3, "v1"), t:later(1, "v2") }))
    end)
  end)

  it("test_multi_future_duplicate", function()
    t:run(function()
      local f = async_future(2)
      assert.same({ 1, 2, 3, 2 },
        yield { async_future(1), f, async_future(3), f })
    end)
  end)

  it("test_multi_dict_future", function()
    t:run(function()
      assert.same({ foo = 1, bar = 2 },
        yield { foo = async_future(1), bar = async_future(2) })
    end)
  end)

  it("test_multi_dict_future_delayed", function()
    t:run(function()
      assert.same({ foo = "v1", bar = "v2" },
        yield { foo = t:later(3, "v1"), bar = t:later(1, "v2") })
    end)
  end)

  it("test_multi_exceptions", function()
    t:run(function()
      assert_yield_raises("error 1",
        gen.Multi { async_error("error 1"), async_error("error 2") })
      assert.equal(1, t.log:count("error 2"))

      -- One error is not logged, wherever it is.
      assert_yield_raises("error 3",
        gen.Multi { async_error("error 3"), async_future(2) })
      assert_yield_raises("error 4",
        gen.Multi { async_future(2), async_error("error 4") })
      assert.equal(0, t.log:count("error 3"))
      assert.equal(0, t.log:count("error 4"))

      assert_yield_raises("error 5", gen.Multi(
        { async_error("error 5"), async_error("error 6") }, "^error"))
      assert.equal(0, t.log:count("error 6"))
    end)
  end)

  it("test_multi_future_exceptions", function()
    t:run(function()
      assert_yield_raises("error 1",
        gen.multi_future { async_error("error 1"), async_error("error 2") })
      assert.equal(1, t.log:count("error 2"))

      assert_yield_raises("error 3",
        gen.multi_future { async_error("error 3"), async_future(2) })
      assert.equal(0, t.log:count("error 3"))

      assert_yield_raises("error 5", gen.multi_future(
        { async_error("error 5"), async_error("error 6") }, "^error"))
      assert.equal(0, t.log:count("error 6"))
    end)
  end)

  it("test_arguments", function()
    t:run(function()
      yield(gen.Callback("noargs"))()
      assert.is_nil(yield(gen.Wait("noargs")))
      yield(gen.Callback("1arg"))(42)
      assert.equal(42, yield(gen.Wait("1arg")))

      yield(gen.Callback("kwargs"))(util.kwargs { value = 42 })
      local result = yield(gen.Wait("kwargs"))
      assert.equal(gen.Arguments, getmetatable(result))
      assert.equal(42, result.kwargs.value)
      assert.equal(0, result.args.n)
      assert.equal(result.args, result[1])
      assert.equal(result.kwargs, result[2])

      yield(gen.Callback("2args"))(42, 43)
      result = yield(gen.Wait("2args"))
      assert.equal(gen.Arguments, getmetatable(result))
      assert.same({ 42, 43 }, { result:unpack() })
      assert.is_nil(next(result.kwargs))

      result = yield(gen.Task(function(callback)
        callback(nil, util.kwargs { error = "foo" })
      end))
      assert.equal(gen.Arguments, getmetatable(result))
      assert.same({ n = 1 }, table.pack(result:unpack()))
      assert.equal("foo", result.kwargs.error)
    end)
  end)

  local function context_depth()
    local depth, contexts = 0, core.get_context()
    while contexts do
      depth, contexts = depth + 1, contexts.outer
    end
    return depth
  end

  it("test_stack_context_leak", function()
    local inner = gen.engine(function(callback)
      yield(turn())
      callback()
    end)
    run_engine(function()
      local before = context_depth()
      for _ = 1, 10 do yield(gen.Task(inner)) end
      assert.is_true(context_depth() - before <= 2)
      t.stop()
    end)
  end)

  it("test_stack_context_leak_exception", function()
    local inner = gen.engine(function(_callback)
      yield(turn())
      boom()
    end)
    run_engine(function()
      local before = context_depth()
      for _ = 1, 10 do assert_yield_raises(BOOM, gen.Task(inner)) end
      assert.is_true(context_depth() - before <= 2)
      t.stop()
    end)
  end)

  -- A function that should have wrapped its callback, and has not.
  local function function_with_context(callback)
    t.context("a"):run(function()
      loop:add_callback(function()
        assert.same({ "a" }, t.active)
        loop:add_callback(callback)
      end)
    end)
  end

  it("test_wait_transfer_stack_context", function()
    t:run(function()
      local callback = yield(gen.Callback("k1"))
      function_with_context(callback)
      assert.same({}, t.active)
      yield(gen.Wait("k1"))
      assert.same({}, t.active)
    end)
  end)

  it("test_task_transfer_stack_context", function()
    t:run(function()
      yield(gen.Task(function_with_context))
      assert.same({}, t.active)
    end)
  end)

  it("test_raise_after_stop", function()
    assert_engine_raises(BOOM, function()
      t.stop()
      boom()
    end)
  end)

  it("test_sync_raise_return", function()
    run_engine(function()
      t.stop()
      error(gen.Return())
    end)
  end)

  it("test_async_raise_return", function()
    run_engine(function()
      yield(turn())
      t.stop()
      error(gen.Return())
    end)
  end)

  it("test_sync_raise_return_value", function()
    assert_engine_raises(gen.ReturnValueIgnoredError, function()
      t.stop()
      error(gen.Return(42))
    end)
  end)

  it("test_sync_raise_return_value_tuple", function()
    assert_engine_raises(gen.ReturnValueIgnoredError, function()
      t.stop()
      error(gen.Return(1, 2))
    end)
  end)

  it("test_async_raise_return_value", function()
    assert_engine_raises(gen.ReturnValueIgnoredError, function()
      yield(turn())
      t.stop()
      error(gen.Return(42))
    end)
  end)

  it("test_async_raise_return_value_tuple", function()
    assert_engine_raises(gen.ReturnValueIgnoredError, function()
      yield(turn())
      t.stop()
      error(gen.Return(1, 2))
    end)
  end)

  it("test_return_value", function()
    assert_engine_raises(gen.ReturnValueIgnoredError, function()
      t.stop()
      return 42
    end)
  end)

  it("test_return_value_tuple", function()
    assert_engine_raises(gen.ReturnValueIgnoredError, function()
      t.stop()
      return nil, 42
    end)
  end)

  -- Not at once, as in CPython, but with the next collection.
  it("test_task_refcounting", function()
    local weak = setmetatable({}, { __mode = "v" })
    run_engine(function()
      do
        local argument = {}
        local task = gen.Task(function(_value, callback)
          loop:add_callback(callback)
        end, argument)
        weak.argument, weak.task = argument, task
        yield(task)
      end
      t.stop()
    end)
    gc.collect()
    assert.is_nil(weak.argument)
    assert.is_nil(weak.task)
  end)
end)

describe("GenCoroutineTest", function()
  -- A Lua function has no name or documentation of its own to keep; what it
  -- was called is what it can be called.
  it("test_is_coroutine_function", function()
    local function plain() end
    assert.is_false(gen.is_coroutine_function(plain))
    assert.is_true(gen.is_coroutine_function(gen.coroutine(plain)))
    assert.is_false(gen.is_coroutine_function(gen.coroutine(plain)()))
  end)

  it("test_sync_gen_return", function()
    t:run(function()
      assert.equal(42, yield(gen.coroutine(function()
        error(gen.Return(42))
      end)()))
    end)
  end)

  it("test_async_gen_return", function()
    t:run(function()
      assert.equal(42, yield(gen.coroutine(function()
        yield(turn())
        error(gen.Return(42))
      end)()))
    end)
  end)

  it("test_sync_return", function()
    t:run(function()
      assert.equal(42, yield(gen.coroutine(function() return 42 end)()))
    end)
  end)

  it("test_async_return", function()
    t:run(function()
      assert.equal(42, yield(gen.coroutine(function()
        yield(turn())
        return 42
      end)()))
    end)
  end)

  it("test_async_early_return", function()
    t:run(function()
      local reached = false
      assert.equal(42, yield(gen.coroutine(function()
        if loop then return 42 end
        yield(turn())
        reached = true
      end)()))
      assert.is_false(reached)
    end)
  end)

  it("test_async_await", function()
    t:run(function()
      local inner = gen.coroutine(function()
        gen.await(turn())
        return 42
      end)
      local outer = gen.coroutine(function()
        local result = gen.await(inner())
        return result
      end)
      assert.equal(42, gen.await(outer()))
    end)
  end)

  local function awaitable(future)
    return setmetatable({}, { __await = function() return future end })
  end

  it("test_async_await_mixed_multi_native_future", function()
    t:run(function()
      assert.same({ "a", "b" },
        yield { awaitable(t:later(1, "a")), t:later(2, "b") })
      assert.same({ a = "a", b = "b" },
        yield { a = awaitable(t:later(2, "a")), b = t:later(1, "b") })
    end)
  end)

  it("test_async_await_mixed_multi_native_yieldpoint", function()
    t:run(function()
      loop:add_callback(yield(gen.Callback("k1")), "b")
      assert.same({ "a", "b" },
        yield { awaitable(t:later(1, "a")), gen.Wait("k1") })
    end)
  end)

  it("test_async_with_timeout", function()
    t:run(function()
      assert.equal(42, yield(gen.with_timeout({ seconds = 60 },
        awaitable(t:later(1, 42)))))
    end)
  end)

  it("test_sync_return_no_value", function()
    t:run(function()
      assert.equal(0, select("#", yield(gen.coroutine(function() end)())))
    end)
  end)

  it("test_async_return_no_value", function()
    t:run(function()
      assert.is_nil(yield(gen.coroutine(function() yield(turn()) end)()))
    end)
  end)

  it("test_sync_raise", function()
    t:run(function()
      local future = gen.coroutine(function() boom() end)()
      assert_yield_raises(BOOM, future)
    end)
  end)

  it("test_async_raise", function()
    t:run(function()
      local future = gen.coroutine(function()
        yield(turn())
        boom()
      end)()
      assert_yield_raises(BOOM, future)
    end)
  end)

  it("test_pass_callback", function()
    t:run(function()
      local fn = gen.coroutine(function() error(gen.Return(42)) end)
      assert.equal(42, yield(gen.Task(fn)))
    end)
  end)

  it("test_replace_yieldpoint_exception", function()
    t:run(function()
      local future = gen.coroutine(function()
        assert_yield_raises(BOOM, gen.Task(function(_callback) boom() end))
        error("another", 0)
      end)()
      assert_yield_raises("another", future)
    end)
  end)

  it("test_swallow_yieldpoint_exception", function()
    t:run(function()
      assert.equal(42, yield(gen.coroutine(function()
        assert_yield_raises(BOOM, gen.Task(function(_callback) boom() end))
        return 42
      end)()))
    end)
  end)

  local function failing_callback()
    yield(gen.Callback(1))()
    yield(gen.Wait(1))
    loop:add_callback(boom)
    return assert_yield_raises(BOOM,
      gen.Task(loop.add_timeout, loop, loop:time() + 10))
  end

  it("test_replace_context_exception", function()
    t:run(function()
      local future = gen.coroutine(function()
        failing_callback()
        error("another", 0)
      end)()
      assert_yield_raises("another", future)
    end)
  end)

  it("test_swallow_context_exception", function()
    t:run(function()
      assert.equal(42, yield(gen.coroutine(function()
        failing_callback()
        return 42
      end)()))
    end)
  end)

  it("test_moment", function()
    local immediate = ok_future()
    local turns
    local go = gen.coroutine(function(name, yieldable)
      for _ = 1, 5 do
        turns[#turns + 1] = name
        yield(yieldable)
      end
    end)
    local function order(first, second)
      turns = {}
      t:run(function() yield { go("a", first), go("b", second) } end)
      return table.concat(turns)
    end
    assert.equal("aaaaabbbbb", order(immediate, immediate))
    assert.equal("ababababab", order(gen.moment, gen.moment))
    assert.equal("abbbbbaaaa", order(gen.moment, immediate))
    assert.equal("ababababab", order(nil, nil))
  end)

  it("test_sleep", function()
    local start = loop:time()
    t:run(function() yield(gen.sleep(0.01)) end)
    assert.is_true(loop:time() >= start + 0.01)
  end)

  it("test_py3_leak_exception_context", function()
    t:run(function()
      local weak = setmetatable({}, { __mode = "v" })
      local inner = gen.coroutine(function(number)
        local err = util.Exception("number " .. number)
        weak[number] = err
        error(err)
      end)
      for number = 1, 2 do
        local _, err = pcall(yield, inner(number))
        assert.equal("number " .. number, err.message)
        err = nil -- luacheck: ignore
        collectgarbage()
        collectgarbage()
        for i = 1, number - 1 do assert.is_nil(weak[i]) end
      end
    end)
  end)

  -- Not at once, as in CPython, but with the next collection.
  it("test_coroutine_refcounting", function()
    local weak = setmetatable({}, { __mode = "v" })
    t:run(function()
      local inner = gen.coroutine(function()
        local object = {}
        weak.object = object
        local child = gen.coroutine(function()
          yield(turn())
          weak.child = object
        end)
        yield(child())
      end)
      yield(inner())
    end)
    gc.collect()
    assert.is_nil(weak.object)
    assert.is_nil(weak.child)
  end)
end)

describe("WithTimeoutTest", function()
  it("test_timeout", function()
    t:run(function()
      assert_yield_raises(gen.TimeoutError,
        gen.with_timeout({ milliseconds = 5 }, Future()))
    end)
  end)

  it("test_completes_before_timeout", function()
    t:run(function()
      local future = t:later(2, "asdf")
      assert.equal("asdf",
        yield(gen.with_timeout({ hours = 1 }, future)))
    end)
  end)

  it("test_fails_before_timeout", function()
    t:run(function()
      local future = Future()
      loop:add_callback(future.set_exception, future, BOOM)
      assert_yield_raises(BOOM, gen.with_timeout({ hours = 1 }, future))
    end)
  end)

  it("test_already_resolved", function()
    t:run(function()
      assert.equal("asdf",
        yield(gen.with_timeout({ hours = 1 }, ok_future("asdf"))))
    end)
  end)

  it("test_timeout_concurrent_future", function()
    local executor <close> = concurrent.ThreadPoolExecutor(1)
    t:run(function()
      local future = executor:submit(function()
        local stop = os.clock() + 0.05
        while os.clock() < stop do end -- luacheck: ignore
      end)
      assert_yield_raises(gen.TimeoutError,
        gen.with_timeout(loop:time(), future))
      yield(future)
    end)
  end)

  it("test_completed_concurrent_future", function()
    local executor <close> = concurrent.ThreadPoolExecutor(1)
    t:run(function()
      local future = executor:submit(function() return 42 end)
      yield(future)
      assert.equal(42, yield(gen.with_timeout({ hours = 1 }, future)))
    end)
  end)

  it("test_normal_concurrent_future", function()
    local executor <close> = concurrent.ThreadPoolExecutor(1)
    t:run(function()
      assert.equal(42, yield(gen.with_timeout({ hours = 1 },
        executor:submit(function() return 42 end))))
    end)
  end)
end)

describe("WaitIteratorTest", function()
  it("test_empty_iterator", function()
    local iterator = gen.WaitIterator()
    assert.is_true(iterator:done())
    assert.is_nil(iterator.current_index)
    assert.is_nil(iterator.current_future)
    assert.has_error(function() iterator:next() end)
    assert.has_error(function()
      gen.WaitIterator({ name = Future() }, Future())
    end)
  end)

  it("test_already_done", function()
    t:run(function()
      local futures = { ok_future(24), ok_future(42), ok_future(84) }
      local iterator = gen.WaitIterator(table.unpack(futures))
      for i, value in ipairs { 24, 42, 84 } do
        assert.is_false(iterator:done())
        assert.equal(value, yield(iterator:next()))
        assert.equal(i, iterator.current_index)
        assert.equal(futures[i], iterator.current_future)
      end
      assert.is_true(iterator:done())
      assert.is_nil(iterator.current_index)
      assert.is_nil(iterator.current_future)

      local named = { f1 = futures[1], f2 = futures[2] }
      iterator = gen.WaitIterator(named)
      local seen = {}
      while not iterator:done() do
        local value = yield(iterator:next())
        seen[iterator.current_index] = value
        assert.equal(named[iterator.current_index], iterator.current_future)
      end
      assert.same({ f1 = 24, f2 = 42 }, seen)
    end)
  end)

  -- Four Futures: the second comes first, the first fails at last.
  local function staggered()
    local futures = {}
    for i = 1, 4 do futures[i] = Future() end
    loop:add_callback(function()
      futures[2]:set_result(24)
      loop:add_callback(function()
        futures[4]:set_exception(BOOM)
        loop:add_callback(function()
          futures[3]:set_result(84)
          loop:add_callback(function() futures[1]:set_result(42) end)
        end)
      end)
    end)
    return futures
  end

  it("test_iterator", function()
    t:run(function()
      local futures = staggered()
      local iterator = gen.WaitIterator(table.unpack(futures))
      local order = {}
      while not iterator:done() do
        local _, result = pcall(yield, iterator:next())
        assert.equal(futures[iterator.current_index],
          iterator.current_future)
        table.insert(order, iterator.current_index)
        table.insert(order, result)
      end
      assert.same({ 2, 24, 4, BOOM, 3, 84, 1, 42 }, order)
    end)
  end)

  it("test_iterator_async_await", function()
    t:run(function()
      local order = {}
      local ok, err = pcall(function()
        for index, result in gen.WaitIterator(staggered()):results() do
          table.insert(order, index)
          table.insert(order, result)
        end
      end)
      assert.is_false(ok)
      assert.equal(BOOM, err)
      assert.same({ 2, 24 }, order)

      local futures = { t:later(3, "slow"), t:later(1, "fast") }
      order = {}
      for index, result in gen.WaitIterator(futures):results() do
        table.insert(order, index .. result)
      end
      assert.same({ "2fast", "1slow" }, order)
    end)
  end)

  it("test_no_ref", function()
    t:run(function()
      local iterator = gen.WaitIterator(gen.sleep(0))
      collectgarbage()
      yield(gen.with_timeout({ seconds = 60 }, iterator:next()))
    end)
  end)
end)

describe("RunnerGCTest", function()
  it("test_gc", function()
    t:run(function()
      local weak = setmetatable({}, { __mode = "v" })
      local tester = gen.coroutine(function()
        local future = Future()
        weak.future = future
        loop:add_callback(function()
          gc.collect()
          weak.future:set_result(123)
        end)
        return yield(future)
      end)
      assert.equal(123,
        yield(gen.with_timeout({ seconds = 60 }, tester())))
    end)
  end)
end)

describe("GenWebTest", function()
  -- Tornado's web server is not here; what its handlers do is.
  it("test_sequence_handler", function()
    local written = {}
    run_engine(function()
      for i, key in ipairs { "k1", "k2", "k1" } do
        loop:add_callback(yield(gen.Callback(key)))
        yield(gen.Wait(key))
        table.insert(written, i)
      end
      t.stop()
    end)
    assert.equal("123", table.concat(written))
  end)

  it("test_coroutine_sequence_handler", function()
    t:run(function()
      local get = gen.coroutine(function()
        local written = {}
        for i = 1, 3 do
          yield(turn())
          table.insert(written, i)
        end
        return table.concat(written)
      end)
      assert.equal("123", yield(get()))
    end)
  end)

  it("test_task_handler", function()
    run_engine(function()
      assert.equal(43, yield(gen.Task(add_one, 42)))
      t.stop()
    end)
  end)

  it("test_exception_handler", function()
    assert_engine_raises(BOOM, function()
      loop:add_callback(yield(gen.Callback("k1")))
      yield(gen.Wait("k1"))
      boom()
    end)
  end)

  it("test_coroutine_exception_handler", function()
    t:run(function()
      assert_yield_raises(BOOM, gen.coroutine(function()
        yield(turn())
        boom()
      end)())
    end)
  end)

  it("test_yield_exception_handler", function()
    run_engine(function()
      local function fail(_callback) loop:add_callback(boom) end
      assert_yield_raises(BOOM, gen.Task(fail))
      t.stop()
    end)
  end)
end)
