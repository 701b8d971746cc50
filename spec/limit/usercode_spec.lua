-- SPDX-License-Identifier: MIT
-- User code that does the worst wherever lunado calls it: it closes, finalizes
-- and runs loops, settles Futures, raises, yields, closes coroutines, ... Each
-- scene plays in an interpreter of its own, which must not crash, and in which
-- all must work as ever afterwards.  Other places than in spec/usercode_spec.
local scenes = require "spec.support.scenes"
local times = require "spec.support.times"

-- The first of each, and with LUNADO_ALL_PLACES all.
local places = {
  call = { 3, 7, 17, 2, 5, 11, 23, 31 },
  always = { 1 },
  finalizer = { 9, 41, 140, 1, 17, 73, 300 },
  hook = { 33, 111, 500, 1, 9, 250, 1200 },
}

local function count(numbers)
  return os.getenv("LUNADO_ALL_PLACES") and #numbers
    or times(math.min(2, #numbers))
end

local function title(kind)
  return kind == "always" and "every call of user code"
    or kind == "call" and "a call of user code" or "a " .. kind
end

for kind, numbers in pairs(places) do
  describe("in " .. title(kind) .. " the worst is survived in", function()
    for _, scene in ipairs(scenes) do
      it(scene[1], function()
        scenes.survive(kind, scene[1],
          table.concat(numbers, ", ", 1, count(numbers)))
      end)
    end
  end)
end
