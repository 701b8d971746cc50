-- SPDX-License-Identifier: MIT
-- Debug hooks that a user set stay as they are and are called as before.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local capture = require "spec.support.capture"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local yield = coroutine.yield

local loop, log
before_each(function()
  log = capture()
  loop = loops.open()
end)
after_each(function()
  loops.close(loop)
  gc.collect()
  log:restore()
end)

local function run(fn)
  return loops.run(loop, fn)
end

local function failing(err)
  local f = concurrent.Future()
  loop:add_callback(f.set_exception, f, err)
  return f
end

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

  it("is not there when none was set", function()
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
