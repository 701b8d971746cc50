-- SPDX-License-Identifier: MIT
-- tasks.timeout, shield, checkpoint and keep.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"

local Future = concurrent.Future
local TimeoutError = util.TimeoutError
local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check
local is_cancelled = cancelled.is_error

local run = frame.run
local loop
before_each(function() loop = frame.begin_virtual() end)
after_each(function() frame.finish() end)

--- Fails unless fn(...) raises TimeoutError.
local function assert_timeout(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(util.isinstance(err, TimeoutError), tostring(err))
  return err
end

describe("timeout", function()
  it("cancels what the coroutine waits for at the deadline", function()
    run(function()
      local began, inside = loop:time(), nil
      local err = assert_timeout(function()
        local _ <close> = tasks.timeout { seconds = 2 }
        local ok, why = pcall(yield, gen.sleep(10))
        inside = not ok and why
        error(why, 0)
      end)
      assert.equal("TimeoutError: Timeout", tostring(err))
      assert.is_true(is_cancelled(inside))
      assert.equal("timeout", inside.reason)
      assert.equal(began + 2, loop:time())
    end)
  end)

  it("does nothing to a block that is in time", function()
    run(function()
      local began = loop:time()
      do
        local scope <close> = tasks.timeout { seconds = 2 }
        yield(gen.sleep(1))
        assert.is_false(scope:expired())
      end
      yield(gen.sleep(5))
      assert.equal(began + 6, loop:time())
    end)
  end)

  it("takes an absolute deadline", function()
    run(function()
      local began = loop:time()
      assert_timeout(function()
        local _ <close> = tasks.timeout(began + 3)
        yield(Future())
      end)
      assert.equal(began + 3, loop:time())
    end)
  end)

  it("with a function returns its results", function()
    run(function()
      assert.same({ 1, nil, 3, n = 3 },
        table.pack(tasks.timeout({ seconds = 1 }, function(...)
          yield()
          return ...
        end, 1, nil, 3)))
      assert_timeout(tasks.timeout, { seconds = 1 }, yield, Future())
      assert.has_error(function()
        tasks.timeout({ seconds = 1 }, error, "mine", 0)
      end, "mine")
    end)
  end)

  it("within a group can be cancelled quietly before its deadline", function()
    run(function()
      local began = loop:time()
      local function limited(group, seconds)
        return tasks.timeout({ seconds = seconds }, function(...)
          assert.same({ "own" }, { ... })
          group:spawn(function()
            yield(gen.sleep(2))
            group:cancel()
          end)
          yield(Future())
        end, "own")
      end
      assert.equal(0, select("#", tasks.group(limited, 5)))
      assert.equal(began + 2, loop:time())
      assert_timeout(tasks.group, limited, 1)
      assert.equal(began + 3, loop:time())
    end)
  end)

  it("reaches through awaits, and converts the error that comes up", function()
    run(function()
      local child
      assert_timeout(tasks.timeout, { seconds = 1 }, function()
        child = start(function()
          yield(start(function() yield { gen.sleep(10), Future() } end))
        end)
        yield(child)
      end)
      assert_cancelled(child)
    end)
  end)

  it("lets other errors pass", function()
    run(function()
      local ok, err = pcall(tasks.timeout, { seconds = 1 }, function()
        pcall(yield, Future())
        error("cleaning up failed", 0)
      end)
      assert.is_false(ok)
      assert.equal("cleaning up failed", err)
    end)
  end)

  it("of a body that ends normally raises nothing", function()
    run(function()
      local scope
      do
        local s <close> = tasks.timeout { seconds = 1 }
        scope = s
        pcall(yield, Future())
      end
      assert.is_true(scope:expired())
      yield(gen.sleep(1))
    end)
  end)

  it("goes on cancelling within the block, and not behind it", function()
    run(function()
      local began, count = loop:time(), 0
      assert_timeout(tasks.timeout, { seconds = 1 }, function()
        for _ = 1, 3 do
          pcall(yield, gen.sleep(100))
          count = count + 1
        end
        yield(gen.sleep(100))
      end)
      assert.equal(3, count)
      assert.equal(began + 1, loop:time())
      yield(gen.sleep(1))
    end)
  end)

  it("of which the outermost wins", function()
    run(function()
      local which
      assert_timeout(function()
        local outer <close> = tasks.timeout { seconds = 1 }
        local ok, err = pcall(function()
          local inner <close> = tasks.timeout { seconds = 1 }
          local caught, why = pcall(yield, Future())
          assert.is_false(caught)
          assert.is_true(inner:expired() and outer:expired())
          error(why, 0)
        end)
        which = not ok and err
        error(err, 0)
      end)
      assert.is_true(is_cancelled(which))
    end)
  end)

  it("of a coroutine that waits for itself ends as any other", function()
    run(function()
      for _, await in ipairs { yield, gen.await } do
        local future
        future = start(function()
          yield()
          assert_timeout(tasks.timeout, { seconds = 1 }, function()
            await(future)
          end)
          yield(gen.sleep(1))
          return "went on"
        end)
        yield(gen.sleep(0.5))
        yield(gen.sleep(2))
        assert.equal("went on", yield(future))
      end
    end)
  end)

  it("that expired first gives way to an outer one later", function()
    run(function()
      local which
      assert_timeout(function()
        local _ <close> = tasks.timeout { seconds = 2 }
        local ok, err = pcall(function()
          local _ <close> = tasks.timeout { seconds = 1 }
          local caught, why = pcall(yield, Future())
          assert.is_false(caught)
          tasks.shield(function() yield(gen.sleep(5)) end)
          error(why, 0)
        end)
        which = not ok and err
        error(err, 0)
      end)
      assert.is_true(is_cancelled(which))
    end)
  end)

  it("within another is converted there", function()
    run(function()
      local _ <close> = tasks.timeout { seconds = 5 }
      for _ = 1, 3 do
        assert_timeout(tasks.timeout, { seconds = 1 }, yield, Future())
      end
      yield(gen.sleep(1))
    end)
  end)

  it("can be rescheduled until it has expired", function()
    run(function()
      local began = loop:time()
      local scope
      assert_timeout(function()
        local s <close> = tasks.timeout { seconds = 1 }
        scope = s
        s:reschedule { seconds = 4 }
        yield(gen.sleep(3))
        s:reschedule(math.huge)
        yield(gen.sleep(3))
        s:reschedule { seconds = 0.5 }
        yield(gen.sleep(3))
      end)
      assert.equal(began + 6.5, loop:time())
      assert.error_matches(function() scope:reschedule(1) end,
        "the timeout has expired already")
      local other <const> = tasks.timeout { seconds = 1 }
      getmetatable(other) -- not to be closed by its name
    end)
  end)

  it("can be cancelled: the block ends with CancelledError", function()
    run(function()
      local scope
      local future = start(function()
        local s <close> = tasks.timeout { seconds = 10 }
        scope = s
        yield(Future())
      end)
      assert.is_true(scope:cancel("stop"))
      assert.is_false(scope:cancel("again"))
      assert.equal("stop", assert_cancelled(future).reason)
      assert.is_false(scope:expired())
    end)
  end)

  it("at a deadline that has passed", function()
    run(function()
      local got
      assert_timeout(function()
        local _ <close> = tasks.timeout { seconds = -1 }
        got = "ran"
        yield(Future())
      end)
      assert.equal("ran", got)
    end)
  end)

  it("and cancel of the whole coroutine: that one wins", function()
    run(function()
      local future
      future = start(function()
        local _ <close> = tasks.timeout { seconds = 1 }
        loop:call_later(1, function() tasks.cancel(future, "whole") end)
        yield(Future())
      end)
      assert.equal("whole", assert_cancelled(future).reason)
      future = start(function()
        local _ <close> = tasks.timeout { seconds = 1 }
        yield(gen.sleep(0.5))
        tasks.cancel(future, "whole")
        yield(Future())
      end)
      assert.equal("whole", assert_cancelled(future).reason)
    end)
  end)

  it("checks its arguments before it begins", function()
    run(function()
      assert.error_matches(function() tasks.timeout(0 / 0) end,
        "bad argument #1 to 'timeout' %(a time cannot be NaN%)")
      assert.error_matches(function() tasks.timeout "soon" end,
        "bad argument #1 to 'timeout' "
          .. "%(number or timedelta expected, got string%)")
      assert.error_matches(function() tasks.timeout() end,
        "bad argument #1 to 'timeout' "
          .. "%(number or timedelta expected, got no value%)")
      assert.error_matches(function() tasks.timeout(1, 2) end,
        "bad argument #2 to 'timeout' %(function expected, got number%)")
      yield(gen.sleep(1))
    end)
  end)

  it("raises outside of lunado's coroutines", function()
    assert.error_matches(function() tasks.timeout(1) end,
      "cannot open a timeout outside of a coroutine")
    run(function()
      local generator = coroutine.wrap(function()
        local _ <close> = tasks.timeout { seconds = 1 }
      end)
      assert.error_matches(generator,
        "cannot open a timeout inside a coroutine that lunado does not run")
    end)
  end)

  it("cannot be closed by another coroutine", function()
    run(function()
      local scope
      local future = start(function()
        local s <close> = tasks.timeout { seconds = 10 }
        scope = s
        yield(gen.sleep(1))
        return "unharmed"
      end)
      assert.error_matches(function() local _ <close> = scope end,
        "a scope was closed in another coroutine than the one")
      assert.equal("unharmed", yield(future))
    end)
  end)

  it("ends with coroutine.close", function()
    run(function()
      local thread, began = nil, loop:time()
      local future = start(function()
        thread = coroutine.running()
        local _ <close> = tasks.timeout { seconds = 3600 }
        yield(gen.sleep(1))
      end)
      assert.is_true(coroutine.close(thread))
      pcall(yield, future)
      assert.equal(began + 1, loop:time())
    end)
  end)

  it("that was never closed ends with its coroutine", function()
    run(function()
      local scope
      yield(start(function() scope = tasks.timeout { seconds = 5 } yield() end))
      assert.is_false(scope:cancel())
      yield(start(function() yield(gen.sleep(10)) end))
    end)
  end)

  it("on every way out of the block", function()
    run(function()
      local began = loop:time()
      for i = 1, 3 do
        local _ <close> = tasks.timeout { seconds = 1 }
        yield(gen.sleep(0.5))
        if i == 2 then break end
      end
      do
        local _ <close> = tasks.timeout { seconds = 1 }
        goto out
      end
      ::out::
      pcall(function()
        local _ <close> = tasks.timeout { seconds = 1 }
        error "out"
      end)
      yield(gen.sleep(5))
      assert.equal(began + 6, loop:time())
    end)
  end)

  it("leaves no memory behind", function()
    run(function()
      local function round()
        for _ = 1, 1000 do
          local _ <close> = tasks.timeout { hours = 1 }
        end
      end
      round()
      gc.collect()
      local before = collectgarbage "count"
      round()
      gc.collect()
      assert.is_true(collectgarbage "count" < before + 8)
    end)
  end)
end)

describe("shield", function()
  it("holds off a cancellation until its end", function()
    run(function()
      local trace = {}
      local future = start(function()
        trace[#trace + 1] = tasks.shield(function(...)
          yield(gen.sleep(1))
          yield(gen.sleep(1))
          return ...
        end, "done")
        trace[#trace + 1] = "after"
        yield()
        trace[#trace + 1] = "too late"
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.same({ "done", "after" }, trace)
    end)
  end)

  it("holds off timeouts around it, not those within", function()
    run(function()
      local began = loop:time()
      assert_timeout(tasks.timeout, { seconds = 1 }, function()
        tasks.shield(function()
          yield(gen.sleep(2))
          assert_timeout(tasks.timeout, { seconds = 1 }, yield, Future())
        end)
        assert.equal(began + 3, loop:time())
        yield(gen.sleep(10))
      end)
      assert.equal(began + 3, loop:time())
    end)
  end)

  it("lets a handler wait in a cancelled coroutine", function()
    run(function()
      local cleaned
      local future = start(function()
        local _ <close> = setmetatable({}, { __close = function()
          tasks.shield(function()
            yield(gen.sleep(1))
            cleaned = true
          end)
        end })
        yield(Future())
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.is_true(cleaned)
    end)
  end)

  it("protects what is awaited within it", function()
    run(function()
      local future = start(function()
        local got = tasks.shield(function()
          return yield(start(function() yield(gen.sleep(1)) return 5 end))
        end)
        assert.equal(5, got)
        yield()
      end)
      tasks.cancel(future)
      assert_cancelled(future)
    end)
  end)

  it("of an awaited coroutine makes the canceller's one wait", function()
    run(function()
      local began = loop:time()
      local future = start(function()
        yield(start(function()
          tasks.shield(yield, gen.sleep(2))
          yield(gen.sleep(2))
        end))
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal(began + 2, loop:time())
    end)
  end)

  it("passes errors on, and raises outside of coroutines", function()
    run(function()
      assert.has_error(function() tasks.shield(error, "mine", 0) end, "mine")
      assert.error_matches(function() tasks.shield(1) end,
        "bad argument #1 to 'shield' %(function expected, got number%)")
    end)
    assert.error_matches(function() tasks.shield(print) end,
      "cannot open a shield outside of a coroutine")
  end)
end)

describe("checkpoint", function()
  it("lets the loop turn", function()
    run(function()
      local turned
      loop:add_callback(function() turned = true end)
      tasks.checkpoint()
      assert.is_true(turned)
    end)
  end)

  it("raises a cancellation in a loop over what is ready", function()
    run(function()
      local done = Future()
      done:set_result()
      local ok = pcall(tasks.timeout, { seconds = 0 }, function()
        while true do
          yield(done)
          tasks.checkpoint()
        end
      end)
      assert.is_false(ok)
    end)
  end)
end)

describe("keep", function()
  it("lets the Future go on", function()
    run(function()
      local child = start(function() yield(gen.sleep(2)) return "kept" end)
      local future = start(function() yield(tasks.keep(child)) end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal("kept", yield(child))
    end)
  end)

  it("gives the outcome", function()
    run(function()
      local done = Future()
      done:set_result(1, 2)
      assert.same({ 1, 2 }, { yield(tasks.keep(done)) })
      assert.same({ { 1 } }, { yield(tasks.keep { done }) })
      local failed = Future()
      failed:set_exception "no"
      assert.has_error(function() yield(tasks.keep(failed)) end, "no")
    end)
  end)
end)
