-- SPDX-License-Identifier: MIT
--
-- A gate that lets a limited number of coroutines in at once: a semaphore of
-- two fields and a Future for each coroutine that waits.

local Future = require("lunado.concurrent").Future

local Gate = {}
Gate.__index = Gate

local function new(places)
  return setmetatable({ free = places, first = 1, last = 0 }, Gate)
end

-- Waits for a place, inside a coroutine. Leaving gives it to whoever waits
-- longest:  local _ <close> = gate:enter()
function Gate:enter()
  if self.free > 0 then
    self.free = self.free - 1
  else
    local turn = Future()
    self.last = self.last + 1
    self[self.last] = turn
    coroutine.yield(turn)
  end
  return setmetatable({}, { __close = function() self:leave() end })
end

function Gate:leave()
  local turn = self[self.first]
  if not turn then
    self.free = self.free + 1
    return
  end
  self[self.first] = nil
  self.first = self.first + 1
  turn:set_result()
end

return { new = new }
