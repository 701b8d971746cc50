-- SPDX-License-Identifier: MIT
--- lunado.platform: other libraries' coroutines on lunado's loop.  Each module
-- below it is loaded when the program first uses its field.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.platform"] then return loaded["lunado.platform"] end

local platform = setmetatable({}, {
  __index = function(self, name)
    if name ~= "cqueues" then return nil end
    local module = require("lunado.platform." .. name)
    rawset(self, name, module)
    return module
  end,
})

loaded["lunado.platform"] = platform
return platform
