-- SPDX-License-Identifier: MIT
-- User code that does the worst wherever lunado calls it: it closes, finalizes
-- and runs loops, settles Futures, raises, yields, closes coroutines, ... Each
-- scene plays in an interpreter of its own, which must not crash, and in which
-- all must work as ever afterwards.  More places than in spec/usercode_spec.
local child = require "spec.support.child"
local scenes = require "spec.support.scenes"

local places = {
  call = "2, 3, 5, 7, 11, 17, 23, 31",
  always = "1",
  finalizer = "1, 9, 17, 41, 73, 140, 300",
  hook = "1, 9, 33, 111, 250, 500, 1200",
}

local function title(kind)
  return kind == "always" and "every call of user code"
    or kind == "call" and "a call of user code" or "a " .. kind
end

for kind, numbers in pairs(places) do
  describe("in " .. title(kind) .. " the worst is survived in", function()
    for _, scene in ipairs(scenes) do
      it(scene[1], function()
        local r = child(('require "spec.support.worst" (%q, %q, %s)')
          :format(kind, scene[1], numbers))
        assert.equal("done", r.out:sub(-4), r.out:sub(-80) .. r.err:sub(-2000))
        assert.equal(0, r.code, r.err:sub(-2000))
      end)
    end
  end)
end
