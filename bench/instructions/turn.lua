-- SPDX-License-Identifier: MIT
-- A coroutine lets the loop turn.
local lunado = require "lunado"
local n = math.tointeger(...)

lunado.run(function()
  for _ = 1, n do coroutine.yield() end
end)
