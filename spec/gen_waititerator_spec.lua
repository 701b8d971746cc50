-- SPDX-License-Identifier: MIT
-- gen.WaitIterator: outcomes of many Futures as they come.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local outcomes = require "spec.support.outcomes"
local values = require "spec.support.values"

local Future = concurrent.Future
local done = outcomes.done
local WaitIterator = gen.WaitIterator
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Sets the Futures one a turn, in the order given.
local function set_in_order(futures, order)
  loop:spawn_callback(gen.coroutine(function()
    for _, key in ipairs(order) do
      yield()
      futures[key]:set_result("result " .. tostring(key))
    end
  end))
end

local function collect(wi)
  local seen = {}
  while not wi:done() do
    local result = yield(wi:next())
    seen[#seen + 1] = { wi.current_index, result, wi.current_future }
  end
  return seen
end

describe("a WaitIterator", function()
  it("gives results in the order in which they come", function()
    local f = { Future(), Future(), Future() }
    local wi = WaitIterator(f[1], f[2], f[3])
    set_in_order(f, { 2, 3, 1 })
    assert.same({ { 2, "result 2", f[2] }, { 3, "result 3", f[3] },
      { 1, "result 1", f[1] } }, run(function() return collect(wi) end))
  end)

  it("takes a list", function()
    local f = { Future(), Future(), Future() }
    set_in_order(f, { 3, 1, 2 })
    assert.same({ { 3, "result 3", f[3] }, { 1, "result 1", f[1] },
      { 2, "result 2", f[2] } }, run(function()
        return collect(WaitIterator(f))
      end))
  end)

  it("takes names", function()
    local f = { a = Future(), b = Future() }
    set_in_order(f, { "b", "a" })
    assert.same({ { "b", "result b", f.b }, { "a", "result a", f.a } },
      run(function() return collect(WaitIterator(f)) end))
  end)

  it("gives done ones at once, in the order of the arguments", function()
    local wi = WaitIterator(done("a"), Future(), done("c"), done("d"))
    for _, expected in ipairs { { 1, "a" }, { 3, "c" }, { 4, "d" } } do
      assert.is_false(wi:done())
      local f = wi:next()
      assert.is_true(f:done())
      assert.same(expected, { wi.current_index, (f:result()) })
    end
    assert.is_false(wi:next():done())
  end)

  it("tells when it is done", function()
    local f = Future()
    local wi = WaitIterator(f)
    assert.is_false(wi:done())
    f:set_result(1)
    assert.is_false(wi:done())
    run(function() yield(wi:next()) end)
    assert.is_true(wi:done())
    assert.is_true(WaitIterator():done())
    assert.is_true(WaitIterator({}):done())
  end)

  it("has no current one before the first and after the last", function()
    local f = Future()
    local wi = WaitIterator(f)
    assert.is_nil(wi.current_index)
    assert.is_nil(wi.current_future)
    local nextf = wi:next()
    assert.is_nil(wi.current_index)
    f:set_result(1)
    run(function() yield(nextf) end)
    assert.equal(1, wi.current_index)
    assert.equal(f, wi.current_future)
    assert.is_true(wi:done())
    assert.is_nil(wi.current_index)
    assert.is_nil(wi.current_future)
  end)

  it("gives the child itself where one is done", function()
    local f = done(1)
    local wi = WaitIterator(f, Future())
    assert.equal(f, wi:next())
    assert.equal(f, wi.current_future)
  end)

  it("gives a Future of its own where none is done yet", function()
    local f = Future()
    local nextf = WaitIterator(f):next()
    f:set_result(1)
    assert.are_not.equal(f, nextf)
    assert.equal(1, nextf:result())
  end)

  it("may be asked for the next by a callback of the last", function()
    local a, b, second = Future(), Future(), nil
    local wi = WaitIterator(a, b)
    wi:next():add_done_callback(function() second = wi:next() end)
    a:set_result("a")
    assert.is_false(second:done())
    assert.equal(second, wi:next())
    b:set_result("b")
    assert.equal("b", second:result())
    assert.is_true(wi:done())
  end)

  it("keeps the order where callbacks of many Futures nest", function()
    local f, chain = { Future(), Future() }, Future()
    local wi = WaitIterator(f)
    f[1]:add_done_callback(function() end)
    local last = chain
    for _ = 1, 20 do
      local outer, inner = last, Future()
      outer:add_done_callback(function() inner:set_result() end)
      last = inner
      if _ == 16 then
        inner:add_done_callback(function()
          f[1]:set_result("first")
          f[2]:set_result("second")
        end)
      end
    end
    chain:set_result()
    assert.same({ "first", "second" },
      { wi:next():result(), wi:next():result() })
  end)

  it("loses no outcome when other code settles its Future", function()
    local f = { Future(), Future() }
    local wi = WaitIterator(f)
    wi:next():set_result("by hand")
    f[2]:set_result("second")
    f[1]:set_result("first")
    assert.same({ { 2, "second", f[2] }, { 1, "first", f[1] } },
      run(function() return collect(wi) end))
  end)

  it("gives the same Future until it is done", function()
    local a, b = Future(), Future()
    local wi = WaitIterator(a, b)
    local first = wi:next()
    assert.equal(first, wi:next())
    b:set_result("b")
    run(function() yield(first) end)
    local second = wi:next()
    assert.are_not.equal(first, second)
    a:set_result("a")
    assert.equal("a", run(function() return yield(second) end))
  end)

  it("raises when nothing is left", function()
    local wi = WaitIterator(done(1))
    wi:next()
    assert.is_false((pcall(wi.next, wi)))
    assert.is_false((pcall(wi.next, WaitIterator())))
  end)

  it("may be given a Future twice", function()
    local f = Future()
    local wi = WaitIterator(f, f)
    local first = wi:next()
    f:set_result("x")
    assert.same({ 1, "x", 2, "x", true }, run(function()
      local a = yield(first)
      local i = wi.current_index
      local b = yield(wi:next())
      return { i, a, wi.current_index, b, wi:done() }
    end))
  end)

  for _, case in ipairs(values.lists) do
    it("passes on " .. case[1], function()
      local f = Future()
      local wi = WaitIterator(f, done(values.unpack(case[2])))
      assert.same(case[2], table.pack(wi:next():result()))
      loop:add_callback(f.set_result, f, values.unpack(case[2]))
      assert.same(case[2], table.pack(run(function()
        return yield(wi:next())
      end)))
    end)
  end

  it("passes an error on, which its receiver must retrieve", function()
    local function fail()
      local f = Future()
      f:set_exception("not looked at again")
      assert.equal("not looked at again", f:exception())
      WaitIterator(f):next()
    end
    fail()
    gc.collect()
    assert.equal(1, log:count "never retrieved: not looked at again")
  end)

  it("passes on errors and goes on after them", function()
    local f = { Future(), Future(), Future() }
    local err = {}
    assert.same({ { 2, false, err }, { 3, true, 3 }, { 1, false, "one" } },
      run(function()
        local seen, wi = {}, WaitIterator(f)
        f[2]:set_exception(err)
        f[3]:set_result(3)
        f[1]:set_exception("one")
        while not wi:done() do
          local ok, x = pcall(yield, wi:next())
          seen[#seen + 1] = { wi.current_index, ok, x }
        end
        return seen
      end))
    assert.equal("", log:text())
  end)

  it("includes Futures that are done between two rounds", function()
    local f = {}
    for i = 1, 10 do
      f[i] = Future()
    end
    local order = {}
    run(function()
      local wi = WaitIterator(f)
      local n = 0
      loop:add_callback(function() f[5]:set_result() end)
      while not wi:done() do
        yield(wi:next())
        order[#order + 1] = wi.current_index
        n = n + 1
        if n == 1 then
          for _, i in ipairs { 9, 1, 7, 2 } do
            f[i]:set_result()
          end
          yield()
          for _, i in ipairs { 10, 3, 4, 6, 8 } do
            f[i]:set_result()
          end
        end
      end
    end)
    assert.same({ 5, 9, 1, 7, 2, 10, 3, 4, 6, 8 }, order)
  end)

  it("works for many Futures", function()
    local f, sum = {}, 0
    for i = 1, 10000 do
      f[i] = Future()
      loop:add_callback(f[i].set_result, f[i], i)
    end
    run(function()
      local wi = WaitIterator(table.unpack(f))
      while not wi:done() do
        sum = sum + yield(wi:next())
      end
    end)
    assert.equal(50005000, sum)
  end)
end)

describe("results()", function()
  it("iterates inside a coroutine and suspends between rounds", function()
    local f = { Future(), Future(), Future() }
    set_in_order(f, { 2, 3, 1 })
    local turns = 0
    local seen = run(function()
      gen.coroutine(function()
        while turns < 3 do
          yield()
          turns = turns + 1
        end
      end)()
      local rounds = {}
      for index, result in WaitIterator(f):results() do
        rounds[#rounds + 1] = { index, result }
      end
      return rounds
    end)
    assert.same({ { 2, "result 2" }, { 3, "result 3" }, { 1, "result 1" } },
      seen)
    assert.is_true(turns > 0)
  end)

  it("gives names, and nil and false as results", function()
    local rounds = {}
    run(function()
      for index, result in WaitIterator({ x = done(nil) }):results() do
        rounds[#rounds + 1] = { index, result == nil }
      end
      for index, result in WaitIterator(done(false), done(nil)):results() do
        rounds[#rounds + 1] = { index, result == false }
      end
    end)
    assert.same({ { "x", true }, { 1, true }, { 2, false } }, rounds)
  end)

  it("gives the name false, too", function()
    local n = 0
    run(function()
      for index in WaitIterator({ [false] = done(1), x = done(2) }):results()
      do
        n = n + 1
        assert.is_true(index == false or index == "x")
      end
    end)
    assert.equal(2, n)
  end)

  it("raises the first error at the loop", function()
    local seen = {}
    local ok, err = pcall(run, function()
      local failing = Future()
      failing:set_exception("boom")
      for index in WaitIterator(done(1), failing, done(3)):results() do
        seen[#seen + 1] = index
      end
    end)
    assert.is_false(ok)
    assert.equal("boom", err)
    assert.same({ 1 }, seen)
  end)

  it("iterates over nothing", function()
    run(function()
      for _ in WaitIterator():results() do -- luacheck: ignore
        error("a round")
      end
    end)
  end)
end)

describe("a WaitIterator's arguments", function()
  it("are checked", function()
    local f = Future()
    bad(function() WaitIterator(5) end, 1, "WaitIterator", nil, "number")
    bad(function() WaitIterator(f, 5) end, 2, "WaitIterator", "future",
      "number")
    bad(function() WaitIterator(f, nil, f) end, 2, "WaitIterator", "future",
      "nil")
    bad(function() WaitIterator("x") end, 1, "WaitIterator", nil, "string")
    assert.is_false((pcall(WaitIterator, { f, 5 })))
    assert.is_false((pcall(WaitIterator, { x = 5 })))
  end)

  it("are Futures or names, not both", function()
    local f, g = Future(), Future()
    assert.is_false((pcall(WaitIterator, { f, x = g })))
    assert.is_false((pcall(WaitIterator, f, { x = g })))
  end)
end)

describe("a WaitIterator's memory", function()
  it("holds no Future that it has handed out", function()
    local wi
    local weak = setmetatable({}, { __mode = "v" })
    local function fill()
      local list = {}
      for i = 1, 5 do
        list[i] = done({})
        weak[i] = list[i]
      end
      wi = WaitIterator(list)
      wi:next()
      wi:next()
    end
    fill()
    gc.collect()
    assert.is_nil(weak[1])
    assert.equal(weak[2], wi.current_future)
    assert.is_not_nil(weak[3])
    local function finish()
      wi:next()
      wi:next()
      wi:next()
      wi:done()
    end
    finish()
    gc.collect()
    assert.is_nil(next(weak))
  end)

  it("goes with its pending Futures", function()
    assert.is_true(gc.collects(function()
      local f = Future()
      local wi = WaitIterator(f, Future())
      wi:next()
      f:add_done_callback(function() return wi end)
      return wi
    end))
  end)

  it("holds Futures that have no other reference", function()
    local function start()
      return WaitIterator(gen.sleep(0.001), gen.coroutine(function()
        yield(gen.sleep(0.002))
        return "slow"
      end)())
    end
    local wi = start()
    gc.collect()
    assert.same({ 1, 2 }, run(function()
      local order = {}
      for index in wi:results() do
        gc.collect()
        order[#order + 1] = index
      end
      return order
    end))
    assert.equal("", log:text())
  end)
end)
