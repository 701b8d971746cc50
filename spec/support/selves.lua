-- SPDX-License-Identifier: MIT
-- Checks that methods name what they are called on, if that is no object of
-- their class: most often they were called with a dot.
local bad = require "spec.support.bad"

local function stranger() end

local STRANGERS <const> = { n = 5, "127.0.0.1", 80, {}, stranger }

local CALL <const> = [[
local object, self = ...
return function() local _ = object.%s(self, 1) end
]]

--- selves(object, class, ...): calls the object's methods ... with strangers in
--- the place of the object.
return function(object, class, ...)
  for _, name in ipairs { ... } do
    for i = 1, STRANGERS.n do
      local self = STRANGERS[i]
      local call = load(CALL:format(name))(object, self)
      bad(call, 1, name, class, type(self))
    end
  end
end
