-- SPDX-License-Identifier: MIT
-- Waits that end otherwise than by their time let their timers go at once, and
-- what they waited for.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local util = require "lunado.util"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future, chain = concurrent.Future, concurrent.chain_future
local yield = coroutine.yield

local loop, log
local kept = {} -- what is waited for in vain: a collector would tell of it
before_each(function() loop, log = frame.begin_virtual() end)
after_each(function()
  frame.finish()
  kept = {}
end)

-- Hours of the virtual clock may pass in it.
local function run(fn) return loop:run_sync(fn) end

local A_MOMENT, LONG = { seconds = 0.001 }, { hours = 1 }

-- No timer runs on the loop: its clock does not skip to any deadline.
local function assert_at_rest(what)
  local start, never = loop:time(), Future()
  kept[#kept + 1] = never
  local ok, err = pcall(loop.run_sync, loop, function() yield(never) end)
  assert.is_false(ok)
  assert.is_truthy(tostring(err):find("never end", 1, true), err)
  assert.equal(start, loop:time(), what)
end

-- What settles a Future by hand.
local setters = {
  set_result = function(future) future:set_result() end,
  ["set_result of three"] = function(future) future:set_result(1, 2, 3) end,
  set_exception = function(future)
    future:set_exception "by hand"
    assert.equal("by hand", future:exception())
  end,
  set_exc_info = function(future)
    future:set_exc_info("by hand", "a traceback")
    assert.equal("by hand", future:exception())
  end,
  ["a chain of one that is done"] = function(future)
    local source = Future()
    source:set_result(1)
    chain(source, future)
  end,
  ["a chain"] = function(future)
    local source = Future()
    chain(source, future)
    source:set_result(1)
  end,
  ["a chain of one that fails"] = function(future)
    local source = Future()
    chain(source, future)
    source:set_exception "by hand"
    assert.equal("by hand", source:exception())
    assert.equal("by hand", future:exception())
  end,
}

-- Waits that a timer would end; each gives a Future, and what may follow.
local waits = {
  sleep = function() return gen.sleep(1e5) end,
  with_timeout = function()
    return gen.with_timeout({ seconds = 1e5 }, Future())
  end,
  ["with_timeout of a list"] = function()
    return gen.with_timeout({ seconds = 1e5 }, { Future(), { Future() } })
  end,
  ["Queue:get"] = function() return queues.Queue():get(LONG) end,
  ["Queue:put"] = function()
    local q = queues.Queue(1)
    q:put_nowait(1)
    return q:put(2, LONG)
  end,
  ["Queue:join"] = function()
    local q = queues.Queue()
    q:put_nowait(1)
    return q:join(LONG)
  end,
  ["Event:wait"] = function() return locks.Event():wait(LONG) end,
  ["Condition:wait"] = function() return locks.Condition():wait(LONG) end,
  ["Lock:acquire"] = function()
    local lock = locks.Lock()
    lock:acquire()
    return lock:acquire(LONG)
  end,
}

local function is_in_line(name) return name:find(":", 1, true) ~= nil end

describe("a wait that was settled by hand has no timer:", function()
  for name, make in pairs(waits) do
    for how, set in pairs(setters) do
      it(name .. ", by " .. how, function()
        set(make())
        assert_at_rest("nothing waited")
        local future = make()
        local waiter = gen.coroutine(function() pcall(yield, future) end)()
        set(future)
        assert_at_rest("a coroutine waited")
        assert.is_true(waiter:done())
        assert.equal("", log:text())
      end)
    end
  end
end)

describe("a wait in a queue that was given up has no timer:", function()
  local losses = {
    ["a with_timeout"] = function(future)
      pcall(yield, gen.with_timeout(A_MOMENT, future))
    end,
    ["a with_timeout that was set"] = function(future)
      gen.with_timeout(LONG, future):set_result()
    end,
    ["a with_timeout of a list"] = function(future)
      pcall(yield, gen.with_timeout(A_MOMENT, { future }))
    end,
  }
  for name, make in pairs(waits) do
    for how, lose in pairs(losses) do
      if is_in_line(name) then
        it(name .. ", by " .. how, function()
          local future = make()
          run(function() lose(future) end)
          assert_at_rest()
          assert.is_false(future:done())
        end)
      end
    end
  end
end)

describe("a wait in a queue that was given up, and is held,", function()
  local function give_up(future)
    run(function() pcall(yield, gen.with_timeout(A_MOMENT, future)) end)
  end

  for name, make in pairs(waits) do
    if is_in_line(name) then
      local function expect_end(future)
        if name == "Condition:wait" then
          assert.is_false(future:result())
        else
          assert.is_true(util.isinstance(future:exception(),
            util.TimeoutError))
        end
      end

      it("has timed out when it is looked at later: " .. name, function()
        local future = make()
        give_up(future)
        run(function() yield(gen.sleep(3599)) end)
        assert.is_false(future:done())
        run(function() yield(gen.sleep(1)) end)
        assert.is_true(future:done())
        expect_end(future)
        assert_at_rest()
      end)

      it("times out in time when it is waited for: " .. name, function()
        local future = make()
        local due = loop:time() + 3600
        give_up(future)
        gc.collect()
        run(function()
          yield(gen.sleep(10))
          pcall(yield, gen.with_timeout(A_MOMENT, future))
          yield(gen.sleep(10))
          pcall(yield, future)
        end)
        expect_end(future)
        assert.is_true(math.abs(loop:time() - due) <= 2 * loops.grain(loop))
        assert_at_rest()
      end)

      it("has timed out when it is waited for too late: " .. name, function()
        local future = make()
        give_up(future)
        local later
        run(function()
          yield(gen.sleep(4000))
          later = loop:time()
          pcall(yield, future)
        end)
        expect_end(future)
        assert.equal(later, loop:time())
      end)
    end
  end

  it("gets nothing after its time", function()
    local q, lock = queues.Queue(), locks.Lock()
    local held = lock:acquire():result()
    local one, two = q:get(LONG), lock:acquire(LONG)
    give_up(one)
    give_up(two)
    run(function() yield(gen.sleep(4000)) end)
    q:put_nowait(1)
    held:release()
    assert.is_true(util.isinstance(one:exception(), util.TimeoutError))
    assert.is_true(util.isinstance(two:exception(), util.TimeoutError))
    assert.equal(1, q:get_nowait())
    assert.is_true(lock:acquire():done())
  end)

  it("is woken within its time", function()
    local event, condition = locks.Event(), locks.Condition()
    local one, two = event:wait(LONG), condition:wait(LONG)
    give_up(one)
    give_up(two)
    run(function() yield(gen.sleep(1000)) end)
    event:set()
    condition:notify_all()
    run(function() yield(gen.sleep(4000)) end)
    assert.is_nil(one:exception())
    assert.is_true(two:result())
    assert_at_rest()
  end)

  it("waits on where the loop of its timer was closed", function()
    local other = loops.open()
    local q = queues.Queue()
    local future = q:get(LONG)
    loops.run(other, function()
      pcall(yield, gen.with_timeout(A_MOMENT, future))
    end)
    loops.close(other)
    loop:make_current()
    local waiter = gen.coroutine(yield)(future)
    q:put_nowait(5)
    loops.turn(loop, 2)
    assert.equal(5, waiter:result())
  end)
end)

describe("a coroutine that was closed while it waited", function()
  local CLOSED <const> = "the coroutine was resumed or closed by somebody else"

  -- Calls fn(...) as a coroutine, and closes that where it waits.
  local function close(fn, ...)
    local co
    local outcome = gen.coroutine(function(...)
      co = coroutine.running()
      fn(...)
    end)(...)
    coroutine.close(co)
    return outcome
  end

  local ways = {
    ["for a Future"] = yield,
    ["by await"] = gen.await,
    ["for a list"] = function(f) yield { f, f, { f } } end,
    ["for a multi"] = function(f) yield(gen.multi { f, f }) end,
    ["for a multi of multis"] = function(f)
      yield(gen.multi { gen.multi { f }, { f } })
    end,
    ["for a WaitIterator"] = function(f)
      yield(gen.WaitIterator(f, f):next())
    end,
    ["for the target of a chain"] = function(f)
      local target = Future()
      chain(f, target)
      yield(target)
    end,
  }

  for name, wait in pairs(ways) do
    it("ends when others begin to wait: " .. name, function()
      local f = Future()
      local order, waiters, closed = {}, {}, {}
      for i = 1, 40 do
        closed[i] = close(wait, f)
        waiters[i] = gen.coroutine(function()
          yield(f)
          order[#order + 1] = i
        end)()
      end
      loops.turn(loop, 3)
      local ended = 0
      for i = 1, 40 do
        assert.is_false(waiters[i]:done())
        if closed[i]:done() then
          ended = ended + 1
          assert.equal(CLOSED, closed[i]:exception())
        end
      end
      assert.is_true(ended >= 16, ended)
      f:set_result()
      loops.turn(loop, 3)
      for i = 1, 40 do
        assert.equal(i, order[i])
        assert.is_true(waiters[i]:done())
        assert.equal(CLOSED, closed[i]:exception())
      end
      assert.equal("", log:text())
    end)
  end

  it("is removed when one other waiter remains", function()
    local f = Future()
    local one = close(yield, f)
    local two = gen.coroutine(yield)(f)
    loops.turn(loop, 2)
    assert.equal(CLOSED, one:exception())
    f:set_result(7)
    loops.turn(loop, 2)
    assert.equal(7, two:result())
  end)

  it("is not confused with one that runs, or waits", function()
    local f = Future()
    local co, seen
    local outcome = gen.coroutine(function()
      co = coroutine.running()
      seen = yield(f)
      for _ = 1, 40 do gen.coroutine(yield)(f) end
      return yield(f)
    end)()
    assert(coroutine.resume(co, "by hand"))
    assert.equal("by hand", seen)
    for _ = 1, 40 do gen.coroutine(yield)(f) end
    loops.turn(loop, 2)
    assert.equal("suspended", coroutine.status(co))
    assert.is_false(outcome:done())
    f:set_result(5)
    loops.turn(loop, 3)
    assert.equal(CLOSED, outcome:exception())
  end)
end)

describe("a WaitIterator over takers that was forgotten", function()
  -- Of two, the first has given its outcome: it is left between two next().
  local function forget(take)
    local first = Future()
    run(function()
      local wi = gen.WaitIterator(first, take())
      first:set_result()
      yield(wi:next())
    end)
    gc.collect()
  end

  local takers = {
    ["Queue:get"] = function()
      local q = queues.Queue()
      return function() return q:get() end, function() q:put_nowait(1) end
    end,
    ["Queue:get, with a timeout"] = function()
      local q = queues.Queue()
      return function() return q:get(LONG) end, function() q:put_nowait(1) end
    end,
    ["Lock:acquire"] = function()
      local lock = locks.Lock()
      local held = lock:acquire():result()
      return function() return lock:acquire() end,
        function() held:release() end
    end,
    ["Condition:wait"] = function()
      local condition = locks.Condition()
      return function() return condition:wait() end,
        function() condition:notify() end
    end,
  }

  for name, make in pairs(takers) do
    it("takes nothing once it is collected: " .. name, function()
      local take, give = make()
      for _ = 1, 3 do forget(take) end
      local next = gen.coroutine(yield)(take())
      give()
      loops.turn(loop, 2)
      assert.is_true(next:done())
    end)
  end

  it("takes an item while it is in use", function()
    local q, first = queues.Queue(), Future()
    local wi = gen.WaitIterator(first, q:get())
    first:set_result()
    run(function() yield(wi:next()) end)
    gc.collect()
    local later = q:get()
    q:put_nowait(1)
    assert.equal(1, run(function() return yield(wi:next()) end))
    assert.is_false(later:done())
  end)
end)

describe("a with_timeout that was settled by hand", function()
  local function waits_on(f)
    local before = f:done()
    assert.is_false(before)
    return not gc.collects(function() return f end)
  end

  it("releases what it waited for", function()
    for how, set in pairs(setters) do
      local f = Future()
      assert.is_true(waits_on(f))
      assert.is_true(gc.collects(function()
        local timed = gen.with_timeout(LONG, f)
        set(timed)
        return timed
      end), how)
      f:set_result()
    end
  end)

  it("has late failures logged once", function()
    for _, quiet in ipairs { false, "late" } do
      log:clear()
      local f = Future()
      for _ = 1, 3 do gen.with_timeout(LONG, f, quiet or nil):set_result() end
      f:set_exception "late"
      f = nil -- luacheck: ignore
      gc.collect()
      assert.equal(quiet and 0 or 1, log:count "late", log:text())
      assert.equal(quiet and 0 or 1, #log, log:text())
    end
  end)

  it("releases a getter of a queue", function()
    local q = queues.Queue()
    gen.with_timeout(LONG, q:get()):set_result()
    local next = gen.coroutine(yield)(q:get())
    q:put_nowait(1)
    loops.turn(loop, 2)
    assert.equal(1, next:result())
  end)
end)
