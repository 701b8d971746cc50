-- SPDX-License-Identifier: MIT
-- What is left of waits that are over, and what must not go before they are:
-- late failures, and Futures that get their outcome from others.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local queues = require "lunado.queues"
local util = require "lunado.util"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future, chain = concurrent.Future, concurrent.chain_future
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin_virtual() end)
after_each(function() frame.finish() end)

local A_MOMENT, NEVER = { seconds = 0.001 }, { seconds = 20 }

-- Has with_timeout time out on what make(f, g) gives, n times, and then f and g
-- fail with their errors; returns the log's lines.
local function late(make, quiet, errors, n)
  log:clear()
  local f, g = Future(), Future()
  run(function()
    for i = 1, n or 3 do
      local q = quiet
      if type(quiet) == "function" then q = quiet(i) end
      local ok, err = pcall(yield, gen.with_timeout(A_MOMENT, make(f, g), q))
      assert(not ok and util.isinstance(err, util.TimeoutError), err)
    end
  end)
  gc.collect()
  f:set_exception(errors[1])
  g:set_exception(errors[2] or "of g")
  f, g = nil, nil
  loops.turn(loop, 2)
  gc.collect()
  return log
end

local kinds = {
  Future = function(f, g) g:exc_info() return f end,
  list = function(f, g) return { f, g } end,
  ["table of tables"] = function(f, g)
    return { a = { f, { f } }, b = { c = g } }
  end,
  multi = function(f, g) return gen.multi { f, g } end,
  ["multi in a multi"] = function(f, g)
    return gen.multi { x = gen.multi { f }, { g, f } }
  end,
  ["convert_yielded"] = function(f, g)
    return gen.convert_yielded { f, { g } }
  end,
  ["next of a WaitIterator"] = function(f, g)
    return gen.WaitIterator(f, g):next()
  end,
  ["target of chain_future"] = function(f, g)
    local target, other = Future(), Future()
    chain(f, target)
    chain(g, other)
    return { target, other }
  end,
  ["with_timeout"] = function(f, g)
    return gen.with_timeout(NEVER, { f, g })
  end,
}

describe("a failure after several timeouts", function()
  for name, make in pairs(kinds) do
    it("is logged once: of a " .. name, function()
      late(make, nil, { "of f" })
      assert.equal(1, log:count "of f", log:text())
      assert.equal(1, log:count "of g", log:text())
    end)
  end

  for name, make in pairs(kinds) do
    -- What is within another with_timeout is that one's to be quiet about.
    if name ~= "with_timeout" then
      it("is not logged when it is quiet: of a " .. name, function()
        late(make, "of [fg]", { "of f" })
        if name == "Future" then assert.equal(1, log:count "of g") end
        assert.equal(0, log:count "of f", log:text())
        if name ~= "Future" then assert.equal("", log:text()) end
      end)
    end
  end

  it("is logged at once while the Future is referenced", function()
    local f = Future()
    run(function()
      for _ = 1, 10 do
        pcall(yield, gen.with_timeout(A_MOMENT, f))
        pcall(yield, gen.with_timeout(A_MOMENT, { f, f }))
      end
    end)
    assert.equal("", log:text())
    f:set_exception "late"
    assert.equal(1, log:count "Error in a Future after its timeout: late")
    assert.equal(1, #log)
    assert.equal("late", f:exception())
  end)

  it("is logged unless it is quiet for all", function()
    local make = kinds.Future
    local function n(...)
      local rules = table.pack(...)
      late(make, function(i) return rules[i] end, { "of f" }, rules.n)
      assert.equal(1, log:count "of g") -- nobody waits for it
      return log:count "of f"
    end
    assert.equal(1, n("of f", nil, "of f"))
    assert.equal(1, n(nil, "of f"))
    assert.equal(1, n("of f", "other", "of f"))
    assert.equal(1, n("other", { "of f" }))
    assert.equal(0, n("of f", { "x", "of f" }, "f$"))
    assert.equal(0, n(function() return true end, { "of", "f" }))
    assert.equal(1, n(function() return true end, function() return false end))
  end)

  it("has its closures distinguished by their upvalues", function()
    local function rule(text) return function(e) return e == text end end
    late(kinds.Future, function(i) return rule(i == 3 and "x" or "of f") end,
      { "of f" }, 3)
    assert.equal(1, log:count "of f", log:text())
    late(kinds.Future, function() return rule "of f" end, { "of f" }, 100)
    assert.equal(0, log:count "of f", log:text())
    late(kinds.Future, function(i) return rule(i) end, { "of f" }, 100)
    assert.equal(1, log:count "of f", log:text())
    assert.equal(1, log:count "of g")
  end)

  it("is logged, with the error of the rule that fails", function()
    local function failing() return function() error "bad rule" end end
    late(kinds.Future, failing, { "of f" }, 2)
    assert.equal(1, log:count "bad rule", log:text())
    assert.equal(1, log:count "of f", log:text())
    late(kinds.Future, function() return "%" end, { "of f" }, 2)
    assert.equal(1, log:count "malformed pattern", log:text())
    assert.equal(1, log:count "of f", log:text())
    assert.equal(1, log:count "of g")
  end)

  it("is logged for a multi whose rule fails", function()
    local f, g, h = Future(), Future(), Future()
    local all = gen.multi({ f, g, h }, function() error "bad rule" end)
    f:set_exception "of f"
    g:set_exception "of g"
    h:set_exception "of h"
    assert.equal("of f", all:exception())
    assert.equal(2, log:count "bad rule", log:text())
    assert.equal(1, log:count "of g", log:text())
    assert.equal(1, log:count "of h", log:text())
  end)

  it("is matched with the patterns though it is unreadable", function()
    local unreadable = setmetatable({}, {
      __tostring = function() error "no" end,
    })
    late(kinds.Future, "other", { unreadable }, 2)
    assert.equal(1, log:count "whose __tostring fails", log:text())
    assert.equal(0, log:count "quiet_exceptions", log:text())
    late(kinds.Future, "whose __tostring fails", { unreadable }, 2)
    assert.equal(0, log:count "whose __tostring fails", log:text())
    assert.equal(0, log:count "quiet_exceptions", log:text())
    assert.equal(1, log:count "of g")
  end)

  it("is not logged when a coroutine then waits for it", function()
    local f = Future()
    run(function()
      pcall(yield, gen.with_timeout(A_MOMENT, f))
      pcall(yield, gen.with_timeout(A_MOMENT, { f }))
      loop:call_later(0.01, f.set_exception, f, "boom")
      local ok, err = pcall(yield, f)
      assert.is_false(ok)
      assert.equal("boom", err)
    end)
    assert.equal("", log:text())
  end)

  it("is not logged when a callback has retrieved it", function()
    for _, look in ipairs { true, false } do
      log:clear()
      local f = Future()
      run(function() pcall(yield, gen.with_timeout(A_MOMENT, f)) end)
      f:add_done_callback(function() if look then f:exception() end end)
      f:set_exception "boom"
      f = nil
      gc.collect()
      assert.equal(look and 0 or 1, log:count "boom", log:text())
    end
  end)

  it("of a child that failed before the timeout is logged once", function()
    for _, quiet in ipairs { false, "early" } do
      log:clear()
      local f, g = Future(), Future()
      run(function()
        local timed = gen.with_timeout(A_MOMENT, { f, g }, quiet or nil)
        f:set_exception "early"
        assert.is_false(pcall(yield, timed))
      end)
      f = nil
      gc.collect()
      assert.equal(quiet and 0 or 1, log:count "early", log:text())
      assert.is_false(g:done())
    end
  end)

  it("is logged where the with_timeout was settled by hand", function()
    local f = Future()
    local timed = gen.with_timeout(NEVER, f)
    timed:set_result()
    f:set_exception "late"
    f = nil -- luacheck: ignore
    gc.collect()
    assert.equal(1, log:count "late", log:text())
  end)
end)

describe("children of a multi that was collected", function()
  it("have each of their errors logged once", function()
    local f, g = Future(), Future()
    local function drop()
      gen.multi { f, g }
      gen.multi({ f, gen.multi { g } }, "quiet")
      gen.WaitIterator(f, g):next()
      chain(f, Future())
    end
    drop()
    gc.collect()
    f:set_exception "of f"
    g:set_exception "of g"
    f, g = nil, nil -- luacheck: ignore
    gc.collect()
    assert.equal(1, log:count "of f", log:text())
    assert.equal(1, log:count "of g", log:text())
    assert.equal(2, #log, log:text())
  end)
end)

-- Each gives a Future that gets its outcome from f, and maybe others.
local dependents = {
  function(f) return gen.multi { f } end,
  function(f) return gen.multi { a = f, b = { f } } end,
  function(f) return gen.WaitIterator(f, Future()):next() end,
  function(f)
    local wi = gen.WaitIterator { x = f }
    local next = wi:next()
    assert(next == wi:next())
    return next
  end,
  function(f)
    local target = Future()
    chain(f, target)
    chain(Future(), target)
    return target
  end,
  function(f) return gen.with_timeout(NEVER, f) end,
  function(f) return gen.with_timeout(NEVER, { f }) end,
  function(f) return gen.convert_yielded { f } end,
  function(f) return gen.coroutine(yield)(f) end,
}

describe("a Future that gets its outcome from others", function()
  -- Nests dependents by the digits of `number`, `depth` deep.
  local function nest(f, number, depth)
    for _ = 1, depth do
      f = dependents[number % #dependents + 1](f)
      number = number // #dependents
    end
    return f
  end

  local DEPTH <const> = 3

  it("gets it while a coroutine waits for it, whatever is collected",
    function()
      for number = 0, (#dependents) ^ DEPTH // 1 | 0, 31 do
        local f = Future()
        local got
        gen.coroutine(function()
          yield(nest(f, number, DEPTH))
          got = true
        end)()
        gc.collect()
        f:set_result(number)
        f = nil -- luacheck: ignore
        collectgarbage()
        loops.turn(loop, DEPTH + 2)
        assert.is_true(got, number)
      end
      assert.equal("", log:text())
    end)

  it("gets it while it is referenced, and awaited later", function()
    for number = 0, (#dependents) ^ 2 // 1 | 0, 2 do
      local f = Future()
      local dependent = nest(f, number, 2)
      gc.collect()
      local waiter = gen.coroutine(yield)(dependent)
      gc.collect()
      f:set_result(number)
      loops.turn(loop, 4)
      assert.is_true(waiter:done(), number)
      assert.is_true(dependent:done(), number)
    end
    assert.equal("", log:text())
  end)

  it("is settled while it is referenced, without waiters", function()
    for number = 0, (#dependents) ^ 2 // 1 | 0, 2 do
      local f = Future()
      local dependent = nest(f, number, 2)
      gc.collect()
      f:set_exception("boom")
      loops.turn(loop, 4)
      assert.is_true(dependent:done(), number)
      assert.equal("boom", dependent:exception(), number)
      dependent, f = nil, nil -- luacheck: ignore
    end
    gc.collect()
    assert.equal("", log:text())
  end)

  it("has its callbacks called, though it is unreferenced", function()
    for number, dependent in ipairs(dependents) do
      local f = Future()
      local called = 0
      dependent(f):add_done_callback(function() called = called + 1 end)
      gc.collect()
      f:set_result(number)
      loops.turn(loop, 3)
      assert.equal(1, called, number)
    end
  end)

  it("is collected when unreferenced, though the others exist",
    function()
      for number, dependent in ipairs(dependents) do
        if number < 6 or number == 8 then
          local f = Future()
          assert.is_true(gc.collects(function()
            return dependent(f)
          end), number)
          f:set_result()
        end
      end
    end)

  it("is collected when unreferenced: a wait in a queue", function()
    local f, q = Future(), queues.Queue()
    for _, n in ipairs { 1, 2, 20 } do
      assert.is_true(gc.collects(function()
        local target = q:get()
        for _ = 1, n do chain(f, target) end
        return target
      end), n)
    end
    f:set_result(1)
    assert.equal("", log:text())
  end)

  it("gets it while a coroutine waits: a wait in a queue", function()
    for _, how in ipairs { "source", "line" } do
      local f, q = Future(), queues.Queue()
      local waiter = (function(queue)
        local target = queue:get()
        chain(f, target)
        return gen.coroutine(yield)(target)
      end)(q)
      if how == "source" then q = nil end -- luacheck: ignore
      gc.collect()
      if q then q:put_nowait(how) else f:set_result(how) end
      loops.turn(loop, 3)
      assert.equal(how, waiter:result())
      if q then f:set_result() end
    end
    assert.equal("", log:text())
  end)

  it("is collected after its waiters were collected", function()
    for number, dependent in ipairs(dependents) do
      if number < 6 or number == 8 then
        local f = Future()
        assert.is_true(gc.collects(function()
          local target = dependent(f)
          run(function()
            local one = gen.with_timeout(A_MOMENT, target)
            local two = gen.with_timeout(A_MOMENT, { target, target })
            assert.is_false(pcall(yield, one))
            assert.is_false(pcall(yield, two))
          end)
          return target
        end), number)
        f:set_result()
      end
    end
  end)

  it("may have many sources, which come and go", function()
    local target = Future()
    local last
    for _ = 1, 100 do
      for _ = 1, 10 do chain(Future(), target) end
      last = Future()
      chain(last, target)
      collectgarbage("step")
    end
    gc.collect()
    last:set_result(5)
    assert.equal(5, target:result())
  end)

  it("may be its own source", function()
    local f, g = Future(), Future()
    chain(f, f)
    chain(f, g)
    chain(g, f)
    gc.collect()
    f:set_result(1)
    assert.equal(1, g:result())
    assert.is_true(gc.collects(function()
      local a, b = Future(), Future()
      chain(a, b)
      chain(b, a)
      return a
    end))
  end)
end)

describe("a YieldPoint in a with_timeout that has timed out", function()
  it("leaves a result to a YieldPoint that waits later", function()
    -- What the others then fail with, unless they were collected.
    log:allow "after its timeout: UnknownKeyError: key 'key' is not pending"
    run(function()
      local call = yield(gen.Callback "key")
      for _ = 1, 3 do
        assert.is_false(pcall(yield, gen.with_timeout(A_MOMENT,
          gen.Wait "key")))
      end
      loop:add_callback(call, 5)
      assert.equal(5, yield(gen.with_timeout(NEVER, gen.Wait "key")))
    end)
  end)

  it("may be waited for again", function()
    run(function()
      local call = yield(gen.Callback "key")
      local wait = gen.convert_yielded(gen.Wait "key")
      for _ = 1, 3 do
        assert.is_false(pcall(yield, gen.with_timeout(A_MOMENT, wait)))
        gc.collect()
      end
      call(5)
      assert.equal(5, yield(gen.with_timeout(NEVER, wait)))
    end)
    assert.equal("", log:text())
  end)
end)

describe("a WaitIterator", function()
  it("goes on while it is used, whatever is collected", function()
    local futures = {}
    for i = 1, 5 do futures[i] = Future() end
    local got = {}
    gen.coroutine(function()
      local wi = gen.WaitIterator(futures)
      while not wi:done() do
        got[#got + 1] = yield(wi:next())
        got[#got + 1] = wi.current_index
        gc.collect()
      end
    end)()
    for _, i in ipairs { 3, 1, 5, 4, 2 } do
      gc.collect()
      futures[i]:set_result(10 * i)
      loops.turn(loop, 2)
    end
    assert.same({ 30, 3, 10, 1, 50, 5, 40, 4, 20, 2 }, got)
  end)

  it("outlives none of its calls", function()
    local a, b = Future(), Future()
    local next = gc.interfere(3, function() end, function()
      return gen.WaitIterator(a, b):next()
    end)
    gc.collect()
    b:set_result(7)
    assert.equal(7, next:result())
  end)

  it("can be finalized by hand, and twice", function()
    local a = Future()
    local wi = gen.WaitIterator(a)
    local finalize = debug.getmetatable(wi).__gc
    local next = wi:next()
    finalize(wi)
    finalize(wi)
    a:set_result(1)
    assert.equal(1, next:result())
    finalize(wi)
    assert.is_false(pcall(finalize, a))
    assert.is_false(pcall(finalize))
  end)
end)
