-- SPDX-License-Identifier: MIT
--
-- Runs jobs that may add other jobs, with a fixed number of coroutines for any
-- number of jobs.

local lunado = require "lunado"

local await = coroutine.yield

-- run(count, job, work): runs `job` and all jobs that are added, with `count`
-- coroutines, until no job is left.  Calls work(job, add) for each job, in
-- which add(job) adds another one; the newest job comes first.  If `work`
-- fails, raises its first error after all jobs have ended.
local function run(count, job, work)
  local jobs, failure = lunado.queues.LifoQueue(), nil
  local function add(another) jobs:put_nowait(another) end

  local worker = lunado.coroutine(function()
    for each in jobs:iter() do
      local ok, err = pcall(work, each, add)
      if not ok then failure = failure or err end
      jobs:task_done()
    end
  end)

  add(job)
  for _ = 1, count do worker() end
  await(jobs:join())
  jobs:shutdown()
  if failure then error(failure, 0) end
end

return { run = run }
