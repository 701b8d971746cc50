-- SPDX-License-Identifier: MIT
-- busted forgets package.loaded after each spec file, so the files of this
-- folder, run together, load lunado and luv twice into one Lua state.  This
-- one comes first, loads luv first, and leaves something behind.
local uv = require "luv"
local lunado = require "lunado"

describe("lunado and luv, loaded for the first time,", function()
  it("share a loop", function()
    assert.equal("luv", lunado.run(function()
      local f = lunado.Future()
      local timer = uv.new_timer()
      timer:start(1, 0, function()
        timer:close()
        f:set_result("luv")
      end)
      return coroutine.yield(f)
    end))
    local slept = false
    lunado.gen.coroutine(function()
      coroutine.yield(lunado.sleep(0.001))
      slept = true
    end)()
    uv.run()
    assert.is_true(slept)
  end)

  it("leave things where insulation does not reach", function()
    local future = lunado.Future()
    -- A timer of luv's that is still open when this file ends.
    local timer = uv.new_timer()
    timer:start(3600000, 0, function() end)
    timer:unref()
    debug.getregistry()["lunado.spec.insulation"] = {
      lunado = lunado,
      loop = lunado.IOLoop.current(),
      timer = timer,
      future = future,
      waiting = lunado.gen.coroutine(function()
        return coroutine.yield(future)
      end)(),
    }
  end)
end)
