-- SPDX-License-Identifier: MIT
-- Scenes in which lunado calls user code, for spec.support.worst.  Each is a
-- name and a function, which makes lunado call scene.worst at as many places as
-- possible.
local lunado = require "lunado"
local concurrent, gen, locks = lunado.concurrent, lunado.gen, lunado.locks
local ldebug, log, queues = require "lunado.debug", lunado.log, lunado.queues
local stack_context, util = lunado.stack_context, lunado.util
local pipes = require "spec.support.pipes"

local Future, IOLoop = concurrent.Future, lunado.IOLoop
local PeriodicCallback = lunado.ioloop.PeriodicCallback

local function future(scene)
  local f = Future()
  scene.futures[#scene.futures + 1] = f
  return f
end

-- Starts a coroutine and adds its thread to the scene's.
local function start(scene, fn, ...)
  return gen.coroutine(function(...)
    scene.threads[#scene.threads + 1] = coroutine.running()
    return fn(...)
  end)(...)
end

local function evil(scene, methods)
  local mt = { __name = "Evil" }
  for name, fn in pairs(methods) do
    mt[name] = function(...)
      scene.worst()
      return fn(...)
    end
  end
  return setmetatable({}, mt)
end

local function turn(loop, n)
  for _ = 1, n or 3 do
    loop:run_sync(function() return gen.sleep(0.0001) end, 0.02)
  end
end

local scenarios = {}
local function scenario(name, fn) scenarios[#scenarios + 1] = { name, fn } end

scenario("a callback", function(scene)
  scene.loop:add_callback(scene.worst, 1, 2)
  scene.loop:spawn_callback(scene.worst)
  for _ = 1, 40 do scene.loop:add_callback(function() end) end
  turn(scene.loop)
end)

scenario("a timeout", function(scene)
  local loop = scene.loop
  local second = loop:call_later(0, scene.worst)
  loop:call_later(0, scene.worst, 1, 2)
  loop:add_timeout({ seconds = 0 }, scene.worst)
  local handle = loop:call_at(loop:time() + 60, print, 1)
  loop:remove_timeout(handle)
  loop:remove_timeout(second)
  loop:call_later(0, scene.worst)
  turn(loop)
end)

scenario("a done-callback", function(scene)
  local f, g, h = future(scene), future(scene), future(scene)
  f:add_done_callback(scene.worst)
  f:add_done_callback(function() end)
  concurrent.chain_future(f, g)
  g:add_done_callback(scene.worst)
  scene.loop:add_future(g, scene.worst)
  local result = start(scene, function() return coroutine.yield(g) end)
  start(scene, function() return coroutine.yield { g, h } end)
  f:set_result(1, nil, 3)
  h:set_exception(evil(scene, { __tostring = function() return "e" end }))
  turn(scene.loop)
  result:done()
end)

scenario("settling many", function(scene)
  local first = future(scene)
  local last = first
  for _ = 1, 40 do
    local following = future(scene)
    last:add_done_callback(function()
      scene.worst()
      if not following:done() then following:set_result(1) end
    end)
    start(scene, function() coroutine.yield(following) end)
    last = following
  end
  first:set_result()
  turn(scene.loop)
end)

scenario("an owner that waits", function(scene)
  local f, g, h = future(scene), future(scene), future(scene)
  start(scene, function()
    scene.worst()
    gen.await(f)
    scene.worst()
    coroutine.yield(g)
    scene.worst()
    coroutine.yield()
    scene.worst()
    coroutine.yield { a = h, { f, g } }
    scene.worst()
    return coroutine.yield(f, g)
  end)
  start(scene, function() coroutine.yield(f) end)
  local wrapped = gen.with_timeout({ seconds = 60 }, f)
  f:set_result(1)
  turn(scene.loop)
  g:set_exception("x")
  turn(scene.loop)
  if not h:done() then h:set_result() end
  turn(scene.loop)
  wrapped:done()
end)

scenario("an await method", function(scene)
  local f = future(scene)
  local result = start(scene, function()
    return coroutine.yield(evil(scene, { __await = function() return f end }))
  end)
  start(scene, function()
    return gen.await(evil(scene, { __await = function() return f end }), f)
  end)
  start(scene, function()
    return coroutine.yield { f, evil(scene, { __await = function()
      return { f, f }
    end }) }
  end)
  gen.convert_yielded(evil(scene, { __await = function() return {} end }))
  turn(scene.loop)
  if not f:done() then f:set_result(2) end
  turn(scene.loop)
  result:done()
end)

scenario("a converter", function(scene)
  local mt = {}
  local f = future(scene)
  gen.convert_yielded.register(mt, function()
    scene.worst()
    return f
  end)
  local thing = setmetatable({}, mt)
  start(scene, function() return coroutine.yield(thing) end)
  start(scene, function() return coroutine.yield { thing, f } end)
  gen.with_timeout({ seconds = 60 }, thing)
  gen.multi { thing, f }
  turn(scene.loop)
end)

scenario("what is not yieldable", function(scene)
  for _, key in ipairs { "__name", "__tostring", "__index", "__call",
    "__len", "__pairs", "__eq" } do
    local thing = evil(scene, { [key] = function() return nil end })
    start(scene, function() return coroutine.yield(thing) end)
    start(scene, function() return coroutine.yield { thing, thing } end)
    pcall(gen.convert_yielded, thing)
    pcall(gen.multi, thing)
    pcall(gen.WaitIterator, thing)
    pcall(scene.loop.add_timeout, scene.loop, thing, print)
    pcall(gen.with_timeout, thing, Future())
    pcall(gen.Return, thing)
    pcall(util.isinstance, thing, util.Exception)
    pcall(util.isinstance, thing, thing)
    pcall(util.kwargs, thing)
    pcall(util.timedelta, thing)
    pcall(concurrent.is_future, thing)
    pcall(IOLoop, thing)
    tostring(pcall(concurrent.chain_future, thing, thing))
  end
  turn(scene.loop)
end)

scenario("with_timeout", function(scene)
  local f, g, h = future(scene), future(scene), future(scene)
  local function quiet()
    scene.worst()
    return false
  end
  gen.with_timeout({ seconds = 0 }, f, quiet)
  gen.with_timeout(scene.loop:time(), f, { quiet, quiet })
  local outer = gen.with_timeout({ seconds = 60 }, gen.with_timeout(
    { seconds = 60 }, h), quiet)
  outer:add_done_callback(scene.worst)
  gen.with_timeout({ seconds = 0 }, g)
  start(scene, function() return coroutine.yield(outer) end)
  turn(scene.loop)
  if not f:done() then f:set_exception("late") end
  if not g:done() then
    g:set_exception(evil(scene, { __tostring = function() return "e" end }))
  end
  if not h:done() then h:set_result(1) end
  turn(scene.loop)
end)

scenario("multi", function(scene)
  local f, g, h = future(scene), future(scene), future(scene)
  local function quiet()
    scene.worst()
    return false
  end
  local m = gen.multi({ f, g, a = h, b = f }, quiet)
  gen.multi({ f, g }, { quiet, "x" })
  gen.multi({ m, f })
  gen.multi({})
  m:add_done_callback(scene.worst)
  start(scene, function() return coroutine.yield(m) end)
  f:set_exception("1")
  if not g:done() then
    g:set_exception(evil(scene, { __tostring = function() return "2" end }))
  end
  if not h:done() then h:set_exception("3") end
  turn(scene.loop)
end)

scenario("a WaitIterator", function(scene)
  local f, g, h = future(scene), future(scene), future(scene)
  local wi = gen.WaitIterator(f, g, h)
  local named = gen.WaitIterator { a = f, b = g, c = h }
  start(scene, function()
    while not wi:done() do
      local next = wi:next()
      next:add_done_callback(scene.worst)
      if not pcall(coroutine.yield, next) and not next:done() then break end
      scene.worst()
    end
  end)
  start(scene, function()
    for _ in named:results() do scene.worst() end
  end)
  f:set_result(1)
  turn(scene.loop)
  if not g:done() then g:set_exception("x") end
  if not h:done() then h:set_result(3) end
  turn(scene.loop)
end)

scenario("run_sync", function(scene)
  local f = future(scene)
  scene.loop:add_callback(function()
    if not f:done() then f:set_result() end
  end)
  scene.loop:run_sync(function()
    scene.threads[#scene.threads + 1] = coroutine.running()
    scene.worst()
    coroutine.yield(f)
    scene.worst()
    coroutine.yield(gen.sleep(0))
    scene.worst()
    return gen.sleep(0)
  end, 0.1)
end)

scenario("a run that fails", function(scene)
  pcall(scene.loop.run_sync, scene.loop, function()
    scene.worst()
    coroutine.yield(gen.sleep(0))
    error(evil(scene, { __tostring = function() return "e" end,
      __index = function() end, __name = function() end }))
  end)
  pcall(scene.loop.run_sync, scene.loop, function()
    return future(scene)
  end, 0.001)
  pcall(scene.loop.run_sync, scene.loop, function()
    return future(scene)
  end)
end)

scenario("handle_callback_exception", function(scene)
  scene.loop.handle_callback_exception = function() scene.worst() end
  scene.loop:add_callback(error, "one")
  scene.loop:add_callback(error, evil(scene, {
    __tostring = function() return "e" end }))
  scene.loop:call_later(0, error, "two")
  local f = future(scene)
  scene.loop:add_callback(function() return f end)
  scene.loop:add_callback(gen.coroutine(function()
    coroutine.yield()
    error("three")
  end))
  turn(scene.loop)
  if not f:done() then f:set_exception("four") end
  turn(scene.loop)
end)

scenario("the log's handler", function(scene)
  log.set_handler(function() scene.worst() end)
  scene.loop:add_callback(error, "one")
  scene.loop:call_later(0, error, "two")
  Future():set_exception("three")
  collectgarbage()
  gen.with_timeout({ seconds = 0 }, gen.coroutine(function()
    coroutine.yield(gen.sleep(0.0002))
    error("four")
  end)())
  gen.multi { gen.coroutine(error)("five"), gen.coroutine(error)("six") }
  scene.loop:set_blocking_log_threshold(0)
  scene.loop:set_blocking_log_threshold(1e-9)
  scene.loop:add_callback(function() for _ = 1, 1000 do end end)
  log.app_log:error("%s", "seven")
  start(scene, function() coroutine.yield(Future()) end)
  collectgarbage()
  turn(scene.loop)
  scene.loop:close()
end)

scenario("stack contexts", function(scene)
  local function factory()
    scene.worst()
    return {
      enter = function() scene.worst() end,
      exit = function() scene.worst() end,
    }
  end
  local f = future(scene)
  stack_context.StackContext(factory):run(function(deactivate)
    stack_context.ExceptionStackContext(function()
      scene.worst()
      return true
    end):run(function()
      scene.loop:add_callback(scene.worst)
      scene.loop:call_later(0, error, "x")
      scene.loop:add_future(f, scene.worst)
      f:add_done_callback(scene.worst)
      start(scene, function()
        scene.worst()
        coroutine.yield(f)
        scene.worst()
        coroutine.yield()
        error "y"
      end)
      stack_context.wrap(function() end)()
    end)
    deactivate()
  end)
  turn(scene.loop)
  if not f:done() then f:set_result() end
  turn(scene.loop)
end)

scenario("callbacks as Futures", function(scene)
  local function async(x, callback)
    scene.worst()
    scene.loop:add_callback(function()
      scene.worst()
      callback(x)
    end)
  end
  local wrapped = concurrent.return_future(async)
  wrapped(1)
  wrapped(1, scene.worst)
  wrapped(1, util.kwargs { callback = scene.worst })
  gen.Task(async, 1)
  gen.engine(function()
    scene.worst()
    coroutine.yield(gen.Task(async, 2))
    scene.worst()
  end)()
  gen.coroutine(function() scene.worst() end)(
    util.kwargs { callback = scene.worst })
  turn(scene.loop)
end)

scenario("YieldPoints", function(scene)
  local Point = gen.YieldPoint:subclass("Point")
  function Point:start(runner) -- luacheck: ignore self
    scene.worst()
    self.runner = runner
  end
  function Point:is_ready() -- luacheck: ignore self
    scene.worst()
    return self.ready
  end
  function Point:get_result() scene.worst() end -- luacheck: ignore self
  local point = Point()
  start(scene, function() coroutine.yield(point) end)
  start(scene, function()
    local callback = coroutine.yield(gen.Callback "a")
    scene.worst()
    scene.loop:add_callback(callback, 1)
    coroutine.yield(gen.Wait "a")
    coroutine.yield(gen.MultiYieldPoint { gen.sleep(0) })
    coroutine.yield(gen.Callback "b")
  end)
  turn(scene.loop)
  point.ready = true
  if point.runner then point.runner:run() end
  turn(scene.loop)
end)

scenario("executors", function(scene)
  local dummy = concurrent.dummy_executor
  dummy:submit(scene.worst)
  dummy:map(scene.worst, { 1, 2 })
  local pool = scene.pool()
  pool:submit(function(x) return x end, { 1, { 2 } })
  pool:map(function(x) return x end, evil(scene, {
    __index = function(_, i) return i end, __len = function() return 2 end }))
  local object = { executor = pool }
  object.method = concurrent.run_on_executor(function(_, x) return x end)
  object:method(1)
  object:method(1, util.kwargs { callback = scene.worst })
  pcall(pool.submit, pool, print, evil(scene, { __name = tostring,
    __copy = tostring, __index = tostring, __pairs = tostring }))
  local f = pool:submit(error, "x")
  f:add_done_callback(scene.worst)
  f = pool:submit(function(x) return x end, 0.1)
  f:add_done_callback(scene.worst)
  scene.loop:run_sync(function() return f end, 0.1)
end)

scenario("locks and queues", function(scene)
  local queue = queues.PriorityQueue(4)
  local mt = {}
  mt.__lt = function(a, b)
    scene.worst()
    return a.n < b.n
  end
  for i = 1, 6 do queue:put(setmetatable({ n = -i }, mt)) end
  for _ = 1, 6 do queue:get() end
  local lock, event, condition = locks.Lock(), locks.Event(), locks.Condition()
  for _ = 1, 3 do
    start(scene, function()
      local held <close> = coroutine.yield(lock:acquire())
      scene.worst()
      coroutine.yield()
      scene.worst()
      assert(held)
    end)
    start(scene, function()
      coroutine.yield(event:wait(scene.loop:time()))
      scene.worst()
    end)
    condition:wait({ seconds = 0 })
    event:wait():add_done_callback(scene.worst)
  end
  turn(scene.loop)
  event:set()
  condition:notify_all()
  turn(scene.loop)
end)

scenario("nested starts", function(scene)
  local f = future(scene)
  local function nest(n)
    if n == 0 then
      scene.worst()
      return coroutine.yield(f)
    end
    local inner = start(scene, nest, n - 1)
    scene.worst()
    return coroutine.yield(inner)
  end
  start(scene, nest, 45)
  turn(scene.loop)
  if not f:done() then f:set_result(1) end
  for _ = 1, 20 do turn(scene.loop, 1) end
end)

scenario("to-be-closed variables", function(scene)
  local f = future(scene)
  local function closing(fn)
    return function()
      local guard <close> = evil(scene, { __close = function() end })
      local second <close> = evil(scene, { __close = function()
        coroutine.yield(f)
      end })
      assert(guard and second)
      return fn()
    end
  end
  start(scene, closing(function() return 1 end))
  start(scene, closing(function() error("x") end))
  start(scene, closing(function() return coroutine.yield(f) end))
  turn(scene.loop)
  if not f:done() then f:set_exception("y") end
  turn(scene.loop)
end)

scenario("errors", function(scene)
  local err = evil(scene, { __tostring = function() return "e" end,
    __eq = function() return true end, __name = tostring })
  local f = start(scene, function() error(err) end)
  f:exc_info()
  tostring(f)
  local g = start(scene, function() coroutine.yield(f) end)
  local h = start(scene, function()
    local ok, caught = pcall(coroutine.yield, g)
    coroutine.yield()
    error(ok or caught, 0)
  end)
  turn(scene.loop)
  pcall(h.result, h)
  h:exc_info()
  start(scene, function() error(gen.Return(err, 2)) end)
  Future():set_exc_info(err, "trace")
  collectgarbage()
  turn(scene.loop)
end)

scenario("a PeriodicCallback", function(scene)
  local periodic = PeriodicCallback(scene.worst, 0.05, scene.loop)
  periodic:start()
  turn(scene.loop)
  periodic:stop()
end)

scenario("descriptors", function(scene)
  local p = pipes.pipe()
  scene.fds[p.read], scene.fds[p.write] = true, true
  local object = evil(scene, { __index = function(_, key)
    if key == "fileno" then
      return function()
        scene.worst()
        return p.read
      end
    elseif key == "close" then
      return scene.worst
    end
  end })
  scene.loop:add_handler(object, scene.worst, scene.loop.READ)
  scene.loop:add_handler(p.write, scene.worst, scene.loop.WRITE)
  scene.loop:update_handler(object, scene.loop.READ)
  pipes.write(p.write, "x")
  turn(scene.loop)
  scene.loop:remove_handler(object)
  turn(scene.loop)
  scene.loop:add_handler(object, scene.worst, scene.loop.READ)
  turn(scene.loop)
  scene.loop:close(true)
end)

scenario("loops", function(scene)
  local other <close> = IOLoop(false)
  other.field = evil(scene, { __index = tostring })
  other:add_callback(other.stop, other)
  other:start()
  other:time()
  tostring(other)
  scene.loop.another = 1
  scene.loop:make_current()
  IOLoop.current():add_callback(scene.worst)
  scene.loop:close()
  scene.loop:close()
end)

scenario("the default loop", function(scene)
  scene.loop:close()
  IOLoop.clear_current()
  scene.loop = IOLoop.instance()
  IOLoop.clear_current()
  gen.sleep(60)
  scene.loop:run_sync(function() return gen.sleep(0) end, 0.1)
  IOLoop.current():close()
  gen.sleep(60)
  IOLoop.instance():add_callback(scene.worst)
  scene.loop = IOLoop.instance()
  gen.with_timeout({ seconds = 60 }, Future())
  turn(IOLoop.current())
end)

scenario("looking inside", function(scene)
  start(scene, function() coroutine.yield(future(scene)) end)
  start(scene, function() coroutine.yield { future(scene), gen.sleep(60) } end)
  local thing = evil(scene, { __index = tostring, __pairs = pairs,
    __gc = function() end, __name = tostring })
  ldebug.tasks()
  ldebug.dump(io.tmpfile())
  assert(thing)
end)

scenario("a thread hook of a coroutine", function(scene)
  start(scene, function()
    debug.sethook(function() scene.worst() end, "cr")
    coroutine.yield(gen.sleep(0))
    pcall(coroutine.yield, future(scene))
    pcall(gen.await, future(scene))
    debug.sethook()
  end)
  turn(scene.loop)
  for _, f in ipairs(scene.futures) do
    if not f:done() then f:set_exception "x" end
  end
  turn(scene.loop)
end)

--- Plays the scene in an interpreter of its own, by spec.support.worst; fails
--- unless that comes to its end.
-- @param numbers of calls, as a text
function scenarios.survive(kind, name, numbers)
  local luassert = require "luassert"
  local r = require "spec.support.child"(
    ('require "spec.support.worst" (%q, %q, %s)'):format(kind, name, numbers))
  luassert.equal("done", r.out:sub(-4), r.out:sub(-80) .. r.err:sub(-2000))
  luassert.equal(0, r.code, r.err:sub(-2000))
end

return scenarios
