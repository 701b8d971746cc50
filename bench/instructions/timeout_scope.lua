-- SPDX-License-Identifier: MIT
-- A coroutine waits for one turn of the loop within a timeout, which does not
-- fire.
local lunado, tasks = require "lunado", require "lunado.tasks"
local n = math.tointeger(...)

local timeout, yield, deadline = tasks.timeout, coroutine.yield,
  { seconds = 100 }
local function wait()
  local _ <close> = timeout(deadline)
  yield()
end
lunado.run(function()
  for _ = 1, n do wait() end
end)
