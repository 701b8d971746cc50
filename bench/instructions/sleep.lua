-- SPDX-License-Identifier: MIT
-- A coroutine is called, sleeps, and is awaited with the other coroutines.
local lunado = require "lunado"
local n = math.tointeger(...)

local sleeper = lunado.coroutine(function()
  coroutine.yield(lunado.sleep(0.001))
end)
lunado.run(function()
  local all = {}
  for i = 1, n do all[i] = sleeper() end
  for i = 1, n do coroutine.yield(all[i]) end
end)
