-- SPDX-License-Identifier: MIT
-- A Future is made and settled.
local Future = require "lunado".Future
local n = math.tointeger(...)

for i = 1, n do Future():set_result(i) end
