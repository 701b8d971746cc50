-- SPDX-License-Identifier: MIT
-- Debug hooks that a user set stay as they are and are called as before.
local concurrent = require "lunado.concurrent"
local debugging = require "lunado.debug"
local gen = require "lunado.gen"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local outcomes = require "spec.support.outcomes"

local yield = coroutine.yield
local failing = outcomes.failing

local run = frame.run
local _, log
before_each(function() _, log = frame.begin() end)
after_each(function() frame.finish() end)

local function hook() end

describe("a hook set inside a coroutine", function()
  local masks = { { "c", 0 }, { "r", 0 }, { "l", 0 }, { "crl", 0 },
    { "", 1000 }, { "crl", 7 } }
  for _, case in ipairs(masks) do
    local mask, count = case[1], case[2]
    it(("stays, results and errors alike: %q, %d"):format(mask, count),
      function()
        run(gen.coroutine(function()
          debug.sethook(hook, mask, count)
          local function same(when)
            local h, m, c = debug.gethook()
            assert.equal(hook, h, when)
            assert.equal(#mask, #m, when)
            for letter in mask:gmatch(".") do
              assert.is_truthy(m:find(letter), when)
            end
            assert.equal(count, c, when)
          end
          yield()
          same("after a turn")
          for _ = 1, 3 do
            local ok, err = pcall(yield, failing("boom"))
            assert(not ok and err == "boom")
            same("after an error")
          end
          local ok = pcall(yield, 5)
          assert(not ok)
          same("after a BadYieldError")
          pcall(gen.await, failing("boom"))
          same("after await")
          debug.sethook()
        end))
      end)
  end

  it("is called for lines before and after an error", function()
    local lines = {}
    local before, after
    run(gen.coroutine(function()
      debug.sethook(function(_, line) lines[line] = true end, "l")
      before = debug.getinfo(1, "l").currentline
      local ok = pcall(yield, failing("boom"))
      after = debug.getinfo(1, "l").currentline
      debug.sethook()
      assert(not ok)
    end))
    assert.is_true(lines[before])
    assert.is_true(lines[before + 1])
    assert.is_true(lines[after])
  end)

  it("is called for returns after an error", function()
    local returns = 0
    run(gen.coroutine(function()
      local function callee() return 1 end
      debug.sethook(function() returns = returns + 1 end, "r")
      pcall(yield, failing("boom"))
      local before = returns
      local x = callee() + callee()
      debug.sethook()
      assert(x == 2)
      assert.is_true(returns - before >= 2)
    end))
  end)

  it("counts on after an error", function()
    local counted = 0
    run(gen.coroutine(function()
      debug.sethook(function() counted = counted + 1 end, "", 100)
      pcall(yield, failing("boom"))
      local before = counted
      for i = 1, 10000 do
        local _ = i
      end
      debug.sethook()
      assert.is_true(counted - before >= 100)
    end))
  end)

  it("may raise errors itself", function()
    local f = gen.coroutine(function()
      debug.sethook(function()
        debug.sethook()
        error("from the hook")
      end, "l")
      yield()
      return 1
    end)()
    run(function() pcall(yield, f) end)
    assert.is_truthy(f:exception():find("from the hook", 1, true))
  end)

  it("may raise errors while another error ends the coroutine", function()
    for _, yields in ipairs { false, true } do
      local future = gen.coroutine(function()
        if yields then yield() end
        debug.sethook(function() error("hooked", 0) end, "r")
        error("boom", 0)
      end)()
      if yields then run(function() pcall(yield, future) end) end
      assert.equal("hooked", future:exception())
    end
  end)

  it("is not passed on to other coroutines", function()
    local inner
    run(gen.coroutine(function()
      debug.sethook(hook, "crl")
      gen.coroutine(function() inner = debug.gethook() end)()
      debug.sethook()
    end))
    assert.is_nil(inner)
  end)
end)

describe("a hook set from outside on a suspended coroutine", function()
  it("stays when an error is raised in it", function()
    local f = concurrent.Future()
    local co, seen, caught
    local lines = 0
    local waiting = gen.coroutine(function()
      co = coroutine.running()
      caught = select(2, pcall(yield, f))
      seen = debug.gethook()
      debug.sethook()
    end)()
    local function count() lines = lines + 1 end
    debug.sethook(co, count, "l")
    f:set_exception("boom")
    run(function() yield(waiting) end)
    assert.equal("boom", caught)
    assert.equal(count, seen)
    assert.is_true(lines >= 2)
  end)

  it("does not appear when none was set", function()
    run(gen.coroutine(function()
      local ok = pcall(yield, failing("boom"))
      assert(not ok)
      assert.is_nil(debug.gethook())
      local co = coroutine.create(function() yield(debug.gethook()) end)
      assert.same({ true }, { coroutine.resume(co) })
    end))
  end)
end)

describe("a hook on the main thread", function()
  it("stays while coroutines run and fail", function()
    local lines = 0
    local function count() lines = lines + 1 end
    local old, mask, n = debug.gethook()
    debug.sethook(count, "l")
    run(function()
      local ok = pcall(yield, failing("boom"))
      assert(not ok)
    end)
    local now = debug.gethook()
    debug.sethook(old, mask or "", n or 0)
    assert.equal(count, now)
    assert.is_true(lines > 0)
  end)
end)

describe("a thread that is reused", function()
  -- A coroutine that ends with this hook set in it; returns its thread.
  local function leave(mask)
    local thread
    run(gen.coroutine(function()
      thread = coroutine.running()
      debug.sethook(hook, mask)
    end))
    return thread
  end

  it("has no hook of the coroutine before, nor its function", function()
    local found
    leave("l")
    run(gen.coroutine(function()
      debug.sethook(function() end, "l")
      gen.coroutine(function() found = debug.gethook() end)()
      debug.sethook()
    end))
    assert.is_nil(found)
  end)

  it("has none that was set in it after its coroutine had ended", function()
    local thread, found
    run(gen.coroutine(function() thread = coroutine.running() end))
    debug.sethook(thread, hook, "l")
    run(gen.coroutine(function() found = debug.gethook() end))
    assert.is_nil(found)
    debug.sethook(thread)
  end)

  it("is reused if the hook is removed in time", function()
    local first, second
    run(gen.coroutine(function()
      first = coroutine.running()
      debug.sethook(hook, "l")
      debug.sethook()
    end))
    run(gen.coroutine(function()
      second = coroutine.running()
      assert.is_nil(debug.gethook())
    end))
    assert.equal(first, second)
  end)
end)

describe("set_thread_hook", function()
  after_each(function() debugging.set_thread_hook(nil) end)

  it("is called before a coroutine begins, on new and old threads", function()
    local told, ran = {}, {}
    debugging.set_thread_hook(function(thread) told[#told + 1] = thread end)
    run(function()
      for _ = 1, 3 do
        yield(gen.coroutine(function()
          ran[#ran + 1] = coroutine.running()
          assert.equal(ran[#ran], told[#told])
          yield()
        end)())
      end
    end)
    assert.equal(3, #ran)
    assert.is_true(#told >= 3)
  end)

  it("is called for those that the loop starts, and in each other's place",
    function()
      local told, started = 0, 0
      debugging.set_thread_hook(function() told = told + 1 end)
      local dive
      dive = gen.coroutine(function(n)
        started = started + 1
        if n > 0 then yield(dive(n - 1)) end
      end)
      run(function() yield(dive(100)) end)
      assert.equal(101, started)
      assert.is_true(told >= 101)
    end)

  it("lets a tool count lines as in Lua's own coroutines", function()
    local function body(pause)
      local x = 0
      for i = 1, 3 do
        x = x + i
        pause()
      end
      local ok = pcall(error, "boom")
      return x, ok
    end
    local lines
    local function count(_, line) lines[line] = (lines[line] or 0) + 1 end

    lines = {}
    local plain = coroutine.create(body)
    debug.sethook(plain, count, "l")
    while coroutine.status(plain) ~= "dead" do
      assert(coroutine.resume(plain, coroutine.yield))
    end
    local expected = lines

    lines = {}
    debugging.set_thread_hook(function(thread)
      debug.sethook(thread, count, "l")
    end)
    local future = gen.coroutine(body)(coroutine.yield)
    debugging.set_thread_hook(nil)
    run(function() yield(future) end)
    assert.same(expected, lines)
  end)

  it("counts lines after an error was raised at a yield", function()
    local lines, before = {}, nil
    local fails = failing("boom")
    debugging.set_thread_hook(function(thread)
      debug.sethook(thread, function(_, line) lines[line] = true end, "l")
    end)
    local future = gen.coroutine(function()
      before = debug.getinfo(1, "l").currentline
      pcall(yield, fails)
      return nil
    end)()
    debugging.set_thread_hook(nil)
    run(function() yield(future) end)
    assert.is_true(lines[before + 1])
    assert.is_true(lines[before + 2])
  end)

  it("returns the previous hook", function()
    local function first() end
    local callable = setmetatable({}, { __call = first })
    assert.is_nil(debugging.set_thread_hook(first))
    assert.equal(first, debugging.set_thread_hook(callable))
    assert.equal(callable, debugging.set_thread_hook(nil))
    assert.is_nil(debugging.set_thread_hook(nil))
    local ok, err = pcall(debugging.set_thread_hook, 5)
    assert.is_false(ok)
    assert.is_truthy(err:find("bad argument #1 to '.*set_thread_hook'"), err)
  end)

  it("returns nil when there was none before", function()
    local r = child [[
      local set = require "lunado.debug".set_thread_hook
      io.write(tostring(set(nil)), " ", tostring(set(print)))
    ]]
    assert.same({ code = 0, out = "nil nil", err = "" }, r)
  end)

  it("may start coroutines, raise, close and collect", function()
    local inner = 0
    debugging.set_thread_hook(function(thread)
      gen.coroutine(function() inner = inner + 1 end)()
      coroutine.close(thread)
      assert(not coroutine.resume(thread))
      collectgarbage()
      error("from the hook", 0)
    end)
    local f = gen.coroutine(function(...) return ... end)(1, 2)
    local results = { f:result() }
    debugging.set_thread_hook(nil)
    assert.same({ 1, 2 }, results)
    assert.equal(1, inner)
    assert.equal(1, log:count("from the hook"))
  end)
end)
