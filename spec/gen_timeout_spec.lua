-- SPDX-License-Identifier: MIT
-- gen.sleep and gen.with_timeout.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local outcomes = require "spec.support.outcomes"
local values = require "spec.support.values"

local Future = concurrent.Future
local done = outcomes.done
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local NEVER = { seconds = 3600 }

describe("sleep", function()
  it("is a Future of nothing", function()
    local f = gen.sleep(0.001)
    assert.is_true(concurrent.is_future(f))
    assert.is_false(f:done())
    assert.equal(0, select("#", run(function() return yield(f) end)))
  end)

  it("is never early", function()
    run(function()
      for _, s in ipairs { 0.0001, 0.0005, 0.001, 0.0013, 0.002, 0.0039 } do
        local start = loop:time()
        yield(gen.sleep(s))
        assert.is_true(loop:time() >= start + s, tostring(s))
      end
    end)
  end)

  it("counts from the call, not from the turn's begin", function()
    run(function()
      local start = loop:time()
      while loop:time() < start + 0.005 do end -- luacheck: ignore
      local called = loop:time()
      yield(gen.sleep(0.005))
      assert.is_true(loop:time() >= called + 0.005)
    end)
  end)

  it("wakes in the order of the deadlines", function()
    local order, earliest, latest = {}, {}, {}
    run(function()
      local futures = {}
      for i, s in ipairs { 0.016, 0.001, 0.011, 0.006 } do
        futures[i] = gen.coroutine(function()
          earliest[i] = loop:time() + s
          local f = gen.sleep(s)
          latest[i] = loop:time() + s
          yield(f)
          order[#order + 1] = i
        end)()
      end
      yield(futures)
    end)
    for i = 2, 4 do
      assert.is_true(earliest[order[i - 1]] <= latest[order[i]])
    end
  end)

  it("of 0 or less seconds lasts until the next turn", function()
    for _, s in ipairs { 0, -1, -1e300, -math.huge } do
      local f = gen.sleep(s)
      assert.is_false(f:done())
      run(function() yield(f) end)
      assert.is_true(f:done())
    end
  end)

  it("of infinity is for ever", function()
    local f = gen.sleep(math.huge)
    local far = gen.sleep(1e300)
    run(function() yield(gen.sleep(0.002)) end)
    assert.is_false(f:done())
    assert.is_false(far:done())
  end)

  it("refuses NaN and what is not a number", function()
    bad(function() gen.sleep(0/0) end, 1, "sleep")
    bad(function() gen.sleep("soon") end, 1, "sleep", "number", "string")
    bad(function() gen.sleep(nil) end, 1, "sleep", "number", "nil")
    bad(function() gen.sleep() end, 1, "sleep", "number")
    bad(function() gen.sleep({}) end, 1, "sleep", "number", "table")
  end)
end)

describe("with_timeout", function()
  for _, case in ipairs(values.lists) do
    it("passes on " .. case[1], function()
      local f = Future()
      loop:add_callback(f.set_result, f, values.unpack(case[2]))
      assert.same(case[2], table.pack(run(function()
        return yield(gen.with_timeout(NEVER, f))
      end)))
    end)
  end

  for _, case in ipairs(values.errors) do
    it("passes on the error " .. case[1], function()
      local f = Future()
      loop:add_callback(f.set_exception, f, case[2])
      local ok, err = pcall(run, function()
        return yield(gen.with_timeout(NEVER, f))
      end)
      assert.is_false(ok)
      assert.is_true(rawequal(case[2], err))
      assert.equal("", log:text())
    end)
  end

  it("takes every form of time that add_timeout takes", function()
    for _, form in ipairs {
      function() return loop:time() + 0.002 end,
      function() return { seconds = 0.002 } end,
      function() return { milliseconds = 2 } end,
      function() return util.timedelta(0.002) end,
    } do
      run(function()
        local start = loop:time()
        local ok, err = pcall(yield, gen.with_timeout(form(), Future()))
        assert.is_false(ok)
        assert.is_true(util.isinstance(err, gen.TimeoutError))
        assert.equal("Timeout", err.message)
        assert.equal("TimeoutError: Timeout", tostring(err))
        assert.is_true(loop:time() >= start + 0.002)
      end)
    end
  end)

  it("takes any yieldable", function()
    assert.same({ 1, x = { 2 } }, run(function()
      return yield(gen.with_timeout(NEVER, { done(1), x = { done(2) } }))
    end))
    assert.equal("awaited", run(function()
      return yield(gen.with_timeout(NEVER, setmetatable({}, {
        __await = function() return done("awaited") end,
      })))
    end))
    local ok, err = pcall(run, function()
      return yield(gen.with_timeout({ milliseconds = 1 },
        { done(1), Future() }))
    end)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, gen.TimeoutError))
  end)

  it("prefers an available result to a deadline that has passed",
    function()
      assert.equal(5, run(function()
        return yield(gen.with_timeout(loop:time() - 10, done(5)))
      end))
    end)

  it("times out on the next turn when the deadline has passed", function()
    for _, deadline in ipairs { loop:time() - 10, 0, -math.huge,
      { seconds = -1 }, { seconds = 0 } } do
      local f = gen.with_timeout(deadline, Future())
      assert.is_false(f:done())
      pcall(run, function() yield(f) end)
      assert.is_true(util.isinstance(f:exception(), gen.TimeoutError))
    end
  end)

  it("waits for ever until infinity", function()
    local f = Future()
    local timed = gen.with_timeout(math.huge, f)
    run(function() yield(gen.sleep(0.002)) end)
    assert.is_false(timed:done())
    f:set_result(1)
    assert.equal(1, run(function() return yield(timed) end))
  end)

  it("leaves the wrapped Future to go on", function()
    local f = Future()
    run(function()
      for _ = 1, 3 do
        local ok = pcall(yield, gen.with_timeout({ milliseconds = 1 }, f))
        assert.is_false(ok)
        assert.is_false(f:done())
      end
      loop:add_callback(f.set_result, f, "in the end")
      assert.equal("in the end", yield(gen.with_timeout(NEVER, f)))
      assert.equal("in the end", yield(f))
    end)
    assert.equal("", log:text())
  end)

  it("removes its timer as soon as the Future is done", function()
    assert.is_true(gc.collects(function()
      local f = Future()
      local timed = gen.with_timeout(NEVER, f)
      f:set_result(1)
      loops.turn(loop)
      return timed
    end))
    -- Were the timer still there, this would wait for an hour.
    local r = child([[
      local lunado = require "lunado"
      local ok, err = pcall(lunado.run, function()
        coroutine.yield(lunado.with_timeout({ seconds = 3600 },
          lunado.sleep(0)))
        coroutine.yield(lunado.Future())
      end)
      assert(not ok)
    ]], 60)
    assert.equal(0, r.code, r.err)
  end)

  it("leaves a Future alone that was settled by hand", function()
    local f = gen.with_timeout({ seconds = 0.001 }, Future())
    f:set_result("mine")
    run(function() yield(gen.sleep(0.005)) end)
    gc.collect()
    assert.equal("mine", f:result())
    assert.equal("", log:text())
  end)

  it("refuses bad arguments before it starts anything", function()
    local f = Future()
    bad(function() gen.with_timeout(nil, f) end, 1, "with_timeout")
    bad(function() gen.with_timeout("x", f) end, 1, "with_timeout")
    bad(function() gen.with_timeout(0/0, f) end, 1, "with_timeout")
    bad(function() gen.with_timeout({ seconds = 0/0 }, f) end, 1,
      "with_timeout")
    bad(function() gen.with_timeout({ seconds = "x" }, f) end, 1,
      "with_timeout")
    bad(function() gen.with_timeout(NEVER, f, 5) end, 3, "with_timeout")
    bad(function() gen.with_timeout(NEVER, f, { true }) end, 3,
      "with_timeout")
    for _, junk in ipairs { 5, "x", print, true } do
      local ok, err = pcall(gen.with_timeout, NEVER, junk)
      assert.is_false(ok)
      assert.is_true(util.isinstance(err, gen.BadYieldError), tostring(err))
    end
  end)
end)

describe("a failure after the timeout", function()
  -- What is logged when f fails too late.
  local function late(err, quiet)
    local f = Future()
    local timed = gen.with_timeout({ milliseconds = 0 }, f, quiet)
    pcall(run, function() yield(timed) end)
    assert.is_true(util.isinstance(timed:exception(), gen.TimeoutError))
    f:set_exception(err)
    f = nil -- luacheck: ignore
    loops.turn(loop, 2)
    gc.collect()
    local n = #log
    log:clear()
    return n
  end

  it("is logged", function()
    assert.equal(1, late("too late"))
    assert.equal(1, late(gen.TimeoutError("x")))
    assert.equal(1, late("too late", {}))
    assert.equal(1, late("too late", util.Exception))
    assert.equal(1, late("too late", "^late"))
  end)

  it("is not logged when it is quiet", function()
    assert.equal(0, late("too late", "late$"))
    assert.equal(0, late(gen.TimeoutError("x"), util.Exception))
    assert.equal(0, late(gen.TimeoutError("x"), { "none", util.Exception }))
    assert.equal(0, late(5, function(err) return err == 5 end))
  end)

  it("is logged with its error", function()
    local f = Future()
    pcall(run, function()
      yield(gen.with_timeout({ milliseconds = 0 }, f))
    end)
    f:set_exception("too late")
    loops.turn(loop)
    assert.equal(1, log:count("too late"), log:text())
  end)

  it("is not logged when the Future succeeds", function()
    local f = Future()
    pcall(run, function()
      yield(gen.with_timeout({ milliseconds = 0 }, f))
    end)
    f:set_result("late")
    loops.turn(loop, 2)
    assert.equal("", log:text())
  end)
end)

describe("a timeout that is never retrieved", function()
  it("is logged as an error that was never retrieved", function()
    local function drop()
      gen.with_timeout({ milliseconds = 0 }, Future())
    end
    drop()
    run(function() yield(gen.sleep(0.002)) end)
    gc.collect()
    assert.equal(1, log:count(
      "Future exception was never retrieved: TimeoutError: Timeout"))
  end)
end)
