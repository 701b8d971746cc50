-- SPDX-License-Identifier: MIT
-- Groups of scenarios for memory_calls.c: { name, make }, in the same order
-- each time; make() returns the call, and check(raised, logged), which raises
-- something is amiss.  Arguments: the group that is wanted, and where luv is.
local wanted, cpath = ...
local lunado = require "lunado"
local gen, concurrent, util = lunado.gen, lunado.concurrent, lunado.util
local locks, queues, ioloop = lunado.locks, lunado.queues, lunado.ioloop
local stack_context, log = lunado.stack_context, lunado.log
local Future = lunado.Future
local yield = coroutine.yield
local loop = lunado.IOLoop.current()

local groups = {}
local group

local function scenario(name, make)
  group[#group + 1] = { name, make }
end

--- A call that can be made again where it raised, and what is true then.
local function repeatable(name, make)
  scenario(name, function()
    local call, check = make()
    return call, function(raised)
      if raised then call() end
      if check then check() end
    end
  end)
end

--- One that nothing is known of but that it ends, and can be made again.
local function plain(name, fn)
  repeatable(name, function() return fn end)
end

--- The same in a coroutine; what it raises is raised.
local function within(name, fn)
  plain(name, function() lunado.run(fn) end)
end

local function turn()
  lunado.run(function() yield(gen.sleep(0)) end)
end

-- Has something wait for the Future, and give up.
local function wait_in_vain(future)
  assert(not pcall(lunado.run, function()
    yield(gen.with_timeout({ seconds = 0 }, future))
  end))
end

-- A coroutine that waits for what wait() gives; returns a table that gets it.
local function waiter(wait)
  local got = {}
  gen.coroutine(function()
    got.value = yield(wait())
    got.done = true
  end)()
  return got
end

local function same(expected, actual, what)
  if expected ~= actual then
    error(("%s is %s, not %s"):format(what or "value", actual, expected), 2)
  end
end

-- Locks ----------------------------------------------------------------------

group = {}
groups.locks = group

for _, name in ipairs { "Lock", "Semaphore", "BoundedSemaphore" } do
  local class = locks[name]

  repeatable(name .. ":acquire", function()
    local s, held = class(), nil
    return function() held = s:acquire() end, function()
      assert(held:done())
      assert(not s:acquire():done())
      held:result():release()
      turn()
    end
  end)

  repeatable(name .. ":acquire and its result", function()
    local s, held = class(), nil
    local future = s:acquire()
    return function() held = future:result() end, function()
      held:release()
      same(true, s:acquire():done(), "free")
    end
  end)

  repeatable(name .. ":acquire that waits", function()
    local s, future = class(), nil
    local held = s:acquire():result()
    return function() future = s:acquire({ hours = 1 }) end, function()
      held:release()
      assert(future:done())
      assert(not s:acquire():done())
    end
  end)

  repeatable(name .. ":acquire of a coroutine", function()
    local s = class()
    local held = s:acquire():result()
    return gen.coroutine(function()
      local _ <close> = yield(s:acquire())
    end), function()
      held:release()
      turn()
      -- A Future that was made and not waited for may have got it.
      collectgarbage()
      collectgarbage()
      assert(s:acquire():done())
    end
  end)

  for _, way in ipairs {
    { "its own release", function(s) s:release() end },
    { "what acquire gave", function(_, held) held:release() end },
  } do
    local how, release = way[1], way[2]
    repeatable(name .. " released by " .. how, function()
      local s = class()
      local held = s:acquire():result()
      local first = waiter(function() return s:acquire() end)
      local second = waiter(function() return s:acquire({ hours = 1 }) end)
      return function() release(s, held) end, function()
        turn()
        assert(first.done and not second.done)
        first.value:release()
        turn()
        assert(second.done)
        second.value:release()
        same(true, s:acquire():done(), "free")
        same(false, s:acquire():done(), "free")
      end
    end)

    repeatable(name .. " with none waiting, by " .. how, function()
      local s = class()
      local held = s:acquire():result()
      return function() release(s, held) end, function()
        same(true, s:acquire():done(), "free")
        same(false, s:acquire():done(), "free")
      end
    end)
  end

  repeatable(name .. " released past a coroutine that was closed", function()
    local s, thread = class(), nil
    local held = s:acquire():result()
    gen.coroutine(function()
      thread = coroutine.running()
      yield(s:acquire())
    end)()
    local next = s:acquire()
    coroutine.close(thread)
    return function() held:release() end, function()
      assert(next:done())
    end
  end)

  repeatable(name .. " released by the collector", function()
    local s = class()
    local function lose()
      assert(s:acquire():result())
    end
    lose()
    local next = s:acquire()
    return function() collectgarbage() end, function()
      collectgarbage()
      collectgarbage()
      assert(next:done())
    end
  end)

  repeatable(name .. " and one that gave up", function()
    local s = class()
    local held = s:acquire():result()
    local first = s:acquire()
    wait_in_vain(first)
    held:release()
    local taken
    return function() taken = first:done() end, function()
      assert(taken)
      assert(first:result())
      same(false, s:acquire():done(), "free")
    end
  end)
end

scenario("Event:set", function()
  local e, order = locks.Event(), {}
  for i = 1, 3 do
    gen.coroutine(function()
      yield(e:wait(i == 2 and { hours = 1 } or nil))
      order[#order + 1] = i
    end)()
  end
  local last = e:wait()
  return function() e:set() end, function(raised)
    same(not raised, e:is_set(), "is_set")
    same(not raised, last:done(), "the last wait")
    if raised then e:set() end
    assert(last:done() and e:wait():done())
    turn()
    same("123", table.concat(order), "order")
  end
end)

repeatable("Event:wait", function()
  local e, future = locks.Event(), nil
  return function() future = e:wait({ hours = 1 }) end, function()
    e:set()
    assert(future:done())
  end
end)

plain("Event and its text", function()
  local e = locks.Event()
  e:set()
  e:clear()
  e:wait()
  assert(tostring(e):find "Event")
end)

for _, method in ipairs { "notify", "notify_all" } do
  scenario("Condition:" .. method, function()
    local c = locks.Condition()
    local first, second = c:wait(), c:wait({ hours = 1 })
    return function() c[method](c, 2) end, function(raised)
      same(not raised, first:done(), "first")
      same(not raised, second:done(), "second")
      if raised then c[method](c, 2) end
      assert(first:result() and second:result())
    end
  end)
end

scenario("a wait that times out", function()
  local e = locks.Event()
  local future = e:wait({ milliseconds = 0 })
  return turn, function(raised, logged)
    if raised then turn() end
    turn()
    -- Of a timeout that could not be called the log tells.
    assert(future:done() or raised or logged)
    e:set()
    assert(future:done())
  end
end)

-- Queues ---------------------------------------------------------------------

group = {}
groups.queues = group

local function items_of(q)
  local items = {}
  while not q:empty() do items[#items + 1] = q:get_nowait() end
  table.sort(items)
  return table.concat(items, " ")
end

for _, name in ipairs { "Queue", "PriorityQueue", "LifoQueue" } do
  local class = queues[name]

  local function filled(n, maxsize)
    local q = class(maxsize)
    for i = 1, n do q:put_nowait(i) end
    return q
  end

  for _, method in ipairs { "put", "put_nowait" } do
    for _, n in ipairs { 0, 4, 8 } do
      scenario(name .. ":" .. method .. " behind " .. n, function()
        local q = filled(n)
        return function() q[method](q, 9) end, function(raised)
          same(raised and n or n + 1, q:qsize(), "size")
          if raised then q[method](q, 9) end
          same(("1 2 3 4 5 6 7 8"):sub(1, math.max(0, 2 * n - 1))
            .. (n > 0 and " 9" or "9"), items_of(q), "items")
        end
      end)
    end

    scenario(name .. ":" .. method .. " for one that waits", function()
      local q = class()
      local first = waiter(function() return q:get() end)
      local second = q:get({ hours = 1 })
      local joined = q:join()
      return function() q[method](q, 7) end, function(raised)
        turn()
        same(not raised, first.done or false, "first")
        if raised then q[method](q, 7) end
        turn()
        same(7, first.value)
        assert(not second:done() and q:empty())
        q:put_nowait(8)
        same(8, second:result())
        q:task_done()
        q:task_done()
        assert(not joined:done() or q:join():done())
      end
    end)
  end

  repeatable(name .. ":put that waits", function()
    local q = filled(1, 1)
    local future
    return function() future = q:put(2, { hours = 1 }) end, function()
      local got = q:get_nowait()
      assert(future:done())
      same("1 2", got < 2 and got .. " " .. items_of(q)
        or items_of(q) .. " " .. got, "items")
    end
  end)

  for _, method in ipairs { "get", "get_nowait" } do
    scenario(name .. ":" .. method, function()
      local q, got = filled(4), nil
      return function()
        local item = q[method](q)
        got = method == "get" and item:result() or item
      end, function(raised)
        same(raised and not got and 4 or 3, q:qsize(), "size")
        if got then q:put_nowait(got) end
        same("1 2 3 4", items_of(q), "items")
      end
    end)

    scenario(name .. ":" .. method .. " that lets one in", function()
      local q, got = filled(2, 2), nil
      local third = waiter(function() return q:put(3) end)
      local fourth = q:put(4, { hours = 1 })
      return function()
        local item = q[method](q)
        got = method == "get" and item:result() or item
      end, function(raised)
        turn()
        same(2, q:qsize(), "size")
        same(not (raised and not got), third.done or false, "third")
        local items = { got }
        while #items < 4 do items[#items + 1] = q:get_nowait() end
        table.sort(items)
        same("1 2 3 4", table.concat(items, " "))
        assert(fourth:done() and q:empty())
      end
    end)
  end

  repeatable(name .. ":get that waits", function()
    local q = class()
    local future
    return function() future = q:get({ hours = 1 }) end, function()
      q:put_nowait(5)
      same(5, future:result())
    end
  end)

  scenario(name .. ":task_done", function()
    local q = filled(1)
    q:get_nowait()
    local first, second = q:join(), q:join({ hours = 1 })
    return function() q:task_done() end, function(raised)
      same(not raised, first:done(), "first")
      same(not raised, second:done(), "second")
      if raised then q:task_done() end
      assert(first:done() and second:done())
      assert(not pcall(q.task_done, q))
    end
  end)

  for _, immediate in ipairs { false, true } do
    repeatable(name .. ":shutdown " .. tostring(immediate), function()
      local q = filled(2, 2)
      local putting, joined = q:put(3), q:join()
      local empty = class()
      local getting = { empty:get(), empty:get({ hours = 1 }) }
      return function()
        q:shutdown(immediate)
        empty:shutdown(immediate)
      end, function()
        assert(putting:exception() and getting[1]:exception()
          and getting[2]:exception())
        same(immediate and 0 or 2, q:qsize(), "size")
        same(immediate, joined:done(), "joined")
        assert(not pcall(q.put_nowait, q, 1))
      end
    end)
  end

  scenario(name .. ":iter", function()
    local q, sum = filled(3), 0
    q:put_nowait(0)
    q:shutdown()
    local function take()
      lunado.run(function()
        for item in q:iter() do sum = sum + item end
      end)
    end
    return take, function()
      take()
      assert(q:empty() and sum <= 6)
    end
  end)

  repeatable(name .. ":get of one that gave up", function()
    local q = class()
    local future = q:get()
    wait_in_vain(future)
    q:put_nowait(1)
    local got
    return function() got = got or future:done() and future:result() end,
      function()
        same(1, got)
        assert(q:empty())
      end
  end)

  plain(name .. " and its text", function()
    local q = class(3)
    q:put(1)
    assert(tostring(q):find "1 queued" and not q:full())
  end)
end

-- Futures and coroutines -----------------------------------------------------

group = {}
groups.gen = group

repeatable("Future:set_result", function()
  local f, n = Future(), 0
  local copy = Future()
  concurrent.chain_future(f, copy)
  local first = waiter(function() return f end)
  local second = waiter(function() return { f, copy } end)
  f:add_done_callback(function() n = n + 1 end)
  return function() if not f:done() then f:set_result(1, 2) end end, function()
    turn()
    same(1, f:result())
    same(1, first.value)
    assert(second.done and copy:done())
  end
end)

repeatable("Future:set_exception", function()
  local f = Future()
  return function() if not f:done() then f:set_exception("x") end end,
    function() same("x", f:exception()) end
end)

repeatable("Future:set_exc_info", function()
  local f = Future()
  return function() if not f:done() then f:set_exc_info("x", "text") end end,
    function() same("x", (f:exc_info())) end
end)

plain("Future:exc_info", function()
  local f = Future()
  f:set_exception("x")
  assert(select(2, f:exc_info()):find "traceback")
  assert(tostring(f):find "failed")
end)

plain("Future:add_done_callback", function()
  local f, n = Future(), 0
  for _ = 1, 3 do f:add_done_callback(function() n = n + 1 end) end
  f:set_result()
  f:add_done_callback(function() n = n + 1 end)
end)

plain("chain_future, is_future", function()
  local a, b = Future(), Future()
  concurrent.chain_future(a, b)
  a:set_result(1)
  assert(concurrent.is_future(b))
end)

within("yield", function()
  yield()
  yield(gen.moment)
  local f = Future()
  loop:add_callback(f.set_result, f, 1)
  assert(yield(f) == 1)
  yield { gen.sleep(0), a = gen.sleep(0) }
  yield(gen.sleep(0), gen.sleep(0))
end)

within("await", function()
  gen.await(gen.sleep(0))
  gen.await { gen.sleep(0) }
end)

within("with_timeout", function()
  yield(gen.with_timeout({ hours = 1 }, gen.sleep(0)))
  assert(not pcall(yield, gen.with_timeout({ seconds = 0 }, Future())))
end)

within("multi", function()
  yield(gen.multi { gen.sleep(0), gen.sleep(0) })
  assert(not pcall(yield, gen.multi({ gen.coroutine(error)("a") }, "a")))
end)

within("WaitIterator", function()
  local wi = gen.WaitIterator { a = gen.sleep(0), b = gen.sleep(0) }
  while not wi:done() do yield(wi:next()) end
  for _ in gen.WaitIterator(gen.sleep(0), gen.sleep(0)):results() do yield() end
end)

within("Task, Callback, Wait", function()
  local function echo(x, callback) loop:add_callback(callback, x) end
  yield(gen.Task(echo, 1))
  yield(concurrent.return_future(echo)(1))
  yield(gen.Callback("a"))()
  yield(gen.Wait("a"))
  yield(gen.Callback("b"))()
  yield(gen.WaitAll { "b" })
end)

within("engine", function()
  local done = Future()
  gen.engine(function()
    yield(gen.sleep(0))
    done:set_result()
  end)()
  for _ = 1, 10 do
    if not done:done() then yield(gen.sleep(0)) end
  end
  assert(done:done(), "the engine was not done") -- it may lack memory, too
end)

within("maybe_future, convert_yielded", function()
  yield(gen.maybe_future(1))
  yield(gen.convert_yielded { gen.sleep(0) })
end)

repeatable("a coroutine", function()
  local f
  return function()
    f = gen.coroutine(function(x)
      yield(gen.sleep(0))
      return x
    end)(5)
  end, function()
    turn()
    assert(f:done())
  end
end)

repeatable("a coroutine that fails, and one on its thread", function()
  local failed, after
  local fail = gen.coroutine(function()
    local _ <close> = setmetatable({}, { __close = function() end })
    error({ "boom" })
  end)
  local echo = gen.coroutine(function(...)
    yield(gen.sleep(0))
    return ...
  end)
  return function()
    failed = fail()
    after = echo(1, 2)
  end, function()
    turn()
    local err, traceback = failed:exc_info()
    if type(err) == "table" then
      same("boom", err[1])
      assert(traceback:find "in function <")
    else
      assert(err:find "not enough memory", err)
    end
    err = after:exception()
    if err then
      assert(err:find "not enough memory", err)
    else
      same(1, after:result())
      same(2, (select(2, after:result())))
    end
  end
end)

plain("coroutine and Return", function()
  gen.coroutine(function() error(gen.Return(1)) end)()
  assert(gen.is_coroutine_function(gen.coroutine(print)))
end)

within("errors of many kinds", function()
  local first
  for i = 1, 18 do
    local f = Future()
    f:set_exception("error " .. i)
    local ok, err = pcall(yield, f)
    assert(not ok)
    first = first or err
  end
  local f = Future()
  f:set_exception(first)
  pcall(yield, f)
end)

-- Tasks ----------------------------------------------------------------------

group = {}
groups.tasks = group

local tasks = require "lunado.tasks"

-- Cancels a coroutine that waits for what wait() gives.
local function cancelled(name, wait, check)
  repeatable("cancel of a wait for " .. name, function()
    local future = gen.coroutine(function() yield(wait()) end)()
    return function() tasks.cancel(future) end, function()
      local ok, err = pcall(lunado.run, function() yield(future) end)
      assert(not ok)
      if err ~= "not enough memory" then
        same(true, util.isinstance(err, tasks.CancelledError), tostring(err))
      end
      if check then check() end
    end
  end)
end

cancelled("a Future", Future)
cancelled("a sleep", function() return gen.sleep(3600) end)
cancelled("a coroutine", gen.coroutine(function() yield(gen.sleep(3600)) end))
cancelled("a table", function() return { Future(), gen.sleep(3600) } end)
cancelled("with_timeout", function()
  return gen.with_timeout({ hours = 1 }, gen.sleep(7200))
end)
cancelled("a canceller's Future", function()
  local future = Future()
  tasks.set_canceller(future, function() end)
  return gen.with_timeout({ hours = 1 }, { future, gen.sleep(9999) })
end)

do
  local queue = queues.Queue()
  cancelled("a queue", function() return queue:get() end, function()
    queue:put_nowait(1)
    same(1, queue:get_nowait())
  end)
end

-- Raises what fn raises, unless that is the error of the class.
local function raises(class, fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok)
  if not util.isinstance(err, class) then error(err, 0) end
end

within("timeout", function()
  raises(util.TimeoutError, tasks.timeout, { seconds = 0 }, yield, Future())
end)

within("timeout and shield", function()
  do
    local scope <close> = tasks.timeout { hours = 1 }
    tasks.shield(function() yield() end)
    scope:reschedule { hours = 2 }
  end
  yield()
end)

-- Whatever fails, the end of the block has waited for all that was spawned, or
-- cancelled them: the loop runs dry.
local function group_ends(name, fn)
  scenario(name, function()
    local children = {}
    local function spawn(g, ...)
      local child = g:spawn(...)
      children[#children + 1] = child
      return child
    end
    return function() lunado.run(fn, spawn) end, function()
      turn()
      for i, child in ipairs(children) do
        assert(child:done(), "child " .. i .. " has not ended")
      end
    end
  end)
end

local function sleep(n) yield(gen.sleep(n)) end

group_ends("TaskGroup", function(spawn)
  local g <close> = tasks.TaskGroup()
  spawn(g, sleep, 0)
  spawn(g, sleep, 0.001)
end)

group_ends("TaskGroup with an error of a child", function(spawn)
  local ok, err = pcall(function()
    local g <close> = tasks.TaskGroup()
    for _ = 1, 3 do spawn(g, sleep, 3600) end
    spawn(g, function() yield() error "broken" end)
  end)
  assert(not ok)
  if not tostring(err):find "broken" then error(err, 0) end
end)

group_ends("TaskGroup with errors of all, and of the body", function(spawn)
  local ok, err = pcall(function()
    local g <close> = tasks.TaskGroup { quiet_exceptions = "broken" }
    for _ = 1, 3 do
      spawn(g, function()
        pcall(yield, gen.sleep(3600))
        error "broken"
      end)
    end
    error "broken"
  end)
  assert(not ok)
  if not tostring(err):find "broken" then error(err, 0) end
end)

group_ends("group that is cancelled", function(spawn)
  tasks.group(function(g)
    for _ = 1, 3 do spawn(g, sleep, 3600) end
    g:cancel "enough"
    sleep(3600)
  end)
end)

group_ends("group:wait", function(spawn)
  local g <close> = tasks.TaskGroup()
  spawn(g, sleep, 0)
  local waited = g:wait()
  spawn(g, sleep, 0.001)
  yield(waited)
  yield(g:wait())
end)

within("race", function()
  same(2, yield(tasks.race { gen.sleep(0.05), gen.sleep(0) }))
end)

-- Loops ----------------------------------------------------------------------

group = {}
groups.ioloop = group

plain("IOLoop", function()
  local other <close> = lunado.IOLoop(false)
  other:run_sync(function() yield(gen.sleep(0)) end)
  assert(tostring(other))
end)

repeatable("add_callback", function()
  local n = 0
  return function()
    n = 0
    loop:add_callback(function() n = n + 1 end)
  end, function()
    turn()
    assert(n == 1)
  end
end)

repeatable("spawn_callback, add_callback_from_signal", function()
  local n = 0
  return function()
    loop:spawn_callback(function() n = n + 1 end)
    loop:add_callback_from_signal(function() n = n + 1 end)
  end, function()
    turn()
    assert(n == 2 or n == 3)
  end
end)

repeatable("call_later, call_at, add_timeout", function()
  local n = 0
  local function tick() n = n + 1 end
  return function()
    loop:call_later(0, tick)
    loop:call_at(loop:time(), tick)
    loop:add_timeout(util.timedelta(0), tick, 1, 2)
  end, function()
    turn()
    turn()
    assert(n >= 3 and n <= 5)
  end
end)

plain("remove_timeout", function()
  loop:remove_timeout(loop:call_later(10, print, 1))
end)

repeatable("add_future", function()
  local n, f = 0, Future()
  return function() loop:add_future(f, function() n = n + 1 end) end,
    function()
      f:set_result()
      turn()
      assert(n == 1)
    end
end)

repeatable("PeriodicCallback", function()
  local p
  local n = 0
  p = ioloop.PeriodicCallback(function() n = n + 1 end, 0.01)
  return function()
    if not p:is_running() then p:start() end
  end, function()
    turn()
    if not p:is_running() then p:start() end -- stopped for want of memory
    local deadline = loop:time() + 20
    while n == 0 and loop:time() < deadline do turn() end
    p:stop()
    assert(n > 0, "it was called")
  end
end)

plain("run_sync", function()
  assert(loop:run_sync(function() return 1 end) == 1)
  assert(not pcall(loop.run_sync, loop, error, 1))
end)

repeatable("an error in a callback", function()
  return function() loop:add_callback(error, "in a callback") end, turn
end)

plain("start and stop", function()
  loop:stop()
  loop:start()
end)

-- The rest -------------------------------------------------------------------

group = {}
groups.others = group

local function values_to_dump()
  local n, list = 1, { ("long"):rep(100), { x = 1.5 } }
  list.self = list
  return list, function() n = n + 1 return n, list end,
    util.TimeoutError "late"
end

local function check_loaded(list, fn, err)
  same(list, list.self)
  same(list, select(2, fn()))
  assert(util.isinstance(err, util.TimeoutError))
end

repeatable("dumps", function()
  local list, fn, err = values_to_dump()
  local text
  return function() text = concurrent.dumps(list, fn, err) end,
    function() check_loaded(concurrent.loads(text)) end
end)

repeatable("loads", function()
  local text = concurrent.dumps(values_to_dump())
  return function() check_loaded(concurrent.loads(text)) end
end)

plain("StackContext", function()
  stack_context.ExceptionStackContext(function() return true end):run(
    function() loop:add_callback(error, "handled") end)
  turn()
end)

plain("StackContext with a factory", function()
  local context = stack_context.StackContext(function()
    return { enter = function() end, exit = function() end }
  end)
  local wrapped
  context:run(function(deactivate)
    wrapped = stack_context.wrap(function() return 1 end)
    deactivate()
  end)
  wrapped()
  stack_context.run_with_stack_context(context, function() end)
  stack_context.NullContext():run(function() end)
end)

plain("util", function()
  local Mine = util.Exception:subclass("Mine")
  assert(tostring(Mine("x")) == "Mine: x")
  assert(util.isinstance(Mine(), util.Exception))
  assert(util.timedelta({ hours = 1 }))
  util.kwargs { a = 1 }
end)

plain("log", function()
  log.app_log:warning("%s", "a warning")
  log.set_level("error")
  log.app_log:info("nothing")
  log.set_level("warning")
end)

repeatable("debug", function()
  local debug = require "lunado.debug"
  return function()
    gen.coroutine(function() yield(gen.sleep(0)) end)()
    assert(debug.tasks())
    debug.dump({ write = function() end })
    turn()
  end
end)

repeatable("testing", function()
  local testing = require "lunado.testing"
  return testing.gen_test(function()
    local other = lunado.IOLoop.current()
    testing.virtual_clock(other)
    yield(gen.sleep(100))
  end)
end)

-- Signals --------------------------------------------------------------------

group = {}
groups.signals = group

--- The process gets SIGUSR1, and the loop time to notice it.
local function send_signal()
  assert(os.execute("kill -USR1 $PPID"))
  for _ = 1, 3 do turn() end
end

repeatable("add_signal_handler", function()
  local n = 0
  loop:add_signal_handler("sigusr1", function() end)
  return function()
    loop:add_signal_handler("sigusr1", function(by) n = n + by end, 1)
  end, function()
    send_signal()
    same(1, n, "calls")
    loop:remove_signal_handler("sigusr1")
  end
end)

repeatable("add_signal_handler, the first one", function()
  local n = 0
  return function()
    loop:add_signal_handler("sigusr1", function() n = n + 1 end)
  end, function()
    send_signal()
    same(1, n, "calls")
  end
end)

repeatable("remove_signal_handler", function()
  local n = 0
  loop:add_signal_handler("sigusr1", function() n = n + 1 end)
  loop:add_signal_handler("sigusr2", function() n = n + 1 end)
  return function() loop:remove_signal_handler("sigusr2") end, function()
    send_signal()
    same(1, n, "calls")
  end
end)

-- What needs luv -------------------------------------------------------------
--
-- The calls alone: what comes to a stream while libuv polls without memory luv
-- itself loses.

local has_luv = false
if wanted == "streams" or wanted == "uv" then
  package.cpath = cpath
  has_luv = pcall(require, "luv")
end

group = {}
groups.streams = group
if has_luv then
  local luv = require "luv"
  local iostream = require "lunado.iostream"
  local IOStream = iostream.IOStream
  local TCPClient = require "lunado.tcpclient".TCPClient
  local TCPServer = require "lunado.tcpserver".TCPServer

  local function handles()
    local ends = assert(luv.socketpair())
    local here, there = luv.new_pipe(false), luv.new_pipe(false)
    assert(here:open(ends[1]) and there:open(ends[2]))
    return here, there
  end

  --- A stream, and luv's handle at the other end.
  local function connected(options)
    local here, there = handles()
    return IOStream(here, options), there
  end

  --- A server that writes a line to each connection.
  local function greeter()
    return TCPServer {
      handle_stream = function(_, stream) stream:write("hello\n") end,
    }
  end

  --- What the Future comes to, and then both ends are closed.
  local function result(future, stream, there)
    local value = lunado.run(function() return yield(future) end)
    stream:close()
    if there and not there:is_closing() then there:close() end
    turn()
    return value
  end

  repeatable("IOStream", function()
    local here, there = handles()
    local stream
    return function() stream = IOStream(here, { max_buffer_size = 10 }) end,
      function()
        assert(there:try_write("x"))
        same("x", result(stream:read_bytes(1), stream, there))
      end
  end)

  local reads = {
    read_bytes = { 4 }, read_until = { "\n" }, read_line = {},
    read_until_pattern = { "%s" }, read_until_close = {},
  }
  local names = {}
  for name in pairs(reads) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    for _, before in ipairs { "nothing", "all" } do
      repeatable(("%s when %s has come"):format(name, before), function()
        local stream, there = connected()
        local future
        if before == "all" then -- what a first read has read, too
          assert(there:try_write("-abc\n"))
          lunado.run(function() yield(stream:read_bytes(1)) end)
        end
        return function()
          future = nil
          if not stream:reading() then
            future = stream[name](stream, table.unpack(reads[name]))
          end
        end, function()
          if stream:closed() then error(tostring(stream.error)) end
          if before == "nothing" then assert(there:try_write("abc\n")) end
          if name == "read_until_close" then there:close() end
          if not future then -- it had begun, and its Future is lost
            stream:close()
            return
          end
          same(name == "read_line" and "abc" or "abc\n",
            result(future, stream, there))
        end
      end)
    end
  end

  for _, size in ipairs { 3, 100000 } do
    scenario(("write of %d bytes"):format(size), function()
      local stream, there = connected()
      local data, future = ("x"):rep(size), nil
      return function() future = stream:write(data) end, function(raised)
        -- One that raised has written nothing, or all of it.
        local other = IOStream(there)
        if not raised and not stream:closed() then
          lunado.run(function()
            local peer = other:read_bytes(size)
            yield(future)
            same(data, yield(peer))
          end)
        elseif not raised then
          assert(tostring(future:exception()):find "memory")
        end
        other:close()
        stream:close()
        turn()
      end
    end)
  end

  repeatable("write of a list, writing, reading", function()
    local stream, there = connected()
    return function()
      stream:write { "a", "b" }
      stream:writing()
      stream:reading()
    end, function()
      stream:close()
      there:close()
      turn()
    end
  end)

  repeatable("close_write", function()
    local stream, there = connected()
    local future
    return function() future = stream:close_write() end, function()
      local other = IOStream(there)
      local ok, err = pcall(lunado.run, function() yield(future) end)
      if not ok and not tostring(err):find "memory" then error(err, 0) end
      if not ok then stream:close() end
      same("", result(other:read_until_close(), other))
      stream:close()
      turn()
    end
  end)

  repeatable("close", function()
    local stream, there = connected()
    local pending = stream:read_line()
    return function() stream:close() end, function()
      assert(pending:exception())
      there:close()
      turn()
    end
  end)

  repeatable("set_close_callback", function()
    local stream, there = connected()
    local n = 0
    return function() stream:set_close_callback(function() n = n + 1 end) end,
      function()
        stream:close()
        turn()
        same(1, n, "calls")
        there:close()
        turn()
      end
  end)

  repeatable("lines", function()
    local stream, there = connected()
    local lines
    return function() lines = stream:lines(100) end, function()
      assert(there:try_write("a\nb"))
      there:close()
      lunado.run(function()
        same("a", lines())
        same("b", lines())
        same(nil, lines())
      end)
    end
  end)

  repeatable("set_nodelay, closed and their text", function()
    local stream, there = connected()
    return function()
      stream:set_nodelay(true)
      assert(not stream:closed() and tostring(stream):find "open")
    end, function()
      stream:close()
      there:close()
      turn()
    end
  end)

  repeatable("IOStream:connect", function()
    local server = greeter()
    local port = server:listen(0, "127.0.0.1")
    local stream, future = IOStream(luv.new_tcp()), nil
    return function()
      if not stream:closed() then future = stream:connect("127.0.0.1", port) end
    end, function()
      local ok, err = pcall(lunado.run, function() yield(future) end)
      if ok then
        same("hello", result(stream:read_line(), stream))
      elseif not tostring(err):find "memory" then
        error(err, 0)
      end
      stream:close()
      server:stop()
      turn()
    end
  end)

  repeatable("TCPServer:listen, TCPClient:connect", function()
    local server, client = greeter(), TCPClient()
    local port = server:listen(0, "127.0.0.1")
    local future
    local function connect() future = client:connect("127.0.0.1", port) end
    return function()
      TCPServer():stop()
      connect()
    end, function()
      local ok, stream = pcall(lunado.run, function() return yield(future) end)
      if not ok and tostring(stream):find "memory" then
        connect()
        stream = lunado.run(function() return yield(future) end)
      end
      same("hello", result(stream:read_line(), stream))
      server:stop()
      turn()
    end
  end)

  --- The lowest descriptor that is free: a higher one was lost.
  local function free_descriptor()
    local fd = assert(luv.fs_open("/dev/null", "r", 0))
    luv.fs_close(fd)
    return fd
  end

  --- Leaves the same descriptors open, and listens only once it was called
  -- without an error.
  local function listening(name, listen, connect)
    scenario(name, function()
      local server = greeter()
      listen(server) -- libuv keeps a descriptor of its own from now on
      server:stop()
      turn()
      local free = free_descriptor()
      local where
      return function() where = listen(server) end, function(raised)
        turn()
        if raised then
          same(free, free_descriptor(), "descriptor")
          same(0, #server._listeners, "listeners")
          where = listen(server)
        end
        local stream = lunado.run(function() return yield(connect(where)) end)
        same("hello", result(stream:read_line(), stream))
        server:stop()
        turn()
      end
    end)
  end

  listening("TCPServer:listen and stop", function(server)
    return server:listen(0, "127.0.0.1")
  end, function(port) return TCPClient():connect("127.0.0.1", port) end)

  local path = os.tmpname()
  os.remove(path) -- which it has made
  listening("TCPServer:listen_unix", function(server)
    server:listen_unix(path)
    return path
  end, function() return IOStream.pipe():connect(path) end)

  for _, kind in ipairs { "tcp", "pipe" } do
    repeatable("IOStream." .. kind, function()
      IOStream[kind]():close() -- the first one watches signals
      turn()
      local free, stream = free_descriptor(), nil
      return function() stream = IOStream[kind]() end, function()
        stream:close()
        turn()
        same(free, free_descriptor(), "descriptor")
      end
    end)
  end

  scenario("IOStream.open of a socket", function()
    local ends = assert(luv.socketpair())
    local there = IOStream.open(ends[2])
    local stream
    local function open() stream = IOStream.open(ends[1]) end
    return open, function(raised)
      collectgarbage()
      turn()
      assert(luv.fs_fstat(ends[1]), "is closed")
      if raised then open() end
      stream:write("x")
      same("x", result(there:read_bytes(1), there))
      stream:close()
      turn()
      assert(not luv.fs_fstat(ends[1]), "is open")
    end
  end)

  scenario("a connection that comes", function()
    local server = greeter()
    local port = server:listen(0, "127.0.0.1")
    local first = luv.new_tcp()
    first:connect("127.0.0.1", port)
    return turn, function()
      turn()
      local stream = lunado.run(function()
        return yield(TCPClient():connect("127.0.0.1", port))
      end)
      same("hello", result(stream:read_line(), stream))
      if not first:is_closing() then first:close() end
      server:stop()
      turn()
    end
  end)

  repeatable("TCPClient:connect to a name", function()
    local server, future = greeter(), nil
    local port = server:listen(0, "127.0.0.1")
    local function connect() future = TCPClient():connect("localhost", port) end
    return connect, function()
      local ok, stream = pcall(lunado.run, function() return yield(future) end)
      if not ok and tostring(stream):find "memory" then
        connect()
        ok, stream = pcall(lunado.run, function() return yield(future) end)
      end
      if not ok then error(stream, 0) end
      same("hello", result(stream:read_line(), stream))
      server:stop()
      turn()
    end
  end)

  repeatable("TCPServer:listen", function()
    local server, port = greeter(), nil
    return function() port = server:listen(0, "127.0.0.1") end, function()
      local stream = lunado.run(function()
        return yield(TCPClient():connect("127.0.0.1", port))
      end)
      same("hello", result(stream:read_line(), stream))
      server:stop()
      turn()
    end
  end)

  plain("iostream.open", function() iostream.open("/dev/null") end)
end

group = {}
groups.uv = group
if has_luv then
  local uv = require "lunado.uv"

  local function run_to_end(future)
    return lunado.run(function() return yield(future) end)
  end

  -- A refusal of luv's fails the Future, one for want of memory, too.
  local starts = {
    fs_stat = { "/" }, fs_open = { "/dev/null", "r" },
    getaddrinfo = { "127.0.0.1" }, random = { 4 },
    fs_read = { 0, 0 }, fs_access = { "/", "R" },
  }
  local names = {}
  for name in pairs(starts) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    repeatable(name, function()
      local future
      return function() future = uv[name](table.unpack(starts[name])) end,
        function()
          local ok, value = pcall(run_to_end, future)
          if not ok and not value:find "memory" then error(value, 0) end
          if name == "fs_open" and ok then run_to_end(uv.fs_close(value)) end
        end
    end)
  end

  repeatable("a call that luv refuses", function()
    local future
    return function() future = uv.fs_stat("/no/such/file") end, function()
      assert(not pcall(run_to_end, future))
    end
  end)

  plain("a wrong argument", function()
    local ok, err = pcall(uv.fs_stat)
    if ok then error(err:exception(), 0) end
    if not tostring(err):find "bad argument" then error(err, 0) end
  end)

  -- (Not queue_work: luv keeps a Lua state for each thread.)

  repeatable("udp_recv", function()
    local server, client = uv.new_udp(), uv.new_udp()
    assert(uv.udp_bind(server, "127.0.0.1", 0))
    local port = uv.udp_getsockname(server).port
    local future
    return function() future = uv.udp_recv(server) end, function()
      -- One that was made and is lost got the first.
      run_to_end(uv.udp_send(client, "x", "127.0.0.1", port))
      same("x", run_to_end(future))
      run_to_end(uv.close(server))
      run_to_end(uv.close(client))
    end
  end)

  repeatable("udp_recv_start, udp_recv_stop", function()
    local server = uv.new_udp()
    assert(uv.udp_bind(server, "127.0.0.1", 0))
    return function()
      uv.udp_recv_start(server, function() end)
      uv.udp_recv_stop(server)
    end, function() run_to_end(uv.close(server)) end
  end)

  repeatable("signal", function()
    local future
    local function ask() future = uv.signal("sigusr1") end
    return ask, function()
      if future:done() then
        assert(future:exception():find "memory")
        ask()
      end
      send_signal()
      same("sigusr1", run_to_end(future))
    end
  end)

  -- luv since 1.50 knows a process before libuv does: if it has no memory in
  -- between, the end of the state closes a handle that libuv does not know.
  local too_early = require "luv".thread_detach ~= nil
    or debug.getregistry().LUV_HANDLES ~= nil
  local unless_too_early = too_early and function() end or repeatable
  unless_too_early("spawn, wait, kill", function()
    local process
    return function()
      process = process or uv.spawn("sleep", { args = { "60" } })
      process:kill("sigkill")
    end, function()
      run_to_end(process:wait())
      assert(tostring(process):find "Process")
    end
  end)

  repeatable("close", function()
    local timer, future = uv.new_timer(), nil
    return function()
      if not uv.is_closing(timer) then future = uv.close(timer) end
    end, function()
      if future then run_to_end(future) end
      turn()
    end
  end)

  repeatable("write, try_write", function()
    local ends = assert(uv.socketpair())
    local here, there = uv.new_pipe(false), uv.new_pipe(false)
    assert(here:open(ends[1]) and there:open(ends[2]))
    return function()
      uv.write(here, "abc")
      uv.write(here, { "d", "e" })
      uv.try_write(here, { "f" })
    end, function()
      turn()
      run_to_end(uv.close(here))
      run_to_end(uv.close(there))
    end
  end)
end

-- Processes ------------------------------------------------------------------

group = {}
groups.process = group
if wanted == "process" then
  local process = require "lunado.process"
  local Subprocess, STREAM = process.Subprocess, process.STREAM

  local function result(future)
    return lunado.run(function() return yield(future) end)
  end

  local function cat()
    return Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
  end

  repeatable("Subprocess", function()
    local p
    return function() p = cat() end, function()
      same("abc", result(p:communicate "abc"))
      same(0, p.returncode)
    end
  end)

  repeatable("Subprocess with options, which cannot be started", function()
    local function start()
      Subprocess({ "/no/such" }, { stdin = process.DEVNULL, stdout = STREAM,
        stderr = process.STDOUT, env = { A = "b" }, cwd = "/" })
    end
    return function()
      local ok, err = pcall(start)
      assert(not ok)
      if not tostring(err):find "ENOENT" then error(err, 0) end
    end
  end)

  repeatable("wait_for_exit", function()
    local p, future = cat(), nil
    return function() future = p:wait_for_exit() end, function()
      p.stdin:close()
      local ok, status = pcall(result, future)
      if not ok then -- in its coroutine
        assert(tostring(status):find "memory")
        status = result(p:wait_for_exit())
      end
      same(0, status)
    end
  end)

  -- The event is not lost, whatever fails when it comes.
  scenario("the end of a program", function()
    local p = cat()
    p[1]:hold(true)
    return function()
      p.stdin:close()
      lunado.run(function() yield(p[1]:future()) end)
    end, function()
      p.stdin:close()
      same(0, result(p[1]:future()))
      same(0, p.returncode)
    end
  end)

  repeatable("set_exit_callback", function()
    local p, calls = cat(), 0
    local function count() calls = calls + 1 end
    return function() p:set_exit_callback(count) end, function()
      p.stdin:close()
      result(p:wait_for_exit())
      turn()
      same(1, calls, "calls")
    end
  end)

  repeatable("communicate", function()
    local p, future = cat(), nil
    return function() future = p:communicate "abc" end, function()
      local ok, out = pcall(result, future)
      if ok then return same("abc", out) end
      assert(tostring(out):find "memory") -- in a coroutine
      p:kill "sigkill"
      result(p:wait_for_exit(false))
    end
  end)

  repeatable("kill, and the end of a block", function()
    return function()
      local p <close> = cat()
      p:kill(0)
    end
  end)
end

-- TLS ------------------------------------------------------------------------
--
-- The calls alone, as above.  OpenSSL's own memory does not fail.

group = {}
groups.tls = group
if wanted == "tls" then
  package.cpath = (os.getenv "LUNADO_BUILD" or "build") .. "/?.so;" .. cpath
  package.path = "./?.lua;" .. package.path
  local IOStream = require "lunado.iostream".IOStream
  local certificates = require "spec.support.certificates"
  local tls = require "lunado.tls"
  local server_options = { certfile = certificates.path "server.pem" }

  --- Both ends of a connection.
  local function connected()
    local ends = assert(require "luv".socketpair())
    return IOStream.open(ends[1]), IOStream.open(ends[2])
  end

  repeatable("create_default_context", function()
    local context
    return function()
      context = tls.create_default_context(true, { alpn = { "x" },
        certfile = server_options.certfile, ciphers = "ECDHE+AESGCM" })
    end, function() assert(tostring(context):find "server") end
  end)

  --- Starts a client and a server, and sends a line.
  scenario("start_tls", function()
    local here, there = connected()
    local one, other
    local theirs = tls.create_default_context(true, server_options)
    local mine = tls.create_default_context { cert_reqs = "none" }
    return function()
      one = here:start_tls(false, mine)
      other = there:start_tls(true, theirs)
      here:write "hello\n"
    end, function()
      if one and other and not here:closed() and not there:closed() then
        local ok, err = pcall(lunado.run, function()
          yield { one, other }
          if here:writing() then yield(there:read_line()) end
          return tls.connection_info(here).version
        end)
        assert(ok, err)
      end
      here:close()
      there:close()
      if one then one:exception() end
      if other then other:exception() end
      turn()
    end
  end)

  repeatable("peer_certificate, connection_info", function()
    local here, there = connected()
    lunado.run(function()
      yield { here:start_tls(false, { cert_reqs = "none" }),
        there:start_tls(true, server_options) }
    end)
    local certificate, info
    return function()
      certificate = here:peer_certificate()
      info = tls.connection_info(here)
    end, function()
      same("localhost", certificate.subject.CN)
      same("TLSv1.3", info.version)
      here:close()
      there:close()
      turn()
    end
  end)

  for _, size in ipairs { 3, 1000000 } do
    scenario(("a write of %d encrypted bytes"):format(size), function()
      local here, there = connected()
      lunado.run(function()
        yield { here:start_tls(false, { cert_reqs = "none" }),
          there:start_tls(true, server_options) }
      end)
      local data, future = ("x"):rep(size), nil
      return function() future = here:write(data) end, function(raised)
        if not raised and not here:closed() then
          same(data, lunado.run(function()
            local read = there:read_bytes(size)
            yield(future)
            return yield(read)
          end))
        elseif future then
          assert(tostring(future:exception()):find "memory")
        end
        here:close()
        there:close()
        turn()
      end
    end)
  end
end

-- Loading --------------------------------------------------------------------

group = {}
groups.loading = group

for _, name in ipairs { "locks", "queues", "debug", "testing", "iostream",
  "tcpclient", "tcpserver", "process" } do
  repeatable("lunado." .. name, function()
    -- Where luv is needed, it is the same each time that it is not there.
    local there = pcall(require, "lunado." .. name)
    package.loaded["lunado." .. name] = nil
    return function()
      local ok, err = pcall(require, "lunado." .. name)
      if ok ~= there then error(err, 0) end
    end
  end)
end

return groups
