-- SPDX-License-Identifier: MIT
-- A coroutine awaits, with a timeout, a Future that the next turn settles.
local lunado = require "lunado"
local n = math.tointeger(...)

local loop, second = lunado.IOLoop.current(), { seconds = 1 }
local function set(future) future:set_result(1) end
lunado.run(function()
  for _ = 1, n do
    local future = lunado.Future()
    loop:add_callback(set, future)
    coroutine.yield(lunado.with_timeout(second, future))
  end
end)
