-- SPDX-License-Identifier: MIT
-- What a workload's process knows of itself: time and memory.
local measure = {}

local function status(field)
  local file = io.open("/proc/self/status")
  if not file then return 0 end
  local text = file:read "a"
  file:close()
  return tonumber(text:match(field .. ":%s*(%d+)")) or 0
end

-- Kilobytes: the most this process ever held, and what it holds now.
function measure.peak() return status "VmHWM" end
function measure.rss() return status "VmRSS" end

-- Seconds of CPU time for one call of `run`. The first call warms up; where
-- it took `enough` seconds it is the measure, else calls repeat until they
-- did. With `collect` the garbage of a call is collected off the clock.
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
