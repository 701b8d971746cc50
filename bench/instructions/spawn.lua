-- SPDX-License-Identifier: MIT
-- Calls a coroutine that returns at once.
local lunado = require "lunado"
local n = math.tointeger(...)

local leaf = lunado.coroutine(function() return 1 end)
lunado.run(function()
  for _ = 1, n do leaf() end
end)
