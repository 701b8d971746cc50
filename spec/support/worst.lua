-- SPDX-License-Identifier: MIT
-- User code that does the worst at the worst time: in functions that lunado
-- calls, in finalizers that any allocation may run, in debug hooks.
--   lua5.4 -e 'require "spec.support.worst" ("call", "a WaitIterator", 1, 2)'
-- plays the scene with each action in the first and second call of user code.
local lunado = require "lunado"
local concurrent, gen, log = lunado.concurrent, lunado.gen, lunado.log
local gc = require "spec.support.gc"
local pipes = require "spec.support.pipes"
local scenes = require "spec.support.scenes"

local Future, IOLoop = concurrent.Future, lunado.IOLoop

-- Actions of user code: each gets the scene, with the objects in use ----------

local actions = {
  { "closes the loop", function(scene) scene.loop:close() end },
  { "closes the loop and all descriptors",
    function(scene) scene.loop:close(true) end },
  { "finalizes the loop", function(scene)
    debug.getmetatable(scene.loop).__gc(scene.loop)
  end },
  { "settles the Futures", function(scene)
    for _, future in ipairs(scene.futures) do
      if not future:done() then future:set_result(1, 2) end
    end
  end },
  { "fails the Futures", function(scene)
    for _, future in ipairs(scene.futures) do
      if not future:done() then future:set_exception("worst") end
    end
  end },
  { "makes another loop current", function(scene)
    scene.others[#scene.others + 1] = IOLoop(true)
  end },
  { "makes no loop current", function() IOLoop.clear_current() end },
  { "collects garbage", function() collectgarbage() end },
  { "raises", function() error("worst") end },
  { "raises what cannot be shown", function()
    error(setmetatable({}, { __tostring = function() error "worse" end,
      __name = "Worst" }))
  end },
  { "yields", function() coroutine.yield() end },
  { "stops the loop", function(scene) scene.loop:stop() end },
  { "runs a loop", function(scene)
    local other = IOLoop(false)
    scene.others[#scene.others + 1] = other
    other:run_sync(function() return gen.sleep(0) end)
  end },
  { "closes coroutines", function(scene)
    for _, thread in ipairs(scene.threads) do
      pcall(coroutine.close, thread)
    end
  end },
  { "resumes coroutines", function(scene)
    for _, thread in ipairs(scene.threads) do
      pcall(coroutine.resume, thread, "worst")
    end
  end },
  { "does the same again", function(scene)
    if scene.again then scene.again() end
  end },
  { "uses the loop", function(scene)
    local loop = scene.loop
    for _ = 1, 40 do loop:add_callback(function() end) end
    loop:call_later(0, function() end)
    for fd in pairs(scene.fds) do
      loop:remove_handler(fd)
      loop:add_handler(fd, function() end, loop.READ)
    end
    gen.coroutine(function() coroutine.yield() end)()
  end },
  { "ends executors", function(scene)
    for _, executor in ipairs(scene.executors) do executor:shutdown(false) end
  end },
}


-- Playing one scene ----------------------------------------------------------

local pool
local function new_scene()
  local scene
  scene = {
    futures = {}, threads = {}, others = {}, fds = {}, executors = {},
    loop = IOLoop(false), worst = function() end,
    pool = function()
      if not pool or not pcall(pool.submit, pool, function() end) then
        pool = concurrent.ThreadPoolExecutor(1)
      end
      scene.executors[1] = pool
      return pool
    end,
  }
  scene.loop:make_current()
  return scene
end

-- Asserts that lunado still works after a scene.
local function sane()
  local loop = IOLoop(true)
  local trail = {}
  local f = Future()
  loop:call_later(0.0001, function() f:set_result(7) end)
  local result = loop:run_sync(function()
    trail[#trail + 1] = "a"
    coroutine.yield()
    trail[#trail + 1] = select(1, gen.await(gen.multi { f, gen.sleep(0) }))[1]
    local ok, err = pcall(coroutine.yield, gen.coroutine(error)("e", 0))
    trail[#trail + 1] = tostring(ok) .. err
    return gen.with_timeout({ seconds = 10 }, f)
  end, 10)
  loop:close()
  assert(result == 7 and table.concat(trail, " ") == "a 7 falsee",
    table.concat(trail, " "))
  assert(require "lunado.core".get_context() == false, "a context is left")
end

local function finish(scene)
  pcall(function() scene.loop:close() end)
  for _, other in ipairs(scene.others) do pcall(other.close, other) end
  for fd in pairs(scene.fds) do pcall(pipes.close, fd) end
  log.set_handler(function() end)
  -- An error of the hook may have left any function of lunado at any line.
  if scene.hooked then require "lunado.core".set_context(false) end
  sane()
end

local function play(fn, act, trigger)
  log.set_handler(function() end)
  local scene = new_scene()
  local depth = 0
  function scene.again()
    if depth > 0 then return end
    depth = depth + 1
    pcall(fn, scene)
  end
  local fired = trigger(scene, function() act(scene) end, function()
    pcall(fn, scene)
  end)
  debug.sethook()
  finish(scene)
  return fired
end

-- Triggers: when the action happens -------------------------------------------

local triggers = {}

-- In the nth call of user code.
function triggers.call(n)
  return function(scene, act, run)
    local left = n
    function scene.worst()
      left = left - 1
      if left == 0 then act() end
    end
    run()
    return left <= 0
  end
end

-- The same in a coroutine, which user code may close where Lua allows it.
function triggers.coroutine(n)
  return function(scene, act, run)
    local left = n
    function scene.worst()
      left = left - 1
      if left == 0 then act() end
    end
    gen.coroutine(function()
      scene.threads[#scene.threads + 1] = coroutine.running()
      run()
    end)()
    return left <= 0
  end
end

-- In each call of user code.
function triggers.always()
  return function(scene, act, run)
    local within = false
    function scene.worst()
      if within then return end
      within = true
      local ok, err = pcall(act)
      within = false
      if not ok then error(err, 0) end
    end
    run()
    return false
  end
end

-- In a finalizer, in the nth collection of garbage.
function triggers.finalizer(n)
  return function(_, act, run)
    local left = n
    local stress = {}
    function stress.__gc(object)
      left = left - 1
      if left == 0 then act() end
      if left > 0 then setmetatable(object, stress) end
    end
    local quiet = gc.at_each_allocation()
    collectgarbage()
    setmetatable({}, stress)
    run()
    local fired = left <= 0
    left = 0
    quiet()
    return fired
  end
end

-- In the nth event of a debug hook.
function triggers.hook(n)
  return function(scene, act, run)
    scene.hooked = true
    local left = n
    local running = false
    debug.sethook(function()
      if not running then return end
      left = left - 1
      if left == 0 then
        running = false
        debug.sethook()
        act()
      end
    end, "cr")
    pcall(function()
      running = true
      run()
      running = false
    end)
    debug.sethook()
    return left <= 0
  end
end

-- Plays the scene `name` with each action and each of the numbers n, and prints
-- action and n before.  Raises if lunado does not work after that.
return function(kind, name, ...)
  warn("@off")
  for _, scene in ipairs(scenes) do
    if scene[1] == name then
      for _, action in ipairs(actions) do
        for _, n in ipairs { ... } do
          io.stdout:write(action[1], " ", n, "\n")
          io.stdout:flush()
          if not play(scene[2], action[2], triggers[kind](n)) then break end
        end
      end
    end
  end
  if pool then pool:shutdown() end
  io.stdout:write "done"
end
