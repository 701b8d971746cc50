-- SPDX-License-Identifier: MIT
--
-- What an executor and its workers agree upon: the keys in Redis, and the form
-- of a job and a result.
--
--   NAME:jobs               list: jobs, pushed at the left, taken at the right
--   NAME:running:WORKER:N   list: the job that thread N of the worker runs
--   NAME:alive:WORKER       exists while the worker gives signs of life
--   NAME:results:EXECUTOR   list: results
--   NAME:received:EXECUTOR  list: the result that is being received
--
-- An element moves from list to list in one step of Redis (BLMOVE, LMOVE), and
-- is removed only when it was dealt with.  So it is not lost if a worker, an
-- executor, a connection or Redis itself ends at any time.

local jobs = {}

-- Returns the functions that make the keys.
function jobs.keys(name)
  local function key(kind)
    return function(...)
      return table.concat({ name, kind, ... }, ":")
    end
  end
  return { jobs = key "jobs", running = key "running", alive = key "alive",
    results = key "results", received = key "received" }
end

-- Returns a name that no other process gets.  Lua seeds math.random with little
-- more than the time, so that processes may get the same numbers.
function jobs.new_name()
  local source = io.open("/dev/urandom", "rb")
  local bytes = source and source:read(16)
    or ("jj"):pack(math.random(0), math.random(0))
  if source then source:close() end
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- A job: its number, the list for its result, the seconds for which the result
-- is of use, and what dumps has made of the function and its arguments.
function jobs.pack(number, results, seconds, work)
  return ("%s %s %g\n%s"):format(number, results, seconds, work)
end

function jobs.unpack(job)
  local number, results, seconds, work =
    job:match "^(%S+) (%S+) (%S+)\n(.*)$"
  return number, results, tonumber(seconds), work
end

return jobs
