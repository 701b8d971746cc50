-- SPDX-License-Identifier: MIT
-- Measures time and memory of a workload's own process.
local measure = {}

local function status(field)
  local file = io.open("/proc/self/status")
  if not file then return 0 end
  local text = file:read "a"
  file:close()
  return tonumber(text:match(field .. ":%s*(%d+)")) or 0
end

-- Resident memory of this process in kilobytes: the maximum, and the present.
function measure.peak() return status "VmHWM" end
function measure.rss() return status "VmRSS" end

-- Returns the seconds of CPU time for one call of `run`.  The first call warms
-- up.  If it took `enough` seconds, its time is returned; otherwise `run` is
-- called until the calls together have taken `enough` seconds.  With `collect`,
-- the garbage of a call is collected while the clock is stopped.
function measure.time(run, enough, collect)
  local function once()
    local from = os.clock()
    run()
    return os.clock() - from
  end
  local spent, count = once(), 1
  if spent < enough then
    spent, count = 0, 0
    repeat
      if collect then collectgarbage() end
      spent, count = spent + once(), count + 1
    until spent >= enough
  end
  return spent / count
end

return measure
