-- SPDX-License-Identifier: MIT
-- Between callbacks and Futures: return_future, Task, Arguments, engine, and
-- the keyword argument `callback`.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local values = require "spec.support.values"

local Future = concurrent.Future
local kwargs = util.kwargs
local return_future = concurrent.return_future
local yield = coroutine.yield
local unpack = values.unpack

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local function turns()
  for _ = 1, 3 do yield() end
end

-- Runs fn within a context; gives the list of errors that came to it.
local function catch(fn)
  local caught = {}
  stack_context.ExceptionStackContext(function(err)
    table.insert(caught, { err })
    return true
  end):run(function() fn() end)
  return caught
end

-- A function that notes what it is called with.
local function recorder()
  local calls = {}
  return function(...) table.insert(calls, table.pack(...)) end, calls
end

local function refuses(message, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_truthy(tostring(err):find(message, 1, true), tostring(err))
  return err
end

describe("return_future", function()
  for _, case in ipairs(values.lists) do
    it("settles its Future with " .. case[1], function()
      local at_once = return_future(function(callback)
        callback(unpack(case[2]))
      end)
      local later = return_future(function(callback)
        loop:add_callback(callback, unpack(case[2]))
      end)
      assert.same(case[2], table.pack(at_once():result()))
      assert.same(case[2], table.pack(run(function()
        return yield(later())
      end)))
    end)
  end

  it("passes the arguments, with the callback in its place", function()
    local fn = return_future(function(a, b, callback)
      callback(a, b)
    end)
    assert.same({ n = 2, 1, 2 }, table.pack(fn(1, 2):result()))
    assert.same({ n = 2, 1 }, table.pack(fn(1):result()))
    assert.same({ n = 2 }, table.pack(fn():result()))
    assert.same({ n = 2, nil, 2 }, table.pack(fn(nil, 2):result()))
  end)

  it("passes the callback after the arguments of a vararg function",
    function()
      local fn = return_future(function(...)
        local args = table.pack(...)
        args[args.n](args.n, ...)
      end)
      assert.equal(1, (fn():result()))
      assert.equal(3, (fn(nil, nil):result()))
    end)

  it("works for methods", function()
    local object = { value = 42 }
    object.get = return_future(function(self, callback)
      callback(self.value)
    end)
    assert.equal(42, object:get():result())
  end)

  it("works for engine functions", function()
    local fn = return_future(gen.engine(function(a, b, callback)
      yield()
      callback(a, b)
    end))
    local callback, calls = recorder()
    run(function()
      assert.same({ n = 2, 1, 2 }, table.pack(yield(fn(1, 2))))
      assert.same({ n = 2, 1 }, table.pack(yield(fn(1))))
      yield(fn(1, 2, callback))
      turns()
    end)
    assert.same({ { n = 2, 1, 2 } }, calls)
  end)

  it("fails when an engine function fails in the end", function()
    local fn = return_future(gen.engine(function(_callback)
      yield()
      error("boom", 0)
    end))
    run(function() refuses("boom", yield, fn()) end)
  end)

  for _, how in ipairs { "position", "kwargs" } do
    local function call(fn, callback)
      if how == "position" then return fn("x", callback) end
      return fn("x", kwargs { callback = callback })
    end

    it("calls the caller's callback once, on the loop: by " .. how, function()
      run(function()
        for _, defer in ipairs { false, true } do
          local fn = return_future(function(x, callback)
            if not defer then return callback(x, nil, 3) end
            loop:add_callback(callback, x, nil, 3)
          end)
          local callback, calls = recorder()
          local future = call(fn, callback)
          assert.equal(0, #calls)
          assert.same({ n = 3, "x", nil, 3 }, table.pack(yield(future)))
          turns()
          assert.same({ { n = 3, "x", nil, 3 } }, calls)
        end
      end)
    end)

    it("does not call it on failure, and raises into the context: by "
      .. how, function()
      run(function()
        local fn = return_future(function(_x, _callback)
          loop:add_callback(error, "boom", 0)
        end)
        local callback, calls = recorder()
        local future
        local caught = catch(function() future = call(fn, callback) end)
        turns()
        assert.same({}, calls)
        assert.same({ { "boom" } }, caught)
        refuses("boom", future.result, future)
        assert.equal(0, #log)
      end)
    end)

    it("raises the callback's own error into the context: by " .. how,
      function()
        run(function()
          local fn = return_future(function(x, callback) callback(x) end)
          local future
          local caught = catch(function()
            future = call(fn, function() error("own", 0) end)
          end)
          turns()
          assert.same({ { "own" } }, caught)
          assert.equal("x", future:result())
        end)
      end)

    it("refuses a callback that is no function: by " .. how, function()
      local called = false
      local fn = return_future(function(_x, _callback) called = true end)
      for _, wrong in ipairs { 1, "f", {}, true, false } do
        refuses("the callback is a " .. type(wrong), call, fn, wrong)
      end
      assert.is_false(called)
    end)
  end

  it("says at the caller's line that a callback is no function", function()
    local fn = return_future(function(_callback) end)
    local line
    local ok, err = pcall(function()
      line = debug.getinfo(1, "l").currentline + 1
      local _ = fn(kwargs { callback = 1 })
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find(":" .. line .. ":", 1, true), err)
  end)

  it("takes callables as callbacks", function()
    local calls = 0
    local callable = setmetatable({}, {
      __call = function() calls = calls + 1 end,
    })
    run(function()
      local fn = return_future(function(callback) callback() end)
      fn(callable)
      fn(kwargs { callback = callable })
      turns()
    end)
    assert.equal(2, calls)
  end)

  it("passes on what is left of kwargs", function()
    local fn = return_future(function(options, callback)
      callback(options.a, options.callback)
    end)
    run(function()
      local callback, calls = recorder()
      assert.same({ n = 2, 1 },
        table.pack(fn(kwargs { a = 1, callback = callback }):result()))
      turns()
      assert.equal(1, #calls)
    end)
  end)

  it("leaves the caller's kwargs as they are", function()
    local options = kwargs { a = 1, callback = function() end }
    return_future(function(_options, callback) callback() end)(options)
    assert.equal(1, options.a)
    assert.is_function(options.callback)
  end)

  for _, case in ipairs(values.errors) do
    it("raises " .. case[1] .. " unchanged at once, or fails later",
      function()
        run(function()
          local function raise() error(case[2], 0) end
          local ok, err = pcall(return_future(function(_callback)
            raise()
          end))
          assert.is_false(ok)
          assert.is_true(rawequal(case[2], err))
          ok, err = pcall(yield, return_future(function(_callback)
            loop:add_callback(raise)
          end)())
          assert.is_false(ok)
          assert.is_true(rawequal(case[2], err))
        end)
        gc.collect()
        assert.equal(0, #log, log:text())
      end)
  end

  it("fails with an error raised by a callback of a callback", function()
    run(function()
      local future = return_future(function(_callback)
        loop:add_callback(function()
          loop:call_later(0, function() error("deep", 0) end)
        end)
      end)()
      refuses("deep", yield, future)
    end)
  end)

  it("takes the first result only", function()
    run(function()
      local future = return_future(function(callback)
        callback(1)
        callback(2)
        loop:add_callback(callback, 3)
      end)()
      turns()
      assert.equal(1, future:result())
      assert.equal(0, #log)
    end)
  end)

  it("gives an error after the result to the outer context", function()
    run(function()
      refuses("late", return_future(function(callback)
        callback(1)
        error("late", 0)
      end))
      local future
      local caught = catch(function()
        future = return_future(function(callback)
          callback(1)
          loop:add_callback(error, "late", 0)
        end)()
      end)
      turns()
      assert.same({ { "late" } }, caught)
      assert.equal(1, future:result())
    end)
  end)

  for _, case in ipairs {
    { "false", false }, { "a value", 1 }, { "a Future", Future() },
    { "nil and a value", nil, 1 },
  } do
    it("refuses a return value: " .. case[1], function()
      local ok, err = pcall(return_future(function(_callback)
        return table.unpack(case, 2, 3)
      end))
      assert.is_false(ok)
      assert.is_true(
        util.isinstance(err, concurrent.ReturnValueIgnoredError))
    end)
  end

  it("allows nil as a return value", function()
    assert.equal(1, return_future(function(callback)
      callback(1)
      return nil
    end)():result())
  end)

  it("releases everything when it is done", function()
    assert.is_true(gc.collects(function()
      local object = {}
      run(function()
        local future = return_future(function(_object, callback)
          loop:add_callback(callback, object)
        end)(object)
        yield(future)
      end)
      return object
    end))
  end)

  it("wants a function", function()
    bad(function() local _ = return_future() end, 1, "return_future",
      "function", "nil")
    bad(function() local _ = return_future({}) end, 1, "return_future",
      "function", "table")
  end)
end)

describe("Task", function()
  it("gives nil, the one value, or an Arguments", function()
    local function give(...)
      local list = table.pack(...)
      list[list.n](table.unpack(list, 1, list.n - 1))
    end
    run(function()
      assert.same({ n = 1 }, table.pack(yield(gen.Task(give))))
      assert.equal(1, yield(gen.Task(give, 1)))
      assert.is_false(yield(gen.Task(give, false)))
      local result = yield(gen.Task(give, 1, nil, nil))
      assert.equal(gen.Arguments, getmetatable(result))
      assert.same({ n = 3, 1 }, table.pack(result:unpack()))
      assert.same({ n = 3, 1 }, result.args)
      assert.same({}, result.kwargs)
      assert.equal(result.args, result[1])
      assert.equal(result.kwargs, result[2])
    end)
  end)

  it("puts the callback in the place of the last parameter", function()
    run(function()
      local function fn(a, b, callback) callback(table.pack(a, b)) end
      assert.same({ n = 2, 1, 2 }, yield(gen.Task(fn, 1, 2)))
      assert.same({ n = 2, 1 }, yield(gen.Task(fn, 1)))
      assert.same({ n = 2 }, yield(gen.Task(fn)))
    end)
  end)

  it("puts the callback after the arguments of C and vararg functions",
    function()
      run(function()
        assert.is_nil(yield(gen.Task(loop.call_later, loop, 0)))
        assert.equal(2, yield(gen.Task(function(...)
          local first, callback = ...
          assert.equal("first", first)
          callback(select("#", ...))
        end, "first")))
      end)
    end)

  it("passes it by kwargs to what lunado wrapped", function()
    run(function()
      assert.equal(3, yield(gen.Task(gen.coroutine(function(a, b)
        yield()
        return a + b
      end), 1, 2)))
      assert.equal(3, yield(gen.Task(return_future(function(a, b, callback)
        callback(a + b)
      end), 1, 2)))
      assert.equal(3, yield(gen.Task(gen.engine(function(a, b, callback)
        yield()
        callback(a + (b or 2))
      end), 1)))
    end)
  end)

  it("fails with what fn raises, at once or in its context", function()
    run(function()
      local err = {}
      local ok, raised = pcall(yield, gen.Task(function(_callback)
        error(err)
      end))
      assert.is_false(ok)
      assert.equal(err, raised)
      ok, raised = pcall(yield, gen.Task(function(_callback)
        loop:add_callback(error, err)
      end))
      assert.is_false(ok)
      assert.equal(err, raised)
      refuses("boom", yield, gen.Task(gen.engine(function(_callback)
        yield()
        error("boom")
      end)))
      refuses("boom", yield, gen.Task(gen.coroutine(function()
        yield()
        error("boom")
      end)))
    end)
    gc.collect()
    assert.equal(0, #log, log:text())
  end)

  it("has the traceback of the error", function()
    local line
    local future = gen.Task(function(_callback)
      line = debug.getinfo(1, "l").currentline + 1
      error({})
    end)
    local _, traceback = future:exc_info()
    assert.is_truthy(traceback:find("callback_spec.lua:" .. line .. ":", 1,
      true), traceback)
  end)

  it("ignores a second call, and what fn returns", function()
    run(function()
      local again
      assert.equal(1, yield(gen.Task(function(callback)
        again = callback
        callback(1)
        callback(2)
        return 3
      end)))
      again(4)
    end)
  end)

  it("does not carry its context into the coroutine", function()
    run(function()
      yield(gen.Task(loop.add_callback, loop))
      local caught = catch(function()
        gen.Task(function(callback) callback() end)
      end)
      assert.same({}, caught)
    end)
  end)

  it("wants a function", function()
    bad(function() local _ = gen.Task() end, 1, "Task", "function", "nil")
    bad(function() local _ = gen.Task({}) end, 1, "Task", "function",
      "table")
  end)
end)

describe("Arguments", function()
  it("can be made of a list and a dict", function()
    local arguments = gen.Arguments({ 1, 2 }, { a = 3 })
    assert.same({ 1, 2 }, { arguments:unpack() })
    assert.equal(3, arguments.kwargs.a)
    assert.same({ n = 0 }, table.pack(gen.Arguments():unpack()))
    bad(function() local _ = gen.Arguments(5) end, 1, "Arguments", "table",
      "number")
  end)
end)

describe("engine", function()
  it("returns nothing", function()
    run(function()
      assert.equal(0, select("#", gen.engine(function() end)()))
      assert.equal(0, select("#", gen.engine(function() yield() end)()))
      turns()
    end)
    assert.equal(0, #log, log:text())
  end)

  it("runs at once, with its arguments", function()
    local callback, calls = recorder()
    gen.engine(callback)(1, nil, 3)
    assert.same({ { n = 3, 1, nil, 3 } }, calls)
  end)

  it("raises what it raises at once to its caller", function()
    local err = {}
    local ok, raised = pcall(gen.engine(function() error(err) end))
    assert.is_false(ok)
    assert.equal(err, raised)
  end)

  it("gives errors to the context, the first ones too", function()
    run(function()
      local at_once = gen.engine(function() error("now", 0) end)
      local later = gen.engine(function()
        yield()
        error("later", 0)
      end)
      local caught = catch(function()
        at_once()
        later()
      end)
      turns()
      assert.same({ { "now" }, { "later" } }, caught)
      assert.equal(0, #log)
    end)
  end)

  it("has its errors logged by the loop outside of contexts", function()
    run(function()
      gen.engine(function()
        yield()
        error("later", 0)
      end)()
      turns()
    end)
    gc.collect()
    assert.equal(1, log:count("later"))
    assert.equal(1, #log)
  end)

  it("refuses a result, at once or later", function()
    run(function()
      local ok, err = pcall(gen.engine(function() return false end))
      assert.is_false(ok)
      assert.is_true(util.isinstance(err, gen.ReturnValueIgnoredError))
      local caught = catch(gen.engine(function()
        yield()
        return nil, 1
      end))
      turns()
      assert.equal(1, #caught)
      assert.is_true(
        util.isinstance(caught[1][1], gen.ReturnValueIgnoredError))
    end)
  end)

  it("allows Return without a value, and nil", function()
    gen.engine(function() error(gen.Return()) end)()
    gen.engine(function() return nil end)()
  end)

  it("hands the callback of kwargs to the function", function()
    run(function()
      local add = gen.engine(function(a, b, callback)
        yield()
        callback(a + (b or 0))
      end)
      local callback, calls = recorder()
      add(1, kwargs { callback = callback })
      add(1, 2, kwargs { callback = callback })
      turns()
      assert.same({ { n = 1, 1 }, { n = 1, 3 } }, calls)
      local ok, err = pcall(add, 1, 2, kwargs { callback = 3 })
      assert.is_false(ok)
      assert.is_truthy(err:find("the callback is a number", 1, true), err)
    end)
  end)

  it("passes on what is left of kwargs", function()
    local got
    gen.engine(function(options) got = options end)(kwargs { a = 1 })
    assert.equal(1, got.a)
  end)

  it("wants a function", function()
    bad(function() local _ = gen.engine() end, 1, "engine", "function",
      "nil")
  end)
end)

describe("the callback of a coroutine", function()
  it("gets the result on the loop, not at once", function()
    run(function()
      local callback, calls = recorder()
      local fn = gen.coroutine(function(...) return ... end)
      local future = fn(1, nil, 3, kwargs { callback = callback })
      assert.same({ n = 3, 1, nil, 3 }, table.pack(future:result()))
      assert.equal(0, #calls)
      turns()
      assert.same({ { n = 3, 1, nil, 3 } }, calls)
    end)
  end)

  it("is not called on failure: the error goes to the context", function()
    run(function()
      local callback, calls = recorder()
      for _, wait in ipairs { false, true } do
        local caught = catch(function()
          gen.coroutine(function()
            if wait then yield() end
            error("boom", 0)
          end)(kwargs { callback = callback })
        end)
        turns()
        assert.same({ { "boom" } }, caught)
      end
      assert.same({}, calls)
    end)
    gc.collect()
    assert.equal(0, #log, log:text())
  end)

  it("raises into the context as well", function()
    run(function()
      local caught = catch(function()
        gen.coroutine(function() end)(kwargs {
          callback = function() error("own", 0) end,
        })
      end)
      turns()
      assert.same({ { "own" } }, caught)
    end)
  end)

  it("is not passed to the function, unlike other names", function()
    local fn = gen.coroutine(function(...)
      local options = ...
      return select("#", ...), options and options.a,
        options and options.callback
    end)
    run(function()
      assert.same({ n = 3, 0 }, table.pack(
        fn(kwargs { callback = function() end }):result()))
      assert.same({ n = 3, 1, 2 }, table.pack(
        fn(kwargs { a = 2, callback = function() end }):result()))
      turns()
    end)
    assert.same({ n = 3, 1, 2 },
      table.pack(fn(kwargs { a = 2 }):result()))
    assert.same({ n = 3, 0 }, table.pack(fn(kwargs {}):result()))
  end)

  it("may be the callback of a method", function()
    run(function()
      local object = { n = 42 }
      object.get = gen.coroutine(function(self) return self.n end)
      local callback, calls = recorder()
      object:get(kwargs { callback = callback })
      turns()
      assert.same({ { n = 1, 42 } }, calls)
    end)
  end)

  it("is taken from the last argument only", function()
    local options = kwargs { callback = function() end }
    local got = gen.coroutine(function(first) return first end)(options, 1)
      :result()
    assert.equal(options, got)
  end)

  it("that is no function is refused at the call", function()
    local called = false
    local fn = gen.coroutine(function() called = true end)
    for _, wrong in ipairs { 1, "f", {}, false } do
      local line
      local ok, err = pcall(function()
        line = debug.getinfo(1, "l").currentline + 1
        local _ = fn(kwargs { callback = wrong })
      end)
      assert.is_false(ok)
      assert.is_truthy(err:find("the callback is a " .. type(wrong), 1, true),
        err)
      assert.is_truthy(err:find(":" .. line .. ":", 1, true), err)
    end
    assert.is_false(called)
  end)
end)
