-- SPDX-License-Identifier: MIT
-- Calls a coroutine that raises an error, and catches the error at the yield.
local lunado = require "lunado"
local n = math.tointeger(...)

local leaf = lunado.coroutine(function() error "no" end)
lunado.run(function()
  for _ = 1, n do pcall(coroutine.yield, leaf()) end
end)
