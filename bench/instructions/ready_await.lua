-- SPDX-License-Identifier: MIT
-- A coroutine awaits a Future that is done.
local lunado = require "lunado"
local n = math.tointeger(...)

local await, future = lunado.await, lunado.Future()
future:set_result(1)
lunado.run(function()
  for _ = 1, n do await(future) end
end)
