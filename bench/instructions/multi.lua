-- SPDX-License-Identifier: MIT
-- One child of a multi: made, awaited with the other children, and settled.
local lunado = require "lunado"
local futures, set_all = dofile "bench/support/futures.lua"(math.tointeger(...))

lunado.run(function()
  set_all()
  coroutine.yield(futures)
end)
