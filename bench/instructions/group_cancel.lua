-- SPDX-License-Identifier: MIT
-- A group spawns children that sleep, cancels them, and waits for their end.
local lunado, tasks = require "lunado", require "lunado.tasks"
local n = math.tointeger(...)

local sleep, yield = lunado.sleep, coroutine.yield
local function child() yield(sleep(100)) end
lunado.run(function()
  local group <close> = tasks.TaskGroup()
  for _ = 1, n do group:spawn(child) end
  group:cancel()
end)
