-- SPDX-License-Identifier: MIT
-- Coroutines on luv as an expert would write them: the scheduler of hand.lua,
-- an idle handle that runs the ready tasks, a luv timer for each sleep.
local uv = require "luv"
local hand = require "hand"

local luv = setmetatable({}, { __index = hand })
local idle = uv.new_idle()
local coming, arguments, count = {}, {}, 0 -- the items of the next turn
local spare, spare_arguments = {}, {}
local active = false -- whether the idle handle runs

local function on_idle()
  local items, args, n = coming, arguments, count
  coming, arguments, count = spare, spare_arguments, 0
  spare, spare_arguments = items, args
  for i = 1, n do
    local item, argument = items[i], args[i]
    items[i], args[i] = nil, nil
    if type(item) == "function" then
      local ok, err = pcall(item, argument)
      if not ok then io.stderr:write(tostring(err), "\n") end
    else
      hand.step(item)
    end
    hand.drain()
  end
  if count == 0 then
    active = false
    idle:stop()
  end
end

-- Queues an item for the next turn: a function to call, or a task to resume.
local function soon(item, argument)
  count = count + 1
  coming[count], arguments[count] = item, argument
  if not active then
    active = true
    idle:start(on_idle)
  end
end
luv.soon = soon

function luv.turn()
  soon(hand.current())
  coroutine.yield()
end

function luv.later(seconds, fn)
  local timer = uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    fn()
    hand.drain()
  end)
  return timer
end

function luv.cancel(timer)
  timer:close()
end

function luv.sleep(seconds)
  local task, timer = hand.current(), uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    hand.step(task)
    hand.drain()
  end)
  coroutine.yield()
end

function luv.with_timeout(seconds, future)
  local result, timer = hand.future(), uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    future.waiter = nil
    hand.settle(result, false, "timeout")
    hand.drain()
  end)
  future.waiter = function(f)
    timer:close()
    hand.settle(result, f.ok, f.value)
  end
  return result
end

function luv.run(fn)
  local task = hand.spawn(fn)
  hand.drain()
  if task.ok == nil then
    task.waiter = uv.stop
    uv.run()
  end
  if not task.ok then error(task.value, 0) end
end

return luv
