-- SPDX-License-Identifier: MIT
-- One child of a WaitIterator: made, settled, and returned by next.
local lunado = require "lunado"
local futures, set_all = dofile "bench/support/futures.lua"(math.tointeger(...))

lunado.run(function()
  set_all()
  local wi = lunado.WaitIterator(futures)
  while not wi:done() do coroutine.yield(wi:next()) end
end)
