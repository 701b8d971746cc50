-- SPDX-License-Identifier: MIT
-- Finalizers that use a stream in the middle of a call of its methods.
local child = require "spec.support.child"

local function passes(call)
  local r = child(([[
    local lunado = require "lunado"
    local reentry = require "spec.support.reentry"
    %s
    os.exit(true, true)
  ]]):format(call))
  assert.equal(0, r.code, r.err)
end

describe("a finalizer, in the middle of a method of a stream", function()
  it("may call another one", function()
    passes 'lunado.run(function() reentry.methods "own" end)'
  end)

  it("may call another one, where the handle is luv's", function()
    passes 'lunado.run(function() reentry.methods "luv" end)'
  end)

  it("may close the loop", function() passes "reentry.loops()" end)
end)
