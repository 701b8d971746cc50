-- SPDX-License-Identifier: MIT
-- The thread of a coroutine that has failed serves a later one, which finds
-- nothing of the coroutine before.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local outcomes = require "spec.support.outcomes"

local Future = concurrent.Future
local failing = outcomes.failing
local yield, running = coroutine.yield, coroutine.running

local run = frame.run
before_each(function() frame.begin() end)
after_each(function() frame.finish() end)

local function guard(fn)
  return setmetatable({}, { __close = fn })
end

-- What the running coroutine can find on its thread: its hook, the functions
-- that are active, and all values on their stacks.
local function look()
  local found = { hook = table.pack(debug.gethook()),
    traceback = debug.traceback(), main = select(2, running()) }
  local level = 2
  while debug.getinfo(level, "f") do
    local values = { debug.getinfo(level, "f").func, n = 1 }
    repeat
      local name, value = debug.getlocal(level, values.n)
      values.n = values.n + 1
      values[values.n] = name and { name, value }
    until not name
    found[#found + 1] = values
    level = level + 1
  end
  return found
end

local function look_twice(...)
  local first = look()
  yield()
  local second = look()
  return running(), first, second, ...
end

-- Each raises in a coroutine whose thread can be used again.
local ways = {
  ["an error"] = function() error("boom") end,
  ["an error that is no string"] = function() error({}) end,
  ["an error of nil"] = function() error() end,
  ["a mistake"] = function() return #nil end,
  ["an error after a turn"] = function()
    yield()
    error("boom")
  end,
  ["an error in a deep call"] = function()
    local function down(n, ...)
      if n == 0 then error("boom") end
      return down(n - 1, n, ...), n
    end
    return down(100)
  end,
  ["an error in an error handler"] = function()
    local ok, err = xpcall(error, function() error("again") end, "boom")
    error(not ok and err)
  end,
  ["an error in a metamethod"] = function()
    return setmetatable({}, { __index = function() error("boom") end }).x
  end,
  ["an error in a generator"] = function()
    local generator = coroutine.wrap(function()
      local _ <close> = guard(function() end)
      yield()
      error("boom")
    end)
    generator()
    generator()
  end,
  ["an error in an iterator, with a generator left"] = function()
    local left = coroutine.wrap(function()
      local _ <close> = guard(function() end)
      yield()
    end)
    left()
    for _ in function() error("boom") end, nil, nil, guard(left) do end
  end,
  ["an error from a hook"] = function()
    debug.sethook(function()
      debug.sethook()
      error("boom")
    end, "l")
    return 1
  end,
  ["an error from a hook at a return"] = function()
    debug.sethook(function()
      debug.sethook()
      error("boom")
    end, "r")
    yield()
  end,
  ["an error after hooks that were removed"] = function()
    debug.sethook(function() end, "crl", 1)
    pcall(yield, failing("caught"))
    debug.sethook()
    error("boom")
  end,
  ["the error of a Future"] = function() yield(failing("boom")) end,
  ["the error of a Future, in await"] = function()
    gen.await(failing("boom"))
  end,
  ["a bad yield"] = function() yield(print) end,
  ["an error within others"] = function()
    gen.coroutine(error)("inner"):exception()
    yield(gen.coroutine(function()
      yield()
      error("boom")
    end)())
  end,
  ["an error through <close> variables"] = function()
    local _ <close> = guard(function() end)
    local _ <close> = guard(function(_, err) assert(err) end)
    error("boom")
  end,
  ["an error in a <close> variable"] = function()
    local _ <close> = guard(function() error("last") end)
    local _ <close> = guard(function() error("second") end)
    error("first")
  end,
  ["an error in a <close> variable of a caller"] = function()
    local _ <close> = guard(function() error("last") end);
    (function() error("boom") end)()
  end,
  ["an error through <close> variables that yield"] = function()
    local _ <close> = guard(function() yield() end)
    local _ <close> = guard(function() pcall(yield, failing("caught")) end)
    error("boom")
  end,
  ["an error in a <close> variable that has yielded"] = function()
    local _ <close> = guard(function()
      yield()
      error("last")
    end)
    local _ <close> = guard(function() yield(failing("second")) end)
    yield()
    error("first")
  end,
}

-- Runs the function in a coroutine that fails, within the running one; returns
-- the thread of the coroutine.
local function fail(way, ...)
  local thread
  local f = gen.coroutine(function(...)
    thread = running()
    way(...)
  end)(...)
  assert.is_false(pcall(yield, f))
  assert.equal("dead", coroutine.status(thread))
  return thread
end

describe("the thread of a coroutine that failed by", function()
  after_each(function() gen.reuse_threads(true) end)

  for name, way in pairs(ways) do
    describe(name, function()
      it("serves the next, which finds what it would on a new one", function()
        run(function()
          gen.reuse_threads(false)
          local look_here = gen.coroutine(look_twice)
          local _, first, second = yield(look_here(1, 2))
          gen.reuse_threads(true)
          local thread = fail(way)
          local found = table.pack(yield(look_here(1, 2)))
          assert.equal(thread, found[1])
          assert.same(first, found[2])
          assert.same(second, found[3])
          assert.same({ 1, 2, n = 5 }, { found[4], found[5], n = found.n })
        end)
      end)

      it("holds no value of it", function()
        assert.is_true(gc.collects(function()
          local token = {}
          run(function()
            fail(function(...)
              local _ <const>, _ <close> = token, guard(function() end)
              way(...)
            end, token, { token })
          end)
          return token
        end))
      end)

      it("serves any number of them", function()
        run(function()
          local thread = fail(way)
          for _ = 1, 20 do assert.equal(thread, fail(way)) end
          local before = gc.kilobytes()
          for _ = 1, 20 do fail(way) end
          assert.is_true(gc.kilobytes() - before < 2)
        end)
      end)

      it("may be closed, like that of any that has ended", function()
        run(function()
          local thread = fail(way)
          assert.is_true(coroutine.close(thread))
          assert.same({ false, "cannot resume dead coroutine" },
            { coroutine.resume(thread) })
          assert.equal(thread, (yield(gen.coroutine(look_twice)())))
        end)
      end)
    end)
  end
end)

-- Lua has this since 5.5.  Inside a finalizer Lua then ends the collection of
-- garbage for good, so that is tried in another process.
describe("a coroutine that closes itself", function()
  local it = _VERSION ~= "Lua 5.4" and it or pending
  local text = [[
    local lunado = require "lunado"
    local function closes() coroutine.close(coroutine.running()) end
    local ways = {
      call = closes,
      finalizer = function()
        setmetatable({}, { __gc = closes })
        collectgarbage()
      end,
      hook = function()
        debug.sethook(function()
          debug.sethook()
          closes()
        end, "", 1)
        for _ = 1, 10 do end
      end,
    }
    local first, closed
    local f = lunado.coroutine(function()
      local _ <close> = setmetatable({}, { __close = function()
        closed = true
      end })
      first = coroutine.running()
      ways.%s()
    end)()
    assert(closed and select("#", f:result()) == 0)
    local g = lunado.coroutine(function(failed)
      assert(coroutine.running() ~= first)
      local ok, err = pcall(coroutine.yield, failed)
      assert(not ok and err == "boom", err)
      return 1
    end)
    local failed = lunado.Future()
    failed:set_exception("boom")
    for _ = 1, 3 do assert(lunado.run(g, failed) == 1) end
    io.stdout:write "done"
  ]]

  for _, way in ipairs { "call", "finalizer", "hook" } do
    it("in a " .. way .. " has no result, and does no harm", function()
      local r = child(text:format(way))
      assert.equal("done", r.out, r.err)
    end)
  end

  it("gives its Future the error of its <close> variables", function()
    run(function()
      assert.same({ false, "boom" }, { pcall(yield, gen.coroutine(function()
        local _ <close> = guard(function() error("boom", 0) end)
        coroutine.close(running())
      end)()) })
    end)
  end)
end)

describe("the thread of a coroutine that failed", function()
  local where = gen.coroutine(function() return (running()) end)

  it("serves again after a stack overflow", function()
    local function down() return 1 + down() end
    run(function()
      local thread = fail(down)
      assert.equal(thread, yield(where()))
    end)
  end)

  it("closes only the variables of the one that it serves", function()
    run(function()
      local closed = {}
      local function close(name)
        return guard(function(_, err) closed[#closed + 1] = { name, err } end)
      end
      local thread = fail(function()
        local _ <close> = close("old")
        error("boom", 0)
      end)
      assert.same({ { "old", "boom" } }, closed)
      yield(gen.coroutine(function()
        local _ <close> = close("new")
        assert.equal(thread, running())
        yield()
      end)())
      assert.same({ { "old", "boom" }, { "new" } }, closed)
    end)
  end)

  it("has the traceback of each error, though equal ones follow", function()
    run(function()
      local lines = {}
      local function first()
        lines[1] = debug.getinfo(1, "l").currentline + 1
        error("boom", 0)
      end
      local function second()
        lines[2] = debug.getinfo(1, "l").currentline + 1
        error("boom", 0)
      end
      local function traceback(fn)
        return select(2, gen.coroutine(function() fn() end)():exc_info())
      end
      local texts = { traceback(first), traceback(second) }
      for i, text in ipairs(texts) do
        local _, n = text:gsub("gen_threads_spec.lua:%d+: in upvalue", "")
        assert.equal(1, n, text)
        assert.is_truthy(text:find(":" .. lines[i] .. ": in upvalue", 1, true))
      end
    end)
  end)

  it("is not used again if it has a hook", function()
    run(function()
      local thread = fail(function()
        debug.sethook(function() end, "l")
        error("boom")
      end)
      local other, found = yield(gen.coroutine(look_twice)())
      assert.are_not.equal(thread, other)
      assert.same({ n = 1 }, found.hook)
    end)
  end)

  it("is not used again if reuse is turned off", function()
    run(function()
      gen.reuse_threads(false)
      local thread = fail(error, "boom")
      assert.are_not.equal(thread, yield(where()))
      gen.reuse_threads(true)
    end)
  end)

  it("serves again after a Return in its <close> variable", function()
    run(function()
      local thread
      assert.equal(1, yield(gen.coroutine(function()
        thread = running()
        local _ <close> = guard(function() error(gen.Return(1)) end)
        error("boom")
      end)()))
      assert.equal(thread, yield(where()))
    end)
  end)

  it("is not used again if other code has ended it meanwhile", function()
    for name, expected in pairs { resume = { false, "boom" },
      close = { true } } do
      run(function()
        local f, thread = Future(), nil
        local failed = gen.coroutine(function()
          thread = running()
          local _ <close> = guard(function() yield(f) end)
          error("boom", 0)
        end)()
        assert.same(expected, { coroutine[name](thread) })
        f:set_result()
        assert.is_false(pcall(yield, failed))
        assert.is_truthy(failed:exception():find("somebody else", 1, true))
        assert.are_not.equal(thread, yield(where()))
      end)
    end
  end)
end)
