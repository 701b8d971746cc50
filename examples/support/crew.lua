-- SPDX-License-Identifier: MIT
--
-- A crew of coroutines that share a heap of jobs, where a job may add others:
-- however many jobs there are, only so many coroutines.

local Future = require("lunado.concurrent").Future
local gen = require "lunado.gen"

-- run(count, jobs, work) -> a Future, done when no job is left. Each job goes
-- to work(job, add), where add(job) adds another; the newest job comes first.
-- What `work` raises fails the Future, after the other jobs.
local function run(count, jobs, work)
  local busy, idle = 0, {}

  local function add(job)
    jobs[#jobs + 1] = job
    local turn = table.remove(idle)
    if turn then turn:set_result() end
  end

  local function rest()
    local turn = Future()
    idle[#idle + 1] = turn
    coroutine.yield(turn)
  end

  -- The last one to finish sends the others home.
  local function finish(ok, err)
    busy = busy - 1
    while busy == 0 and not jobs[1] and idle[1] do
      table.remove(idle):set_result()
    end
    if not ok then error(err, 0) end
  end

  local worker = gen.coroutine(function()
    repeat
      local job = table.remove(jobs)
      if job then
        busy = busy + 1
        finish(pcall(work, job, add))
      elseif busy > 0 then
        rest()
      end
    until busy == 0 and not jobs[1]
  end)

  local workers = {}
  for i = 1, count do workers[i] = worker() end
  return gen.multi(workers)
end

return { run = run }
