-- SPDX-License-Identifier: MIT
-- Calls a coroutine that suspends for a turn of the loop, and awaits it.
local lunado = require "lunado"
local n = math.tointeger(...)

local leaf = lunado.coroutine(function()
  coroutine.yield()
  return 1
end)
lunado.run(function()
  for _ = 1, n do coroutine.yield(leaf()) end
end)
