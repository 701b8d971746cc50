-- SPDX-License-Identifier: MIT
-- The stack context of a coroutine that has yielded a YieldPoint: errors of the
-- callbacks that it has started are raised at its present yield.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"

local Future = concurrent.Future
local Callback, Wait = gen.Callback, gen.Wait
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local function boom() error("boom", 0) end

--- Yields a YieldPoint, which makes the coroutine enter its context.
local function enter()
  yield(Callback("k"))("entered")
  return yield(Wait("k"))
end

--- Runs fn as a coroutine that enters its context first.
local function within(fn)
  return gen.coroutine(function(...)
    assert.equal("entered", enter())
    return fn(...)
  end)
end

--- An ExceptionStackContext that handles all, and the list of what came to it.
local function catcher()
  local caught = {}
  return stack_context.ExceptionStackContext(function(err)
    caught[#caught + 1] = err
    return true
  end), caught
end

describe("an error of a callback", function()
  local ways = {
    ["a Future"] = function() yield(Future()) end,
    ["a turn"] = function() yield() end,
    ["gen.moment"] = function() yield(gen.moment) end,
    ["a list"] = function() yield { Future(), Future() } end,
    ["several"] = function() yield(Future(), Future()) end,
    ["a sleep"] = function() yield(gen.sleep(1000)) end,
    ["a coroutine"] = function()
      yield(gen.coroutine(function() yield(Future()) end)())
    end,
    ["a YieldPoint"] = function()
      yield(Callback("other"))
      yield(Wait("other"))
    end,
    ["await"] = function() gen.await(Future()) end,
    ["await of a turn"] = function() gen.await() end,
    ["await of a list"] = function() gen.await { Future() } end,
  }
  for name, wait in pairs(ways) do
    it("is raised at a yield of " .. name, function()
      log:allow "Coroutine was collected while waiting"
      local ok, err = run(function()
        return yield(within(function()
          loop:add_callback(boom)
          return pcall(wait)
        end)())
      end)
      assert.is_false(ok)
      assert.equal("boom", err)
      assert.equal(0, log:count("boom"))
    end)
  end

  it("is the same value, with the traceback of the callback", function()
    local thing = {}
    local function callback() error(thing) end
    local future = within(function()
      loop:add_callback(callback)
      yield(Future())
    end)()
    run(function() pcall(yield, future) end)
    local err, traceback = future:exc_info()
    assert.equal(thing, err)
    assert.is_truthy(traceback:find("legacy_context_spec", 1, true), traceback)
  end)

  it("may be caught time and again", function()
    local caught = run(function()
      return yield(within(function()
        local n = 0
        for _ = 1, 50 do
          loop:add_callback(boom)
          if not pcall(yield, Future()) then n = n + 1 end
        end
        return n
      end)())
    end)
    assert.equal(50, caught)
  end)

  it("leaves the Future alone, for others and for later", function()
    run(function()
      local future = Future()
      local other = gen.coroutine(function() return yield(future) end)()
      local mine = within(function()
        loop:add_callback(boom)
        assert.is_false(pcall(yield, future))
        return yield(future)
      end)()
      loop:call_later(0.001, future.set_result, future, 42)
      assert.same({ 42, 42 }, yield { other, mine })
    end)
  end)

  it("goes before a result that is on its way", function()
    run(function()
      local future = Future()
      local mine = within(function()
        loop:add_callback(function()
          future:set_result(1)
          boom()
        end)
        return pcall(yield, future)
      end)()
      assert.same({ false, "boom" }, { yield(mine) })
    end)
  end)

  it("goes on outwards when another error is on its way", function()
    local context, caught = catcher()
    run(function()
      local future = Future()
      local mine
      context:run(function()
        mine = within(function()
          loop:add_callback(function()
            future:set_exception("first")
            boom()
          end)
          return pcall(yield, future)
        end)()
      end)
      assert.same({ false, "first" }, { yield(mine) })
    end)
    assert.same({ "boom" }, caught)
  end)

  it("goes on outwards when the coroutine runs, or has ended", function()
    local context, caught = catcher()
    run(function()
      local mine, later
      context:run(function()
        mine = within(function()
          later = stack_context.wrap(function() error("later", 0) end)
          later()
          assert.same({ "later" }, caught)
          loop:add_callback(later)
        end)()
      end)
      yield(mine)
      yield()
      yield()
    end)
    assert.same({ "later", "later" }, caught)
  end)

  it("is the loop's when no coroutine takes it", function()
    run(function()
      yield(within(function() loop:add_callback(boom) end)())
      yield()
      yield()
    end)
    assert.equal(1, log:count("boom"))
  end)

  it("comes to the innermost coroutine that has entered a context", function()
    local inner, outer
    run(function()
      yield(within(function()
        outer = pcall(function()
          yield(within(function()
            loop:add_callback(boom)
            inner = pcall(yield, Future())
          end)())
        end)
      end)())
    end)
    assert.is_false(inner)
    assert.is_true(outer)
  end)

  it("does not come to a coroutine that has yielded no YieldPoint", function()
    local future
    run(function()
      future = gen.coroutine(function()
        loop:add_callback(boom)
        return pcall(yield, gen.sleep(0.001))
      end)()
      assert.is_true(yield(future))
    end)
    assert.equal(1, log:count("boom"))
  end)

  it("is raised instead of a LeakedCallbackError", function()
    run(function()
      assert.equal("fine", yield(within(function()
        yield(Callback("left"))
        loop:add_callback(boom)
        pcall(yield, Wait("left"))
        return "fine"
      end)()))
    end)
  end)
end)

describe("the contexts of the caller", function()
  it("are current again when the coroutine is suspended or ended", function()
    run(function()
      local before = core.get_context()
      local ends = within(function() return 1 end)()
      assert.equal(before, core.get_context())
      local fails = within(boom)()
      assert.equal(before, core.get_context())
      local waits = within(function() yield() end)()
      assert.equal(before, core.get_context())
      assert.is_true(ends:done())
      assert.equal("boom", fails:exception())
      yield(waits)
      assert.equal(before, core.get_context())
    end)
  end)

  it("are current again where there are some", function()
    local context = catcher()
    run(function()
      context:run(function()
        local before = core.get_context()
        assert.is_truthy(before)
        within(function() yield() end)()
        assert.equal(before, core.get_context())
        within(function() end)()
        assert.equal(before, core.get_context())
      end)
    end)
  end)

  it("are entered no second time for the first YieldPoint", function()
    local entered = 0
    local context = stack_context.StackContext(function()
      return {
        enter = function() entered = entered + 1 end,
        exit = function() end,
      }
    end)
    run(function()
      context:run(function() within(function() end)() end)
    end)
    assert.equal(1, entered)
  end)
end)

it("a yield within another context is still inconsistent", function()
  local ok, err = run(function()
    return yield(within(function()
      return pcall(function()
        stack_context.StackContext(function()
          return { enter = function() end, exit = function() end }
        end):run(function() yield(Future()) end)
      end)
    end)())
  end)
  assert.is_false(ok)
  assert.is_true(util.isinstance(err,
    stack_context.StackContextInconsistentError), tostring(err))
end)

it("coroutines that start in each other's place have one each", function()
  local dive
  dive = gen.coroutine(function(n)
    enter()
    if n > 0 then return yield(dive(n - 1)) + 1 end
    loop:add_callback(boom)
    return select(2, pcall(yield, Future())) == "boom" and 1 or 0
  end)
  assert.equal(101, run(function() return yield(dive(100)) end))
end)

it("a callback may close, settle and collect before it fails", function()
  run(function()
    local thread
    local future = within(function()
      thread = coroutine.running()
      loop:add_callback(function()
        coroutine.close(thread)
        collectgarbage()
        boom()
      end)
      yield(gen.sleep(0.001))
    end)()
    assert.is_false(pcall(yield, future))
  end)
  assert.equal(1, log:count("boom"))
end)

it("memory is free of coroutines, their contexts and callbacks", function()
  assert.is_true(gc.collects(function()
    local object = {}
    run(function()
      pcall(yield, within(function()
        loop:add_callback(function() error(object) end)
        yield(Future())
      end)())
      yield()
    end)
    return object
  end))
end)
