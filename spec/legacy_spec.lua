-- SPDX-License-Identifier: MIT
-- YieldPoints: Callback, Wait, WaitAll, MultiYieldPoint, and one's own.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"

local Future = concurrent.Future
local Callback, Wait, WaitAll = gen.Callback, gen.Wait, gen.WaitAll
local MultiYieldPoint, YieldPoint = gen.MultiYieldPoint, gen.YieldPoint
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local function assert_raises(class, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  if type(class) == "table" and class.subclass then
    assert.is_true(util.isinstance(err, class), tostring(err))
  else
    assert.equal(class, err)
  end
  return tostring(err)
end

local function soon(...)
  local future = Future()
  loop:add_callback(future.set_result, future, ...)
  return future
end

describe("Callback and Wait", function()
  it("belong to the key, any value but nil and NaN", function()
    run(function()
      for _, key in ipairs { "k", 1, 0.5, true, false, {}, print,
        io.stdout, coroutine.running() } do
        yield(Callback(key))(key)
        assert.equal(key, yield(Wait(key)))
      end
    end)
    for name, class in pairs { Callback = Callback, Wait = Wait } do
      bad(function() local _ = class(0 / 0) end, 1, name, "key", "NaN")
      bad(function() local _ = class() end, 1, name, "key", "nil")
      assert.is_false(pcall(class, nil))
    end
  end)

  it("work in whatever order the callbacks are called", function()
    run(function()
      local first, second = yield(Callback(1)), yield(Callback(2))
      loop:add_callback(second, "second")
      loop:call_later(0.001, first, "first")
      assert.equal("first", yield(Wait(1)))
      assert.equal("second", yield(Wait(2)))
    end)
  end)

  it("give nil, one value, or an Arguments", function()
    run(function()
      local function give(...)
        yield(Callback("k"))(...)
        return yield(Wait("k"))
      end
      assert.is_nil(give())
      assert.is_nil(give(nil))
      assert.is_false(give(false))
      assert.same({ 1, 2 }, { give(1, 2):unpack() })
      assert.same({ n = 2 }, table.pack(give(nil, nil):unpack()))
      assert.equal(1, give(util.kwargs { a = 1 }).kwargs.a)
    end)
  end)

  it("may use a key again once it was waited for", function()
    run(function()
      for i = 1, 10 do
        yield(Callback("k"))(i)
        assert.equal(i, yield(Wait("k")))
      end
    end)
  end)

  it("go by coroutine: others may use the same key", function()
    run(function()
      local fn = gen.coroutine(function(value)
        loop:add_callback(yield(Callback("k")), value)
        yield()
        return yield(Wait("k"))
      end)
      assert.same({ 1, 2, 3 }, yield { fn(1), fn(2), fn(3) })
    end)
  end)

  it("in a reused thread know nothing of the coroutine before", function()
    run(function()
      for i = 1, 20 do
        local leaving = gen.coroutine(function()
          yield(Callback("k"))
          error("leave", 0)
        end)
        assert_raises("leave", yield, leaving())
        assert.equal(i, yield(gen.coroutine(function()
          assert_raises(gen.UnknownKeyError, yield, Wait("k"))
          yield(Callback("k"))(i)
          return yield(Wait("k"))
        end)()))
      end
    end)
  end)

  it("work with gen.await", function()
    run(function()
      loop:add_callback(gen.await(Callback("k")), 42)
      assert.equal(42, gen.await(Wait("k")))
    end)
  end)

  it("take the last value that came before the Wait", function()
    run(function()
      local callback = yield(Callback("k"))
      callback(1)
      callback(2)
      assert.equal(2, yield(Wait("k")))
    end)
  end)

  it("ignore a call that comes after the Wait", function()
    run(function()
      local old = yield(Callback("k"))
      old(1)
      yield(Wait("k"))
      old("stale")
      local new = yield(Callback("k"))
      loop:add_callback(new, 2)
      assert.equal(2, yield(Wait("k")))
    end)
  end)

  it("ignore a call that comes after the end", function()
    local orphan
    run(function()
      local future = gen.coroutine(function()
        orphan = yield(Callback("k"))
        error("boom", 0)
      end)()
      assert_raises("boom", yield, future)
      orphan(1)
      yield()
    end)
    assert.equal(0, #log)
  end)

  it("resume from the loop, not inside the callback", function()
    run(function()
      local callback, order = nil, {}
      local future = gen.coroutine(function()
        callback = yield(Callback("k"))
        yield(Wait("k"))
        table.insert(order, "resumed")
      end)()
      callback()
      table.insert(order, "called")
      yield(future)
      assert.same({ "called", "resumed" }, order)
    end)
  end)
end)

describe("KeyReuseError", function()
  it("is raised at the yield, which may catch it", function()
    run(function()
      local callback = yield(Callback("k"))
      assert.is_truthy(
        assert_raises(gen.KeyReuseError, yield, Callback("k")):find("'k'", 1,
          true))
      assert_raises(gen.KeyReuseError, yield, Callback("k"))
      callback(1)
      assert_raises(gen.KeyReuseError, yield, Callback("k"))
      assert.equal(1, yield(Wait("k")))
    end)
  end)

  it("is raised for a key twice in one list", function()
    run(function()
      assert_raises(gen.KeyReuseError, yield,
        { Callback("k"), Callback("k") })
    end)
  end)
end)

describe("UnknownKeyError", function()
  it("is raised by Wait and WaitAll", function()
    run(function()
      assert.is_truthy(
        assert_raises(gen.UnknownKeyError, yield, Wait("k")):find("'k'", 1,
          true))
      assert_raises(gen.UnknownKeyError, yield, WaitAll { "k" })
      yield(Callback("a"))(1)
      assert_raises(gen.UnknownKeyError, yield, WaitAll { "a", "k" })
      assert.equal(1, yield(Wait("a")))
      assert_raises(gen.UnknownKeyError, yield, Wait("a"))
    end)
  end)

  it("is raised for a key that is waited for twice", function()
    run(function()
      yield(Callback("k"))(1)
      assert_raises(gen.UnknownKeyError, yield, { Wait("k"), Wait("k") })
      yield(Callback("k"))(1)
      assert_raises(gen.UnknownKeyError, yield, WaitAll { "k", "k" })
      loop:add_callback(yield(Callback("l")), 1)
      assert_raises(gen.UnknownKeyError, yield, { Wait("l"), Wait("l") })
    end)
  end)
end)

describe("LeakedCallbackError", function()
  local function leaks(fn)
    return assert_raises(gen.LeakedCallbackError, yield,
      gen.coroutine(fn)())
  end

  it("names the keys", function()
    run(function()
      local text = leaks(function()
        yield(Callback("a"))
        yield(Callback("b"))()
        yield(Callback(1))
        yield(Callback("c"))()
        yield(Wait("c"))
      end)
      for _, key in ipairs { "'a'", "'b'", "1" } do
        assert.is_truthy(text:find(key, 1, true), text)
      end
      assert.is_nil(text:find("'c'", 1, true))
    end)
  end)

  it("is raised after results, and after Return", function()
    run(function()
      leaks(function()
        yield(Callback("a"))
        return 1, 2
      end)
      leaks(function()
        yield(Callback("a"))
        error(gen.Return(1))
      end)
    end)
  end)

  -- As in Tornado: after an error some callbacks may have been orphaned.
  it("is not raised when an error was raised at a yield", function()
    run(function()
      local failed = Future()
      failed:set_exception("boom")
      for _, each in ipairs { failed, 42, Callback("k"), Wait("l") } do
        assert.equal(1, yield(gen.coroutine(function()
          yield(Callback("k"))
          assert.is_false(pcall(yield, each))
          return 1
        end)()))
      end
    end)
  end)

  it("is not raised when the coroutine fails itself", function()
    run(function()
      assert_raises("boom", yield, gen.coroutine(function()
        yield(Callback("a"))
        error("boom", 0)
      end)())
    end)
  end)
end)

describe("WaitAll", function()
  it("gives the results in the order of the keys", function()
    run(function()
      for key = 1, 3 do
        loop:call_later((4 - key) / 1000, yield(Callback(key)), -key)
      end
      assert.same({ -3, -1, -2 }, yield(WaitAll { 3, 1, 2 }))
    end)
  end)

  it("gives a list at once for none", function()
    run(function() assert.same({}, yield(WaitAll {})) end)
  end)

  it("keeps its keys, whatever becomes of the list", function()
    run(function()
      yield(Callback("a"))(1)
      local keys = { "a" }
      local point = WaitAll(keys)
      keys[1] = "b"
      assert.same({ 1 }, yield(point))
    end)
  end)

  it("wants a list", function()
    for _, wrong in ipairs { 1, "k", false } do
      local ok, err = pcall(WaitAll, wrong)
      assert.is_false(ok)
      assert.is_truthy(err:find("table expected", 1, true), err)
    end
    assert.is_false(pcall(WaitAll))
  end)
end)

describe("a YieldPoint of one's own", function()
  -- Ready after some calls of runner:run().
  local Countdown = YieldPoint:subclass("Countdown")
  function Countdown:init(n) self.n, self.calls = n, {} end
  function Countdown:start(runner)
    table.insert(self.calls, "start")
    self.runner = runner
    local function step()
      if self.n == 0 then return end
      self.n = self.n - 1
      runner:run()
      loop:add_callback(step)
    end
    loop:add_callback(step)
  end
  function Countdown:is_ready()
    table.insert(self.calls, "is_ready")
    return self.n == 0
  end
  function Countdown:get_result()
    table.insert(self.calls, "get_result")
    return "done", nil, 3
  end

  it("is started, asked, and gives its results once", function()
    run(function()
      local point = Countdown(2)
      assert.same({ n = 3, "done", nil, 3 }, table.pack(yield(point)))
      assert.same({ "start", "is_ready", "is_ready", "is_ready",
        "get_result" }, point.calls)
    end)
  end)

  it("that is ready does not suspend", function()
    run(function()
      local turned = false
      loop:add_callback(function() turned = true end)
      assert.equal("done", (yield(Countdown(0))))
      assert.is_false(turned)
      yield()
    end)
  end)

  it("may derive from any class, and add to it", function()
    run(function()
      local Double = Wait:subclass("Double")
      function Double:get_result()
        return 2 * Wait.get_result(self)
      end
      local Quadruple = Double:subclass("Quadruple")
      function Quadruple:get_result()
        return 2 * Double.get_result(self)
      end
      loop:add_callback(yield(Callback("k")), 10)
      assert.equal(20, yield(Double("k")))
      loop:add_callback(yield(Callback("k")), 10)
      assert.equal(40, yield(Quadruple("k")))
    end)
  end)

  it("may use the runner's keys", function()
    run(function()
      local Keyed = YieldPoint:subclass("Keyed")
      function Keyed:start(runner)
        self.runner = runner
        runner:register_callback(self)
        loop:add_callback(runner:result_callback(self), 1, 2)
      end
      function Keyed:is_ready() return self.runner:is_ready(self) end
      function Keyed:get_result() return self.runner:pop_result(self) end
      assert.same({ 1, 2 }, { yield(Keyed()):unpack() })
    end)
  end)

  for _, missing in ipairs { "start", "is_ready", "get_result" } do
    it("without " .. missing .. " is refused at the yield", function()
      run(function()
        local started = false
        local Partial = YieldPoint:subclass("Partial")
        for _, name in ipairs { "start", "is_ready", "get_result" } do
          if name ~= missing then
            Partial[name] = function()
              started = true
              return true
            end
          end
        end
        for _, each in ipairs { Partial(), { Partial() } } do
          local text = assert_raises(gen.BadYieldError, yield, each)
          assert.is_truthy(text:find("Partial", 1, true), text)
          assert.is_truthy(text:find("'" .. missing .. "'", 1, true), text)
        end
        assert.is_false(started)
        Partial[missing] = 42
        assert_raises(gen.BadYieldError, yield, Partial())
      end)
    end)
  end

  it("without any method is refused, as is YieldPoint itself", function()
    run(function()
      assert_raises(gen.BadYieldError, yield, YieldPoint())
      assert_raises(gen.BadYieldError, yield, YieldPoint:subclass("X")())
    end)
  end)

  for _, method in ipairs { "start", "is_ready", "get_result" } do
    it("that raises in " .. method .. " raises at the yield", function()
      run(function()
        local err = {}
        local Fragile = YieldPoint:subclass("Fragile")
        function Fragile.start() end
        function Fragile.is_ready() return true end
        function Fragile.get_result() return 1 end
        Fragile[method] = function() error(err) end
        assert_raises(err, yield, Fragile())
        assert_raises(err, yield, { Fragile(), soon(1) })
        yield()
      end)
      gc.collect()
      assert.equal(0, #log, log:text())
    end)
  end

  it("that raises in is_ready later raises at the yield", function()
    run(function()
      local err = {}
      local Fragile = YieldPoint:subclass("Fragile")
      function Fragile.start(_, runner)
        loop:add_callback(function() runner:run() end)
      end
      function Fragile:is_ready()
        if self.asked then error(err) end
        self.asked = true
        return false
      end
      function Fragile.get_result() end
      assert_raises(err, yield, Fragile())
    end)
  end)

  it("may not yield in its methods", function()
    run(function()
      local Yielding = YieldPoint:subclass("Yielding")
      function Yielding.start() yield() end
      function Yielding.is_ready() return true end
      function Yielding.get_result() return 1 end
      local ok, err = pcall(yield, Yielding())
      assert.is_false(ok)
      assert.is_string(err)
      yield()
    end)
  end)

  it("outside of a coroutine is refused", function()
    local ok, err = pcall(gen.convert_yielded, Wait("k"))
    assert.is_false(ok)
    assert.is_truthy(err:find("in a coroutine only", 1, true), err)
  end)

  it("needs a name", function()
    local ok, err = pcall(function()
      local _ = YieldPoint:subclass()
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("bad argument #1 to 'subclass'", 1, true), err)
  end)
end)

describe("YieldPoints and Futures", function()
  it("mix in a list, in a dict, and nested", function()
    run(function()
      for key = 1, 3 do
        loop:call_later((4 - key) / 1000, yield(Callback(key)), key)
      end
      assert.same({ "f", { a = 1, b = { 2, "g" } }, 3 }, yield {
        soon("f"),
        { a = Wait(1), b = { Wait(2), soon("g") } },
        Wait(3),
      })
    end)
  end)

  it("mix as several arguments", function()
    run(function()
      loop:add_callback(yield(Callback("k")), 1)
      assert.same({ n = 2, 1, 2 },
        table.pack(yield(Wait("k"), soon(2))))
    end)
  end)

  it("mix in multi, with_timeout and WaitIterator", function()
    run(function()
      loop:add_callback(yield(Callback("k")), 1)
      assert.same({ 1, 2 }, yield(gen.multi { Wait("k"), soon(2) }))
      loop:add_callback(yield(Callback("k")), 3)
      assert.equal(3, yield(gen.with_timeout({ seconds = 60 }, Wait("k"))))
      assert_raises(gen.TimeoutError, yield, gen.with_timeout(
        { milliseconds = 1 },
        gen.coroutine(function()
          yield(Callback("k"))
          yield(Wait("k"))
        end)()))
    end)
    gc.collect()
    assert.equal(1, log:count "Coroutine was collected while waiting")
  end)

  it("raise the first error by position when all are done", function()
    run(function()
      local callback = yield(Callback("k"))
      local failing = Future()
      loop:add_callback(failing.set_exception, failing, "boom")
      loop:call_later(0.001, callback)
      assert_raises("boom", yield, { Wait("k"), failing })
      assert_raises(gen.UnknownKeyError, yield, Wait("k"))
    end)
  end)

  it("give callbacks by name", function()
    run(function()
      local callbacks = yield { a = Callback("a"), b = Callback("b") }
      callbacks.b(2)
      callbacks.a(1)
      assert.same({ 1, 2 }, yield(WaitAll { "a", "b" }))
    end)
  end)
end)

describe("MultiYieldPoint", function()
  it("waits for lists and dicts of anything", function()
    run(function()
      loop:add_callback(yield(Callback("k")), 1)
      assert.same({ 1, 2, { 3 } },
        yield(MultiYieldPoint { Wait("k"), soon(2), { soon(3) } }))
      assert.same({ a = 1 }, yield(MultiYieldPoint { a = soon(1) }))
      assert.same({}, yield(MultiYieldPoint {}))
    end)
  end)

  it("raises the first error, logs others that are not quiet", function()
    local function failing(err)
      local future = Future()
      loop:add_callback(future.set_exception, future, err)
      return future
    end
    run(function()
      assert_raises("one", yield,
        MultiYieldPoint { failing("one"), failing("two") })
      assert.equal(1, log:count("two"))
      assert_raises("three", yield, MultiYieldPoint(
        { failing("three"), failing("four") }, "^four$"))
    end)
    gc.collect()
    assert.equal(0, log:count("four"))
    assert.equal(1, #log)
  end)

  it("refuses a value that is not yieldable, at the yield", function()
    run(function()
      assert_raises(gen.BadYieldError, yield, MultiYieldPoint { 42 })
    end)
  end)

  it("wants a table", function()
    for _, wrong in ipairs { 1, "k", false } do
      local ok, err = pcall(MultiYieldPoint, wrong)
      assert.is_false(ok)
      assert.is_truthy(err:find("table expected", 1, true), err)
    end
  end)
end)

describe("memory", function()
  it("is free of coroutines that have ended", function()
    assert.is_true(gc.collects(function()
      local object = {}
      run(function()
        yield(gen.coroutine(function()
          loop:add_callback(yield(Callback(object)), object)
          yield(Wait(object))
        end)())
      end)
      return object
    end))
  end)

  it("is free of coroutines that failed, with keys left", function()
    assert.is_true(gc.collects(function()
      local object = {}
      run(function()
        pcall(yield, gen.coroutine(function()
          yield(Callback(object))
          error("boom")
        end)())
        yield()
      end)
      return object
    end))
  end)

  it("is free of a coroutine whose callback is unreachable", function()
    assert.is_true(gc.collects(function()
      local object = {}
      gen.coroutine(function()
        yield(Callback("k"))
        yield(Wait("k"))
        return object
      end)()
      return object
    end))
    gc.collect()
    assert.equal(1, log:count("collected while waiting"))
  end)

  it("keeps a coroutine whose callback can be called", function()
    local callback, resumed
    do
      gen.coroutine(function()
        callback = yield(Callback("k"))
        resumed = yield(Wait("k"))
      end)()
    end
    gc.collect()
    callback(42)
    run(function() yield() end)
    assert.equal(42, resumed)
  end)

  it("is free of a coroutine that other code closed", function()
    assert.is_true(gc.collects(function()
      local object = {}
      run(function()
        local thread
        local future = gen.coroutine(function()
          thread = coroutine.running()
          yield(Callback(object))
          yield(soon())
        end)()
        coroutine.resume(thread)
        pcall(yield, future)
      end)
      return object
    end))
  end)
end)
