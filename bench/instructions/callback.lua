-- SPDX-License-Identifier: MIT
-- A callback goes through the loop.
local loop = require "lunado".IOLoop.current()
local n = math.tointeger(...)

local function noop() end
for i = 1, n do loop:add_callback(noop, i) end
loop:add_callback(loop.stop, loop)
loop:start()
