-- SPDX-License-Identifier: MIT
-- A coroutine yields a Future that is done.
local lunado = require "lunado"
local n = math.tointeger(...)

local future = lunado.Future()
future:set_result(1)
lunado.run(function()
  for _ = 1, n do coroutine.yield(future) end
end)
