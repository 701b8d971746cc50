-- SPDX-License-Identifier: MIT
-- Waits that are over leave nothing behind on what they waited for: 22,000 of
-- each kind on the same Futures, which stay pending.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local util = require "lunado.util"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local Future = concurrent.Future
local yield = coroutine.yield

local MANY = times(2000) -- in each of eleven rounds

local loop, log
before_each(function() loop, log = frame.begin_virtual() end)
after_each(function() frame.finish() end)

local A_MOMENT = { seconds = 0.0001 }

local function expect_timeout(timed)
  local ok, err = pcall(yield, timed)
  assert(not ok and util.isinstance(err, util.TimeoutError), err)
end

-- Runs wait(...) 11 * MANY times in a coroutine; returns the kilobytes that the
-- last ten elevenths of these have left.
local function growth(wait, ...)
  local function many(...)
    for i = 1, MANY do wait(i, ...) end
  end
  local function run_many(...)
    local arguments = table.pack(...)
    loops.run(loop, function()
      many(table.unpack(arguments, 1, arguments.n))
    end)
    loops.turn(loop)
  end
  run_many(...)
  local before = gc.kilobytes()
  for _ = 1, 10 do run_many(...) end
  gc.collect() -- what is within others goes one collection later
  return gc.kilobytes() - before
end

-- Weak tables stay as large as they were between two collections.  What is left
-- of each wait is 200 bytes at least: four times this.
local ALLOWED = 700

local function stays_flat(wait, ...)
  local grown = growth(wait, ...)
  assert.is_true(grown < ALLOWED, ("grown by %.1f kB"):format(grown))
end

describe("a with_timeout that timed out leaves nothing", function()
  it("on a Future", function()
    stays_flat(function(_, f)
      expect_timeout(gen.with_timeout(A_MOMENT, f))
    end, Future())
  end)

  it("on the Future of a coroutine that others wait for", function()
    local forever = Future()
    local f = gen.coroutine(function() yield(forever) end)()
    local wait = gen.coroutine(yield)
    local one, two = wait(f), wait(f)
    stays_flat(function()
      expect_timeout(gen.with_timeout(A_MOMENT, f))
    end)
    forever:set_result()
    loops.run(loop, function() yield { one, two } end)
  end)

  it("on a Future, when it is quiet", function()
    local Error = util.Exception:subclass("Error")
    local f = Future()
    stays_flat(function(i)
      local quiet = i % 4 == 0 and { Error, "text" } or i % 4 == 1 and Error
        or i % 4 == 2 and "text" or function(err) return err == Error end
      expect_timeout(gen.with_timeout(A_MOMENT, f, quiet))
    end)
  end)

  it("on the Futures in a list", function()
    stays_flat(function(_, f, g)
      expect_timeout(gen.with_timeout(A_MOMENT, { f, g, f }))
    end, Future(), Future())
  end)

  it("on the Futures in tables within tables", function()
    stays_flat(function(_, f, g)
      expect_timeout(gen.with_timeout(A_MOMENT,
        { a = f, b = { g, { f, x = {} } }, c = { { { g } } } }))
    end, Future(), Future())
  end)

  it("when it is within another", function()
    stays_flat(function(_, f, g)
      local inner = gen.with_timeout({ seconds = 0.0002 }, { f, g })
      expect_timeout(gen.with_timeout(A_MOMENT, inner))
      expect_timeout(inner)
    end, Future(), Future())
  end)

  it("when many wait at once", function()
    stays_flat(function(i, f, g)
      if i % 1000 ~= 0 then return end
      local waits = {}
      for n = 1, 1000 do waits[n] = gen.with_timeout(A_MOMENT, { f, g }) end
      for n = 1, 1000 do expect_timeout(waits[n]) end
    end, Future(), Future())
  end)
end)

describe("a multi that is no longer used leaves nothing", function()
  it("when it was only made", function()
    stays_flat(function(_, f, g)
      gen.multi { f, g, f }
      gen.multi { a = f, b = gen.multi { g }, c = { f, { g } } }
      gen.convert_yielded { f, { x = g } }
    end, Future(), Future())
  end)

  it("when it has lost a race", function()
    local quiet = util.TimeoutError
    stays_flat(function(_, f, g)
      expect_timeout(gen.with_timeout(A_MOMENT, gen.multi { f, g }))
      expect_timeout(gen.with_timeout(A_MOMENT,
        gen.multi({ f, gen.multi { a = g } }, quiet), quiet))
    end, Future(), Future())
  end)

  it("when it was settled by hand", function()
    stays_flat(function(_, f, g)
      local wait = gen.coroutine(yield)
      local multi = gen.multi { f, g }
      local waits = { wait(multi), wait { multi }, wait(multi) }
      multi:set_result()
      yield(waits)
    end, Future(), Future())
  end)
end)

describe("a WaitIterator that is no longer used leaves nothing", function()
  it("when it was only made", function()
    stays_flat(function(_, f, g)
      gen.WaitIterator(f, g)
      gen.WaitIterator { a = f, b = g }
      gen.WaitIterator(f, g):next()
    end, Future(), Future())
  end)

  it("when it has lost a race", function()
    stays_flat(function(_, f, g)
      local wi = gen.WaitIterator(f, g, f)
      expect_timeout(gen.with_timeout(A_MOMENT, wi:next()))
      expect_timeout(gen.with_timeout(A_MOMENT, wi:next()))
    end, Future(), Future())
  end)

  it("when it was left at the first", function()
    stays_flat(function(i, f, g)
      local first = Future()
      local wi = gen.WaitIterator(f, first, g)
      loop:add_callback(first.set_result, first, i)
      assert(yield(wi:next()) == i)
      local step, again = gen.WaitIterator(f, first, g):results()
      local index, result = step(again)
      assert(index == 2 and result == i)
    end, Future(), Future())
  end)

  it("when its next was settled by hand", function()
    stays_flat(function(_, f, g)
      local next = gen.WaitIterator(f, g):next()
      local waiter = gen.coroutine(yield)(next)
      next:set_result()
      yield(waiter)
    end, Future(), Future())
  end)
end)

describe("a coroutine that was closed as it waited leaves nothing", function()
  -- Calls fn(...) as a coroutine, and closes that where it waits.
  local function close(fn, ...)
    local co
    gen.coroutine(function(...)
      co = coroutine.running()
      fn(...)
    end)(...)
    coroutine.close(co)
  end

  before_each(function() log:allow "resumed or closed" end)

  -- What is told of each of them goes.
  local function breathe(i)
    if i % 200 ~= 0 then return end
    yield()
    collectgarbage()
    log:clear()
  end

  for name, wait in pairs {
    ["a Future"] = yield,
    ["a Future, by await"] = gen.await,
    ["a Future, in a list"] = function(f) yield { f, f } end,
    ["a multi"] = function(f) yield(gen.multi { f }) end,
    ["a WaitIterator"] = function(f) yield(gen.WaitIterator(f):next()) end,
  } do
    for _, others in ipairs { 0, 5 } do
      it(("on %s that %d wait for"):format(name, others), function()
        local f = Future()
        for _ = 1, others do gen.coroutine(yield)(f) end
        stays_flat(function(i)
          close(wait, f)
          breathe(i)
        end)
        f:set_result()
        loops.turn(loop, 2)
      end)
    end
  end

  it("among many that wait", function()
    local f, waiting = Future(), {}
    for i = 1, 300 do waiting[i] = gen.coroutine(yield)(f) end
    stays_flat(function(i)
      close(yield, f)
      breathe(i)
    end)
    f:set_result(1)
    loops.turn(loop, 2)
    for i = 1, 300 do assert(waiting[i]:result() == 1) end
  end)

  for name, make in pairs {
    ["Queue:get"] = function()
      local q = queues.Queue()
      return function() return q:get() end
    end,
    ["Queue:get, with a timeout"] = function()
      local q = queues.Queue()
      return function() return q:get { hours = 1 } end
    end,
    ["Queue:put"] = function()
      local q = queues.Queue(1)
      q:put_nowait(1)
      return function() return q:put(2) end
    end,
    ["Lock:acquire"] = function()
      local lock = locks.Lock()
      lock:acquire()
      return function() return lock:acquire() end
    end,
    ["Event:wait"] = function()
      local event = locks.Event()
      return function() return event:wait() end
    end,
  } do
    it("in the line of " .. name, function()
      local wait = make()
      stays_flat(function(i)
        close(function() yield(wait()) end)
        breathe(i)
      end)
    end)
  end
end)

describe("a YieldPoint that is no longer used leaves nothing", function()
  it("when it has lost a race", function()
    local callbacks = {}
    log:allow "after its timeout: UnknownKeyError: key 'key' is not pending"
    stays_flat(function(i, f, g)
      local key = "key"
      if i == 1 then callbacks[1] = yield(gen.Callback(key)) end
      expect_timeout(gen.with_timeout(A_MOMENT,
        gen.MultiYieldPoint { f, { g } }))
      expect_timeout(gen.with_timeout(A_MOMENT, gen.Wait(key)))
      expect_timeout(gen.with_timeout(A_MOMENT, gen.WaitAll { key }))
      if i == MANY then
        loop:add_callback(callbacks[1], i)
        assert(yield(gen.Wait(key)) == i)
      end
    end, Future(), Future())
  end)
end)

describe("a target of chain_future that is no longer used", function()
  it("leaves nothing", function()
    stays_flat(function(_, f)
      local target, last = Future(), Future()
      concurrent.chain_future(f, target)
      concurrent.chain_future(target, last)
      concurrent.chain_future(f, Future())
    end, Future())
  end)

  it("leaves nothing when it is a wait in a queue", function()
    local q, lock = queues.Queue(), locks.Lock()
    lock:acquire()
    stays_flat(function(i, f)
      concurrent.chain_future(f, q:get())
      concurrent.chain_future(f, lock:acquire())
      if i % 100 == 0 then collectgarbage() end
    end, Future())
  end)

  it("leaves nothing when it has lost a race", function()
    stays_flat(function(_, f)
      local target = Future()
      concurrent.chain_future(f, target)
      expect_timeout(gen.with_timeout(A_MOMENT, target))
    end, Future())
  end)

  it("leaves nothing when it was settled by another source", function()
    stays_flat(function(i, f)
      local other, target = Future(), Future()
      concurrent.chain_future(f, target)
      concurrent.chain_future(other, target)
      local waiter = gen.coroutine(yield)(target)
      other:set_result(i)
      assert(yield(waiter) == i)
    end, Future())
  end)

  it("keeps nothing of sources that were collected", function()
    local grown = growth(function(_, target)
      concurrent.chain_future(Future(), target)
    end, Future())
    -- A list of weak references is as long as it was between collections.
    assert.is_true(grown < 3000, ("grown by %.1f kB"):format(grown))
  end)
end)

describe("a peak of waits leaves nothing", function()
  for _, others in ipairs { 0, 1, 2, 3 } do
    it(("on a Future that %d wait for"):format(others), function()
      local f = Future()
      local wait = gen.coroutine(yield)
      for _ = 1, others do wait(f) end
      local function peak()
        loops.run(loop, function()
          local waits = {}
          for i = 1, 10 * MANY do waits[i] = gen.with_timeout(A_MOMENT, f) end
          for i = 1, 10 * MANY do expect_timeout(waits[i]) end
        end)
        loops.turn(loop)
      end
      for _ = 1, 10 do -- what the loop keeps for the next
        loops.run(loop, function()
          for _ = 1, 10 do expect_timeout(gen.with_timeout(A_MOMENT, f)) end
        end)
      end
      local before = gc.kilobytes()
      peak()
      local grown = gc.kilobytes() - before
      assert.is_true(grown < 64, ("grown by %.1f kB"):format(grown))
      f:set_result()
      loops.turn(loop, 2)
    end)
  end
end)

describe("a loop keeps no memory of a peak", function()
  -- Beside what it keeps ready: 256 tasks, and 8,192 places of the queue.
  local KEPT = 800

  local peaks = {
    ["coroutines that sleep"] = function()
      local sleep = gen.coroutine(function() yield(gen.sleep(0.01)) end)
      local sleepers = {}
      for i = 1, 10 * MANY do sleepers[i] = sleep() end
      yield(sleepers)
    end,
    ["coroutines that wait for one Future"] = function()
      local f = Future()
      local wait = gen.coroutine(yield)
      local waits = {}
      for i = 1, 10 * MANY do waits[i] = wait(f) end
      f:set_result()
      yield(waits)
    end,
    ["waiters that are put off"] = function()
      local futures, waits = {}, {}
      for i = 1, 30 do futures[i] = Future() end
      for i = 1, 29 do
        futures[i]:add_done_callback(function() futures[i + 1]:set_result() end)
      end
      local wait = gen.coroutine(yield)
      for i = 1, 10 * MANY do waits[i] = wait(futures[30]) end
      futures[1]:set_result()
      yield(waits)
    end,
    ["callbacks"] = function()
      for _ = 1, 10 * MANY do loop:add_callback(function() end) end
    end,
    ["timeouts that come"] = function()
      for _ = 1, 10 * MANY do loop:call_later(0.01, function() end) end
      yield(gen.sleep(0.02))
    end,
    ["timeouts that do not"] = function()
      local handles = {}
      for i = 1, 10 * MANY do
        handles[i] = loop:call_later(1, function() end)
      end
      for i = 1, 10 * MANY do loop:remove_timeout(handles[i]) end
    end,
  }

  for name, peak in pairs(peaks) do
    it("of " .. name .. ", whatever is left", function()
      local before = gc.kilobytes()
      local left = {}
      loops.run(loop, function()
        left[1] = loop:call_later(3600, function() end)
        left[2] = gen.sleep(10)
        peak()
        left[3] = loop:call_later(3600, function() end)
        left[4] = gen.sleep(10)
      end)
      loops.turn(loop, 2)
      local grown = gc.kilobytes() - before
      assert.is_true(grown < KEPT, ("grown by %.1f kB"):format(grown))
      -- What was anchored before and after is still there, and found.
      loop:remove_timeout(left[1])
      loop:remove_timeout(left[3])
      loops.run(loop, function() yield { left[2], left[4] } end)
    end)
  end

  it("and holds the remaining timers, which are scattered", function()
    local woken = 0
    loops.run(loop, function()
      local sleepers = {}
      local sleep = gen.coroutine(function(seconds)
        yield(gen.sleep(seconds))
        woken = woken + 1
      end)
      local function sleep_many(n)
        for i = 1, n do
          local seconds = i % 97 == 0 and 5 + i % 7 or 0.01
          sleepers[#sleepers + 1] = sleep(seconds)
        end
      end
      for _ = 1, 5 do
        sleep_many(MANY // 2)
        yield(gen.sleep(0.1))
        gc.collect()
      end
      yield(sleepers)
      assert.equal(#sleepers, woken)
    end)
  end)
end)
