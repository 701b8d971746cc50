-- SPDX-License-Identifier: MIT
-- Starts 1,000,000 coroutines that sleep for two seconds, and waits for all.
-- "Started" is the time when the last one first runs; bytes are the resident
-- memory at that time.
local measure = require "measure"

local w = {
  title = "1,000,000 sleepers", n = 1000000, quick = 100000,
  measures_itself = true, costly = { "tornado", "asyncio" },
  grows = "n sleepers, CPU time from start to end", growth_key = "cpu_ns",
  metrics = {
    { key = "start_ns", title = "start 1,000,000 sleepers (each)",
      goals = { { "lunado", 0.6, "cqueues" } } },
    { key = "beyond_s", unit = "s",
      title = "wall time beyond the ideal 2 s, 1,000,000 sleepers",
      goals = { { "lunado", 1.0, "node" } } },
    { key = "bytes", unit = "bytes", title = "bytes for each sleeper",
      goals = { { "lunado", 0.75, "cqueues" } } },
  },
}

local seconds <const> = 2

-- Returns a stop watch for n sleepers.  Each sleeper calls `started` when it
-- first runs, and `woke` when it wakes; `woke` returns true for the last one.
-- `clock` returns wall time.
local function watch(n, clock)
  local started, woke, last, rss = 0, 0, nil, nil
  local before, from, cpu = measure.rss(), clock(), os.clock()
  local self = {}
  function self.started()
    started = started + 1
    if started == n then last, rss = os.clock(), measure.rss() end
  end
  function self.woke()
    woke = woke + 1
    return woke == n
  end
  function self.found()
    return {
      start_ns = (last - cpu) / n * 1e9,
      beyond_s = clock() - from - seconds,
      bytes = (rss - before) * 1024 / n,
      cpu_ns = (os.clock() - cpu) / n * 1e9,
    }
  end
  return self
end

function w.luv(n)
  local luv, hrtime = require "hand_luv", require "luv".hrtime
  return function()
    local timer = watch(n, function() return hrtime() * 1e-9 end)
    luv.run(function()
      local done = luv.future()
      local function sleeper()
        timer.started()
        luv.sleep(seconds)
        if timer.woke() then luv.settle(done, true) end
      end
      for _ = 1, n do luv.spawn(sleeper) end
      luv.await(done)
    end)
    return timer.found()
  end
end

function w.cqueues(n)
  local cqueues = require "cqueues"
  return function()
    local timer = watch(n, cqueues.monotime)
    local cq = cqueues.new()
    for _ = 1, n do
      cq:wrap(function()
        timer.started()
        cqueues.sleep(seconds)
        timer.woke()
      end)
    end
    assert(cq:loop())
    return timer.found()
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local loop = lunado.IOLoop.current()
  return function()
    local timer = watch(n, function() return loop:time() end)
    lunado.run(function()
      local done = lunado.Future()
      local sleeper = lunado.coroutine(function()
        timer.started()
        coroutine.yield(lunado.sleep(seconds))
        if timer.woke() then done:set_result() end
      end)
      for _ = 1, n do sleeper() end
      coroutine.yield(done)
    end)
    return timer.found()
  end
end

return w
