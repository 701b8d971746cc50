-- SPDX-License-Identifier: MIT
-- Gives each spec its own loop, and runs that cannot hang.
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop

local loops = {}

-- Seconds.  A spec that waits longer has lost a wake-up.
loops.PATIENCE = tonumber(os.getenv("LUNADO_PATIENCE")) or 30

--- Makes a loop and makes it current.
function loops.open()
  local loop = IOLoop(false)
  loop:make_current()
  return loop
end

function loops.close(loop)
  loop:close()
  IOLoop.clear_current()
end

--- Runs fn to its end on the loop; fails instead of hanging.
function loops.run(loop, fn)
  return loop:run_sync(fn, loops.PATIENCE)
end

--- Runs the loop until fn() returns true; fails instead of hanging.
function loops.wait_for(loop, fn)
  loops.run(loop, function()
    while not fn() do coroutine.yield(gen.sleep(0.001)) end
  end)
end

--- Keeps the loop from running for so many seconds.
function loops.spin(loop, seconds)
  local stop = loop:time() + seconds
  while loop:time() < stop do end -- luacheck: ignore
end

--- Returns the rounding error of a sum of times, in seconds, within which two
--- times are equal.  The longer the machine has been running, the greater are
--- its times, and the fewer digits they have behind the point.
function loops.grain(loop)
  return loop:time() * 2^-51
end

--- Lets the loop turn n times (once by default) and no more.  The slice is so
--- long that no turn ends early on a busy machine.
function loops.turn(loop, n)
  for _ = 1, n or 1 do
    loop:set_slice(loops.PATIENCE)
    loop:stop()
    loop:start()
  end
  pcall(loop.set_slice, loop, 0.001) -- it may have been closed
end

return loops
