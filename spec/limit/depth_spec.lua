-- SPDX-License-Identifier: MIT
-- Depth and length: 100,000 of everything, on a C stack that does not grow.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local times = require "spec.support.times"

local Future = concurrent.Future
local yield = coroutine.yield

local DEPTH = times(100000)

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

describe("coroutines that call coroutines, 100,000 deep,", function()
  -- A coroutine that calls itself down to leaf().
  local function recursive(wait, leaf)
    local down
    down = gen.coroutine(function(n)
      if n == 0 then
        return leaf()
      end
      return 1 + wait(down(n - 1))
    end)
    return down
  end

  it("return", function()
    local down = recursive(yield, function() return 0 end)
    assert.equal(DEPTH, run(function() return yield(down(DEPTH)) end))
    assert.equal("", log:text())
  end)

  it("return after the leaf was suspended", function()
    local down = recursive(yield, function()
      yield()
      yield(gen.sleep(0.001))
      return 0
    end)
    assert.equal(DEPTH, run(function() return yield(down(DEPTH)) end))
    assert.equal("", log:text())
  end)

  it("return by way of await", function()
    local down = recursive(gen.await, function()
      gen.await()
      return 0
    end)
    assert.equal(DEPTH, run(function() return yield(down(DEPTH)) end))
  end)

  it("fail with the leaf's error", function()
    for _, suspend in ipairs { false, true } do
      local err = {}
      local down = recursive(yield, function()
        if suspend then
          yield()
        end
        error(err)
      end)
      local ok, got = pcall(run, function() return yield(down(DEPTH)) end)
      assert.is_false(ok)
      assert.equal(err, got)
    end
    gc.collect()
    assert.equal("", log:text())
  end)

  it("fail with a traceback that can be asked for", function()
    local down = recursive(yield, function()
      yield()
      error("deep")
    end)
    local f = down(DEPTH)
    pcall(run, function() yield(f) end)
    local err, traceback = f:exc_info()
    assert.is_truthy(err:find("deep", 1, true))
    assert.is_truthy(traceback:find("depth_spec.lua:", 1, true))
  end)

  it("return through a pcall at each level", function()
    local down
    down = gen.coroutine(function(n)
      if n == 0 then
        yield()
        return 0
      end
      local ok, x = pcall(function() return 1 + yield(down(n - 1)) end)
      return ok and x or error(x, 0)
    end)
    assert.equal(DEPTH, run(function() return yield(down(DEPTH)) end))
  end)

  it("return through tables", function()
    local down
    down = gen.coroutine(function(n)
      if n == 0 then
        return 0
      end
      return 1 + yield({ down(n - 1) })[1]
    end)
    assert.equal(20000, run(function() return yield(down(20000)) end))
  end)

  it("start from within many C calls", function()
    -- Each level nests 40 pcalls before it calls the next.
    local down
    local function under(c, fn, ...)
      if c == 0 then
        return fn(...)
      end
      local _, x = assert(pcall(under, c - 1, fn, ...))
      return x
    end
    down = gen.coroutine(function(n)
      if n == 0 then
        return 0
      end
      return 1 + yield(under(40, down, n - 1))
    end)
    assert.equal(200, run(function() return yield(down(200)) end))
    assert.equal("", log:text())
  end)

  it("start from wherever Lua code can still run", function()
    local work = gen.coroutine(function(x)
      local y = yield(gen.maybe_future(x))
      yield()
      return y
    end)
    local futures = {}
    local function under(depth)
      if depth % 10 == 0 then
        futures[#futures + 1] = work(depth)
      end
      if depth < 170 then
        assert(pcall(under, depth + 1))
      end
    end
    under(0)
    for i, depth in ipairs(run(function() return yield(futures) end)) do
      assert.equal((i - 1) * 10, depth)
    end
    assert.equal("", log:text())
  end)
end)

describe("a chain of 100,000 Futures", function()
  local function chain()
    local futures = {}
    for i = 1, DEPTH do
      futures[i] = Future()
    end
    return futures
  end

  it("is settled by callbacks before the first set_result returns", function()
    local futures = chain()
    for i = 1, DEPTH - 1 do
      futures[i]:add_done_callback(function(f)
        futures[i + 1]:set_result(f:result() + 1)
      end)
    end
    futures[1]:set_result(1)
    assert.is_true(futures[DEPTH]:done())
    assert.equal(DEPTH, futures[DEPTH]:result())
    assert.equal("", log:text())
  end)

  it("is settled by chain_future", function()
    local futures = chain()
    for i = 1, DEPTH - 1 do
      concurrent.chain_future(futures[i], futures[i + 1])
    end
    futures[1]:set_result("through", nil, "all")
    assert.is_true(futures[DEPTH]:done())
    assert.same(table.pack("through", nil, "all"),
      table.pack(futures[DEPTH]:result()))
    assert.equal("", log:text())
  end)

  it("fails by chain_future and by callbacks, in turns", function()
    local futures = chain()
    for i = 1, DEPTH - 1 do
      if i % 2 == 0 then
        concurrent.chain_future(futures[i], futures[i + 1])
      else
        futures[i]:add_done_callback(function(f)
          futures[i + 1]:set_exception(f:exception())
        end)
      end
    end
    local err = {}
    futures[1]:set_exception(err)
    assert.is_true(futures[DEPTH]:done())
    assert.equal(err, futures[DEPTH]:exception())
    futures = nil -- luacheck: ignore
    gc.collect()
    assert.equal("", log:text())
  end)

  it("is settled from the middle of another chain", function()
    local one, two = chain(), chain()
    for i = 1, DEPTH - 1 do
      concurrent.chain_future(two[i], two[i + 1])
      one[i]:add_done_callback(function()
        if i == DEPTH // 2 then
          two[1]:set_result("two")
        end
        one[i + 1]:set_result("one")
      end)
    end
    one[1]:set_result("one")
    assert.equal("one", (one[DEPTH]:result()))
    assert.equal("two", (two[DEPTH]:result()))
  end)

  it("is settled inside a coroutine, and inside a callback of the loop",
    function()
      for _, how in ipairs { "coroutine", "callback" } do
        local futures = chain()
        for i = 1, DEPTH - 1 do
          concurrent.chain_future(futures[i], futures[i + 1])
        end
        if how == "callback" then
          loop:add_callback(futures[1].set_result, futures[1], 1)
        end
        assert.equal(1, run(function()
          if how == "coroutine" then
            futures[1]:set_result(1)
          end
          return yield(futures[DEPTH])
        end))
      end
    end)

  it("is collected without recursion", function()
    local function drop()
      local futures = chain()
      for i = 1, DEPTH - 1 do
        concurrent.chain_future(futures[i], futures[i + 1])
      end
    end
    drop()
    gc.collect()
  end)

  it("is awaited by a coroutine for each link", function()
    local first = Future()
    local last = first
    local link = gen.coroutine(function(before)
      return 1 + yield(before)
    end)
    for _ = 1, DEPTH do
      last = link(last)
    end
    loop:add_callback(first.set_result, first, 0)
    assert.equal(DEPTH, run(function() return yield(last) end))
  end)
end)

describe("100,000 in a row:", function()
  it("awaits of done Futures", function()
    local f = gen.maybe_future(1)
    assert.equal(DEPTH, gen.coroutine(function()
      local sum = 0
      for _ = 1, DEPTH do
        sum = sum + yield(f)
      end
      return sum
    end)():result())
  end)

  it("turns of the loop", function()
    assert.equal(DEPTH, run(function()
      local n = 0
      for _ = 1, DEPTH do
        yield()
        n = n + 1
      end
      return n
    end))
  end)

  it("callbacks of one Future, in order", function()
    local f, n, ordered = Future(), 0, true
    for i = 1, DEPTH do
      f:add_done_callback(function()
        n = n + 1
        ordered = ordered and n == i
      end)
    end
    f:set_result()
    assert.equal(DEPTH, n)
    assert.is_true(ordered)
  end)

  it("coroutines that wait for one Future, in order", function()
    local f, n, ordered = Future(), 0, true
    local wait = gen.coroutine(function(i)
      yield(f)
      n = n + 1
      ordered = ordered and n == i
    end)
    for i = 1, DEPTH do
      wait(i)
    end
    f:set_result()
    run(function()
      while n < DEPTH do
        yield()
      end
    end)
    assert.is_true(ordered)
  end)

  it("children of multi", function()
    local t = {}
    for i = 1, DEPTH do
      t[i] = Future()
      loop:add_callback(t[i].set_result, t[i], i)
    end
    local results = run(function() return yield(t) end)
    assert.equal(DEPTH, #results)
    assert.equal(DEPTH, results[DEPTH])
  end)

  it("rounds of a WaitIterator", function()
    local t = {}
    for i = 1, DEPTH do
      t[i] = Future()
      loop:add_callback(t[i].set_result, t[i], i)
    end
    local sum = 0
    run(function()
      for index, result in gen.WaitIterator(t):results() do
        assert(index == result)
        sum = sum + result
      end
    end)
    assert.equal(DEPTH * (DEPTH + 1) // 2, sum)
  end)
end)

describe("a yieldable nested too deep, or in itself,", function()
  it("is an error or a result, but no crash: 100,000 deep", function()
    local r = child [[
      local lunado = require "lunado"
      local t = lunado.gen.maybe_future("leaf")
      for _ = 1, 100000 do
        t = { t }
      end
      local ok = pcall(lunado.run, function() coroutine.yield(t) end)
      io.write(tostring(ok ~= nil))
    ]]
    assert.same({ code = 0, out = "true", err = "" }, r)
  end)

  it("is an error: a table in itself", function()
    local r = child [[
      local lunado = require "lunado"
      local t = {}
      t[1] = { t }
      local ok = pcall(lunado.run, function() coroutine.yield(t) end)
      assert(not ok)
      ok = pcall(lunado.multi, t)
      assert(not ok)
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)

  it("is an error: an object that awaits itself", function()
    local r = child [[
      local lunado = require "lunado"
      local o = setmetatable({}, { __await = function(self) return self end })
      local ok = pcall(lunado.run, function() coroutine.yield(o) end)
      assert(not ok)
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)
end)

describe("groups within groups, 100,000 deep,", function()
  it("are cancelled, and end", function()
    run(function()
      local open, ended = 0, 0
      local function level(n)
        yield()
        local group <close> = tasks.TaskGroup()
        open = open + 1
        if n > 1 then group:spawn(level, n - 1) end
        local _ <close> = setmetatable({}, { __close = function()
          ended = ended + 1
        end })
        yield(Future())
      end
      local future = gen.coroutine(level)(DEPTH)
      while open < DEPTH do yield() end
      assert.is_true(tasks.cancel(future))
      local ok, err = pcall(yield, future)
      assert.is_false(ok)
      assert.is_true(util.isinstance(err, tasks.CancelledError), tostring(err))
      assert.equal(DEPTH, ended)
    end)
    assert.equal("", log:text())
  end)
end)
