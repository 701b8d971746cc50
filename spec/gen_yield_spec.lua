-- SPDX-License-Identifier: MIT
-- What may be yielded, from where, in which order it comes back.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local isinstance = require "lunado.util".isinstance
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local outcomes = require "spec.support.outcomes"
local pipes = require "spec.support.pipes"
local values = require "spec.support.values"

local Future = concurrent.Future
local done, failed, soon, failing =
  outcomes.done, outcomes.observed, outcomes.soon, outcomes.failing
local yield = coroutine.yield
local unpack = values.unpack

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

describe("yield of a Future", function()
  for _, case in ipairs(values.lists) do
    it("returns " .. case[1], function()
      assert.same(case[2], table.pack(run(function()
        return yield(soon(unpack(case[2])))
      end)))
      assert.same(case[2], table.pack(run(function()
        return yield(done(unpack(case[2])))
      end)))
    end)

    it("await returns " .. case[1], function()
      assert.same(case[2], table.pack(run(function()
        return gen.await(soon(unpack(case[2])))
      end)))
      assert.same(case[2], table.pack(gen.await(done(unpack(case[2])))))
    end)
  end

  it("does not suspend when it is done", function()
    local f = gen.coroutine(function()
      local sum = 0
      for i = 1, 1000 do
        sum = sum + yield(done(i)) + gen.await(done(i))
      end
      return sum
    end)()
    assert.is_true(f:done())
    assert.equal(1001000, f:result())
  end)

  it("raises at once when it has failed", function()
    local f = gen.coroutine(function()
      local ok, err = pcall(yield, failed("boom"))
      assert(not ok and err == "boom")
      ok, err = pcall(gen.await, failed("boom"))
      assert(not ok and err == "boom")
      return "went on"
    end)()
    assert.is_true(f:done())
    assert.equal("went on", f:result())
  end)

  it("resumes from the loop, never inside set_result", function()
    local f, resumed = Future(), false
    local waiting = gen.coroutine(function()
      yield(f)
      resumed = true
    end)()
    f:add_done_callback(function() assert(not resumed) end)
    f:set_result()
    assert.is_false(resumed)
    loops.turn(loop)
    assert.is_true(resumed)
    assert.is_true(waiting:done())
    assert.equal("", log:text())
  end)

  it("resumes in the order in which Futures were settled", function()
    local futures, order = {}, {}
    for i = 1, 100 do
      futures[i] = Future()
      gen.coroutine(function()
        yield(futures[i])
        order[#order + 1] = i
      end)()
    end
    local expected = {}
    for i = 1, 100 do
      local j = i * 37 % 101
      expected[i] = j
      if i % 3 == 0 then
        futures[j]:set_result()
      else
        loop:add_callback(futures[j].set_result, futures[j])
        loops.turn(loop)
      end
    end
    loops.turn(loop, 3)
    assert.same(expected, order)
  end)

  it("resumes all waiters of one Future, in order", function()
    local f, order, expected = Future(), {}, {}
    for i = 1, 100 do
      expected[i] = i
      gen.coroutine(function()
        local zero = yield(f)
        order[#order + 1] = zero + i
      end)()
    end
    f:set_result(0)
    loops.turn(loop, 2)
    assert.same(expected, order)
  end)

  it("works where yield is a tail call, or was saved long ago", function()
    local saved = coroutine.yield
    local tail = gen.coroutine(function(f) return saved(f) end)
    assert.equal(1, run(function() return yield(tail(soon(1))) end))
    local ok, err = pcall(run, function() return saved(failing("boom")) end)
    assert.is_false(ok)
    assert.equal("boom", err)
  end)

  it("may be the same one again and again", function()
    local f = soon(2)
    assert.equal(8, run(function()
      return yield(f) * yield(f) * gen.await(f)
    end))
  end)
end)

describe("yield of nothing, nil or moment", function()
  local function yields(fn)
    return function()
      local order = {}
      loop:add_callback(function() order[#order + 1] = "before" end)
      local f = gen.coroutine(function()
        fn()
        order[#order + 1] = "resumed"
      end)()
      assert.is_false(f:done())
      assert.same({}, order)
      run(function() yield(f) end)
      assert.same({ "before", "resumed" }, order)
    end
  end

  it("lets the loop turn: nothing", yields(function() yield() end))
  it("lets the loop turn: nil", yields(function() yield(nil) end))
  it("lets the loop turn: moment", yields(function() yield(gen.moment) end))
  it("lets the loop turn: await()", yields(function() gen.await() end))
  it("lets the loop turn: await(moment)", yields(function()
    gen.await(gen.moment)
  end))

  it("returns nil", function()
    run(function()
      assert.is_nil((yield()))
      assert.is_nil((yield(nil)))
      assert.is_nil((yield(gen.moment)))
    end)
  end)

  it("alternates with other coroutines that do so", function()
    local order = {}
    local function teller(name)
      return gen.coroutine(function()
        for _ = 1, 3 do
          order[#order + 1] = name
          yield()
        end
      end)()
    end
    local a, b = teller("a"), teller("b")
    run(function() yield(a, b) end)
    assert.equal("ababab", table.concat(order))
  end)

  it("does not starve timers", function()
    local fired = false
    loop:call_later(0.002, function() fired = true end)
    run(function()
      local give_up = loop:time() + 10
      while not fired and loop:time() < give_up do
        yield()
      end
    end)
    assert.is_true(fired)
  end)

  it("does not starve descriptors", function()
    local pipe = pipes.pipe()
    local seen = false
    loop:add_handler(pipe.read, function() seen = true end, loop.READ)
    pipes.write(pipe.write, "x")
    run(function()
      local give_up = loop:time() + 10
      while not seen and loop:time() < give_up do
        yield()
      end
    end)
    loop:remove_handler(pipe.read)
    pipes.close(pipe.read)
    pipes.close(pipe.write)
    assert.is_true(seen)
  end)
end)

describe("yield of a table", function()
  it("gives a table of results under the same keys", function()
    local t = { soon(1), done(2), x = soon("x"), [10] = done("ten"),
      [true] = soon(false) }
    assert.same({ 1, 2, x = "x", [10] = "ten", [true] = false },
      run(function() return yield(t) end))
  end)

  it("gives a new table and leaves the old one alone", function()
    local f = soon(1)
    local t = { f }
    local results = run(function() return yield(t) end)
    assert.are_not.equal(t, results)
    assert.equal(f, t[1])
  end)

  it("gives {} at once for {}", function()
    local f = gen.coroutine(function()
      local a, b = yield {}, gen.await {}
      return a, b
    end)()
    assert.is_true(f:done())
    assert.same({ {}, {} }, { f:result() })
  end)

  it("may be nested", function()
    assert.same({ 1, { 2, a = { 3, {} } }, b = { c = "c" } },
      run(function()
        return yield { soon(1), { done(2), a = { soon(3), {} } },
          b = { c = soon("c") } }
      end))
  end)

  it("takes the first result of each, and unsets keys for nil", function()
    assert.same({ 1, nil, 3 }, run(function()
      return yield { soon(1, "more"), soon(nil, "more"), soon(3, nil) }
    end))
    assert.same({}, run(function() return yield { a = soon() } end))
  end)

  it("is read once, at the yield", function()
    assert.same({ 1, 2 }, run(function()
      local t = { soon(1), soon(2) }
      loop:add_callback(function() t[1], t[2], t[3] = nil, 5, Future() end)
      return yield(t)
    end))
  end)

  it("raises the first error by position when all are done", function()
    local order = {}
    local slow = gen.coroutine(function(n, ...)
      for _ = 1, n do
        yield()
      end
      order[#order + 1] = n
      error(...)
    end)
    local ok, err = pcall(run, function()
      yield { soon(1), slow(5, "first", 0), slow(2, "second", 0) }
    end)
    assert.is_false(ok)
    assert.equal("first", err)
    assert.same({ 2, 5 }, order)
    assert.equal(1, log:count("second"), log:text())
    assert.equal(0, log:count("first"), log:text())
  end)

  it("may hold a Future twice", function()
    local f = soon(5)
    assert.same({ 5, 5, x = 5 }, run(function()
      return yield { f, f, x = f }
    end))
  end)

  it("may have a metatable without __name and __index", function()
    local t = setmetatable({ soon(1), a = soon(2) }, {})
    assert.same({ 1, a = 2 }, run(function() return yield(t) end))
    t = setmetatable({ done(1) }, { __mode = "k" })
    assert.same({ 1 }, run(function() return yield(t) end))
  end)

  it("may hold many", function()
    local t, expected = {}, {}
    for i = 1, 5000 do
      t[i], expected[i] = soon(i), i
    end
    assert.same(expected, run(function() return yield(t) end))
  end)
end)

describe("yield of several arguments", function()
  it("waits for all and returns their first results", function()
    assert.same(table.pack(1, "b", 3), table.pack(run(function()
      return yield(soon(1, "more"), done("b", "more"), soon(3))
    end)))
  end)

  it("keeps the places of nil and false", function()
    assert.same(table.pack(nil, false, nil, 4, nil),
      table.pack(run(function()
        return yield(soon(nil), soon(false), done(), soon(4), soon())
      end)))
  end)

  it("takes yieldables of any kind", function()
    local a, b, c, d = run(function()
      return yield({ soon(1) }, gen.moment, { x = done(2) },
        gen.coroutine(function() return 3 end)())
    end)
    assert.same({ 1 }, a)
    assert.is_nil(b)
    assert.same({ x = 2 }, c)
    assert.equal(3, d)
  end)

  it("takes 300", function()
    local futures, expected = {}, { n = 300 }
    for i = 1, 300 do
      futures[i], expected[i] = soon(i), i
    end
    assert.same(expected, table.pack(run(function()
      return yield(table.unpack(futures))
    end)))
  end)

  it("raises the first error by position, when all are done", function()
    local last = Future()
    local ok, err = pcall(run, function()
      loop:call_later(0.001, last.set_result, last)
      yield(soon(1), failing("one"), failing("two"), last)
    end)
    assert.is_false(ok)
    assert.equal("one", err)
    assert.is_true(last:done())
    assert.equal(1, log:count("two"))
    assert.equal(0, log:count("one"))
  end)

  it("works with await", function()
    assert.same({ 1, 2 }, { run(function()
      return gen.await(soon(1), soon(2))
    end) })
  end)
end)

describe("yield of an object with __await", function()
  local function object(fn)
    return setmetatable({}, { __await = fn, __index = {}, __name = "Object" })
  end

  it("waits for what __await gives", function()
    local got
    local o
    o = object(function(...)
      got = table.pack(...)
      return soon("awaited", 2)
    end)
    assert.same({ "awaited", 2 }, { run(function() return yield(o) end) })
    assert.equal(1, got.n)
    assert.equal(o, got[1])
    assert.equal("awaited", (run(function() return gen.await(o) end)))
  end)

  it("takes any yieldable from it, another such object included", function()
    local inner = object(function() return { soon(1), x = soon(2) } end)
    local outer = object(function() return inner end)
    assert.same({ 1, x = 2 }, run(function() return yield(outer) end))
    assert.same({ { 1, x = 2 } }, run(function() return yield { outer } end))
  end)

  it("raises its error at the yield", function()
    local err = {}
    local o = object(function() error(err) end)
    run(function()
      local ok, got = pcall(yield, o)
      assert(not ok and got == err)
      ok, got = pcall(yield, { soon(1), o })
      assert(not ok and got == err)
    end)
  end)

  it("raises BadYieldError when it gives no yieldable", function()
    local o = object(function() return 5 end)
    run(function()
      local ok, err = pcall(yield, o)
      assert(not ok and isinstance(err, gen.BadYieldError))
    end)
  end)
end)

describe("yield of anything else", function()
  local function class_instance()
    return setmetatable({}, { __index = {} })
  end
  local cases = {
    { 5, "number" }, { "text", "string" }, { true, "boolean" },
    { false, "boolean" }, { print, "function" },
    { coroutine.create(print), "thread" }, { io.stdout, "FILE*" },
    { class_instance(), "table" },
    { setmetatable({}, { __name = "My.Type" }), "My.Type" },
    { setmetatable({}, { __metatable = false, __index = {} }), "table" },
    { gen.coroutine(print), "function, which was not called" },
  }
  for _, case in ipairs(cases) do
    local value, name = case[1], case[2]
    it("raises BadYieldError at the yield: " .. name, function()
      run(function()
        for _, wait in ipairs { yield, gen.await } do
          for _, junk in ipairs { { value, n = 1 }, { soon(1), value, n = 2 },
            { { soon(1), value }, n = 1 }, { { x = { value } }, n = 1 } } do
            local ok, err = pcall(wait, unpack(junk))
            assert.is_false(ok)
            assert.is_true(isinstance(err, gen.BadYieldError), tostring(err))
            assert.is_truthy(err.message:find(name, 1, true), err.message)
          end
        end
        assert.equal(1, yield(soon(1)))
      end)
      assert.equal("", log:text())
    end)
  end

  it("fails a coroutine that does not catch it, with the line", function()
    local line
    local f = gen.coroutine(function()
      line = debug.getinfo(1, "l").currentline + 1
      yield(5)
    end)()
    local err, traceback = f:exc_info()
    assert.is_true(isinstance(err, gen.BadYieldError))
    assert.is_truthy(traceback:find("gen_yield_spec.lua:" .. line, 1, true),
      traceback)
  end)
end)

describe("convert_yielded", function()
  it("gives the Future itself", function()
    local f = Future()
    assert.equal(f, gen.convert_yielded(f))
  end)

  it("makes a Future of any yieldable", function()
    local f = gen.convert_yielded { done(1), x = done(2) }
    assert.is_true(concurrent.is_future(f))
    assert.same({ 1, x = 2 }, run(function() return yield(f) end))
    assert.is_true(concurrent.is_future(gen.convert_yielded(setmetatable({},
      { __await = function() return done() end }))))
  end)

  it("raises BadYieldError for anything else", function()
    for _, value in ipairs { 5, "x", print, true } do
      local ok, err = pcall(gen.convert_yielded, value)
      assert.is_false(ok)
      assert.is_true(isinstance(err, gen.BadYieldError))
    end
  end)

  it("learns light userdata, each by itself", function()
    local function light() return done end
    local one, other = debug.upvalueid(light, 1), debug.upvalueid(run, 1)
    gen.convert_yielded.register(one, function(value)
      assert.equal(one, value)
      return soon(8)
    end)
    assert.same({ 8, 7 }, run(function() return yield { one, soon(7) } end))
    local ok, err = pcall(gen.convert_yielded, other)
    assert.is_false(ok)
    assert.is_true(isinstance(err, gen.BadYieldError))
    gen.convert_yielded.register(one, function() return done() end)
  end)

  it("learns metatables", function()
    local Box = {}
    Box.__index = Box
    gen.convert_yielded.register(Box, function(box)
      return box.content
    end)
    local box = setmetatable({ content = soon(7) }, Box)
    assert.equal(7, run(function() return yield(box) end))
    assert.same({ 7 }, run(function() return yield { box } end))
    assert.equal(7, (gen.convert_yielded(box):result()))
  end)

  it("learns Lua types", function()
    local r = child [[
      local lunado = require "lunado"
      local gen = lunado.gen
      gen.convert_yielded.register("number", function(n)
        return lunado.sleep(n)
      end)
      gen.convert_yielded.register("function", function(fn)
        return gen.coroutine(fn)()
      end)
      lunado.run(function()
        coroutine.yield(0.001)
        assert(coroutine.yield(function() return 5 end) == 5)
        local t = coroutine.yield { 0, function() return 6 end }
        assert(t[1] == nil and t[2] == 6)
        assert(not pcall(coroutine.yield, "text"))
      end)
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)

  it("raises a converter's error at the yield", function()
    local Broken = { __index = {} }
    gen.convert_yielded.register(Broken, function() error("converter", 0) end)
    run(function()
      local ok, err = pcall(yield, setmetatable({}, Broken))
      assert(not ok and err == "converter")
    end)
  end)

  it("checks what it learns", function()
    local register = gen.convert_yielded.register
    bad(function() register(nil, print) end, 1, "register")
    bad(function() register("nonsense", print) end, 1, "register")
    bad(function() register({}, 5) end, 2, "register", "function", "number")
    assert.is_false(pcall(getmetatable(gen.convert_yielded).__call))
  end)
end)

describe("maybe_future", function()
  it("gives a Future itself and wraps the rest", function()
    local f = Future()
    assert.equal(f, gen.maybe_future(f))
    local t = { f }
    assert.equal(t, gen.maybe_future(t):result())
    assert.equal(5, gen.maybe_future(5):result())
    assert.is_false(gen.maybe_future(false):result())
    assert.is_nil((gen.maybe_future(nil):result()))
    assert.is_true(gen.maybe_future():done())
  end)
end)

-- Lua itself can yield in __pairs since 5.4.4.
local function is_able(name, wait)
  if name ~= "__pairs" then return true end
  local thread = coroutine.create(wait)
  coroutine.resume(thread)
  return coroutine.status(thread) == "suspended"
end

describe("yield and await from any depth", function()
  -- Each case makes a function that waits for `f` somewhere unusual and
  -- gives f's result back in the end.
  local cases = {
    ["pcall"] = function(f)
      local ok, x = pcall(yield, f)
      return ok and x or error(x, 0)
    end,
    ["pcall in pcall"] = function(f)
      local ok, ok2, x = pcall(pcall, yield, f)
      return ok and ok2 and x or error(x, 0)
    end,
    ["xpcall"] = function(f)
      local ok, x = xpcall(yield, function(e) return e end, f)
      return ok and x or error(x, 0)
    end,
    ["nested calls"] = function(f)
      local function down(n)
        if n == 0 then
          return (yield(f))
        end
        return (down(n - 1))
      end
      return down(150)
    end,
    ["__index"] = function(f)
      return setmetatable({}, { __index = function() return (yield(f)) end })
        .x
    end,
    ["__newindex"] = function(f)
      local x
      setmetatable({}, { __newindex = function() x = yield(f) end }).y = 1
      return x
    end,
    ["__add"] = function(f)
      return setmetatable({}, { __add = function() return (yield(f)) end })
        + 1
    end,
    ["__unm"] = function(f)
      return -setmetatable({}, { __unm = function() return (yield(f)) end })
    end,
    ["__len"] = function(f)
      return #setmetatable({}, { __len = function() return (yield(f)) end })
    end,
    ["__concat"] = function(f)
      local text = "a" .. "b" .. setmetatable({},
        { __concat = function() return (yield(f)) end })
      return text:sub(2)
    end,
    ["__call"] = function(f)
      return (setmetatable({}, { __call = function() return (yield(f)) end })
        ())
    end,
    ["__eq"] = function(f)
      local x
      local mt = { __eq = function() x = yield(f) return true end }
      assert(setmetatable({}, mt) == setmetatable({}, mt))
      return x
    end,
    ["__lt"] = function(f)
      local x
      local mt = { __lt = function() x = yield(f) return false end }
      local less = setmetatable({}, mt) < setmetatable({}, mt)
      assert(not less)
      return x
    end,
    ["__le"] = function(f)
      local x
      local mt = { __le = function() x = yield(f) return true end }
      assert(setmetatable({}, mt) <= setmetatable({}, mt))
      return x
    end,
    ["an iterator"] = function(f)
      local x
      for got in function(_, last) return not last and yield(f) or nil end do
        x = got
      end
      return x
    end,
    ["__pairs"] = function(f)
      local x
      for _, got in pairs(setmetatable({}, { __pairs = function()
        local value = yield(f)
        return next, { value }
      end })) do
        x = got
      end
      return x
    end,
    ["__close, leaving normally"] = function(f)
      local x
      do
        local guard <close> = setmetatable({}, { __close = function()
          x = yield(f)
        end })
        assert(guard)
      end
      return x
    end,
    ["__close, returning"] = function(f)
      local x
      local function inner()
        local guard <close> = setmetatable({}, { __close = function()
          x = yield(f)
        end })
        return guard, 1, nil, 3
      end
      local n = select("#", inner())
      assert(n == 4)
      return x
    end,
    ["__close, breaking out of a loop"] = function(f)
      local x
      for i in next, { 1, 2 }, nil, setmetatable({}, { __close = function()
        x = yield(f)
      end }) do
        if i == 1 then
          break
        end
      end
      return x
    end,
    ["__close, leaving by a caught error"] = function(f)
      local x
      local ok, err = pcall(function()
        local guard <close> = setmetatable({}, { __close = function()
          x = yield(f)
        end })
        error(guard and "first", 0)
      end)
      assert(not ok)
      return err == "first" and x or error(err, 0)
    end,
    ["dofile"] = function(f)
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write("return (coroutine.yield(TO_AWAIT))")
      file:close()
      rawset(_G, "TO_AWAIT", f)
      local ok, x = pcall(dofile, path)
      rawset(_G, "TO_AWAIT", nil)
      os.remove(path)
      return ok and x or error(x, 0)
    end,
    ["await in pcall"] = function(f)
      local ok, x = pcall(gen.await, f)
      return ok and x or error(x, 0)
    end,
    ["await in a metamethod"] = function(f)
      return setmetatable({}, { __index = function()
        return (gen.await(f))
      end }).x
    end,
  }
  for name, wait in pairs(cases) do
    local it = is_able(name, wait) and it or pending
    it("gives the result: " .. name, function()
      assert.equal("yes", run(function() return wait(soon("yes")) end))
      assert.equal("yes", run(function() return wait(done("yes")) end))
    end)

    it("raises the error: " .. name, function()
      for _, make in ipairs { failing, failed } do
        local err = {}
        local ok, got = pcall(run, function() return wait(make(err)) end)
        assert.is_false(ok)
        assert.equal(err, got)
      end
    end)
  end

  it("resumes with the results that pcall shows", function()
    assert.same(table.pack(true, 1, nil, false, nil),
      table.pack(run(function()
        return pcall(yield, soon(1, nil, false, nil))
      end)))
    assert.same(table.pack(false, "boom"), table.pack(run(function()
      return pcall(yield, failing("boom"))
    end)))
  end)

  it("hands the error to xpcall's handler", function()
    local err, seen = {}, nil
    assert.same({ false, "handled" }, { run(function()
      return xpcall(yield, function(...)
        seen = table.pack(...)
        return "handled"
      end, failing(err))
    end) })
    assert.equal(1, seen.n)
    assert.equal(err, seen[1])
  end)

  it("cannot suspend in xpcall's handler, and survives it", function()
    local f = soon(1)
    run(function()
      local ok = xpcall(error, function() return yield(f) end, "x")
      assert.is_false(ok)
      assert.equal(1, yield(f))
    end)
  end)
end)

describe("a <close> handler that yields", function()
  local function guard(fn)
    return setmetatable({}, { __close = fn })
  end
  it("delays the result of a coroutine that returns", function()
    local f, order = Future(), {}
    local waiting = gen.coroutine(function()
      local g <close> = guard(function()
        order[#order + 1] = yield(f)
        yield()
      end)
      return g and "result", nil, 3
    end)()
    loops.turn(loop, 3)
    assert.is_false(waiting:done())
    f:set_result("closed")
    assert.same(table.pack("result", nil, 3), table.pack(run(function()
      return yield(waiting)
    end)))
    assert.same({ "closed" }, order)
  end)

  it("delays the error of a coroutine that fails", function()
    local f, err, seen = Future(), {}, nil
    local waiting = gen.coroutine(function()
      local g <close> = guard(function(_, e)
        seen = e
        yield(f)
        yield()
      end)
      yield(g and gen.moment)
      error(err)
    end)()
    loops.turn(loop, 3)
    assert.equal(err, seen)
    assert.is_false(waiting:done())
    f:set_result()
    run(function() pcall(yield, waiting) end)
    assert.equal(err, waiting:exception())
  end)

  it("does so when the error came without a suspension", function()
    local f = Future()
    local waiting = gen.coroutine(function()
      local g <close> = guard(function() yield(f) end)
      error(g and "boom", 0)
    end)()
    assert.is_false(waiting:done())
    f:set_result()
    run(function() pcall(yield, waiting) end)
    assert.equal("boom", waiting:exception())
  end)

  it("does so when a yielded Future failed", function()
    local closed = false
    local waiting = gen.coroutine(function()
      local g <close> = guard(function()
        yield(soon())
        closed = true
      end)
      yield(g and failing("boom"))
    end)()
    run(function() pcall(yield, waiting) end)
    assert.equal("boom", waiting:exception())
    assert.is_true(closed)
  end)

  it("keeps the traceback of the error", function()
    local line
    local waiting = gen.coroutine(function()
      local g <close> = guard(function() yield(soon()) end)
      line = debug.getinfo(1, "l").currentline + 1
      error(g and "boom")
    end)()
    run(function() pcall(yield, waiting) end)
    local err, traceback = waiting:exc_info()
    local place = "gen_yield_spec.lua:" .. line
    assert.is_truthy(err:find(place, 1, true))
    assert.is_truthy(traceback:find(place, 1, true), traceback)
  end)

  it("replaces the error by one of its own", function()
    local order = {}
    local waiting = gen.coroutine(function()
      local outer <close> = guard(function(_, e)
        yield(soon())
        order[#order + 1] = e
      end)
      local inner <close> = guard(function(_, e)
        yield(soon())
        order[#order + 1] = e
        error("second", 0)
      end)
      error(outer and inner and "first", 0)
    end)()
    run(function() pcall(yield, waiting) end)
    assert.equal("second", waiting:exception())
    assert.same({ "first", "second" }, order)
  end)

  it("runs before a Return takes effect", function()
    local closed = false
    local waiting = gen.coroutine(function()
      local g <close> = guard(function()
        yield(soon())
        closed = true
      end)
      error(gen.Return(g and 1, 2))
    end)()
    assert.same({ 1, 2 }, { run(function() return yield(waiting) end) })
    assert.is_true(closed)
  end)

  it("may fail what it waits for", function()
    local waiting = gen.coroutine(function()
      local g <close> = guard(function() yield(failing("in close")) end)
      return g and 1
    end)()
    run(function() pcall(yield, waiting) end)
    assert.equal("in close", waiting:exception())
  end)

  it("closes nested ones in order", function()
    local order = {}
    run(function()
      local a <close> = guard(function() yield(soon()) order[3] = "a" end)
      do
        local b <close> = guard(function() yield() order[1] = "b" end)
        local _ = b
      end
      local c <close> = guard(function() yield(soon()) order[2] = "c" end)
      local _ = a or c
    end)
    assert.same({ "b", "c", "a" }, order)
  end)
end)

describe("await where nothing can be suspended", function()
  -- The error names the cause and the way out.
  local function explains(err)
    local text = tostring(err)
    assert.is_nil(text:find("attempt to yield", 1, true), text)
    assert.is_truthy(text:find("await", 1, true), text)
    assert.is_true(#text > 60, text)
  end

  local f
  before_each(function() f = Future() end)
  after_each(function() f:set_result() end)

  it("raises outside any coroutine", function()
    local ok, err = pcall(gen.await, f)
    assert.is_false(ok)
    explains(err)
  end)

  it("raises in a callback of the loop", function()
    local ok, err
    loop:add_callback(function() ok, err = pcall(gen.await, f) end)
    loops.turn(loop)
    assert.is_false(ok)
    explains(err)
  end)

  it("raises in a generator", function()
    run(function()
      local generator = coroutine.wrap(function() gen.await(f) end)
      local ok, err = pcall(generator)
      assert.is_false(ok)
      explains(err)
      assert.is_truthy(tostring(err):find("coroutine", 1, true))
      assert.equal(1, yield(soon(1)))
    end)
  end)

  it("raises in a coroutine of the user's, outside lunado's", function()
    local co = coroutine.create(function() gen.await(f) end)
    local ok, err = coroutine.resume(co)
    assert.is_false(ok)
    explains(err)
  end)

  local across_c = {
    ["table.sort"] = function()
      table.sort({ 1, 2, 3 }, function() return gen.await(f) end)
    end,
    ["string.gsub"] = function()
      return (("x"):gsub("x", function() return gen.await(f) end))
    end,
    ["__tostring"] = function()
      return tostring(setmetatable({}, { __tostring = function()
        return gen.await(f)
      end }))
    end,
    ["require"] = function()
      package.preload["spec.awaits"] = function() gen.await(f) end
      require "spec.awaits"
    end,
    ["load"] = function()
      assert(load(function() return gen.await(f) end))
    end,
  }
  for name, call in pairs(across_c) do
    it("raises under " .. name, function()
      run(function()
        local ok, err = pcall(call)
        assert.is_false(ok)
        explains(err)
        assert.equal(1, yield(soon(1)))
      end)
      package.preload["spec.awaits"] = nil
    end)
  end

  it("returns the result of a done Future, wherever it is called", function()
    assert.equal(5, gen.await(done(5)))
    run(function()
      assert.equal(6, coroutine.wrap(function()
        return gen.await(done(6))
      end)())
      local t = { 3, 1, 2 }
      table.sort(t, function(a, b) return gen.await(done(a < b)) end)
      assert.same({ 1, 2, 3 }, t)
    end)
  end)

  it("raises the error of a failed Future, wherever it is called", function()
    local err = {}
    local ok, got = pcall(gen.await, failed(err))
    assert.is_false(ok)
    assert.equal(err, got)
  end)
end)
