-- SPDX-License-Identifier: MIT
--
-- Jobs that may add other jobs, for a few coroutines: however many jobs there
-- are, only so many coroutines.

local lunado = require "lunado"

local await = coroutine.yield

-- run(count, job, work): waits until no job is left. Each job goes to
-- work(job, add), where add(job) adds another; the newest job comes first.
-- Raises what `work` raised first, after the other jobs.
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
