-- SPDX-License-Identifier: MIT
-- Starts 100,000 timers with random deadlines within the next second, and waits
-- until all have fired.  The figure is for one timer, from adding to firing.
local w = {
  title = "100,000 timers within a second, from adding to firing (each)",
  n = 100000, quick = 20000, goals = { { "lunado", 0.25, "luv" } },
}

-- Returns a function that starts n timers by later(delay, fn).  Each has a
-- function of its own; the last one to fire calls `stop`.
local function timers(n, later, stop)
  local left = 0
  local function fire(i)
    left = left - 1
    if left == 0 then stop(i) end
  end
  return function()
    math.randomseed(1)
    left = n
    for i = 1, n do later(math.random(), function() fire(i) end) end
  end
end

function w.luv(n)
  local luv, uv = require "hand_luv", require "luv"
  local start = timers(n, luv.later, uv.stop)
  return function()
    start()
    uv.run()
  end
end

function w.lunado(n)
  local loop = require "lunado".IOLoop.current()
  local function later(delay, fn) return loop:call_later(delay, fn) end
  local start = timers(n, later, function() loop:stop() end)
  return function()
    start()
    loop:start()
  end
end

return w
