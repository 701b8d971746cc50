-- SPDX-License-Identifier: MIT
-- Errors on their way through coroutines, and the tracebacks they carry.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local here = require "spec.support.here"
local loops = require "spec.support.loops"
local outcomes = require "spec.support.outcomes"
local values = require "spec.support.values"

local Future = concurrent.Future
local failing = outcomes.failing
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local function place(line)
  return "gen_errors_spec.lua:" .. line
end

local function has(text, part)
  assert.is_truthy(text:find(part, 1, true),
    ("%q is not in:\n%s"):format(part, text))
end

describe("an error that a coroutine yields to", function()
  for _, case in ipairs(values.errors) do
    it("arrives unchanged: " .. case[1], function()
      run(function()
        local ok, err = pcall(yield, failing(case[2]))
        assert(not ok and rawequal(err, case[2]))
        ok, err = pcall(gen.await, failing(case[2]))
        assert(not ok and rawequal(err, case[2]))
      end)
    end)

    it("passes through ten coroutines unchanged: " .. case[1], function()
      local function level(n)
        return gen.coroutine(function()
          if n == 0 then
            yield()
            error(case[2], 0)
          end
          return yield(level(n - 1))
        end)()
      end
      local ok, err = pcall(run, function() return yield(level(10)) end)
      assert.is_false(ok)
      assert.is_true(rawequal(err, case[2]))
    end)
  end

  it("is text when it was nil", function()
    run(function()
      local ok, err = pcall(yield, failing(nil))
      assert(not ok and err == "<no error object>")
      local f = gen.coroutine(function() error() end)()
      assert.equal("<no error object>", f:exception())
      f = gen.coroutine(function()
        yield()
        error(nil)
      end)()
      ok, err = pcall(yield, f)
      assert(not ok and err == "<no error object>")
    end)
  end)

  it("gets no position added", function()
    local f = gen.coroutine(function() error("bare", 0) end)()
    assert.equal("bare", f:exception())
    local ok, err = pcall(run, function() yield(f) end)
    assert.is_false(ok)
    assert.equal("bare", err)
  end)

  it("keeps Lua's own message for a mistake", function()
    local line
    local f = gen.coroutine(function()
      local t = nil
      line = here() + 1
      return t.x
    end)()
    has(f:exception(), place(line))
    has(f:exception(), "attempt to index a nil value")
  end)

  it("can be caught, and the coroutine goes on", function()
    local n = run(function()
      local caught = 0
      for i = 1, 500 do
        local ok, err = pcall(yield, failing(i))
        assert(not ok and err == i)
        caught = caught + 1
        assert(yield(gen.maybe_future(i)) == i)
        yield()
      end
      return caught
    end)
    assert.equal(500, n)
  end)

  it("is raised again by every yield of the same Future", function()
    run(function()
      local f = failing("boom")
      for _ = 1, 3 do
        local ok, err = pcall(yield, f)
        assert(not ok and err == "boom")
      end
    end)
  end)

  it("reaches all waiters", function()
    local f, seen = Future(), {}
    for i = 1, 10 do
      gen.coroutine(function()
        local _, err = pcall(yield, f)
        seen[i] = err
      end)()
    end
    f:set_exception("boom")
    loops.turn(loop, 2)
    assert.equal(10, #seen)
    for i = 1, 10 do
      assert.equal("boom", seen[i])
    end
  end)

  it("can be replaced on the way", function()
    local outer = gen.coroutine(function()
      local ok, err = pcall(yield, failing("inner"))
      assert(not ok)
      error({ cause = err })
    end)()
    run(function() pcall(yield, outer) end)
    assert.equal("inner", outer:exception().cause)
  end)

  it("can be a stack overflow of Lua's", function()
    local function forever()
      return 1 + forever()
    end
    local f = gen.coroutine(forever)()
    -- Lua 5.4.9 says the second if a finalizer is to be called just then.
    assert.is_truthy(f:exception():find "stack overflow"
      or f:exception() == "error in error handling")
    assert.is_string((select(2, f:exc_info())))
    assert.equal(1, run(function() return yield(gen.maybe_future(1)) end))
  end)
end)

describe("an error that was caught", function()
  it("is released, though the next one is equal", function()
    local fails = gen.coroutine(function() error("no") end)
    local kilobytes
    run(function()
      for i = 1, 4000 do
        assert(not pcall(yield, fails()))
        if i == 2000 then kilobytes = gc.kilobytes() end
      end
      assert.is_true(gc.kilobytes() - kilobytes < 50)
    end)
  end)
end)

describe("the traceback of a failed coroutine", function()
  it("shows the line of the error and its callers", function()
    local inner, outer
    local function helper()
      inner = here() + 1
      error({})
    end
    local f = gen.coroutine(function()
      outer = here() + 1
      helper()
      return 1
    end)()
    local _, traceback = f:exc_info()
    has(traceback, place(inner))
    has(traceback, place(outer))
  end)

  it("shows them after a suspension, too", function()
    local line
    local f = gen.coroutine(function()
      yield()
      line = here() + 1
      error("boom", 0)
    end)()
    run(function() pcall(yield, f) end)
    has((select(2, f:exc_info())), place(line))
  end)

  -- Three coroutines, each waiting for the next; the last raises.
  local function three(suspend)
    local lines = {}
    local leaf = gen.coroutine(function()
      if suspend then
        yield()
      end
      lines[1] = here() + 1
      error("boom", 0)
    end)
    local middle = gen.coroutine(function()
      local f = leaf()
      lines[2] = here() + 1
      yield(f)
      return 1
    end)
    local top = gen.coroutine(function()
      local f = middle()
      lines[3] = here() + 1
      local x = gen.await(f)
      return x
    end)
    local f = top()
    run(function() pcall(yield, f) end)
    return f, lines
  end

  for _, suspend in ipairs { false, true } do
    local name = suspend and " (suspended)" or " (at once)"
    it("has a section for each coroutine that waited" .. name, function()
      local f, lines = three(suspend)
      local err, traceback = f:exc_info()
      assert.equal("boom", err)
      local last = 0
      for i = 1, 3 do
        local at = traceback:find(place(lines[i]), 1, true)
        assert.is_truthy(at, ("line %d (%d) is not in:\n%s"):format(i,
          lines[i], traceback))
        assert.is_true(at > last, traceback)
        last = at
      end
    end)
  end

  it("is the same text at any later time", function()
    local f, lines = three(true)
    run(function()
      local others = {}
      for i = 1, 200 do
        others[i] = gen.coroutine(function(n)
          yield()
          return n
        end)(i)
      end
      yield(others)
    end)
    gc.collect()
    local _, first = f:exc_info()
    for i = 1, 3 do
      has(first, place(lines[i]))
    end
    gc.collect()
    assert.equal(first, (select(2, f:exc_info())))
  end)

  it("shows the line of a multi that waited", function()
    local leafline, line
    local leaf = gen.coroutine(function()
      yield()
      leafline = here() + 1
      error("boom", 0)
    end)
    local f = gen.coroutine(function()
      local children = { leaf(), gen.maybe_future(1) }
      line = here() + 1
      yield(children)
    end)()
    run(function() pcall(yield, f) end)
    local _, traceback = f:exc_info()
    has(traceback, place(leafline))
    has(traceback, place(line))
  end)

  it("passes through with_timeout and chain_future", function()
    local leafline, line
    local leaf = gen.coroutine(function()
      yield()
      leafline = here() + 1
      error("boom", 0)
    end)
    local f = gen.coroutine(function()
      local chained = Future()
      concurrent.chain_future(
        gen.with_timeout({ seconds = 60 }, leaf()), chained)
      line = here() + 1
      yield(chained)
    end)()
    run(function() pcall(yield, f) end)
    local _, traceback = f:exc_info()
    has(traceback, place(leafline))
    has(traceback, place(line))
  end)

  it("shows the waiting line for an error that was set", function()
    local line
    local f = gen.coroutine(function()
      local source = failing("boom")
      line = here() + 1
      yield(source)
    end)()
    run(function() pcall(yield, f) end)
    has((select(2, f:exc_info())), place(line))
  end)

  it("keeps the traceback given to set_exc_info", function()
    local line
    local f = gen.coroutine(function()
      local source = Future()
      loop:add_callback(source.set_exc_info, source, "boom", "from afar")
      line = here() + 1
      yield(source)
    end)()
    run(function() pcall(yield, f) end)
    local _, traceback = f:exc_info()
    has(traceback, "from afar")
    has(traceback, place(line))
  end)

  it("shows where a caught error was raised again", function()
    local line
    local f = gen.coroutine(function()
      local _, err = pcall(yield, failing("boom"))
      line = here() + 1
      error(err, 0)
    end)()
    run(function() pcall(yield, f) end)
    has((select(2, f:exc_info())), place(line))
  end)

  it("exists for errors of any kind", function()
    for _, case in ipairs(values.errors) do
      local line
      local f = gen.coroutine(function()
        line = here() + 1
        error(case[2], 0)
      end)()
      local err, traceback = f:exc_info()
      assert.is_true(rawequal(case[2], err))
      has(traceback, place(line))
    end
  end)

  it("is that of the coroutine when run_sync raises", function()
    local line, f
    local ok, err = pcall(run, function()
      f = gen.coroutine(function()
        yield()
        line = here() + 1
        error("boom")
      end)()
      return yield(f)
    end)
    assert.is_false(ok)
    assert.equal(f:exception(), err)
    has((select(2, f:exc_info())), place(line))
  end)

  it("does not keep what the coroutine had once it was dropped", function()
    assert.is_true(gc.collects(function()
      local token = {}
      local f = gen.coroutine(function()
        local kept = token
        error(kept and "boom")
      end)()
      f:exc_info()
      return token
    end))
  end)

  it("stays short for a deep stack", function()
    local function down(n)
      if n == 0 then
        error("deep", 0)
      end
      return 1 + down(n - 1)
    end
    local f = gen.coroutine(down)(10000)
    local _, traceback = f:exc_info()
    assert.is_true(#traceback < 100000)
    has(traceback, "gen_errors_spec.lua:")
  end)

  it("is found from any depth, and changes no variable", function()
    local line
    local function down(n)
      local before <const>, kept <close> = n, setmetatable({}, {
        __close = function(self) assert(self.n == n) end,
      })
      kept.n = before
      if n == 0 then
        line = here() + 1
        error("boom", 0)
      end
      down(n - 1)
      return before
    end
    for n = 0, 50 do
      local f = gen.coroutine(down)(n)
      local err, traceback = f:exc_info()
      assert.equal("boom", err)
      has(traceback, place(line))
    end
  end)

  it("is found where an error from deeper goes on", function()
    local line
    local function down(n)
      if n > 0 then return down(n - 1), n end
      line = here() + 1
      error("boom", 0)
    end
    for n = 0, 50 do
      local f = gen.coroutine(function()
        local ok, failure = core.try(down, n)
        assert(not ok)
        core.raise(failure)
      end)()
      has((select(2, f:exc_info())), place(line))
    end
  end)

  it("is its own, though an equal error is raised while it unwinds", function()
    local first, second, inner
    local f = gen.coroutine(function()
      local _ <close> = setmetatable({}, { __close = function()
        inner = gen.coroutine(function()
          second = here() + 1
          error("boom", 0)
        end)()
      end })
      first = here() + 1
      error("boom", 0)
    end)()
    local _, traceback = f:exc_info()
    has(traceback, place(first))
    assert.is_nil(traceback:find(place(second), 1, true))
    has((select(2, inner:exc_info())), place(second))
  end)
end)

describe("Return", function()
  it("may be derived from", function()
    local Done = gen.Return:subclass("Done")
    assert.same({ 1, nil, 3 }, { gen.coroutine(function()
      error(Done(1, nil, 3))
    end)():result() })
  end)

  it("has as many values as it says, if those are a number", function()
    local function results(n)
      local returned = gen.Return("a", "b")
      returned.n = n
      local fails = gen.coroutine(function() error(returned) end)
      return table.pack(fails():result())
    end
    assert.same({ n = 1, "a" }, results(1))
    assert.equal(4, results(4).n)
    for _, wrong in ipairs { -1, -5, math.mininteger, 0.5, 0 / 0, "x", {} } do
      assert.same({ n = 0 }, results(wrong))
    end
    for _, much in ipairs { 1 << 31, (1 << 32) + 2, math.maxinteger } do
      local ok, err = pcall(results, much)
      assert.is_false(ok)
      assert.is_truthy(err:find("too many results", 1, true), err)
    end
  end)

  it("is no error to waiters", function()
    assert.same({ 1, 2 }, { run(function()
      return yield(gen.coroutine(function()
        yield()
        error(gen.Return(1, 2))
      end)())
    end) })
    assert.equal("", log:text())
  end)
end)
