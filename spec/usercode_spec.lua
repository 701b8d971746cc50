-- SPDX-License-Identifier: MIT
-- User code that does the worst wherever lunado calls it: it closes, finalizes
-- and runs loops, settles Futures, raises, yields, closes coroutines, ... Each
-- scene plays in an interpreter of its own, which must not crash, and in which
-- all must work as ever afterwards.  spec/limit has the places that are left
-- out here.
local child = require "spec.support.child"
local scenes = require "spec.support.scenes"

local places = {
  call = "1, 4",
  coroutine = "1, 4",
  finalizer = "30",
  hook = "20, 75",
}

local function title(kind)
  return kind == "call" and "a call of user code" or "a " .. kind
end

for kind, numbers in pairs(places) do
  describe("in " .. title(kind) .. " the worst is survived in", function()
    for _, scene in ipairs(scenes) do
      it(scene[1], function()
        scenes.survive(kind, scene[1], numbers)
      end)
    end
  end)
end

describe("the loop that was current before a run", function()
  local IOLoop = require "lunado.ioloop".IOLoop

  it("may be closed and collected during it", function()
    local first, second = IOLoop(true), IOLoop(false)
    second:run_sync(function()
      first:close()
      first = nil
      collectgarbage()
      collectgarbage()
      for _ = 1, 100 do io.tmpfile():close() end
    end)
    assert.is_nil(IOLoop.current(false))
    second:close()
  end)
end)

describe("a finalizer", function()
  it("may need the default loop while that is made", function()
    local r = child [[
      local lunado = require "lunado"
      local gc = require "spec.support.gc"
      local IOLoop = lunado.IOLoop
      for n = 1, 60 do
        local seen
        local loop = gc.interfere(n, function() seen = IOLoop.instance() end,
          IOLoop.instance)
        assert(loop == IOLoop.instance() and (seen == nil or seen == loop), n)
        loop:run_sync(function() return lunado.sleep(0) end)
        loop:close()
      end
    ]]
    assert.equal(0, r.code, r.err)
  end)

  it("may close the loop that sleep is about to use", function()
    local r = child [[
      local lunado = require "lunado"
      local gc = require "spec.support.gc"
      for n = 1, 60 do
        gc.interfere(n, function() lunado.IOLoop.instance():close() end,
          function() pcall(lunado.sleep, 0) end)
        lunado.IOLoop.instance():close()
        lunado.IOLoop.clear_current()
      end
    ]]
    assert.equal(0, r.code, r.err)
  end)
end)

describe("a debug hook", function()
  -- Where luv shares the loop, its run is called as a function of Lua's is.
  local source = [[
    %s
    local lunado = require "lunado"
    local IOLoop, sleep = lunado.IOLoop, lunado.sleep
    local refused = false
    for n = 1, 60 do
      local loop, left = IOLoop.instance(), n
      IOLoop.clear_current()
      debug.sethook(function()
        left = left - 1
        if left > 0 then return end
        debug.sethook()
        loop:close()
        local other = IOLoop.instance()
        sleep(10000)
        local ok, err = pcall(other.run_sync, other, function() end)
        if not ok then refused = err end
      end, "cr")
      pcall(loop.run_sync, loop, function() return sleep(0) end)
      debug.sethook()
      IOLoop.instance():close()
      loop:close()
    end
    io.write(tostring(refused))
  ]]

  local shared = pcall(require, "luv") and it or pending

  it("may close a loop that is about to run", function()
    local r = child(source:format(""))
    assert.equal(0, r.code, r.err)
  end)

  shared("may close one that luv shares and is about to run", function()
    local r = child(source:format("require 'luv'"))
    assert.equal(0, r.code, r.err)
    assert.truthy(r.out:find("already running", 1, true), r.out)
  end)
end)
