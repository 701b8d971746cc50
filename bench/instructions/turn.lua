-- SPDX-License-Identifier: MIT
-- A coroutine waits for one turn of the loop.
local lunado = require "lunado"
local n = math.tointeger(...)

lunado.run(function()
  for _ = 1, n do coroutine.yield() end
end)
