-- SPDX-License-Identifier: MIT
-- One child of a multi: made, awaited with the other children, and settled.
local lunado = require "lunado"
local n = math.tointeger(...)

local futures = {}
for i = 1, n do futures[i] = lunado.Future() end
local set_all = lunado.coroutine(function()
  coroutine.yield()
  for i = 1, n do futures[i]:set_result(i) end
end)
lunado.run(function()
  set_all()
  coroutine.yield(futures)
end)
