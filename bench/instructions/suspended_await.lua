-- SPDX-License-Identifier: MIT
-- A coroutine awaits a new Future, which another coroutine settles.
local lunado = require "lunado"
local n = math.tointeger(...)

local Future = lunado.Future
local a, b = Future(), Future()
local ping = lunado.coroutine(function()
  for i = 1, n // 2 do
    coroutine.yield(a)
    a = Future()
    b:set_result(i)
  end
end)
lunado.run(function()
  ping()
  for i = 1, n // 2 do
    a:set_result(i)
    coroutine.yield(b)
    b = Future()
  end
end)
