-- SPDX-License-Identifier: MIT
-- lunado.locks: Condition, Event, Semaphore, BoundedSemaphore, Lock.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local locks = require "lunado.locks"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local timeouts = require "spec.support.timeouts"

local Future = concurrent.Future
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local NEVER = { seconds = 3600 }
local SOON = { milliseconds = 1 }

-- Runs each fn as a coroutine, and the loop until all are done.
local function together(...)
  local futures = {}
  for i, fn in ipairs { ... } do futures[i] = gen.coroutine(fn)() end
  run(function() yield(futures) end)
end

local function times_out(future)
  local ok, err = pcall(run, function() return yield(future) end)
  assert.is_false(ok)
  assert.is_true(util.isinstance(err, gen.TimeoutError), tostring(err))
  assert.equal("TimeoutError: Timeout", tostring(err))
end

describe("Condition", function()
  it("wakes one by one, the longest waiter first", function()
    local c, order = locks.Condition(), {}
    for i = 1, 3 do
      c:wait():add_done_callback(function(f)
        order[#order + 1] = i
        assert.is_true(f:result())
      end)
    end
    assert.same({}, order)
    c:notify()
    assert.same({ 1 }, order)
    c:notify()
    assert.same({ 1, 2 }, order)
    c:notify()
    c:notify()
    assert.same({ 1, 2, 3 }, order)
  end)

  it("wakes n, or as many as there are", function()
    local c = locks.Condition()
    local f = {}
    for i = 1, 5 do f[i] = c:wait() end
    c:notify(0)
    assert.is_false(f[1]:done())
    c:notify(2)
    assert.is_true(f[2]:done())
    assert.is_false(f[3]:done())
    c:notify(2.0)
    assert.is_true(f[4]:done())
    assert.is_false(f[5]:done())
    c:notify(math.maxinteger)
    assert.is_true(f[5]:done())
  end)

  it("wakes all", function()
    local c, n = locks.Condition(), 0
    for _ = 1, 100 do c:wait():add_done_callback(function() n = n + 1 end) end
    c:notify_all()
    assert.equal(100, n)
    c:notify_all()
  end)

  it("does not remember a notification", function()
    local c = locks.Condition()
    c:notify()
    c:notify_all()
    assert.is_false(c:wait():done())
  end)

  it("lets coroutines wait", function()
    local c, history = locks.Condition(), {}
    local function say(what) history[#history + 1] = what end
    together(function()
      say "wait"
      assert.is_true(yield(c:wait()))
      say "woken"
    end, function()
      say "notify"
      c:notify()
      say "notified"
    end)
    assert.same({ "wait", "notify", "notified", "woken" }, history)
  end)

  for _, form in ipairs(timeouts.forms) do
    it("gives false after " .. form[1], function()
      local c = locks.Condition()
      assert.is_false(run(function() return yield(c:wait(form[2]())) end))
      c:notify()
    end)
  end

  it("gives true when it is in time", function()
    local c = locks.Condition()
    loop:call_later(0.001, c.notify, c)
    assert.is_true(run(function() return yield(c:wait(NEVER)) end))
  end)

  it("waits for ever until infinity", function()
    local c = locks.Condition()
    local f = c:wait(math.huge)
    run(function() yield(gen.sleep(0.002)) end)
    c:notify()
    assert.is_true(f:result())
  end)

  it("passes over those that timed out", function()
    local c = locks.Condition()
    local f = { c:wait(), c:wait(SOON), c:wait(), c:wait(SOON), c:wait() }
    run(function() yield { f[2], f[4] } end)
    c:notify(2)
    assert.is_false(f[2]:result())
    assert.is_true(f[1]:done() and f[3]:done())
    assert.is_false(f[5]:done())
  end)

  it("does not wake a waiter twice that waits again at once", function()
    local c, n = locks.Condition(), 0
    local function again()
      n = n + 1
      if n < 1000 then c:wait():add_done_callback(again) end
    end
    c:wait():add_done_callback(again)
    c:wait():add_done_callback(again)
    c:notify_all()
    assert.equal(2, n)
    c:notify(3)
    assert.equal(4, n)
  end)

  it("can be notified within a notification", function()
    local c, order = locks.Condition(), {}
    for i = 1, 4 do
      c:wait():add_done_callback(function()
        order[#order + 1] = i
        c:notify()
      end)
    end
    c:notify()
    assert.same({ 1, 2, 3, 4 }, order)
  end)

  it("skips waits that other code has settled", function()
    local c = locks.Condition()
    local a, b, d = c:wait(), c:wait(NEVER), c:wait()
    a:set_result("mine")
    c:notify()
    assert.is_true(b:result())
    assert.is_false(d:done())
    local e, f = c:wait(), c:wait()
    d:add_done_callback(function() f:set_result("mine, too") end)
    c:notify_all()
    assert.is_true(d:result() and e:result())
    assert.equal("mine, too", f:result())
    assert.equal("mine", a:result())
  end)

  it("does not time out a wait that other code has settled", function()
    local c = locks.Condition()
    local f = c:wait(SOON)
    f:set_result("mine")
    run(function() yield(gen.sleep(0.004)) end)
    assert.equal("mine", f:result())
  end)

  it("checks its arguments", function()
    local c = locks.Condition()
    local f = c:wait()
    timeouts.check(1, c, "wait")
    bad(function() c:notify("x") end, 1, "notify", "number", "string")
    bad(function() c:notify({}) end, 1, "notify", "number", "table")
    bad(function() c:notify(1.5) end, 1, "notify",
      "number has no integer representation")
    bad(function() c:notify(-1) end, 1, "notify", "must not be negative")
    assert.is_false(f:done())
  end)
end)

describe("Event", function()
  it("is clear at first", function()
    local e = locks.Event()
    assert.is_false(e:is_set())
    assert.is_false(e:wait():done())
  end)

  it("wakes all, in order, and lets pass while it is set", function()
    local e, order = locks.Event(), {}
    for i = 1, 3 do
      e:wait():add_done_callback(function() order[#order + 1] = i end)
    end
    e:set()
    e:set()
    assert.is_true(e:is_set())
    assert.same({ 1, 2, 3 }, order)
    assert.is_true(e:wait():done())
    assert.is_true(e:wait(SOON):done())
    assert.equal(0, select("#", e:wait():result()))
  end)

  it("lets wait again when it is cleared", function()
    local e = locks.Event()
    e:set()
    e:clear()
    e:clear()
    assert.is_false(e:is_set())
    local f = e:wait()
    assert.is_false(f:done())
    e:set()
    assert.is_true(f:done())
  end)

  it("wakes those that waited though it is cleared at once", function()
    local e, n = locks.Event(), 0
    for _ = 1, 3 do
      e:wait():add_done_callback(function()
        n = n + 1
        e:clear()
        e:wait():add_done_callback(function() n = n + 100 end)
      end)
    end
    e:set()
    assert.equal(3, n)
    assert.is_false(e:is_set())
    e:set()
    assert.equal(303, n)
  end)

  it("lets coroutines wait", function()
    local e, n = locks.Event(), 0
    local function waiter()
      yield(e:wait(NEVER))
      n = n + 1
    end
    together(waiter, waiter, function() yield() e:set() end, waiter)
    assert.equal(3, n)
  end)

  for _, form in ipairs(timeouts.forms) do
    it("fails after " .. form[1], function()
      local e = locks.Event()
      times_out(e:wait(form[2]()))
      e:set()
    end)
  end

  it("skips waits that other code has settled", function()
    local e = locks.Event()
    local a, b, c = e:wait(), e:wait(), e:wait()
    a:set_result("mine")
    b:add_done_callback(function() c:set_result("mine, too") end)
    e:set()
    assert.is_true(b:done())
  end)

  it("checks its arguments, set or not", function()
    local e = locks.Event()
    timeouts.check(1, e, "wait")
    e:set()
    timeouts.check(1, e, "wait")
  end)
end)

-- What Semaphore, BoundedSemaphore and Lock have in common; all let one go on.
for _, name in ipairs { "Semaphore", "BoundedSemaphore", "Lock" } do
  local class = locks[name]

  describe(name, function()
    it("lets one go on at a time, in order", function()
      local s, order = class(), {}
      local futures = {}
      for i = 1, 5 do
        futures[i] = gen.coroutine(function()
          local _ <close> = yield(s:acquire())
          order[#order + 1] = i
          yield()
          yield(gen.sleep(0.001))
          order[#order + 1] = i
        end)()
      end
      run(function() yield(futures) end)
      assert.same({ 1, 1, 2, 2, 3, 3, 4, 4, 5, 5 }, order)
      assert.is_true(s:acquire():done())
    end)

    it("acquires at once when it is free", function()
      local s = class()
      assert.is_true(s:acquire():done())
      local f = s:acquire()
      assert.is_false(f:done())
      s:release()
      assert.is_true(f:done())
    end)

    describe("is released by a <close> variable", function()
      local s
      before_each(function() s = class() end)
      after_each(function()
        assert.is_true(s:acquire():done())
        assert.is_false(s:acquire():done())
      end)

      it("at the end of the scope", function()
        run(function()
          local next
          do
            local _ <close> = yield(s:acquire())
            next = s:acquire()
            assert.is_false(next:done())
          end
          next:result():release()
        end)
      end)

      it("on return", function()
        assert.equal("r", run(function()
          local _ <close> = yield(s:acquire())
          yield()
          return "r"
        end))
      end)

      it("on break and goto", function()
        run(function()
          repeat
            local held <close> = yield(s:acquire(NEVER))
            if held then break end
          until false
          for _ = 1, 3 do
            local _ <close> = yield(s:acquire())
            goto continue
            ::continue::
          end
        end)
      end)

      it("on an error", function()
        run(function()
          local ok, err = pcall(function()
            local _ <close> = yield(s:acquire())
            yield()
            error("boom", 0)
          end)
          assert.is_false(ok)
          assert.equal("boom", err)
        end)
      end)

      it("on an error that ends the coroutine", function()
        local ok, err = pcall(run, function()
          local _ <close> = yield(s:acquire())
          yield(gen.sleep(0))
          error({ "boom" })
        end)
        assert.is_false(ok)
        assert.same({ "boom" }, err)
      end)

      it("on gen.Return", function()
        assert.equal(1, run(function()
          local _ <close> = yield(s:acquire())
          error(gen.Return(1))
        end))
      end)

      it("once, though it was released before", function()
        run(function()
          local held <close> = yield(s:acquire())
          held:release()
          held:release()
        end)
      end)

      it("that waited", function()
        run(function()
          local first = yield(s:acquire())
          loop:add_callback(first.release, first)
          local _ <close> = yield(s:acquire(NEVER))
        end)
      end)
    end)

    it("is not released by a Future whose result is not taken", function()
      local s = class()
      s:acquire()
      gc.collect()
      assert.is_false(s:acquire():done())
    end)

    for _, form in ipairs(timeouts.forms) do
      it("fails after " .. form[1], function()
        local s = class()
        s:acquire()
        times_out(s:acquire(form[2]()))
        s:release()
        assert.is_true(s:acquire(form[2]()):done())
      end)
    end

    it("passes over those that timed out", function()
      local s = class()
      s:acquire()
      local f = { s:acquire(SOON), s:acquire(), s:acquire(SOON), s:acquire() }
      times_out(f[1])
      times_out(f[3])
      s:release()
      assert.is_true(f[2]:done())
      assert.is_false(f[4]:done())
      s:release()
      assert.is_true(f[4]:done())
      s:release()
      assert.is_true(s:acquire():done())
    end)

    it("skips those that other code settled", function()
      local s = class()
      s:acquire()
      local a, b = s:acquire(NEVER), s:acquire()
      a:set_result("mine")
      s:release()
      assert.is_true(b:done())
      s:acquire():set_result()
      s:release()
      assert.is_true(s:acquire():done())
    end)

    it("removes the timer of one that acquired", function()
      assert.is_true(gc.collects(function()
        local s = class()
        s:acquire()
        local f = s:acquire(NEVER)
        s:release()
        return f
      end))
      assert.is_true(gc.collects(function()
        return class():acquire(NEVER)
      end))
    end)

    it("can be released after the loop of a waiter was closed", function()
      local s = class()
      s:acquire()
      local other = require "lunado.ioloop".IOLoop(false)
      loop:make_current()
      other:make_current()
      local f, g = s:acquire(NEVER), s:acquire()
      other:close()
      loop:make_current()
      s:release()
      s:release()
      assert.is_true(f:done() and g:done())
    end)

    it("hands on through 2,000 callbacks", function()
      local s, n = class(), 0
      local function release()
        n = n + 1
        s:release()
      end
      s:acquire()
      for _ = 1, 2000 do s:acquire():add_done_callback(release) end
      s:release()
      assert.equal(2000, n)
      assert.is_true(s:acquire():done())
    end)

    it("can be acquired and released from within a release", function()
      local s, order = class(), {}
      s:acquire()
      s:acquire():add_done_callback(function()
        order[1] = "first"
        s:acquire():add_done_callback(function(f)
          order[3] = "third"
          f:result():release()
        end)
        s:release()
      end)
      s:acquire():add_done_callback(function()
        order[2] = "second"
        s:release()
      end)
      s:release()
      assert.same({ "first", "second", "third" }, order)
      assert.is_true(s:acquire():done())
    end)

    it("checks its arguments, free or not", function()
      local s = class()
      timeouts.check(1, s, "acquire")
      assert.is_true(s:acquire():done())
      timeouts.check(1, s, "acquire")
      s:release()
      assert.is_true(s:acquire():done())
    end)
  end)
end

for _, name in ipairs { "Semaphore", "BoundedSemaphore" } do
  local class = locks[name]

  describe(name, function()
    it("lets as many go on as its value says", function()
      local s, most, now = class(3), 0, 0
      local futures = {}
      for i = 1, 20 do
        futures[i] = gen.coroutine(function()
          local _ <close> = yield(s:acquire())
          now = now + 1
          most = math.max(most, now)
          yield(gen.sleep(0.0005))
          now = now - 1
        end)()
      end
      run(function() yield(futures) end)
      assert.equal(3, most)
      for _ = 1, 3 do assert.is_true(s:acquire():done()) end
      assert.is_false(s:acquire():done())
    end)

    it("may begin with none", function()
      local s = class(0)
      assert.is_false(s:acquire():done())
      times_out(s:acquire(SOON))
    end)

    it("takes a whole number", function()
      local s = class(2.0)
      s:acquire()
      assert.is_true(s:acquire():done())
      assert.is_false(s:acquire():done())
    end)

    it("checks its argument", function()
      bad(function() local _ = class(-1) end, 1, name, "must not be negative")
      bad(function() local _ = class("x") end, 1, name, "number", "string")
      bad(function() local _ = class(1.5) end, 1, name,
        "number has no integer representation")
      bad(function() local _ = class(0/0) end, 1, name,
        "number has no integer representation")
      bad(function() local _ = class({}) end, 1, name, "number", "table")
      bad(function() local _ = class(false) end, 1, name, "number", "boolean")
    end)
  end)
end

-- Asserts that fn raises a string with the text, at a line of fn.
local function raises(text, fn)
  local info = debug.getinfo(fn, "S")
  local ok, err = pcall(fn)
  assert.is_false(ok)
  local line, message = tostring(err):match(":(%d+): (.*)$")
  assert.equal(text, message)
  line = tonumber(line)
  assert.is_true(info.linedefined <= line and line <= info.lastlinedefined)
end

describe("a Semaphore", function()
  it("may be released beyond its first value", function()
    local s = locks.Semaphore(0)
    s:release()
    s:release()
    assert.is_true(s:acquire():done())
    assert.is_true(s:acquire():done())
    assert.is_false(s:acquire():done())
  end)
end)

describe("a BoundedSemaphore", function()
  it("may not be released beyond its first value", function()
    for n = 0, 2 do
      local s = locks.BoundedSemaphore(n)
      raises("the semaphore was released too many times",
        function() s:release() end)
      for _ = 1, n do s:acquire() end
      for _ = 1, n do s:release() end
      raises("the semaphore was released too many times",
        function() s:release() end)
      for _ = 1, n do assert.is_true(s:acquire():done()) end
      assert.is_false(s:acquire():done())
    end
  end)
end)

describe("a Lock", function()
  it("may not be released when it is not locked", function()
    local lock = locks.Lock()
    raises("the lock is not locked", function() lock:release() end)
    lock:acquire()
    lock:release()
    raises("the lock is not locked", function() lock:release() end)
    assert.is_true(lock:acquire():done())
    assert.is_false(lock:acquire():done())
  end)

  it("stays a lock when it is released by hand and by its scope", function()
    local lock = locks.Lock()
    local ok, err = pcall(run, function()
      local _ <close> = yield(lock:acquire())
      lock:release()
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("the lock is not locked", 1, true))
    assert.is_true(lock:acquire():done())
    assert.is_false(lock:acquire():done())
  end)
end)

describe("locks", function()
  it("show their state as text", function()
    local function says(pattern, object)
      assert.is_truthy(tostring(object):find("^" .. pattern .. "$"),
        tostring(object))
    end
    local c, e, l = locks.Condition(), locks.Event(), locks.Lock()
    local s, b = locks.Semaphore(2), locks.BoundedSemaphore()
    says("Condition: %S+ %(0 waiting%)", c)
    says("Event: %S+ %(clear%)", e)
    says("Semaphore: %S+ %(unlocked, value 2%)", s)
    says("BoundedSemaphore: %S+ %(unlocked, value 1%)", b)
    says("Lock: %S+ %(unlocked%)", l)
    local futures = {}
    for i = 1, 3 do
      futures[i] = {
        c:wait(), e:wait(), s:acquire(), b:acquire(), l:acquire(),
      }
    end
    says("Condition: %S+ %(3 waiting%)", c)
    says("Event: %S+ %(clear, 3 waiting%)", e)
    says("Semaphore: %S+ %(locked, 1 waiting%)", s)
    says("BoundedSemaphore: %S+ %(locked, 2 waiting%)", b)
    says("Lock: %S+ %(locked, 2 waiting%)", l)
    e:set()
    says("Event: %S+ %(set%)", e)
    assert.is_true(futures[3][2]:done())
  end)

  it("are collected with their waiters", function()
    assert.is_true(gc.collects(function()
      local lock = locks.Lock()
      lock:acquire()
      lock:acquire()
      return lock
    end))
    local function lose()
      local e = locks.Event()
      gen.coroutine(function() yield(e:wait()) end)()
    end
    lose()
    gc.collect()
    assert.equal(1, log:count("Coroutine was collected while waiting"))
    log:clear()
  end)

  it("that report an unobserved timeout do so once", function()
    local function drop() locks.Event():wait({ seconds = 0 }) end
    drop()
    run(function() yield(gen.sleep(0.001)) end)
    gc.collect()
    assert.equal(1, log:count(
      "Future exception was never retrieved: TimeoutError: Timeout"))
    log:clear()
  end)

  it("are the same after a second require", function()
    package.loaded["lunado.locks"] = nil
    package.loaded["lunado.waiters"] = nil
    assert.equal(locks, require "lunado.locks")
  end)

  it("that cannot be released end run with a reason", function()
    local r = child([[
      local lunado = require "lunado"
      local lock = lunado.locks.Lock()
      lunado.run(function()
        coroutine.yield(lock:acquire())
        coroutine.yield(lock:acquire())
      end)
    ]])
    assert.equal(1, r.code)
    assert.is_truthy(r.err:find("script.lua:5", 1, true), r.err)
  end)

  it("work between coroutines of many kinds", function()
    local lock = locks.Lock()
    local text = {}
    local function writer(word)
      return function()
        for _ = 1, 20 do
          local _ <close> = yield(lock:acquire(NEVER))
          for letter in word:gmatch(".") do
            text[#text + 1] = letter
            yield(gen.sleep(0))
          end
        end
      end
    end
    together(writer "one ", writer "two ", writer "three ")
    local words = {}
    for word in table.concat(text):gmatch("%a+") do
      words[word] = (words[word] or 0) + 1
    end
    assert.same({ one = 20, two = 20, three = 20 }, words)
    assert.is_true(lock:acquire():done())
  end)

  it("keep a Future that is handed to multi and with_timeout", function()
    local s = locks.Semaphore(1)
    run(function()
      local ok = pcall(yield, { s:acquire(), s:acquire(SOON) })
      assert.is_false(ok)
      s:release()
      local f = Future()
      loop:add_callback(f.set_result, f)
      yield { gen.with_timeout(NEVER, s:acquire()), f }
      s:release()
    end)
  end)
end)
