-- SPDX-License-Identifier: MIT
-- Submits 20,000 empty jobs to an executor of two threads, and waits for all.
-- The figure is the CPU time of all threads for one job.  executor.lua shows
-- more of executors.
local w = {
  title = "empty job on 2 threads, 20,000 at once (CPU of all threads, each)",
  n = 20000, goals = { { "lunado", 1.0, "luv" } },
}

local threads <const> = 2

local function nothing() end

function w.luv(n)
  local uv = require "luv"
  uv.os_setenv("UV_THREADPOOL_SIZE", tostring(threads))
  local context = uv.new_work(function() end, nothing)
  return function()
    for _ = 1, n do context:queue() end
    uv.run()
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local executor = lunado.concurrent.ThreadPoolExecutor(threads)
  return function()
    local futures = {}
    for i = 1, n do futures[i] = executor:submit(nothing) end
    lunado.run(function() coroutine.yield(futures) end)
  end
end

return w
