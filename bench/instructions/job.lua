-- SPDX-License-Identifier: MIT
-- A thread runs an empty function; counts both threads.
local lunado = require "lunado"
local n = math.tointeger(...)
local executor = lunado.concurrent.ThreadPoolExecutor(1)
local futures = {}

local function nothing() end

for i = 1, n do futures[i] = executor:submit(nothing) end
lunado.run(function() coroutine.yield(futures) end)
executor:shutdown()
