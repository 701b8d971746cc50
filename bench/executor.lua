-- SPDX-License-Identifier: MIT
-- The cost of work on another thread: ThreadPoolExecutor compared with luv's
-- new_work.  Rates refer to wall time, because threads are measured; so the
-- machine should be idle otherwise.  Other load affects the processor time of a
-- run, all threads together, less.  Figures are medians of interleaved runs.
-- The ratio is that of the processor times of lunado and luv in one run.  luv
-- gets as many threads as lunado, unless UV_THREADPOOL_SIZE is set.
--   lua5.4 bench/executor.lua [runs]
local lunado = require "lunado"
local uv = require "luv"

local RUNS = tonumber(arg[1]) or 5
local THREADS = 2
local JOBS = 20000
local MEGABYTES = 64
local NUMBERS = 1000000
local LOOPS = 50000000

if not uv.os_getenv("UV_THREADPOOL_SIZE") then
  uv.os_setenv("UV_THREADPOOL_SIZE", tostring(THREADS))
end

local function now() return uv.hrtime() * 1e-9 end

local function processor()
  local usage = uv.getrusage()
  return usage.utime.sec + usage.stime.sec
    + (usage.utime.usec + usage.stime.usec) * 1e-6
end

-- Calls fn; returns the seconds of wall time and of processor time.
local function seconds(fn)
  collectgarbage()
  local from, used = now(), processor()
  fn()
  return now() - from, processor() - used
end

-- lunado --------------------------------------------------------------------

local executor = lunado.concurrent.ThreadPoolExecutor(THREADS)

local function wait(future)
  return lunado.run(function() return coroutine.yield(future) end)
end

local function nothing() end
local function same(...) return ... end

local function work(n)
  local x = 0
  for i = 1, n do x = x + i % 7 end
  return x
end

-- luv, which copies strings and numbers, and returns them to a callback ------

local function luv_run(context, count, ...)
  for _ = 1, count do context:queue(...) end
  uv.run()
end

local luv_nothing = uv.new_work(function() end, function() end)
local luv_same = uv.new_work(function(s) return s end, function() end)
local luv_work = uv.new_work(function(n)
  local x = 0
  for i = 1, n do x = x + i % 7 end
  return x
end, function() end)

-- Returns a list of integers as a string, as users of luv would pack it.
local function packed(list)
  local parts = {}
  for i = 1, #list, 100 do
    local last = math.min(i + 99, #list)
    parts[#parts + 1] =
      ("j"):rep(last - i + 1):pack(table.unpack(list, i, last))
  end
  return table.concat(parts)
end

local function unpacked(text)
  local list, at = {}, 1
  for i = 1, #text // 8 do list[i], at = ("j"):unpack(text, at) end
  return list
end

local luv_list = uv.new_work(function(text)
  local list, at = {}, 1
  for i = 1, #text // 8 do list[i], at = ("j"):unpack(text, at) end
  local parts = {}
  for i = 1, #list, 100 do
    local last = math.min(i + 99, #list)
    parts[#parts + 1] =
      ("j"):rep(last - i + 1):pack(table.unpack(list, i, last))
  end
  return table.concat(parts)
end, function(text) unpacked(text) end)

-- Measurements ---------------------------------------------------------------

local text = ("0123456789abcdef"):rep(MEGABYTES * 65536)
local list, records = {}, {}
for i = 1, NUMBERS do list[i] = i end
for i = 1, NUMBERS // 10 do
  records[i] = { id = i, name = "name " .. i, ratio = i / 7 }
end

local alone -- seconds of work() on this thread

local rows = {
  { "empty jobs, one after the other", "1,000 jobs/s",
    function(s) return JOBS / s / 1000 end,
    function()
      lunado.run(function()
        for _ = 1, JOBS do coroutine.yield(executor:submit(nothing)) end
      end)
    end,
    function() for _ = 1, JOBS do luv_run(luv_nothing, 1) end end },
  { "empty jobs, all at once", "1,000 jobs/s",
    function(s) return JOBS / s / 1000 end,
    function()
      local futures = {}
      for i = 1, JOBS do futures[i] = executor:submit(nothing) end
      wait(futures)
    end,
    function() luv_run(luv_nothing, JOBS) end },
  { "jobs with an upvalue, all at once", "1,000 jobs/s",
    function(s) return JOBS / s / 1000 end,
    function()
      local futures = {}
      for i = 1, JOBS do
        futures[i] = executor:submit(function() return i end)
      end
      wait(futures)
    end,
    function() luv_run(luv_same, JOBS, 1) end },
  { MEGABYTES .. " MB string, there and back", "MB/s",
    function(s) return 2 * MEGABYTES / s end,
    function() wait(executor:submit(same, text)) end,
    function() luv_run(luv_same, 1, text) end },
  { "list of 1,000,000 integers, there and back", "million/s",
    function(s) return 2 * NUMBERS / s / 1e6 end,
    function() wait(executor:submit(same, list)) end,
    function() luv_run(luv_list, 1, packed(list)) end },
  { "list of 100,000 records, there and back", "million/s",
    function(s) return 2 * #records / s / 1e6 end,
    function() wait(executor:submit(same, records)) end },
  { "two jobs that compute: speed-up", "times",
    function(s) return 2 * alone / s end,
    function()
      wait { executor:submit(work, LOOPS), executor:submit(work, LOOPS) }
    end,
    function() luv_run(luv_work, 2, LOOPS) end },
}

-- Driver --------------------------------------------------------------------

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

-- Returns the rates and the processor times (ms) of each peer, and the ratios
-- of these times.
local function measured(row)
  local rates, used, ratios = {}, {}, {}
  for _ = 1, RUNS do
    alone = seconds(function() work(LOOPS) end)
    for peer = 1, #row - 3 do
      local wall, cpu = seconds(row[3 + peer])
      rates[peer], used[peer] = rates[peer] or {}, used[peer] or {}
      table.insert(rates[peer], row[3](wall))
      table.insert(used[peer], cpu * 1000)
    end
    if used[2] then
      table.insert(ratios, used[1][#used[1]] / used[2][#used[2]])
    end
  end
  return rates, used, ratios
end

local function shown(values, format)
  return values and values[1] and format:format(median(values)) or "-"
end

wait { executor:submit(nothing), executor:submit(nothing) }
luv_run(luv_nothing, 2)
local format = "%-43s %-12s %8s %8s %9s %6s %6s"
print(format:format("", "", "lunado", "luv", "CPU ms", "luv", "ratio"))
for _, row in ipairs(rows) do
  local rates, used, ratios = measured(row)
  print(format:format(row[1], row[2],
    shown(rates[1], "%.2f"), shown(rates[2], "%.2f"),
    shown(used[1], "%.0f"), shown(used[2], "%.0f"), shown(ratios, "%.2f")))
end
executor:shutdown()
