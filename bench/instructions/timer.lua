-- SPDX-License-Identifier: MIT
-- Adds a timeout and removes it.
local loop = require "lunado".IOLoop.current()
local n = math.tointeger(...)

local function noop() end
for _ = 1, n do loop:remove_timeout(loop:call_later(100, noop)) end
