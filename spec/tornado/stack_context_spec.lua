-- SPDX-License-Identifier: MIT
-- Tornado's stack_context_test, by the names of its functions.
local gen = require "lunado.gen"
local stack_context = require "lunado.stack_context"
local isinstance = require "lunado.util".isinstance
local case = require "spec.tornado.case"

local ExceptionStackContext = stack_context.ExceptionStackContext
local NullContext = stack_context.NullContext
local run_with_stack_context = stack_context.run_with_stack_context
local wrap = stack_context.wrap
local yield = coroutine.yield

local t, loop, active, context
before_each(function()
  t, loop = case()
  active, context = t.active, t.context
end)
after_each(function() t:close() end)

local function includes(name)
  for _, other in ipairs(active) do
    if other == name then return true end
  end
  return false
end

local function assert_inconsistent(fn)
  local ok, err = pcall(fn)
  assert.is_false(ok)
  assert.is_true(
    isinstance(err, stack_context.StackContextInconsistentError),
    tostring(err))
end

describe("StackContextTest", function()
  it("test_exit_library_context", function()
    local function library(callback)
      callback = wrap(callback)
      context("library"):run(function()
        loop:add_callback(function()
          assert.same({ "application", "library" }, active)
          callback()
        end)
      end)
    end
    t:wait(function()
      context("application"):run(function()
        library(function()
          assert.equal("application", active[#active])
          t.stop()
        end)
      end)
    end)
    assert.same({}, active)
  end)

  it("test_deactivate", function()
    local deactivates = {}
    local function fifth()
      assert.same({ "c1", "c3" }, active)
      t.stop()
    end
    local function fourth()
      assert.same({ "c1", "c2", "c3" }, active)
      deactivates[2]()
      assert.same({ "c1", "c2", "c3" }, active)
      loop:add_callback(fifth)
    end
    local function step(name, following)
      return function()
        context(name):run(function(deactivate)
          table.insert(deactivates, deactivate)
          loop:add_callback(following)
        end)
      end
    end
    t:wait(function()
      loop:add_callback(step("c1", step("c2", step("c3", fourth))))
    end)
    assert.same({}, active)
  end)

  it("test_deactivate_order", function()
    local function within_three()
      local wrapped, deactivates
      NullContext():run(function()
        context("c0"):run(function(d0)
          context("c1"):run(function(d1)
            context("c2"):run(function(d2)
              deactivates = { d0, d1, d2 }
              wrapped = wrap(function()
                return table.move(active, 1, #active, 1, {})
              end)
            end)
          end)
        end)
      end)
      return wrapped, deactivates
    end
    local all = { "c0", "c1", "c2" }
    assert.same(all, within_three()())
    for i = 1, 3 do
      local wrapped, deactivates = within_three()
      deactivates[i]()
      local left = { "c0", "c1", "c2" }
      table.remove(left, i)
      assert.same(left, wrapped())
    end
    -- Two of them, and all, in each order.
    for first = 1, 3 do
      for second = 1, 3 do
        local wrapped, deactivates = within_three()
        deactivates[first]()
        deactivates[second]()
        local left = {}
        for i, name in ipairs(all) do
          if i ~= first and i ~= second then table.insert(left, name) end
        end
        assert.same(left, wrapped())
        for i = 1, 3 do deactivates[i]() end
        assert.same({}, wrapped())
      end
    end
  end)

  it("test_isolation_nonempty", function()
    t:wait(function()
      loop:add_callback(function()
        local wrapped
        context("c1"):run(function()
          wrapped = wrap(function()
            assert.is_true(includes("c1"))
            loop:add_callback(function()
              assert.is_true(includes("c1"))
              assert.is_false(includes("c2"))
              t.stop()
            end)
          end)
        end)
        context("c2"):run(function() wrapped() end)
      end)
    end)
  end)

  it("test_isolation_empty", function()
    t:wait(function()
      loop:add_callback(function()
        local wrapped
        NullContext():run(function()
          wrapped = wrap(function()
            loop:add_callback(function()
              assert.is_false(includes("c2"))
              t.stop()
            end)
          end)
        end)
        context("c2"):run(function() wrapped() end)
      end)
    end)
  end)

  it("test_yield_in_with", function()
    local callback
    assert_inconsistent(function()
      t:wait(gen.engine(function()
        callback = yield(gen.Callback("a"))
        context("c1"):run(function() yield(gen.Wait("a")) end)
      end))
    end)
    callback()
    assert.same({}, active)
  end)

  it("test_yield_outside_with", function()
    t:run(function()
      local callback = yield(gen.Callback("k1"))
      context("c1"):run(function() loop:add_callback(callback) end)
      yield(gen.Wait("k1"))
      assert.same({}, active)
    end)
  end)

  it("test_yield_in_with_exception_stack_context", function()
    assert_inconsistent(function()
      t:wait(gen.engine(function()
        ExceptionStackContext(function() return false end):run(function()
          yield(gen.Task(loop.add_callback, loop))
        end)
      end))
    end)
  end)

  it("test_yield_outside_with_exception_stack_context", function()
    t:run(function()
      local callback = yield(gen.Callback("k1"))
      ExceptionStackContext(function() return false end):run(function()
        loop:add_callback(callback)
      end)
      yield(gen.Wait("k1"))
    end)
  end)

  it("test_run_with_stack_context", function()
    local inner = gen.coroutine(function()
      assert.same({ "c1", "c2" }, active)
      yield(gen.Task(loop.add_callback, loop))
      assert.same({ "c1", "c2" }, active)
    end)
    local outer = gen.coroutine(function()
      assert.same({ "c1" }, active)
      yield(run_with_stack_context(context("c2"), inner))
      assert.same({ "c1" }, active)
    end)
    t:run(function()
      assert.same({}, active)
      yield(run_with_stack_context(context("c1"), outer))
      assert.same({}, active)
    end)
  end)
end)

describe("HTTPStackContextTest", function()
  -- The handler of a request in Tornado's web server is a context around all
  -- of its callbacks.
  it("test_stack_context", function()
    local caught
    t:wait(function()
      ExceptionStackContext(function(err)
        caught = err
        t.stop()
        return true
      end):run(function()
        loop:add_callback(function()
          loop:add_callback(function() error("test exception", 0) end)
        end)
      end)
    end)
    assert.equal("test exception", caught)
  end)
end)
