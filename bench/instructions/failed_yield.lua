-- SPDX-License-Identifier: MIT
-- A coroutine catches the error of a Future at its yield.
local lunado = require "lunado"
local n = math.tointeger(...)

local future = lunado.Future()
future:set_exception "no"
lunado.run(function()
  for _ = 1, n do pcall(coroutine.yield, future) end
end)
