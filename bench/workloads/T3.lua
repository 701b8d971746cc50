-- SPDX-License-Identifier: MIT
-- Cancels 100,000 children that sleep, and waits until all have ended.  The
-- clock runs from the call that cancels; spawning them is not measured.
local w = {
  title = "cancel 100,000 sleeping children and wait for their end (each)",
  n = 100000, quick = 20000, measures_itself = true,
  metrics = { { key = "ns" } },
  grows = "cancel n sleeping children and wait for their end",
  goals = { { "lunado", 1.0, "node" }, { "lunado", 1.0, "asyncio" },
    { "lunado", 1.0, "trio" } },
}

local delay <const> = 100

function w.lunado(n)
  local lunado, tasks = require "lunado", require "lunado.tasks"
  local sleep, yield = lunado.sleep, coroutine.yield
  local function child() yield(sleep(delay)) end
  local from
  local function cancel(count)
    lunado.run(function()
      local group <close> = tasks.TaskGroup()
      for _ = 1, count do group:spawn(child) end
      from = os.clock()
      group:cancel()
    end)
    return os.clock() - from
  end
  return function()
    cancel(n // 10) -- warms up
    return { ns = cancel(n) / n * 1e9 }
  end
end

return w
