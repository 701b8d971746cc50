-- SPDX-License-Identifier: MIT
-- tasks.cancel: what a cancelled coroutine sees, and what its waits do.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"

local Future = concurrent.Future
local CancelledError = tasks.CancelledError
local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check
local is_cancelled = cancelled.is_error

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin_virtual() end)
after_each(function() frame.finish() end)

--- Lets the loop turn n times.
local function turn(n) for _ = 1, n or 1 do yield() end end

--- Calls wait(), which yields, in a coroutine, cancels that, and returns the
-- error that it got at the yield.
local function cancelled_wait(wait)
  local seen
  local future = start(function()
    local ok, err = pcall(wait)
    seen = ok and "no error" or err
    error(err, 0)
  end)
  turn()
  assert.is_true(tasks.cancel(future))
  assert.is_nil(seen)
  assert_cancelled(future)
  assert.is_true(is_cancelled(seen), tostring(seen))
  return seen
end

describe("cancel", function()
  it("raises CancelledError at the yield, on a later turn", function()
    run(function()
      local where
      local future = start(function()
        local ok, err = pcall(yield, Future())
        where = err
        if not ok then error(err, 0) end
      end)
      assert.is_true(tasks.cancel(future, "enough"))
      assert.is_nil(where)
      assert.is_false(future:done())
      local err = assert_cancelled(future)
      assert.equal(where, err)
      assert.equal("enough", err.reason)
      assert.equal("CancelledError: enough", tostring(err))
    end)
  end)

  it("is no TimeoutError, and has no message without a reason", function()
    run(function()
      local err = cancelled_wait(function() yield(Future()) end)
      assert.is_false(util.isinstance(err, util.TimeoutError))
      assert.equal("CancelledError", tostring(err))
      assert.is_nil(err.reason)
    end)
  end)

  it("keeps a reason of any type", function()
    run(function()
      local reason = {}
      local future = start(function() yield(Future()) end)
      tasks.cancel(future, reason)
      assert.equal(reason, assert_cancelled(future).reason)
    end)
  end)

  it("lets the coroutine clean up and return", function()
    run(function()
      local future = start(function()
        pcall(yield, Future())
        return "cleaned"
      end)
      tasks.cancel(future)
      assert.equal("cleaned", yield(future))
    end)
  end)

  it("runs <close> handlers", function()
    run(function()
      local closed
      local future = start(function()
        local _ <close> = setmetatable({}, {
          __close = function(_, err) closed = err end,
        })
        yield(Future())
      end)
      tasks.cancel(future)
      assert.equal(assert_cancelled(future), closed)
    end)
  end)

  it("is false for what is done, and for other Futures", function()
    run(function()
      assert.is_false(tasks.cancel(start(function() end)))
      assert.is_false(tasks.cancel(Future()))
      assert.is_false(tasks.cancel(gen.sleep(1)))
      local future = start(function() yield(gen.sleep(1)) end)
      yield(future)
      assert.is_false(tasks.cancel(future))
    end)
  end)

  it("is true again while the coroutine goes on; the first counts", function()
    run(function()
      local future = start(function() yield(Future()) end)
      assert.is_true(tasks.cancel(future, "one"))
      assert.is_true(tasks.cancel(future, "two"))
      assert.equal("one", assert_cancelled(future).reason)
    end)
  end)

  it("checks its arguments", function()
    assert.error_matches(function() tasks.cancel() end,
      "bad argument #1 to 'cancel' %(future expected, got no value%)")
    assert.error_matches(function() tasks.set_canceller(Future(), 1) end,
      "bad argument #2 to 'set_canceller' %(function expected, got number%)")
  end)

  it("tells in the traceback who cancelled, and where it waited", function()
    run(function()
      local info = debug.getinfo(1, "l")
      local future = start(function()
        yield(Future())
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      local _, traceback = future:exc_info()
      assert.matches("tasks_cancel_spec.lua:" .. info.currentline + 4 .. ":",
        traceback)
      assert.matches("tasks_cancel_spec.lua:" .. info.currentline + 2 .. ":",
        traceback)
    end)
  end)

  it("is not logged when nobody observes it", function()
    run(function()
      tasks.cancel(start(function() yield(Future()) end))
      turn(3)
    end)
  end)

  it("is not logged by a callback that returns the Future", function()
    run(function()
      local future
      loop:add_callback(function()
        future = start(function() yield(Future()) end)
        return future
      end)
      turn(2)
      tasks.cancel(future)
      turn(3)
    end)
  end)
end)

describe("a cancelled wait", function()
  it("for a Future is withdrawn at once", function()
    run(function()
      local wanted = Future()
      local future = start(function() return (yield(wanted)) end)
      tasks.cancel(future)
      wanted:set_result(1)
      assert_cancelled(future)
    end)
  end)

  it("gets an outcome that was there before, and the error later", function()
    run(function()
      local wanted, got = Future(), nil
      local future = start(function()
        got = yield(wanted)
        yield(Future())
      end)
      wanted:set_result(1)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal(1, got)
    end)
  end)

  it("for a turn of the loop ends with the error", function()
    run(function()
      cancelled_wait(function() while true do yield() end end)
      cancelled_wait(function() while true do yield(nil) end end)
      cancelled_wait(function() while true do yield(gen.moment) end end)
      cancelled_wait(function() while true do gen.await() end end)
    end)
  end)

  it("by await ends with the error", function()
    run(function()
      cancelled_wait(function() gen.await(Future()) end)
      cancelled_wait(function() gen.await(gen.sleep(5)) end)
    end)
  end)

  it("for a sleep stops the timer", function()
    run(function()
      local sleep, start_time = gen.sleep(3600), loop:time()
      cancelled_wait(function() yield(sleep) end)
      assert.is_true(sleep:done())
      assert.is_true(is_cancelled(sleep:exception()))
      assert.equal(start_time, loop:time())
    end)
  end)

  it("lets a Future go for which others wait", function()
    run(function()
      local sleep = gen.sleep(10)
      local other = start(function() yield(sleep) return "slept" end)
      cancelled_wait(function() yield(sleep) end)
      assert.is_false(sleep:done())
      assert.equal("slept", yield(other))
    end)
  end)

  it("counts done-callbacks and add_future as waiting", function()
    run(function()
      for _, add in ipairs {
        function(f, fn) f:add_done_callback(fn) end,
        function(f, fn) loop:add_future(f, fn) end,
      } do
        local called
        local child = start(function() yield(gen.sleep(5)) return 7 end)
        add(child, function(f) called = f:result() end)
        cancelled_wait(function() yield(child) end)
        assert.is_false(child:done())
        yield(gen.sleep(6))
        assert.equal(7, called)
      end
    end)
  end)

  it("goes on to the coroutine at the end of the awaits", function()
    run(function()
      local trace = {}
      local function level(n)
        local ok, err = pcall(yield, n == 0 and gen.sleep(99)
          or start(level, n - 1))
        trace[#trace + 1] = n
        assert(not ok)
        error(err, 0)
      end
      local future = start(level, 3)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.same({ 0, 1, 2, 3 }, trace)
    end)
  end)

  it("lets a coroutine go for which others wait", function()
    run(function()
      local child = start(function() yield(gen.sleep(5)) return "child" end)
      local other = start(function() return (yield(child)) end)
      cancelled_wait(function() yield(child) end)
      assert.equal("child", yield(other))
    end)
  end)

  it("gets what a child returns that swallows the error", function()
    run(function()
      local got
      local future = start(function()
        got = yield(start(function()
          pcall(yield, Future())
          return "anyway"
        end))
        yield(Future())
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal("anyway", got)
    end)
  end)

  it("goes down a chain of 100,000 coroutines", function()
    run(function()
      local depth = 100000
      local leaf = Future()
      local future = leaf
      local chain = gen.coroutine(function(f) yield(f) end)
      for _ = 1, depth do future = chain(future) end
      tasks.cancel(future)
      assert_cancelled(future)
    end)
  end)

  it("goes down many levels of tables", function()
    run(function()
      local leaf = start(function() yield(gen.sleep(1000)) end)
      local future = leaf
      local chain = gen.coroutine(function(f) yield { f } end)
      for _ = 1, 2000 do future = chain(future) end
      tasks.cancel(future)
      assert_cancelled(future)
      assert.is_true(leaf:done())
    end)
  end)
end)

describe("cancelling a multi", function()
  it("cancels all children that nobody else waits for", function()
    run(function()
      local ended = {}
      local function child(n)
        local ok, err = pcall(yield, gen.sleep(n))
        ended[n] = is_cancelled(err)
        if not ok then error(err, 0) end
      end
      cancelled_wait(function()
        yield { start(child, 1), start(child, 2), start(child, 3) }
      end)
      assert.same({ true, true, true }, ended)
      cancelled_wait(function()
        yield(gen.multi { a = start(child, 4), b = start(child, 5) })
      end)
      assert.is_true(ended[4] and ended[5])
    end)
  end)

  it("waits for children that clean up", function()
    run(function()
      local cleaned
      cancelled_wait(function()
        yield { Future(), start(function()
          pcall(yield, Future())
          tasks.set_canceller(gen.sleep(1), function() end)
          cleaned = true
        end) }
      end)
      assert.is_true(cleaned)
    end)
  end)

  it("lets other children go", function()
    run(function()
      local plain, shared = Future(), start(function()
        yield(gen.sleep(5))
        return "shared"
      end)
      local other = start(function() return (yield(shared)) end)
      cancelled_wait(function() yield { plain, shared, gen.sleep(7) } end)
      plain:set_result(1)
      assert.equal("shared", yield(other))
    end)
  end)

  it("takes children that occur twice, and nested tables", function()
    run(function()
      local child = start(function() yield(gen.sleep(100)) end)
      cancelled_wait(function()
        yield { child, child, { Future(), { gen.sleep(9) } }, x = Future() }
      end)
      assert_cancelled(child)
    end)
  end)

  it("of several arguments", function()
    run(function()
      cancelled_wait(function() yield(Future(), gen.sleep(3)) end)
    end)
  end)

  it("logs no error of its children", function()
    run(function()
      local function child() yield(Future()) end
      cancelled_wait(function()
        yield(gen.multi { start(child), start(child), start(child) })
      end)
    end)
  end)
end)

describe("cancelling other waits", function()
  it("with_timeout passes it on and stops its timer", function()
    run(function()
      local start_time = loop:time()
      local child = start(function() yield(Future()) end)
      cancelled_wait(function()
        yield(gen.with_timeout({ hours = 1 }, child))
      end)
      assert_cancelled(child)
      cancelled_wait(function()
        yield(gen.with_timeout({ hours = 1 }, Future()))
      end)
      cancelled_wait(function()
        yield(gen.with_timeout({ hours = 1 }, { Future(), gen.sleep(9999) }))
      end)
      assert.equal(start_time, loop:time())
    end)
  end)

  it("with_timeout lets a child go for which others wait", function()
    run(function()
      local child = start(function() yield(gen.sleep(2)) return 2 end)
      local other = start(function() return (yield(child)) end)
      cancelled_wait(function()
        yield(gen.with_timeout({ hours = 1 }, child))
      end)
      assert.equal(2, yield(other))
    end)
  end)

  it("a WaitIterator keeps what comes later", function()
    run(function()
      local a, b = Future(), Future()
      local wi = gen.WaitIterator(a, b)
      cancelled_wait(function() yield(wi:next()) end)
      cancelled_wait(function() for _ in wi:results() do yield() end end)
      a:set_result("a")
      b:set_result("b")
      assert.equal("a", yield(wi:next()))
      assert.equal("b", yield(wi:next()))
      assert.is_true(wi:done())
    end)
  end)

  it("the target of chain_future is let go", function()
    run(function()
      local source = start(function() yield(gen.sleep(1)) return 1 end)
      local target = Future()
      concurrent.chain_future(source, target)
      cancelled_wait(function() yield(target) end)
      assert.equal(1, yield(target))
    end)
  end)

  it("an object with __await", function()
    run(function()
      local sleep = gen.sleep(100)
      local object = setmetatable({}, { __await = function() return sleep end })
      cancelled_wait(function() yield(object) end)
      assert.is_true(sleep:done())
    end)
  end)

  it("a YieldPoint", function()
    run(function()
      local Point = gen.YieldPoint:subclass("Point")
      function Point.start() end
      function Point.is_ready() return false end
      function Point.get_result() end
      cancelled_wait(function() yield(Point()) end)
    end)
  end)
end)

describe("set_canceller", function()
  it("is called once, when the last waiter is cancelled", function()
    run(function()
      local calls, wanted = {}, Future()
      tasks.set_canceller(wanted, function(f) calls[#calls + 1] = f end)
      local function wait() yield(wanted) end
      local one, two = start(wait), start(wait)
      tasks.cancel(one)
      assert.same({}, calls)
      tasks.cancel(two)
      assert.same({ wanted }, calls)
      assert.is_true(is_cancelled(wanted:exception()))
      assert_cancelled(one)
      assert_cancelled(two)
    end)
  end)

  it("may settle the Future itself", function()
    run(function()
      local wanted = Future()
      tasks.set_canceller(wanted, function(f) f:set_result("given up") end)
      local got
      local future = start(function() got = yield(wanted) yield(Future()) end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal("given up", got)
    end)
  end)

  it("is not called once the Future is done", function()
    run(function()
      local wanted = Future()
      tasks.set_canceller(wanted, function() error "called" end)
      local future = start(function() yield(wanted) yield(Future()) end)
      wanted:set_result()
      tasks.cancel(future)
      assert_cancelled(future)
    end)
  end)

  it("logs an error, and the Future fails all the same", function()
    run(function()
      local wanted = Future()
      tasks.set_canceller(wanted, function() error "no" end)
      cancelled_wait(function() yield(wanted) end)
    end)
    log:expect "^error: Exception in callback "
    assert.equal(1, #log)
  end)

  it("may cancel others", function()
    run(function()
      local other = start(function() yield(gen.sleep(100)) end)
      local wanted = Future()
      tasks.set_canceller(wanted, function() tasks.cancel(other) end)
      cancelled_wait(function() yield { wanted, gen.sleep(4) } end)
      assert_cancelled(other)
    end)
  end)

  it("is removed by nil", function()
    run(function()
      local wanted = Future()
      tasks.set_canceller(wanted, function() error "called" end)
      tasks.set_canceller(wanted, nil)
      cancelled_wait(function() yield(wanted) end)
      assert.is_false(wanted:done())
    end)
  end)
end)

describe("the level", function()
  it("raises again at each further suspension", function()
    run(function()
      local count = 0
      local future = start(function()
        for _ = 1, 5 do
          local ok, err = pcall(yield, Future())
          assert(not ok and is_cancelled(err))
          count = count + 1
        end
        yield(gen.sleep(10))
        count = "slept"
      end)
      local start_time = loop:time()
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal(5, count)
      assert.equal(start_time, loop:time())
    end)
  end)

  it("does not raise at a yield of what is done", function()
    run(function()
      local done = Future()
      done:set_result("done")
      local got
      local future = start(function()
        pcall(yield, Future())
        got = yield(done)
        assert.equal("done", gen.await(done))
        yield()
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.equal("done", got)
    end)
  end)

  it("cancels what is started later", function()
    run(function()
      local child
      local future = start(function()
        pcall(yield, Future())
        child = start(function() yield(gen.sleep(50)) end)
        yield(child)
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert_cancelled(child)
    end)
  end)

  it("warns of a coroutine that goes on all the same", function()
    run(function()
      local future = start(function()
        for _ = 1, 300 do pcall(yield, Future()) end
      end)
      tasks.cancel(future)
      yield(future)
    end)
    log:expect("^warning: Coroutine goes on at .*tasks_cancel_spec.lua:%d+ "
      .. "although it was cancelled: its CancelledError was caught 100 times$")
    assert.equal(1, #log)
  end)
end)

describe("cancelling", function()
  it("a coroutine before it ran", function()
    local ran
    local function nested(n)
      if n == 0 then
        -- So deep, a coroutine that a plain function starts begins later.
        table.sort({ 1, 2 }, function()
          local future = gen.coroutine(function() ran = true end)()
          if not future:done() then
            assert.is_true(tasks.cancel(future))
            ran = ran or future
          end
          return false
        end)
        return
      end
      gen.coroutine(nested)(n - 1)
    end
    run(function()
      nested(60)
      turn(3)
      assert.is_true(concurrent.is_future(ran))
      assert_cancelled(ran)
    end)
  end)

  it("oneself raises at the next suspension", function()
    run(function()
      local future, after
      future = start(function()
        yield()
        assert.is_true(tasks.cancel(future, "myself"))
        after = true
        yield(gen.sleep(1))
        after = "too late"
      end)
      assert.equal("myself", assert_cancelled(future).reason)
      assert.is_true(after)
    end)
  end)

  it("oneself through a callback", function()
    run(function()
      local future
      future = start(function()
        loop:add_callback(function() tasks.cancel(future) end)
        yield(Future())
      end)
      assert_cancelled(future)
    end)
  end)

  it("ends a cycle of waits", function()
    run(function()
      local a, b, c
      a = start(function() yield() yield(b) end)
      b = start(function() yield() yield(c) end)
      c = start(function() yield() yield(a) end)
      turn(3)
      tasks.cancel(b)
      assert_cancelled(a)
      assert_cancelled(b)
      assert_cancelled(c)
    end)
  end)

  it("ends a coroutine that waits for itself", function()
    run(function()
      local self
      self = start(function() yield() yield(self) end)
      turn(2)
      tasks.cancel(self)
      assert_cancelled(self)
      self = start(function() yield() yield { self } end)
      turn(2)
      tasks.cancel(self)
      assert_cancelled(self)
    end)
  end)

  it("takes an error of another's Future for an ordinary one", function()
    run(function()
      local future = start(function()
        local ok, err = pcall(yield, start(function()
          error(CancelledError("not mine"))
        end))
        assert(not ok and is_cancelled(err))
        yield(gen.sleep(1))
        return "went on"
      end)
      assert.equal("went on", yield(future))
    end)
  end)

  it("leaves a thread that is used again as it was", function()
    run(function()
      for _ = 1, 5 do
        local future = start(function() yield(Future()) end)
        tasks.cancel(future)
        assert_cancelled(future)
        assert.equal(3, yield(start(function()
          yield(gen.sleep(1))
          return 3
        end)))
      end
    end)
  end)

  it("a coroutine that was closed is harmless", function()
    run(function()
      local thread
      local future = start(function()
        thread = coroutine.running()
        yield(gen.sleep(1))
      end)
      coroutine.close(thread)
      tasks.cancel(future)
      local ok, err = pcall(yield, future)
      assert.is_false(ok)
      assert.matches("was resumed or closed by somebody else", tostring(err))
    end)
  end)

  it("100,000 sleeping coroutines", function()
    run(function()
      local sleeper = gen.coroutine(function() yield(gen.sleep(3600)) end)
      local list, start_time = {}, loop:time()
      for i = 1, 100000 do list[i] = sleeper() end
      for i = 1, #list do tasks.cancel(list[i]) end
      for i = 1, #list do
        local ok = pcall(yield, list[i])
        assert(not ok)
      end
      assert.equal(start_time, loop:time())
    end)
  end)
end)
