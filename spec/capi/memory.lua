-- SPDX-License-Identifier: MIT
-- Uses every part of lunado once.  The host runs it with its functions and a
-- pipe, again and again, each time with another allocation that fails.
local host = ...
local lunado = require "lunado"
local gen, concurrent, util = lunado.gen, lunado.concurrent, lunado.util
local loop = lunado.IOLoop.current()
local Future = lunado.Future

-- Memory errors must come through; others are part of the scenario.
local function expect(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert(not ok)
  if not tostring(err):find(pattern) then error(err, 0) end
end

local function later(future, ...)
  loop:add_callback(future.set_result, future, ...)
  return future
end

local function futures()
  local f, copy, calls = Future(), Future(), 0
  for _ = 1, 3 do
    f:add_done_callback(function() calls = calls + 1 end)
  end
  concurrent.chain_future(f, copy)
  f:set_result(1, nil, 3)
  assert(calls == 3 and select("#", copy:result()) == 3)
  expect("done already", f.set_result, f)
  expect("no result yet", function() Future():result() end)

  local failed = Future()
  failed:set_exception("of a future")
  assert(select(2, failed:exc_info()):find "stack traceback")
  assert(tostring(failed):find "failed: of a future")
  expect("of a future", failed.result, failed)
  Future():set_exc_info("unseen", "a traceback")

  local chain = Future()
  local last = chain
  for _ = 1, 40 do -- deeper than callbacks nest
    local next = Future()
    local previous = last
    previous:add_done_callback(function()
      next:set_result(previous:result())
    end)
    last = next
  end
  chain:set_result("through")
  assert(last:result() == "through")
end

local function yields()
  local one = later(Future(), 1)
  assert(coroutine.yield(one) == 1)
  assert(coroutine.yield(one) == 1)
  assert(gen.await(later(Future(), 2)) == 2)
  coroutine.yield()
  coroutine.yield(gen.moment)
  local list = coroutine.yield {
    later(Future(), 1), gen.sleep(0), { later(Future(), 2) } }
  assert(list[1] == 1 and list[3][1] == 2)
  local dict = coroutine.yield { a = later(Future(), 1), b = one }
  assert(dict.a == 1 and dict.b == 1)
  local a, b = coroutine.yield(later(Future(), 1), later(Future(), 2))
  assert(a == 1 and b == 2)
  local object = setmetatable({}, { __await = function() return one end })
  assert(coroutine.yield(object) == 1)
  gen.convert_yielded.register("number", function(n)
    return later(Future(), n)
  end)
  assert(coroutine.yield(7) == 7)
  expect("not yieldable", coroutine.yield, "text")
  expect("not yieldable", coroutine.yield, setmetatable({}, { __name = "T" }))
  assert(gen.maybe_future(5):result() == 5)
end

-- Waiting where one cannot.
local function refusals()
  expect("table.sort", table.sort, { 1, 2 },
    function() gen.await(Future()) end)
  expect("does not run", coroutine.wrap(gen.await), Future())
  local failed = Future()
  failed:set_exception("of a future")
  expect("of a future", gen.await, failed)
  gen.await()
  expect("future expected", host.wait, nil)
  expect("already running", host.run, 2, print)
end

local nested
nested = gen.coroutine(function(n)
  if n > 0 then return coroutine.yield(nested(n - 1)) end
  coroutine.yield()
  return "deep"
end)

local fails = gen.coroutine(function()
  coroutine.yield(gen.sleep(0))
  error("of a coroutine")
end)

local function coroutines()
  assert(coroutine.yield(nested(40)) == "deep")
  assert(coroutine.yield(gen.coroutine(function()
    error(gen.Return("returned"))
  end)()) == "returned")
  local f = fails()
  expect("of a coroutine", coroutine.yield, f)
  assert(select(2, f:exc_info()):find "in function")
  local shared = Future()
  local waiting = {}
  for i = 1, 5 do
    waiting[i] = gen.coroutine(function() return gen.await(shared) end)()
  end
  later(shared, "shared")
  assert(coroutine.yield(waiting)[5] == "shared")
end

local function parallel()
  local iterator = gen.WaitIterator { a = later(Future(), 1), b = gen.sleep(0) }
  local count = 0
  while not iterator:done() do
    coroutine.yield(iterator:next())
    assert(iterator.current_index)
    count = count + 1
  end
  for index in gen.WaitIterator(later(Future(), 1), gen.sleep(0)):results() do
    count = count + index
  end
  assert(count == 5)
  expect("first", coroutine.yield, gen.multi({
    gen.coroutine(error)("first"), gen.coroutine(error)("second") }, "second"))
  expect("Timeout", coroutine.yield,
    gen.with_timeout({ seconds = 0 }, Future(), util.Exception))
  local timed = gen.with_timeout({ hours = 1 }, later(Future(), 3))
  assert(coroutine.yield(timed) == 3)
  for _, quiet in ipairs { "late", util.Exception, function() end, {} } do
    local late = Future()
    local gone = gen.with_timeout({ seconds = 0 }, late, quiet)
    expect("Timeout", coroutine.yield, gone)
    late:set_exception("late")
  end
  local same = Future()
  local two = gen.WaitIterator(same, same)
  assert(two:next() == two:next())
  same:set_result("same")
  assert(coroutine.yield(two:next()) == "same")
  expect("no more results", two.next, two)
end

local function loops()
  local done = Future()
  loop:add_future(later(Future(), 1), function(f)
    done:set_result(f:result())
  end)
  assert(coroutine.yield(done) == 1)
  local timeouts = {}
  for i = 1, 40 do timeouts[i] = loop:call_later(100 + i, print) end
  for i = 1, 40 do loop:remove_timeout(timeouts[i]) end
  local due = Future()
  loop:add_timeout({ seconds = 0 }, due.set_result, due, "due")
  assert(coroutine.yield(due) == "due")
  local many = Future() -- arguments
  loop:call_later(0, many.set_result, many, table.unpack({}, 1, 100))
  assert(select("#", coroutine.yield(many)) == 100)
  for i = 1, 50 do loop:add_callback(select, i, "a", "b") end
  loop:set_blocking_log_threshold(0)
  loop:set_blocking_log_threshold(1e-9)
  loop:add_callback(function() for _ = 1, 100 do end end)
  coroutine.yield()
  loop:set_blocking_log_threshold(nil)
  loop:add_callback(error, "of a callback")
  loop:spawn_callback(fails)
  coroutine.yield(gen.sleep(0))
  local ticks, ticked = 0, Future()
  local periodic
  periodic = lunado.ioloop.PeriodicCallback(function()
    ticks = ticks + 1
    if ticks >= 2 then -- not only then: stop may lack memory
      periodic:stop()
      ticked:set_result()
    end
  end, 1e-6)
  periodic:start()
  coroutine.yield(ticked)
  local readable = Future()
  loop:remove_handler(host.fd) -- of a run that ended early
  loop:add_handler(host.fd, function(fd, events)
    loop:remove_handler(fd)
    readable:set_result(events)
  end, loop.NONE)
  loop:update_handler(host.fd, loop.READ)
  assert(coroutine.yield(readable) & loop.READ ~= 0)
  local object = { fileno = function() return host.fd end }
  loop:add_handler(object, print, loop.NONE)
  expect("has a handler", loop.add_handler, loop, host.fd, print, loop.READ)
  loop:remove_handler(object)
  expect("cannot be watched", loop.add_handler, loop, 987654, print, 1)
end

local function logs()
  local log, lines = lunado.log, 0
  log.set_handler(function(_, message)
    if message:find "not enough memory" then error(message) end
    lines = lines + 1
  end)
  local ok, err = pcall(function()
    log.set_level("debug")
    log.app_log:debug("%s", "seen")
    log.set_level("error")
    log.app_log:warning("not seen")
    Future():set_exception("unseen")
    collectgarbage()
  end)
  log.set_handler(nil)
  log.set_level("warning")
  if not ok then error(err, 0) end
end

-- The error that a stack context got, unless it is one of want of memory.
local function handled(pattern, fn, ...)
  local got = Future()
  lunado.stack_context.ExceptionStackContext(function(err)
    got:set_result(err)
    return true
  end):run(fn, ...)
  local err = coroutine.yield(got)
  if not tostring(err):find(pattern) then error(err, 0) end
end

local function contexts()
  handled("in a callback", function()
    loop:add_callback(error, "in a callback")
  end)
  handled("in an engine", function()
    gen.engine(function()
      coroutine.yield(gen.sleep(0))
      error("in an engine")
    end)()
  end)
  lunado.stack_context.NullContext():run(function()
    loop:add_callback(type, 1)
  end)
  local wrapped = lunado.stack_context.wrap(function(x) return x end)
  assert(wrapped(3) == 3)
end

local function callbacks()
  local function echo(value, callback) loop:add_callback(callback, value) end
  assert(coroutine.yield(gen.Task(echo, 9)) == 9)
  assert(coroutine.yield(concurrent.return_future(echo)(8)) == 8)
  coroutine.yield(gen.Callback("key"))("called")
  assert(coroutine.yield(gen.Wait("key")) == "called")
  local called = Future()
  gen.coroutine(function(x) return x end)(6, util.kwargs {
    callback = function(x) called:set_result(x) end })
  assert(coroutine.yield(called) == 6)
end

local function shared()
  local lock, queue = lunado.locks.Lock(), lunado.queues.Queue(1)
  for i = 1, 3 do
    local _ <close> = coroutine.yield(lock:acquire())
    local item = queue:get()
    coroutine.yield(queue:put(i))
    assert(coroutine.yield(item) == i)
  end
end

local function hosts()
  assert(coroutine.yield(host.promise()) == "kept 7")
  assert(coroutine.yield(host.post()) == "posted")
  assert(host.wait(later(Future(), 4)) == 4)
  expect("of a host", host.wait, host.fail())
  assert(coroutine.yield(host.spawn(host.wait, later(Future(), 5))) == 5)
  assert(host.outcome(host.fail()) == -1)
  assert(host.outcome(Future()) == -2)
  expect("values expected", host.spoil)
end

local function other_loop()
  assert(host.run(2, gen.sleep, 0) == 0)
  assert(host.run(2, function() return later(Future(), 1, 2) end) == 2)
  expect("of a run", host.run, 2, error, "of a run")
  expect("timed out", host.run, 0.001, gen.sleep, 1000)
  local other <close> = lunado.IOLoop(false)
  assert(other:run_sync(function()
    coroutine.yield(gen.sleep(0))
    return 1
  end) == 1)
  expect("never end", other.run_sync, other,
    function() coroutine.yield(Future()) end)
  expect("timed out", other.run_sync, other,
    function() coroutine.yield(gen.sleep(1000)) end, 1e-6)
  function other:handle_callback_exception(_, err) self.seen = err end
  other:add_callback(error, "seen")
  other:call_later(0, other.stop, other)
  other:start()
  local closed
  other:add_handler({
    fileno = function() return host.fd end,
    close = function() closed = true end,
  }, print, other.READ)
  other:close(true)
  assert(closed)
end

futures()
lunado.run(function()
  yields()
  refusals()
  coroutines()
  parallel()
  loops()
  logs()
  contexts()
  callbacks()
  shared()
  hosts()
end)
other_loop()
lunado.log.app_log:warning("%s", "logged")
local Mine = util.Exception:subclass("Mine")
assert(util.isinstance(Mine("x"), util.Exception))
assert(tostring(Mine("x")) == "Mine: x")
lunado.coroutine(function() coroutine.yield(Future()) end)()
collectgarbage()
