-- SPDX-License-Identifier: MIT
-- gen.coroutine: calling one, what it returns, the thread it runs on.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local values = require "spec.support.values"

local Future = concurrent.Future

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

describe("a call of a coroutine", function()
  it("returns a Future", function()
    local f = gen.coroutine(function() end)()
    assert.is_true(concurrent.is_future(f))
    assert.is_true(f:done())
  end)

  it("runs at once up to the first suspension", function()
    local steps = {}
    local pendingf = Future()
    local f = gen.coroutine(function()
      steps[#steps + 1] = "begin"
      coroutine.yield(pendingf)
      steps[#steps + 1] = "end"
    end)()
    assert.same({ "begin" }, steps)
    assert.is_false(f:done())
    pendingf:set_result()
    assert.same({ "begin" }, steps)
    run(function() coroutine.yield(f) end)
    assert.same({ "begin", "end" }, steps)
  end)

  it("runs at once within another coroutine", function()
    run(function()
      local inner = false
      gen.coroutine(function() inner = true end)()
      assert.is_true(inner)
    end)
  end)

  it("runs to its end without a loop when nothing suspends", function()
    assert.equal(6, gen.coroutine(function(n)
      local three = gen.maybe_future(3)
      return n + coroutine.yield(three) + coroutine.yield(three)
    end)(0):result())
  end)

  for _, case in ipairs(values.lists) do
    it("passes " .. case[1], function()
      local got
      gen.coroutine(function(...) got = table.pack(...) end)(
        values.unpack(case[2]))
      assert.same(case[2], got)
    end)

    it("returns " .. case[1], function()
      local f = gen.coroutine(function(...) return ... end)(
        values.unpack(case[2]))
      assert.same(case[2], table.pack(f:result()))
    end)

    it("returns " .. case[1] .. " after a suspension", function()
      assert.same(case[2], table.pack(run(function()
        return coroutine.yield(gen.coroutine(function(...)
          coroutine.yield()
          return ...
        end)(values.unpack(case[2])))
      end)))
    end)

    it("returns " .. case[1] .. " by error(gen.Return(...))", function()
      local list = case[2]
      local leave = gen.coroutine(function(wait)
        if wait then
          coroutine.yield()
        end
        error(gen.Return(values.unpack(list)))
      end)
      assert.same(list, table.pack(leave(false):result()))
      assert.same(list, table.pack(run(function()
        return coroutine.yield(leave(true))
      end)))
    end)
  end

  -- Some leave just as much of the stack as is needed, and some too little.
  it("passes and returns any number of values, up to 60", function()
    local echo = gen.coroutine(function(...) return ... end)
    local later = gen.coroutine(function(...)
      coroutine.yield()
      return ...
    end)
    for n = 0, 60 do
      local list = table.pack(table.unpack({}, 1, n))
      local future = later(table.unpack(list, 1, n))
      assert.equal(n, select("#", echo(table.unpack(list, 1, n)):result()))
      loops.turn(loop)
      assert.equal(n, select("#", future:result()))
    end
  end)

  it("takes a Return from any depth of calls", function()
    local function leave(n)
      if n == 0 then
        error(gen.Return("deep"))
      end
      leave(n - 1)
      return "not reached"
    end
    assert.equal("deep", gen.coroutine(leave)(50):result())
  end)

  it("lets a Return be caught", function()
    local f = gen.coroutine(function()
      local ok = pcall(error, gen.Return(1))
      return ok, 2
    end)()
    assert.same({ false, 2 }, { f:result() })
  end)

  for _, case in ipairs(values.errors) do
    it("never raises: " .. case[1], function()
      local fail = gen.coroutine(function(wait)
        if wait then
          coroutine.yield()
        end
        error(case[2], 0)
      end)
      assert.is_true(rawequal(case[2], fail(false):exception()))
      local f = fail(true)
      run(function() pcall(coroutine.yield, f) end)
      assert.is_true(rawequal(case[2], f:exception()))
    end)
  end

  it("does not unwrap a returned Future", function()
    local inner = Future()
    local f = gen.coroutine(function() return inner, 2 end)()
    assert.is_true(f:done())
    assert.equal(inner, (f:result()))
    inner:set_result(1)
    assert.equal(inner, (f:result()))
  end)

  it("serves as a method", function()
    local account = { sum = 1 }
    account.add = gen.coroutine(function(self, n)
      coroutine.yield()
      self.sum = self.sum + n
      return self
    end)
    assert.equal(account, run(function()
      return coroutine.yield(account:add(41))
    end))
    assert.equal(42, account.sum)
  end)

  it("works from a coroutine of the user's", function()
    local f
    local co = coroutine.wrap(function()
      f = gen.coroutine(function()
        coroutine.yield()
        return "inner"
      end)()
      coroutine.yield("outer")
    end)
    assert.equal("outer", co())
    assert.equal("inner", run(function() return coroutine.yield(f) end))
    co()
  end)

  it("may run many times at once", function()
    local work = gen.coroutine(function(i)
      for _ = 1, i % 7 do
        coroutine.yield()
      end
      return i
    end)
    local futures, expected = {}, {}
    for i = 1, 500 do
      futures[i], expected[i] = work(i), i
    end
    assert.same(expected, run(function()
      return coroutine.yield(futures)
    end))
  end)

  it("does not need a running loop to have been started", function()
    local f = Future()
    local waiting = gen.coroutine(function() return coroutine.yield(f) end)()
    f:set_result(1)
    assert.is_false(waiting:done())
    loops.turn(loop)
    assert.is_true(waiting:done())
  end)
end)

describe("gen.coroutine", function()
  it("returns a function", function()
    assert.is_function(gen.coroutine(function() end))
  end)

  it("refuses what is not a function", function()
    bad(function() gen.coroutine(nil) end, 1, "coroutine", "function", "nil")
    bad(function() gen.coroutine() end, 1, "coroutine", "function")
    bad(function() gen.coroutine("x") end, 1, "coroutine", "function",
      "string")
    bad(function() gen.coroutine(Future()) end, 1, "coroutine", "function")
  end)
end)

describe("is_coroutine_function", function()
  it("distinguishes coroutine functions from other values", function()
    local plain = function() end
    assert.is_true(gen.is_coroutine_function(gen.coroutine(plain)))
    assert.is_false(gen.is_coroutine_function(plain))
    assert.is_false(gen.is_coroutine_function(print))
    assert.is_false(gen.is_coroutine_function(coroutine.wrap(plain)))
    assert.is_false(gen.is_coroutine_function(gen.coroutine))
    assert.is_false(gen.is_coroutine_function(nil))
    assert.is_false(gen.is_coroutine_function(Future()))
    for _, case in ipairs(values.errors) do
      assert.is_false(gen.is_coroutine_function(case[2]), case[1])
    end
  end)
end)

describe("inside a coroutine", function()
  it("coroutine.running and similar functions work as usual", function()
    run(gen.coroutine(function()
      local co, main = coroutine.running()
      assert.is_false(main)
      assert.equal("running", coroutine.status(co))
      assert.is_true(coroutine.isyieldable())
      assert.is_nil(debug.gethook(co))
      coroutine.yield()
      assert.equal(co, (coroutine.running()))
    end))
  end)

  it("a suspended one has the status suspended", function()
    local co
    local f = Future()
    gen.coroutine(function()
      co = coroutine.running()
      coroutine.yield(f)
    end)()
    assert.equal("suspended", coroutine.status(co))
    f:set_result()
    loops.turn(loop)
  end)

  it("the user's generators work as usual", function()
    local function range(n)
      return coroutine.wrap(function()
        for i = 1, n do
          coroutine.yield(i)
        end
      end)
    end
    assert.equal(55, run(function()
      local sum = 0
      for i in range(10) do
        coroutine.yield()
        sum = sum + i
      end
      return sum
    end))
  end)

  it("a yield in a generator goes to the generator's caller", function()
    local f = Future()
    run(function()
      local generator = coroutine.wrap(function()
        return "got", coroutine.yield(f)
      end)
      assert.equal(f, generator())
      assert.same({ "got", 5 }, { generator(5) })
    end)
    assert.is_false(f:done())
  end)

  it("a Future from a generator can be yielded on", function()
    assert.same({ "a", "b" }, run(function()
      local results = {}
      local generator = coroutine.wrap(function()
        results[1] = coroutine.yield(gen.maybe_future("a"))
        results[2] = coroutine.yield(gen.maybe_future("b"))
      end)
      local f = generator()
      while f do
        f = generator(coroutine.yield(f))
      end
      return results
    end))
  end)

  it("debug.traceback shows the coroutine's own stack", function()
    local line, text
    run(gen.coroutine(function()
      coroutine.yield()
      line = debug.getinfo(1, "l").currentline + 1
      text = debug.traceback("here")
    end))
    assert.is_truthy(text:find("gen_coroutine_spec.lua:" .. line, 1, true),
      text)
  end)

  it("debug.traceback shows where a suspended one waits", function()
    local co, line
    local f = Future()
    gen.coroutine(function()
      co = coroutine.running()
      line = debug.getinfo(1, "l").currentline + 1
      coroutine.yield(f)
    end)()
    local text = debug.traceback(co)
    assert.is_truthy(text:find("gen_coroutine_spec.lua:" .. line, 1, true),
      text)
    f:set_result()
    loops.turn(loop)
  end)
end)

describe("the thread of a coroutine", function()
  after_each(function() gen.reuse_threads(true) end)

  local here = gen.coroutine(function() return (coroutine.running()) end)

  it("belongs to one coroutine at a time", function()
    local seen = {}
    local futures = {}
    for i = 1, 100 do
      futures[i] = gen.coroutine(function()
        local co = coroutine.running()
        assert(not seen[co])
        seen[co] = true
        coroutine.yield()
        assert(coroutine.running() == co)
        seen[co] = nil
      end)()
    end
    run(function() coroutine.yield(futures) end)
    assert.is_nil(next(seen))
  end)

  it("is not reused if reuse is turned off", function()
    gen.reuse_threads(false)
    local seen = {}
    for _ = 1, 100 do
      local co = here():result()
      assert.is_nil(seen[co])
      seen[co] = true
      assert.equal("dead", coroutine.status(co))
    end
  end)

  it("is reused without old values", function()
    for _, suspends in ipairs { false, true } do
      assert.is_true(gc.collects(function()
        local token = {}
        local f = gen.coroutine(function(...)
          local a, b <const> = token, { token }
          if suspends then
            coroutine.yield()
          end
          return #{ a, b, ... }
        end)(token, token)
        run(function() coroutine.yield(f) end)
        return token
      end))
    end
  end)

  it("is reused without old hooks", function()
    local function hook() end
    for _ = 1, 20 do
      gen.coroutine(function()
        assert(debug.gethook() == nil)
        debug.sethook(hook, "", 1000000)
      end)()
    end
    assert.equal("", log:text())
  end)

  it("is dead to others when its coroutine has ended", function()
    for _, wait in ipairs { false, true } do
      local co
      local f = gen.coroutine(function()
        co = coroutine.running()
        if wait then
          coroutine.yield()
        end
      end)()
      run(function() coroutine.yield(f) end)
      assert.equal("dead", coroutine.status(co))
      assert.same({ false, "cannot resume dead coroutine" },
        { coroutine.resume(co, 1, 2, 3) })
      assert.is_true(coroutine.close(co))
      for i = 1, 5 do
        assert.equal(i, gen.coroutine(function() return i end)():result())
      end
    end
  end)

  it("is not reused after other code resumed or closed it", function()
    for _, meddle in ipairs { coroutine.resume, coroutine.close } do
      local co
      local f = Future()
      local meddled = gen.coroutine(function()
        co = coroutine.running()
        coroutine.yield(f)
        coroutine.yield(f)
        return "done"
      end)()
      meddle(co)
      f:set_result()
      loops.turn(loop, 3)
      -- What becomes of that coroutine is its own affair, but it is told.
      assert.is_true(meddled:done())
      meddled:exception()
      for i = 1, 5 do
        local work = gen.coroutine(function()
          coroutine.yield()
          return i
        end)
        assert.equal(i, run(function() return coroutine.yield(work()) end))
      end
    end
  end)

  it("gives its results to other code that resumes it to its end", function()
    local co
    local function resumed_outside(ending)
      return gen.coroutine(function()
        co = coroutine.running()
        coroutine.yield(gen.sleep(0.001))
        return ending()
      end)()
    end
    local function check(expected, ending, resume)
      local f = resumed_outside(ending)
      assert.same(expected, { resume(co) })
      assert.equal("dead", coroutine.status(co))
      run(function() coroutine.yield(gen.sleep(0.005)) end)
      assert.is_truthy(f:exception():find("somebody else", 1, true))
    end
    local function inside(thread)
      return run(function()
        local results = { coroutine.resume(thread) }
        coroutine.yield()
        return table.unpack(results)
      end)
    end
    for _, resume in ipairs { coroutine.resume, inside } do
      check({ true, 1, 2 }, function() return 1, 2 end, resume)
      check({ true }, function() end, resume)
      check({ false, "broken" }, function() error("broken", 0) end, resume)
    end
  end)

  it("may be resumed or closed while a callee runs in its place", function()
    log:allow "was never retrieved: the coroutine was resumed or closed by"
    for _, meddle in ipairs { coroutine.resume, coroutine.close } do
      local threads, over = {}, false
      local function level(n)
        return gen.coroutine(function()
          threads[n] = coroutine.running()
          if n < 60 then return (coroutine.yield(level(n + 1))) end
          -- The last one is running; in Lua 5.5 it could close itself.
          for i = 1, n - 1 do pcall(meddle, threads[i]) end
          coroutine.yield(gen.sleep(0.001))
          over = true
        end)()
      end
      local f = level(1)
      run(function() coroutine.yield(gen.sleep(0.01)) end)
      assert.is_truthy(f:exception():find("somebody else", 1, true))
      assert.is_true(over)
    end
  end)

  it("is kept only in limited number", function()
    local threads = setmetatable({}, { __mode = "k" })
    local function many()
      local futures = {}
      for i = 1, 20000 do
        futures[i] = gen.coroutine(function()
          threads[coroutine.running()] = true
          coroutine.yield()
        end)()
      end
      run(function() coroutine.yield(futures) end)
    end
    many()
    gc.collect()
    local n = 0
    for _ in pairs(threads) do
      n = n + 1
    end
    assert.is_true(n <= 5000, n .. " threads are kept")
  end)
end)
