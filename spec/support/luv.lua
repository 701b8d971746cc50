-- SPDX-License-Identifier: MIT
-- The common part of the luv specs: luv beside lunado, loaded in every order.
local assert = require "luassert"
local child = require "spec.support.child"

-- The ways to load the two modules, before the script does anything else.
local orders = {
  { "luv first", [[
    local uv = require "luv"
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
  ]] },
  { "luv first, the loop later", [[
    local uv = require "luv"
    local lunado = require "lunado"
    local timer = uv.new_timer()
    timer:start(0, 0, function() timer:close() end)
    uv.run()
    local loop = lunado.IOLoop.current()
  ]] },
  { "lunado first", [[
    local lunado = require "lunado"
    local uv = require "luv"
    local loop = lunado.IOLoop.current()
  ]] },
  { "lunado first, its loop made", [[
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
    local uv = require "luv"
  ]] },
  { "lunado first, its loop used", [[
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
    lunado.run(function() coroutine.yield(lunado.sleep(0.001)) end)
    local uv = require "luv"
  ]] },
  { "luv first, inside a coroutine that is gone", [[
    local uv
    coroutine.wrap(function() uv = require "luv" end)()
    collectgarbage()
    collectgarbage()
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
  ]] },
  { "lunado first, luv inside a coroutine of lunado's", [[
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
    local uv
    lunado.run(function()
      coroutine.yield()
      uv = require "luv"
    end)
    collectgarbage()
  ]] },
}

-- The names that every script may use.
local prelude = [[
  local gen = lunado.gen
  local function after(ms, fn)
    local t = uv.new_timer()
    t:start(ms, 0, function()
      t:close()
      fn()
    end)
    return t
  end
]]

--- expect(out, script) -> a test: after each order and the prelude, the script
--- succeeds, writes exactly `out` to stdout, and nothing to stderr.
local function expect(out, script)
  return function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. prelude .. script)
      local name = order[1] .. ": " .. r.err
      assert.equal(0, r.code, name)
      assert.equal(out, r.out, name)
      assert.equal("", r.err, name)
    end
  end
end

return {
  orders = orders,
  prelude = prelude,
  expect = expect,
  -- Whether a checker runs that finds the errors that valgrind would find.
  -- ctest sets the variable then.
  checked = os.getenv("LUNADO_SCALE") ~= nil,
}
