-- SPDX-License-Identifier: MIT
-- lunado.locks and lunado.queues: what is handed to a waiter that is not there
-- any more goes to the next one.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"

local Future = concurrent.Future
local yield = coroutine.yield

local run = frame.run
-- `never` is what nothing settles, and is not collected either.
local _, log, never
before_each(function()
  _, log = frame.begin_virtual()
  never = Future()
end)
after_each(function() frame.finish() end)

local SOON = { milliseconds = 1 }

-- What waits and what ends a wait.  `drops`: a wait that the program has
-- dropped is over; `signal`: what no wait is there for is lost.
local function semaphore(class)
  return function()
    local s = locks[class]()
    local held = s:acquire():result()
    return {
      wait = function(timeout) return s:acquire(timeout) end,
      give = function() held:release() end,
      object = s, drops = true,
    }
  end
end

local function getter(class)
  return function()
    local q = queues[class]()
    return {
      wait = function(timeout) return q:get(timeout) end,
      give = function() q:put_nowait(1) end,
      object = q, drops = true,
    }
  end
end

local function putter(class)
  return function()
    local q = queues[class](1)
    q:put_nowait(0)
    return {
      wait = function(timeout) return q:put(1, timeout) end,
      give = function() q:get_nowait() end,
      object = q,
    }
  end
end

local function condition()
  local c = locks.Condition()
  return {
    wait = function(timeout) return c:wait(timeout) end,
    give = function() c:notify() end,
    object = c, drops = true, signal = true,
  }
end

local subjects = {
  { "Lock", semaphore "Lock" },
  { "Semaphore", semaphore "Semaphore" },
  { "BoundedSemaphore", semaphore "BoundedSemaphore" },
  { "Queue:get", getter "Queue" },
  { "PriorityQueue:get", getter "PriorityQueue" },
  { "LifoQueue:get", getter "LifoQueue" },
  { "Queue:put", putter "Queue" },
  { "PriorityQueue:put", putter "PriorityQueue" },
  { "LifoQueue:put", putter "LifoQueue" },
  { "Condition", condition },
}

-- Starts a coroutine that yields what make() gives; returns its thread, and the
-- Future of its outcome.
local function start(make)
  local thread
  local outcome = gen.coroutine(function()
    thread = coroutine.running()
    return yield(make())
  end)()
  return thread, outcome
end

local function is_closed(outcome)
  run(function() yield(gen.sleep(0)) end)
  assert.is_truthy(tostring(outcome:exception()):find("closed by somebody else",
    1, true))
end

-- Has something wait for the Future, and give up.
local function wait_in_vain(future)
  assert.is_false(pcall(run, function()
    yield(gen.with_timeout({ seconds = 0 }, future))
  end))
end

for _, subject in ipairs(subjects) do
  local name, make = subject[1], subject[2]

  describe(name .. " passes over", function()
    it("a Future that was settled by hand", function()
      local s = make()
      local first, second, third = s.wait(), s.wait(), s.wait()
      start(function() return second end)
      first:set_result("mine")
      second:set_result("mine")
      s.give()
      assert.is_true(third:done())
    end)

    it("a coroutine that was closed", function()
      local s = make()
      local thread, outcome = start(s.wait)
      local held
      local other = start(function()
        held = s.wait()
        return held
      end)
      local next = s.wait()
      assert.is_true(coroutine.close(thread))
      s.give()
      assert.is_true(held:done())
      assert.is_false(next:done())
      assert.equal("suspended", coroutine.status(other))
      is_closed(outcome)
    end)

    it("one that was closed while it waited through others", function()
      local s = make()
      local thread, outcome = start(function()
        return { gen.with_timeout({ hours = 1 }, s.wait()), never }
      end)
      local next = s.wait()
      assert.is_true(coroutine.close(thread))
      s.give()
      assert.is_true(next:done())
      assert.is_false(outcome:done())
      never:set_result()
      is_closed(outcome)
    end)

    it("many that were closed", function()
      local s = make()
      local outcomes = {}
      for i = 1, 100 do
        local thread
        thread, outcomes[i] = start(s.wait)
        coroutine.close(thread)
      end
      local next = s.wait()
      s.give()
      assert.is_true(next:done())
      for i = 1, 100 do is_closed(outcomes[i]) end
    end)

    it("one that was closed, but not the other that waits with it", function()
      local s = make()
      local future = s.wait()
      local thread, outcome = start(function() return future end)
      local _, other = start(function() return future end)
      local next = s.wait()
      assert.is_true(coroutine.close(thread))
      s.give()
      assert.is_true(future:done())
      assert.is_false(next:done())
      is_closed(outcome)
      assert.is_true(other:done())
    end)

    if make().drops then
      it("a Future that was collected", function()
        local s = make()
        local function drop() s.wait() end
        drop()
        gc.collect()
        local next = s.wait()
        drop()
        s.give()
        assert.is_true(next:done())
      end)

      it("a Future with a timeout that was collected", function()
        local s = make()
        local function drop() s.wait({ hours = 1 }) end
        drop()
        gc.collect()
        local next = s.wait()
        s.give()
        assert.is_true(next:done())
      end)
    end

    it("one that has withdrawn, for one that waits", function()
      local s = make()
      local first = s.wait()
      wait_in_vain(first)
      local _, outcome = start(s.wait)
      s.give()
      run(function() yield(outcome) end)
      first:set_result()
    end)
  end)

  describe(name .. " gives to a wait that had withdrawn", function()
    if not make().signal then
      it("when it is examined", function()
        local s = make()
        local first = s.wait()
        wait_in_vain(first)
        assert.is_true(first:running())
        s.give()
        assert.is_true(first:done())
        assert.is_false(first:running())
        assert.is_nil(first:exception())
      end)

      it("when it is waited for again", function()
        local s = make()
        local first = s.wait()
        wait_in_vain(first)
        s.give()
        run(function() yield(first) end)
        assert.is_true(first:done())
      end)
    end

    it("when it waits again, behind the others", function()
      local s = make()
      local first, second = s.wait(), s.wait()
      wait_in_vain(first)
      local _, outcome = start(function() return first end)
      s.give()
      assert.is_true(second:done())
      assert.is_false(outcome:done())
      first:set_result()
      run(function() yield(outcome) end)
    end)

    it("before its timeout, and not after it", function()
      local s = make()
      local first = s.wait({ milliseconds = 20 })
      wait_in_vain(first)
      local ok = pcall(run, function() return yield(first) end)
      assert.equal(s.signal or false, ok)
      local next = s.wait()
      s.give()
      assert.is_true(next:done())
    end)
  end)

  it(name .. " forgets a withdrawn wait at once", function()
    local s = make()
    assert.is_true(gc.collects(function()
      local future = s.wait()
      wait_in_vain(future)
      return future
    end))
    s.give()
  end)
end

describe("Event", function()
  it("wakes all but the waiters that no longer exist", function()
    local e = locks.Event()
    local thread, outcome = start(function() return e:wait() end)
    local withdrawn, kept = e:wait(), e:wait()
    wait_in_vain(withdrawn)
    coroutine.close(thread)
    e:set()
    assert.is_true(withdrawn:done() and kept:done())
    is_closed(outcome)
  end)

  it("has woken a withdrawn wait that is examined later", function()
    local e = locks.Event()
    local first = e:wait()
    wait_in_vain(first)
    e:set()
    e:clear()
    local second = e:wait()
    wait_in_vain(second)
    assert.is_true(first:done())
    assert.is_false(second:done())
    run(function() yield(first) end)
  end)

  it("wakes one that waits again", function()
    local e = locks.Event()
    local future = e:wait()
    wait_in_vain(future)
    local _, outcome = start(function() return future end)
    e:set()
    run(function() yield(outcome) end)
  end)
end)

describe("Condition", function()
  it("has woken a wait that is examined after notify_all", function()
    local c = locks.Condition()
    local first = c:wait()
    wait_in_vain(first)
    c:notify_all()
    local second = c:wait()
    wait_in_vain(second)
    c:notify()
    assert.is_true(first:result())
    assert.is_false(second:done())
  end)
end)

for _, name in ipairs { "Lock", "Semaphore", "BoundedSemaphore" } do
  local class = locks[name]

  describe(name .. " is released", function()
    it("by the result of acquire when that is collected", function()
      local s = class()
      local function drop() assert.is_not_nil(s:acquire():result()) end
      drop()
      gc.collect()
      assert.is_true(s:acquire():done())
    end)

    it("by the result of acquire when its coroutine ends", function()
      local s = class()
      run(function() yield(s:acquire()) end)
      gc.collect()
      assert.is_true(s:acquire():done())
    end)

    it("by hand, if its coroutine goes on: the collector waits", function()
      local s = class()
      local entered
      run(function()
        local other = gen.coroutine(function()
          yield(s:acquire())
          entered = true
        end)
        yield(s:acquire())
        local f = other()
        for _ = 1, 5 do
          gc.collect()
          yield()
        end
        assert.is_nil(entered)
        s:release()
        yield(f)
        assert.is_true(entered)
      end)
    end)

    it("for a coroutine that has dropped it and acquires again", function()
      local s = class()
      run(function()
        for _ = 1, 3 do
          yield(s:acquire())
          gc.collect()
        end
      end)
    end)

    it("by the collector, once results of acquire are in use", function()
      local s = class()
      run(function()
        do local _ <close> = yield(s:acquire()) end
        yield(s:acquire())
        gc.collect()
        assert.is_true(gen.coroutine(function()
          local _ <close> = yield(s:acquire())
          return true
        end)():result())
      end)
    end)

    it("by a coroutine that is collected", function()
      local s = class()
      local function lose()
        gen.coroutine(function()
          local _ <close> = yield(s:acquire())
          yield(Future())
        end)()
      end
      lose()
      local next = s:acquire()
      gc.collect()
      assert.is_true(next:done())
      assert.equal(1, log:count("Coroutine was collected while waiting"))
      log:clear()
    end)

    it("by the result of a Future that was dropped", function()
      local s = class()
      local held = s:acquire():result()
      local function drop()
        local future = s:acquire()
        held:release()
        assert.is_true(future:done())
      end
      drop()
      gc.collect()
      assert.is_true(s:acquire():done())
    end)

    it("once", function()
      local s = class()
      local function drop()
        local held = s:acquire():result()
        held:release()
      end
      drop()
      gc.collect()
      local held = s:acquire():result()
      assert.is_false(s:acquire():done())
      held:release()
    end)

    it("by hand if the result of acquire is ignored", function()
      local s = class()
      local function drop() assert.is_true(s:acquire():done()) end
      drop()
      gc.collect()
      assert.is_false(s:acquire():done())
      s:release()
      gc.collect()
      assert.is_true(s:acquire():done())
    end)

    it("by hand, whatever happens to the result of acquire", function()
      local s = class()
      local function drop() assert.is_not_nil(s:acquire():result()) end
      drop()
      s:release()
      gc.collect()
      drop()
      gc.collect()
      local next = s:acquire()
      assert.is_false(next:done())
      s:release()
      assert.is_true(next:done())
      assert.is_false(s:acquire():done())
    end)

    it("by hand after the collector", function()
      local s = class()
      local function drop() assert.is_not_nil(s:acquire():result()) end
      drop()
      gc.collect()
      s:release()
      local held = s:acquire():result()
      assert.is_false(s:acquire():done())
      held:release()
    end)

    it("to waiters that are collected with it, without harm", function()
      local function lose()
        local s = class()
        for _ = 1, 10 do
          gen.coroutine(function()
            local _ <close> = yield(s:acquire())
            yield(Future())
          end)()
        end
      end
      lose()
      gc.collect()
      assert.is_true(log:count("Coroutine was collected while waiting") > 0)
      run(function() yield(gen.sleep(0)) end)
      gc.collect() -- those that were woken by that
      log:clear()
    end)
  end)
end

it("a finalizer may settle the Future of a coroutine that is collected, too",
  function()
    local n = 200
    local woken = 0
    local function lose(i)
      local future = Future()
      local function guard()
        setmetatable({}, { __gc = function() future:set_result() end })
      end
      if i % 2 == 0 then guard() end
      gen.coroutine(function()
        yield(future)
        woken = woken + 1
        if i % 3 == 0 then yield(Future()) end
      end)()
      if i % 2 == 1 then guard() end
    end
    for i = 1, n do lose(i) end
    gc.collect()
    local first = woken + log:count("Coroutine was collected while waiting")
    run(function() yield(gen.sleep(0)) end)
    gc.collect()
    assert.is_true(woken >= n / 2)
    assert.is_true(first <= n)
    assert.is_true(
      log:count("Coroutine was collected while waiting") > n - woken)
    log:clear()
    -- The loop knows how many belong to it.
    assert.is_true(gc.collects(function()
      local other = require "lunado.ioloop".IOLoop(false)
      other:run_sync(function()
        lose(2)
        gc.collect()
      end)
      other:close()
      return other
    end))
  end)

it("a coroutine that was closed, and is collected, is logged", function()
  local function lose()
    local thread = start(Future)
    assert.is_true(coroutine.close(thread))
  end
  lose()
  gc.collect()
  assert.equal("warning: Coroutine was collected that somebody else had resumed"
    .. " or closed: its Future stays pending", log:text())
  log:clear()
end)

it("a wait with a timeout leaves nothing when it was dropped", function()
  local e = locks.Event()
  for _ = 1, 1000 do e:wait({ hours = 1 }) end
  gc.collect()
  local before = gc.kilobytes()
  for _ = 1, 20 do
    for _ = 1, 1000 do e:wait({ hours = 1 }) end
    gc.collect()
  end
  e:wait(SOON)
  -- Tables grow by doubling; 20,000 waits that stay would be 5,000 and more.
  assert.is_true(gc.kilobytes() - before < 1500)
end)
