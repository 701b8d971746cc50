-- SPDX-License-Identifier: MIT
-- gen.multi: many yieldables as one Future.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local outcomes = require "spec.support.outcomes"
local values = require "spec.support.values"

local Future = concurrent.Future
local done, failed = outcomes.done, outcomes.failed
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

describe("multi", function()
  it("is a Future of the table of results", function()
    local a, b = Future(), Future()
    local f = gen.multi { a, b, x = a }
    assert.is_true(concurrent.is_future(f))
    assert.is_false(f:done())
    b:set_result("b", "more")
    assert.is_false(f:done())
    a:set_result("a")
    assert.same({ "a", "b", x = "a" }, run(function() return yield(f) end))
  end)

  it("has three names", function()
    for _, name in ipairs { "multi", "Multi", "multi_future" } do
      assert.same({ 1, x = 2 }, run(function()
        return yield(gen[name] { done(1), x = done(2) })
      end))
    end
  end)

  it("is done at once for {}", function()
    local f = gen.multi {}
    assert.is_true(f:done())
    assert.same({}, (f:result()))
  end)

  it("takes any yieldable", function()
    assert.same({ 1, { 2, x = 3 }, [5] = "awaited" }, run(function()
      return yield(gen.multi {
        done(1), { done(2), x = done(3) }, [4] = gen.moment,
        [5] = setmetatable({}, {
          __await = function() return done("awaited") end,
        }),
      })
    end))
  end)

  it("keeps false and leaves the key of nil unset", function()
    local results = run(function()
      return yield(gen.multi { done(false), done(nil), done(), x = done(nil),
        y = done(false) })
    end)
    assert.same({ false, y = false }, results)
    assert.is_nil(rawget(results, 2))
  end)

  it("takes keys of every kind", function()
    local key = {}
    local t = { [key] = done(1), [1.5] = done(2), [false] = done(3),
      [-1] = done(4), [print] = done(5), [math.maxinteger] = done(6) }
    assert.same({ [key] = 1, [1.5] = 2, [false] = 3, [-1] = 4, [print] = 5,
      [math.maxinteger] = 6 }, run(function()
        return yield(gen.multi(t))
      end))
  end)

  it("takes one child more than once", function()
    local f = Future()
    local all = gen.multi { f, f, x = f }
    f:set_result(7)
    assert.same({ 7, 7, x = 7 }, run(function() return yield(all) end))
  end)

  it("ignores later changes of the table", function()
    local a, b = Future(), Future()
    local t = { a, b }
    local all = gen.multi(t)
    t[1], t[2], t[3] = nil, "junk", Future()
    a:set_result(1)
    b:set_result(2)
    assert.same({ 1, 2 }, run(function() return yield(all) end))
  end)

  it("waits when done children are mixed with pending ones", function()
    local a = Future()
    local all = gen.multi { done(1), a, done(3) }
    assert.is_false(all:done())
    a:set_result(2)
    assert.same({ 1, 2, 3 }, run(function() return yield(all) end))
  end)

  it("may be nested in itself", function()
    local f = Future()
    for i = 1, 50 do
      loop:add_callback(function()
        if i == 50 then
          f:set_result("deep")
        end
      end)
    end
    local all = f
    for _ = 1, 50 do
      all = gen.multi { all }
    end
    local result = run(function() return yield(all) end)
    for _ = 1, 50 do
      result = result[1]
    end
    assert.equal("deep", result)
  end)
end)

describe("multi with errors", function()
  it("raises the first by position, when all are done", function()
    local a, b, c = Future(), Future(), Future()
    local all = gen.multi { a, b, c }
    c:set_exception("third")
    assert.is_false(all:done())
    b:set_exception("second")
    assert.is_false(all:done())
    a:set_result(1)
    local ok, err = pcall(run, function() return yield(all) end)
    assert.is_false(ok)
    assert.equal("second", err)
    assert.equal(1, log:count("third"), log:text())
    assert.equal(0, log:count("second"), log:text())
  end)

  it("puts integer keys first, in order", function()
    for _ = 1, 20 do
      local t = { zebra = failed("z"), apple = failed("a") }
      for _, i in ipairs { 100, 7, 30, 2 } do
        t[i] = failed("at " .. i)
      end
      local f = gen.multi(t, { "^at", "^[az]$" })
      pcall(run, function() return yield(f) end)
      assert.equal("at 2", f:exception())
    end
    assert.equal("", log:text())
  end)

  for _, case in ipairs(values.errors) do
    it("raises unchanged: " .. case[1], function()
      local f = gen.multi { done(1), failed(case[2]) }
      pcall(run, function() yield(f) end)
      assert.is_true(rawequal(case[2], f:exception()))
    end)
  end

  it("logs each further error once", function()
    local f = gen.multi { failed("one"), failed("two"), x = failed("three") }
    pcall(run, function() yield(f) end)
    assert.equal("one", f:exception())
    f = nil -- luacheck: ignore
    gc.collect()
    assert.equal(1, log:count("two"), log:text())
    assert.equal(1, log:count("three"), log:text())
    assert.equal(0, log:count("one"), log:text())
  end)

  it("logs further errors with their tracebacks", function()
    local line
    local leaf = gen.coroutine(function()
      line = debug.getinfo(1, "l").currentline + 1
      error("second", 0)
    end)
    pcall(run, function() yield(gen.multi { failed("one"), leaf() }) end)
    assert.is_truthy(log:first("second"):find("gen_multi_spec.lua:" .. line,
      1, true), log:text())
  end)

  it("raises the error of a child that occurs twice", function()
    local child = failed("boom")
    local ok, err = pcall(run, function()
      yield(gen.multi({ child, child, x = child }, "boom"))
    end)
    assert.is_false(ok)
    assert.equal("boom", err)
    assert.equal("", log:text())
  end)

  it("logs the error that it raises if that is never retrieved",
    function()
      local function drop()
        gen.multi { failed("boom"), done(1) }
      end
      drop()
      loops.turn(loop, 2)
      gc.collect()
      assert.equal(1, log:count("boom"), log:text())
    end)
end)

describe("an error that comes to a multi in several ways", function()
  local function raise(err)
    return gen.coroutine(function() error(err, 0) end)()
  end
  local through = gen.coroutine(function(f) return (yield(f)) end)
  local Error = util.Exception:subclass("Error")

  -- The number of lines that tell of each error, when `make` has given what is
  -- yielded, and it has raised `expected`.
  local function check(expected, lines, make)
    local f = Future()
    local g = Future()
    local waited = gen.coroutine(function() yield(make(f, g)) end)()
    f:set_exception "the first"
    g:set_exception "the second"
    local ok, err = pcall(run, function() yield(waited) end)
    waited, f, g = nil, nil, nil
    gc.collect()
    assert.is_false(ok)
    assert.equal(expected, err)
    for text, n in pairs(lines) do
      assert.equal(n, log:count(text), text .. " in:\n" .. log:text())
    end
    log:clear()
  end

  local first = { ["the first"] = 0 }
  local both = { ["the first"] = 0, ["the second"] = 1 }

  it("is not logged when it is raised", function()
    check("the first", first, function(f) return { f, f } end)
    check("the first", first, function(f) return { a = f, b = f } end)
    check("the first", first, function(f) return gen.multi { f, f } end)
    check("the first", first, function(f)
      return { { f }, f, { x = { f } } }
    end)
    check("the first", first, function(f)
      return { gen.multi { f, f }, f, gen.multi { f } }
    end)
    check("the first", first, function(f)
      return gen.MultiYieldPoint { f, f, { f } }
    end)
    check("the first", first, function(f)
      return { gen.with_timeout(math.huge, f), f,
        gen.with_timeout(math.huge, { f }) }
    end)
    check("the first", first, function(f)
      local target = Future()
      concurrent.chain_future(f, target)
      return { target, f }
    end)
    check("the first", first, function(f)
      return { through(f), through(through(f)), f }
    end)
    check("the first", first, function(f)
      return { f, gen.WaitIterator(f):next() }
    end)
  end)

  it("is logged once when it is another than the one raised", function()
    check("the first", both, function(f, g) return { f, g, g, { g } } end)
    check("the first", both, function(f, g) return { { f, g }, { f, g } } end)
    check("the first", both, function(f, g)
      return { f, through(g), through(g), g }
    end)
    check("the first", both, function(f, g)
      return { gen.multi { f, g }, gen.multi { f, g } }
    end)
  end)

  it("is not logged by a multi within the one that raises it", function()
    check("the first", both, function(f, g) return { f, { g, f } } end)
    check("the first", both, function(f, g)
      return { f, { x = { g, f } }, gen.multi { g, f } }
    end)
  end)

  it("is logged once by all multis", function()
    check("the first", both, function(f, g)
      local other = gen.multi { f, g }
      gen.coroutine(function() pcall(yield, other) end)()
      return { f, g }
    end)
  end)

  it("is the same one if it is the same object", function()
    local err = Error("one object")
    local ok, raised = pcall(run, function()
      yield { raise(err), raise(err) }
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal("", log:text())
  end)

  it("is another one if only the text is the same", function()
    pcall(run, function() yield { raise("alike"), raise("alike") } end)
    assert.equal(1, log:count("alike"), log:text())
    log:clear()
    pcall(run, function()
      yield { raise(Error "alike"), raise(Error "alike") }
    end)
    assert.equal(1, log:count("alike"), log:text())
  end)

  it("is not logged by a WaitIterator that has raised it", function()
    local f = failed("boom")
    run(function()
      local wi = gen.WaitIterator(f, f)
      assert.is_false(pcall(yield, wi:next()))
    end)
    f = nil -- luacheck: ignore
    gc.collect()
    assert.equal("", log:text())
  end)

  it("follows the quiet_exceptions of its own multi", function()
    check("the first", { ["the second"] = 0 }, function(f, g)
      return { gen.multi({ f, g }, "second"), f }
    end)
    check("the first", { ["the second"] = 1 }, function(f, g)
      return gen.multi({ gen.multi({ f, g }, "nothing"), f }, "second")
    end)
  end)
end)

describe("quiet_exceptions of multi", function()
  local Derived = util.TimeoutError:subclass("DerivedError")

  -- Errors that are logged beside the first, given what is quiet.
  local function logged(quiet)
    local f = gen.multi({ failed("first"), failed("plain text"),
      failed(util.TimeoutError("slow")), failed(Derived("slower")),
      failed({ code = 5 }) }, quiet)
    pcall(run, function() yield(f) end)
    assert.equal("first", f:exception())
    local slower = log:count("slower")
    local counts = { plain = log:count("plain text"), slower = slower,
      slow = log:count("slow") - slower, all = #log }
    log:clear()
    return counts
  end

  it("may be left out", function()
    assert.same({ plain = 1, slow = 1, slower = 1, all = 4 }, logged())
    assert.same({ plain = 1, slow = 1, slower = 1, all = 4 }, logged(nil))
    assert.same({ plain = 1, slow = 1, slower = 1, all = 4 }, logged({}))
  end)

  it("may be a class", function()
    assert.same({ plain = 1, slow = 0, slower = 0, all = 2 },
      logged(util.TimeoutError))
    assert.same({ plain = 1, slow = 1, slower = 0, all = 3 },
      logged(Derived))
    assert.same({ plain = 1, slow = 0, slower = 0, all = 2 },
      logged(util.Exception))
  end)

  it("may be a pattern for tostring(err)", function()
    assert.same({ plain = 0, slow = 1, slower = 1, all = 3 },
      logged("^plain %a+$"))
    assert.same({ plain = 1, slow = 0, slower = 1, all = 3 },
      logged("^TimeoutError: "))
  end)

  it("may be a function", function()
    local asked = {}
    assert.same({ plain = 1, slow = 1, slower = 1, all = 3 },
      logged(function(err)
        asked[#asked + 1] = err
        return type(err) == "table" and err.code == 5
      end))
    assert.is_true(#asked >= 4)
  end)

  it("may be a list of these", function()
    assert.same({ plain = 0, slow = 1, slower = 0, all = 1 }, logged {
      Derived, "^plain", function(err)
        return type(err) == "table" and err.code == 5
      end })
  end)

  it("does not follow a list into itself", function()
    local quiet, last = {}, Future()
    local f = gen.multi({ failed("first"), failed("second"), last }, quiet)
    quiet[1], quiet[2] = quiet, { "second" }
    last:set_result()
    assert.equal("first", f:exception())
    assert.equal(1, log:count("second"), log:text())
  end)

  it("does not quieten the error that is raised", function()
    local f = gen.multi({ failed("boom") }, "boom")
    local ok, err = pcall(run, function() yield(f) end)
    assert.is_false(ok)
    assert.equal("boom", err)
  end)

  it("copes with errors of every kind", function()
    log:allow "Multiple exceptions in yield list: "
    for _, case in ipairs(values.errors) do
      for _, quiet in ipairs { "^no such$", util.Exception, { "x" } } do
        local f = gen.multi({ failed("first"), failed(case[2]) }, quiet)
        pcall(run, function() yield(f) end)
        assert.equal("first", f:exception())
      end
    end
  end)
end)

describe("multi's arguments", function()
  it("are checked", function()
    bad(function() gen.multi(5) end, 1, "multi", "table", "number")
    bad(function() gen.multi(nil) end, 1, "multi", "table", "nil")
    bad(function() gen.multi() end, 1, "multi", "table")
    bad(function() gen.multi("x") end, 1, "multi", "table", "string")
    bad(function() gen.multi({}, 5) end, 2, "multi")
    bad(function() gen.multi({}, true) end, 2, "multi")
    bad(function() gen.multi({}, { 5 }) end, 2, "multi")
  end)

  it("raise BadYieldError for a child that is not yieldable", function()
    for _, junk in ipairs { 5, "x", print, true, io.stdout } do
      for _, t in ipairs { { junk }, { Future(), junk }, { x = junk },
        { { junk } } } do
        local ok, err = pcall(gen.multi, t)
        assert.is_false(ok)
        assert.is_true(util.isinstance(err, gen.BadYieldError),
          tostring(err))
      end
    end
  end)
end)

describe("multi's memory", function()
  it("is freed once it is done", function()
    local f = Future()
    assert.is_true(gc.collects(function()
      local all = gen.multi { f, done({}) }
      f:set_result({})
      return all
    end))
  end)

  it("is freed with its children when all are dropped", function()
    assert.is_true(gc.collects(function()
      local a = Future()
      gen.multi { a, Future() }
      return a
    end))
  end)
end)
