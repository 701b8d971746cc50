-- SPDX-License-Identifier: MIT
-- Tornado's concurrent_test, by the names of its functions.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"
local case = require "spec.tornado.case"

local Future, kwargs = concurrent.Future, util.kwargs
local return_future = concurrent.return_future
local yield = coroutine.yield

local t, loop
before_each(function() t, loop = case() end)
after_each(function() t:close() end)

describe("ReturnFutureTest", function()
  local sync_future = return_future(function(callback) callback(42) end)

  local async_future = return_future(function(callback)
    loop:add_callback(callback, 42)
  end)

  local immediate_failure = return_future(function(_callback)
    error("boom", 0)
  end)

  local delayed_failure = return_future(function(_callback)
    loop:add_callback(function() error("boom", 0) end)
  end)

  local return_value = return_future(function(_callback) return 42 end)

  local no_result_future = return_future(function(callback) callback() end)

  it("test_immediate_failure", function()
    -- It goes to the caller, and to nobody's callback.
    local called = false
    local ok, err = pcall(immediate_failure, kwargs {
      callback = function() called = true end,
    })
    assert.is_false(ok)
    assert.equal("boom", err)
    t:run(function() yield() end)
    assert.is_false(called)
  end)

  it("test_return_value", function()
    local ok, err = pcall(return_value)
    assert.is_false(ok)
    assert.is_true(
      util.isinstance(err, concurrent.ReturnValueIgnoredError))
  end)

  it("test_callback_kw", function()
    local future
    assert.equal(42, t:wait(function()
      future = sync_future(kwargs { callback = t.stop })
    end))
    assert.equal(42, future:result())
  end)

  it("test_callback_positional", function()
    local future
    assert.equal(42, t:wait(function() future = sync_future(t.stop) end))
    assert.equal(42, future:result())
  end)

  it("test_no_callback", function()
    assert.equal(42, sync_future():result())
  end)

  it("test_none_callback_kw", function()
    assert.equal(42, sync_future(kwargs { callback = nil }):result())
  end)

  it("test_none_callback_pos", function()
    assert.equal(42, sync_future(nil):result())
  end)

  it("test_async_future", function()
    local future = async_future()
    assert.is_false(future:done())
    assert.equal(future, t:wait(function()
      loop:add_future(future, function(done) t.stop(done) end)
    end))
    assert.equal(42, future:result())
  end)

  it("test_delayed_failure", function()
    local future = delayed_failure()
    t:wait(function()
      loop:add_future(future, function(done) t.stop(done) end)
    end)
    assert.has_error(function() future:result() end, "boom")
  end)

  -- The callback goes in by name where the arguments end at it by position.
  it("test_kw_only_callback", function()
    local fn = return_future(function(...)
      assert.equal(1, select("#", ...))
      local callback = ...
      callback(42)
    end)
    assert.equal(42, fn():result())
    assert.equal(42, t:wait(function()
      fn(kwargs { callback = t.stop })
    end))
  end)

  it("test_error_in_callback", function()
    local ok, err = pcall(function()
      t:wait(function()
        sync_future(kwargs { callback = function() error("boom", 0) end })
      end)
    end)
    assert.is_false(ok)
    assert.equal("boom", err)
  end)

  it("test_no_result_future", function()
    local future = no_result_future()
    assert.equal(0, select("#", future:result()))
  end)

  it("test_no_result_future_callback", function()
    local future
    assert.equal(0, select("#", t:wait(function()
      future = no_result_future(kwargs {
        callback = function(...) t.stop(...) end,
      })
    end)))
    assert.is_true(future:done())
  end)

  -- Where the error was raised, though it comes out elsewhere.
  it("test_future_traceback", function()
    local line
    t:run(function()
      local fail = return_future(function(callback)
        line = debug.getinfo(1, "l").currentline + 2
        local function raise()
          error("boom")
        end
        raise(callback)
      end)
      local future = gen.coroutine(function()
        yield(gen.moment)
        yield(fail())
      end)()
      pcall(yield, future)
      local _, traceback = future:exc_info()
      assert.matches("concurrent_spec.lua:" .. line .. ":", traceback, 1,
        true)
    end)
  end)

  it("test_future_traceback_legacy", function()
    local future = Future()
    future:set_exc_info("boom", "stack traceback:\n\tfar away")
    local err, traceback = future:exc_info()
    assert.equal("boom", err)
    assert.matches("far away", traceback, 1, true)
  end)
end)

-- A service that makes lower-case lines upper-case, and its client in the
-- three ways of writing it.
local function serve(line, callback)
  loop:add_callback(function()
    if line == line:upper() then
      callback("error\talready capitalized")
    else
      callback("ok\t" .. line:upper())
    end
  end)
end

local CapError = util.Exception:subclass("CapError")

local function process(response)
  local status, message = response:match("^(%a+)\t(.*)$")
  if status ~= "ok" then error(CapError(message)) end
  return message
end

local clients = {
  ManualClientTest = function(request, options)
    local callback = options and options.callback
    local future = Future()
    if callback then
      future:add_done_callback(stack_context.wrap(function(done)
        callback(done:result())
      end))
    end
    serve(request, function(response)
      local ok, result = pcall(process, response)
      if ok then
        future:set_result(result)
      else
        future:set_exception(result)
      end
    end)
    return future
  end,

  DecoratorClientTest = return_future(function(request, callback)
    serve(request, function(response) callback(process(response)) end)
  end),

  GeneratorClientTest = gen.coroutine(function(request)
    return process(yield(gen.Task(serve, request)))
  end),
}

local function describe_client(name, capitalize)
  local function assert_cap_error(fn)
    local ok, err = pcall(fn)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, CapError), tostring(err))
    assert.equal("already capitalized", err.message)
  end

  describe(name, function()
    it("test_callback", function()
      assert.equal("HELLO", t:wait(function()
        capitalize("hello", kwargs { callback = t.stop })
      end))
    end)

    it("test_callback_error", function()
      local future
      assert_cap_error(function()
        t:wait(function()
          future = capitalize("HELLO", kwargs { callback = t.stop })
        end)
      end)
      assert_cap_error(function() future:result() end)
    end)

    it("test_future", function()
      local future
      t:wait(function()
        future = capitalize("hello")
        loop:add_future(future, t.stop)
      end)
      assert.equal("HELLO", future:result())
    end)

    it("test_future_error", function()
      local future
      t:wait(function()
        future = capitalize("HELLO")
        loop:add_future(future, t.stop)
      end)
      assert_cap_error(function() future:result() end)
    end)

    it("test_generator", function()
      t:wait(gen.engine(function()
        assert.equal("HELLO", yield(capitalize("hello")))
        t.stop()
      end))
    end)

    it("test_generator_error", function()
      t:wait(gen.engine(function()
        assert_cap_error(function() yield(capitalize("HELLO")) end)
        t.stop()
      end))
    end)
  end)
end

for _, name in ipairs { "ManualClientTest", "DecoratorClientTest",
  "GeneratorClientTest" } do
  describe_client(name, clients[name])
end

describe("RunOnExecutorTest", function()
  local executor
  before_each(function() executor = concurrent.ThreadPoolExecutor(1) end)
  after_each(function() executor:shutdown() end)

  it("test_no_calling", function()
    local object = { executor = executor, io_loop = loop }
    object.f = concurrent.run_on_executor(function(_self) return 42 end)
    t:run(function() assert.equal(42, yield(object:f())) end)
  end)

  it("test_call_with_no_args", function()
    local object = { executor = executor, io_loop = loop }
    object.f = concurrent.run_on_executor()(function(_self) return 42 end)
    t:run(function() assert.equal(42, yield(object:f())) end)
  end)

  it("test_call_with_executor", function()
    local object = { pool = executor, io_loop = loop }
    object.f = concurrent.run_on_executor { executor = "pool" }(
      function(_self) return 42 end)
    t:run(function() assert.equal(42, yield(object:f())) end)
  end)

  it("test_async_await", function()
    local Object = {}
    Object.__index = Object
    Object.f = concurrent.run_on_executor(function(_self) return 42 end)
    Object.g = gen.coroutine(function(self)
      local result = gen.await(self:f())
      return result
    end)
    local object = setmetatable({ executor = executor }, Object)
    t:run(function() assert.equal(42, gen.await(object:g())) end)
  end)
end)
