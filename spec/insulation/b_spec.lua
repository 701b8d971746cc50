-- SPDX-License-Identifier: MIT
-- The second file of a pair, see a_spec.lua: it loads both modules again,
-- lunado first, and meets what the other file left.
local lunado = require "lunado"
local uv = require "luv"

collectgarbage()
collectgarbage()

local before = debug.getregistry()["lunado.spec.insulation"]

describe("lunado and luv, loaded again,", function()
  it("share a loop", function()
    local order = {}
    local timer = uv.new_timer()
    timer:start(1, 0, function()
      timer:close()
      order[#order + 1] = "luv"
      lunado.IOLoop.current():call_later(0.001, function()
        order[#order + 1] = "lunado"
      end)
    end)
    uv.run()
    assert.same({ "luv", "lunado" }, order)
  end)

  it("bring luv's errors to the loop", function()
    local loop = lunado.IOLoop.current()
    local caught
    loop.handle_callback_exception = function(_, _, err) caught = err end
    local timer = uv.new_timer()
    timer:start(0, 0, function()
      timer:close()
      error("boom", 0)
    end)
    uv.run()
    loop.handle_callback_exception = nil
    assert.equal("boom", caught)
  end)

  it("are what they were", function()
    if not before then
      return pending("run together with a_spec.lua")
    end
    assert.equal(before.lunado.IOLoop, lunado.IOLoop)
    assert.equal(before.lunado.Future, lunado.Future)
    assert.equal(before.lunado.gen.TimeoutError, lunado.gen.TimeoutError)
    assert.equal(before.loop, lunado.IOLoop.current())
  end)

  it("go on with what was left pending", function()
    if not before then
      return pending("run together with a_spec.lua")
    end
    assert.is_true(lunado.concurrent.is_future(before.future))
    before.loop:add_callback(before.future.set_result, before.future, "old")
    assert.equal("old", lunado.run(function()
      return coroutine.yield(before.waiting)
    end))
    before.timer:close()
    uv.run()
    assert.is_true(before.timer:is_closing())
  end)
end)
