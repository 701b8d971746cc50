-- SPDX-License-Identifier: MIT
-- Returns a list of n Futures, and a coroutine function that settles them all
-- in the next turn of the loop.
local lunado = require "lunado"

return function(n)
  local futures = {}
  for i = 1, n do futures[i] = lunado.Future() end
  return futures, lunado.coroutine(function()
    coroutine.yield()
    for i = 1, n do futures[i]:set_result(i) end
  end)
end
