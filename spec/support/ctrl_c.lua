-- SPDX-License-Identifier: MIT
-- What Ctrl-C does on Windows.  scripts/windows.sh runs it on a console alone,
-- because a press reaches each program of the console.
local lunado = require "lunado"
local press = require "lunado.sockets".press
local loop = lunado.IOLoop.current()

-- It ends a run that waits.
assert(press("c", true))
local ok, err = pcall(lunado.run, function()
  coroutine.yield(lunado.sleep(60))
end)
assert(not ok and tostring(err):find("interrupted!", 1, true), err)

-- It is received, each time.
local count = 0
loop:add_signal_handler("sigint", function()
  count = count + 1
  if count == 3 then
    loop:stop()
  else
    assert(press("c"))
  end
end)
assert(press("c"))
local limit = loop:call_later(60, loop.stop, loop)
loop:start()
loop:remove_timeout(limit)
assert(count == 3, count)

-- Only sockets can be watched.
ok, err = pcall(loop.add_handler, loop, 0, print, loop.READ)
assert(not ok and err:find("cannot be watched", 1, true), err)
print "1 successes / 0 failures / 0 errors"
