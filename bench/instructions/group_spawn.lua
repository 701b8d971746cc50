-- SPDX-License-Identifier: MIT
-- A group spawns children that suspend for one turn of the loop, and waits for
-- all of them.
local lunado, tasks = require "lunado", require "lunado.tasks"
local n = math.tointeger(...)

local yield = coroutine.yield
local function child() yield() end
lunado.run(function()
  local group <close> = tasks.TaskGroup()
  for _ = 1, n do group:spawn(child) end
end)
