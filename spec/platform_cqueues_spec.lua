-- SPDX-License-Identifier: MIT
-- Coroutines of cqueues on lunado's loop.  cqueues has a clock of its own, so
-- the times here are real, and short.
if not pcall(require, "cqueues") then
  describe("lunado.platform.cqueues", function()
    pending("cqueues is not installed for " .. _VERSION)
  end)
  return
end

local conditions = require "cqueues.condition"
local cqueues = require "cqueues"
local promises = require "cqueues.promise"
local sockets = require "cqueues.socket"
local debugging = require "lunado.debug"
local gen = require "lunado.gen"
local lunado = require "lunado"
local platform = require "lunado.platform.cqueues"
local tasks = require "lunado.tasks"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local yield = coroutine.yield

local loop, log, steps
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local function spec(name, fn)
  it(name, function() loops.run(loop, fn) end)
end

local step; step = cqueues.interpose("step", function(...)
  if steps then steps = steps + 1 end
  return step(...)
end)

local function count_steps(fn)
  steps = 0
  fn()
  local count = steps
  steps = nil
  return count
end

local function has(text, plain)
  assert.is_truthy(text:find(plain, 1, true), text)
end

local function fails(plain, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  has(tostring(err), plain)
end

local NEVER <const> = 1000

describe("run", function()
  spec("gives the results", function()
    assert.same(table.pack(1, nil, 3, nil),
      table.pack(yield(platform.run(function(...)
        cqueues.sleep(0.001)
        return ...
      end, 1, nil, 3, nil))))
    assert.equal(0, select("#", yield(platform.run(function() end))))
  end)

  spec("takes callable objects", function()
    local object = setmetatable({}, { __call = function(_, x) return x end })
    assert.equal(7, yield(platform.run(object, 7)))
  end)

  spec("refuses what cannot be called", function()
    fails("bad argument #1 to 'run' (function expected, got nil)",
      platform.run)
  end)

  spec("starts in a later turn, in order", function()
    local order = {}
    local futures = {}
    for i = 1, 3 do
      futures[i] = platform.run(function() order[#order + 1] = i end)
    end
    assert.same({}, order)
    yield(futures)
    table.sort(order)
    assert.same({ 1, 2, 3 }, order)
  end)

  spec("passes errors on unchanged, with their places", function()
    local thrown = {}
    local function deep()
      cqueues.sleep(0.001)
      error(thrown)
    end
    local future = platform.run(function() deep() end)
    local ok, err = pcall(yield, future)
    assert.is_false(ok)
    assert.equal(thrown, err)
    local _, traceback = future:exc_info()
    local here = debug.getinfo(1, "S").short_src
    has(traceback, here .. ":" .. debug.getinfo(deep, "S").linedefined + 2)
  end)

  spec("runs many at once", function()
    local futures = {}
    for i = 1, 200 do
      futures[i] = platform.run(function()
        cqueues.sleep(0.01)
        return i
      end)
    end
    local results = yield(futures)
    for i = 1, 200 do assert.equal(i, results[i]) end
  end)

  spec("runs what yields no time and nothing", function()
    assert.equal("done", yield(platform.run(function()
      cqueues.poll()
      cqueues.poll(nil)
      cqueues.sleep(0)
      return "done"
    end)))
  end)

  spec("runs a pair of sockets", function()
    local a, b = sockets.pair()
    local reader = platform.run(function() return b:read "*l" end)
    local writer = platform.run(function()
      cqueues.sleep(0.005)
      a:write "hello\n"
      a:flush()
    end)
    assert.equal("hello", yield(reader))
    yield(writer)
  end)

  it("is kept when nobody holds its Future", function()
    local ended
    loops.run(loop, function()
      platform.run(function()
        cqueues.sleep(0.01)
        ended = true
      end)
      gc.collect()
      while not ended do yield(gen.sleep(0.001)) end
    end)
  end)

  it("reports an error that nobody retrieves", function()
    loops.run(loop, function()
      platform.run(function() error "lost" end)
      yield(gen.sleep(0.005))
    end)
    gc.collect()
    has(log:first "never retrieved", "lost")
    log:clear()
  end)

  it("does not keep stack contexts of others", function()
    local taken
    local context = lunado.stack_context.ExceptionStackContext(function(err)
      taken = err
      return true
    end)
    loops.run(loop, function()
      local future
      context:run(function() future = platform.run(cqueues.sleep, 0.02) end)
      yield(platform.run(function()
        loop:add_callback(error, "stray", 0)
        cqueues.sleep(0.005)
      end))
      yield(future)
    end)
    assert.is_nil(taken)
    has(log:first "stray", "Exception in callback")
    log:clear()
  end)
end)

describe("await", function()
  spec("gives the results of what is yieldable", function()
    assert.same({ 7, 8, "x" }, { yield(platform.run(function()
      local first = platform.await(gen.maybe_future(7))
      local list = platform.await { gen.coroutine(function()
        yield(gen.sleep(0.001))
        return 8
      end)() }
      return first, list[1], "x"
    end)) })
  end)

  spec("raises errors, whose places it keeps", function()
    local function fail()
      yield(gen.sleep(0.001))
      error "broken"
    end
    local function wait() platform.await(gen.coroutine(fail)()) end
    local waiting = platform.run(wait)
    fails("broken", yield, waiting)
    local _, traceback = waiting:exc_info()
    local info = debug.getinfo(fail, "S")
    local first = ("%s:%d: in function"):format(info.short_src,
      info.linedefined + 2)
    local second = ("%s:%d: in function"):format(info.short_src,
      debug.getinfo(wait, "S").linedefined)
    has(traceback, first)
    has(traceback, second)
    assert.is_true(traceback:find(first, 1, true)
      < traceback:find(second, 1, true))
  end)

  spec("can be caught", function()
    assert.equal("caught", yield(platform.run(function()
      local future = lunado.Future()
      future:set_exception "x"
      assert.is_false(pcall(platform.await, future))
      return "caught"
    end)))
  end)

  spec("waits in coroutines that fn adds to the controller", function()
    assert.equal(5, yield(platform.run(function()
      return promises.new(function()
        platform.await(gen.sleep(0.001))
        return 5
      end):get()
    end)))
  end)

  spec("refuses what is not yieldable", function()
    fails("not yieldable", yield, platform.run(platform.await, 1))
  end)
end)

describe("the other's wait", function()
  local REFUSED = "call lunado.platform.cqueues.await(future)"

  spec("is an error in run", function()
    local future = lunado.Future()
    for name, wait in pairs { yield = yield, await = gen.await } do
      fails(REFUSED, yield, platform.run(wait, future))
      assert.equal(name, yield(platform.run(function()
        fails(REFUSED, wait, future)
        cqueues.sleep(0.001)
        return name
      end)))
    end
    fails(REFUSED, yield, platform.run(yield))
    fails(REFUSED, yield, platform.run(tasks.TaskGroup))
  end)

  spec("is an error in a coroutine that was added", function()
    yield(platform.run(function()
      local checked = promises.new(function()
        fails(REFUSED, yield, lunado.Future())
        cqueues.sleep(0.001)
        return true
      end)
      assert(checked:get())
    end))
  end)

  -- `depth` controllers, each stepped in the one before.
  local function nested(depth, fn)
    if depth == 0 then return fn() end
    local controller = cqueues.new()
    controller:wrap(nested, depth - 1, fn)
    assert(controller:loop())
  end

  for depth = 1, 3 do
    spec("is an error in nested controllers, depth " .. depth, function()
      for _, where in ipairs { "run", "wrap" } do
        local checked
        local function check()
          for _, value in ipairs { gen.sleep(1), cqueues.new() } do
            fails(REFUSED, yield, value)
            fails(REFUSED, yield, value, value)
          end
          cqueues.sleep(0.001)
          checked = true
        end
        yield(platform.run(function()
          if where == "run" then return nested(depth, check) end
          promises.new(nested, depth, check):get()
        end))
        assert.is_true(checked)
      end
    end)
  end

  spec("keeps a debug hook", function()
    yield(platform.run(function()
      local lines = 0
      debug.sethook(function() lines = lines + 1 end, "l")
      pcall(yield, 1)
      local hook, mask = debug.gethook()
      lines = 0
      local _ = 1
      debug.sethook()
      assert.equal("l", mask)
      assert.is_function(hook)
      assert.is_true(lines > 0)
    end))
  end)

  spec("is an error in a coroutine of lunado", function()
    local OTHER = "lunado.platform.cqueues.run(fn)"
    local condition, promise = conditions.new(), promises.new()
    fails(OTHER, condition.wait, condition)
    fails(OTHER, condition.wait, condition, 1)
    fails(OTHER, yield, condition)
    fails(OTHER, promise.wait, promise)
    fails(OTHER, cqueues.sleep, 0.001)
    local controller = cqueues.new()
    controller:wrap(cqueues.sleep, 0.001)
    fails(OTHER, controller.loop, controller)
    assert.is_true(controller:step(0)) -- that blocks nobody
  end)

  spec("of platform.await", function()
    fails("in one of lunado, call coroutine.yield", platform.await,
      gen.sleep(1))
  end)

  it("of platform.await outside of all coroutines", function()
    fails("waits in a coroutine of cqueues", platform.await, gen.sleep(0))
  end)

  it("of platform.await on cqueues' own loop", function()
    local controller, err = cqueues.new(), nil
    controller:wrap(function()
      err = select(2, pcall(platform.await, lunado.Future()))
    end)
    assert(controller:loop())
    has(err, "start it by lunado.platform.cqueues.run")
  end)
end)

describe("steps", function()
  spec("are as many as there is to do", function()
    assert.is_true(count_steps(function()
      yield(platform.run(cqueues.sleep, 0.05))
    end) <= 4)
  end)

  spec("do not happen while nothing does", function()
    local condition = conditions.new()
    local waiting = platform.run(function()
      condition:wait()
      cqueues.sleep(0.001)
    end)
    local late = platform.run(cqueues.sleep, NEVER)
    yield(gen.sleep(0.02))
    local used = os.clock()
    assert.equal(0, count_steps(function() yield(gen.sleep(0.3)) end))
    assert.is_true(os.clock() - used < 0.1)
    condition:signal()
    yield(waiting)
    tasks.cancel(late)
    pcall(yield, late)
  end)

  spec("follow a condition that is signalled outside", function()
    local condition, woken = conditions.new(), 0
    local waiting = platform.run(function()
      for _ = 1, 3 do
        condition:wait()
        woken = woken + 1
      end
    end)
    for i = 1, 3 do
      yield(gen.sleep(0.005))
      assert.equal(i - 1, woken)
      condition:signal()
    end
    yield(waiting)
  end)

  spec("follow a socket that is closed outside", function()
    local a, b = sockets.pair()
    local reading = platform.run(function()
      return (pcall(b.read, b, "*l"))
    end)
    yield(gen.sleep(0.005))
    b:close()
    yield(reading)
    a:close()
  end)

  spec("follow a shutdown of the other end", function()
    local a, b = sockets.pair()
    local reading = platform.run(function() return b:read "*l" end)
    yield(gen.sleep(0.005))
    a:close()
    assert.is_nil(yield(reading))
  end)

  spec("follow wrap and attach in a callback", function()
    local controller = yield(platform.run(function()
      return (cqueues.running())
    end))
    for _, name in ipairs { "wrap", "attach" } do
      yield(gen.sleep(0.005))
      assert.is_true(controller:empty())
      local done = lunado.Future()
      local function work()
        cqueues.sleep(0.001)
        done:set_result(name)
      end
      assert.equal(controller, controller[name](controller,
        name == "wrap" and work or coroutine.create(work)))
      assert.equal(name, yield(done))
    end
  end)

  spec("take more than 32 events", function()
    local pairs_of, readers = {}, {}
    for i = 1, 100 do
      local a, b = sockets.pair()
      pairs_of[i] = a
      readers[i] = platform.run(function() return b:read "*l" end)
    end
    yield(gen.sleep(0.01))
    yield(platform.run(function()
      for i, a in ipairs(pairs_of) do
        a:write(i .. "\n")
        a:flush()
      end
    end))
    for i, line in ipairs(yield(readers)) do assert.equal(i, tonumber(line)) end
  end)

  it("keep the loop running only while there is work", function()
    loops.run(loop, function() yield(platform.run(cqueues.sleep, 0.001)) end)
    -- Without a limit: that it would never end is to be seen.
    local ok, err = pcall(loop.run_sync, loop, function()
      yield(lunado.Future())
    end)
    assert.is_false(ok)
    has(tostring(err), "would never end")
    gc.collect()
    log:clear() -- the coroutine may have been collected
  end)

  it("happen on several loops", function()
    local other = lunado.IOLoop(false)
    local function work()
      return yield(platform.run(function()
        cqueues.sleep(0.001)
        return (cqueues.running())
      end))
    end
    local first = loops.run(loop, work)
    other:make_current()
    local second = other:run_sync(work, loops.PATIENCE)
    loop:make_current()
    assert.not_equal(first, second)
    assert.equal(first, loops.run(loop, work))
    other:close()
  end)

  it("happen while the loop itself runs in a coroutine of cqueues", function()
    local controller, result = cqueues.new(), nil
    controller:wrap(function()
      result = loops.run(loop, function()
        return yield(platform.run(function()
          cqueues.sleep(0.005)
          return "inside"
        end))
      end)
    end)
    assert(controller:loop(loops.PATIENCE))
    assert.equal("inside", result)
  end)
end)

describe("yieldable", function()
  spec("is a promise", function()
    for _, values in ipairs { { n = 0 }, { 1, n = 1 }, { 1, nil, n = 2 } } do
      local promise = promises.new()
      loop:call_later(0.001, function()
        promise:set(true, table.unpack(values, 1, values.n))
      end)
      assert.same(values, table.pack(yield(promise)))
      assert.same(values, table.pack(yield(promise)))
    end
  end)

  spec("is a promise that is rejected", function()
    local promise, reason = promises.new(), {}
    promise:set(false, reason)
    local ok, err = pcall(yield, promise)
    assert.is_false(ok)
    assert.equal(reason, err)
  end)

  spec("is a controller", function()
    local controller, list = cqueues.new(), {}
    yield(controller) -- it is empty
    for i = 1, 3 do
      controller:wrap(function()
        cqueues.sleep(0.001 * i)
        list[i] = platform.await(gen.maybe_future(i))
      end)
    end
    yield(controller)
    assert.same({ 1, 2, 3 }, list)
    controller:wrap(error, "broken", 0)
    fails("broken", yield, controller)
    controller:close()
    fails("closed", yield, controller)
  end)

  spec("is not the loop's own controller", function()
    local controller = yield(platform.run(function()
      return (cqueues.running())
    end))
    fails("does not end", yield, controller)
    fails("closed with the loop", controller.close, controller)
  end)
end)

describe("an error of a coroutine that was added", function()
  it("is logged with its place", function()
    local failed = false
    local function fail()
      cqueues.sleep(0.001)
      failed = true
      error "lost"
    end
    loops.run(loop, function()
      yield(platform.run(function()
        cqueues.running():wrap(fail)
        repeat cqueues.sleep(0.001) until failed
      end))
    end)
    local message = log:first "lost"
    local info = debug.getinfo(fail, "S")
    has(message, ("Exception in callback function <%s:%d>"):format(
      info.short_src, info.linedefined))
    has(message, ("%s:%d: in "):format(info.short_src, info.linedefined + 3))
    log:clear()
  end)

  spec("goes to handle_callback_exception", function()
    local got
    loop.handle_callback_exception = function(_, _, err) got = err end
    local thrown = {}
    yield(platform.run(function()
      cqueues.running():wrap(error, thrown)
      cqueues.sleep(0.005)
    end))
    assert.equal(thrown, got)
  end)
end)

describe("a cancellation", function()
  local function assert_cancelled(future, reason)
    local ok, err = pcall(yield, future)
    assert.is_false(ok)
    assert.is_true(lunado.util.isinstance(err, tasks.CancelledError),
      tostring(err))
    assert.equal(reason, err.reason)
  end

  spec("is raised where fn waits", function()
    local closed, caught
    local future = platform.run(function()
      local _ <close> = setmetatable({}, { __close = function()
        closed = true
      end })
      local ok, err = pcall(cqueues.sleep, NEVER)
      assert(not ok)
      caught = err
      error(err, 0)
    end)
    yield(gen.sleep(0.005))
    assert.is_true(tasks.cancel(future, "enough"))
    assert_cancelled(future, "enough")
    assert.equal("enough", caught.reason)
    assert.is_true(closed)
  end)

  spec("is a level", function()
    local waits = 0
    local future = platform.run(function()
      for _ = 1, 5 do
        pcall(cqueues.sleep, NEVER)
        waits = waits + 1
      end
      cqueues.sleep(NEVER)
    end)
    yield(gen.sleep(0.005))
    tasks.cancel(future)
    assert_cancelled(future)
    assert.equal(5, waits)
  end)

  it("that is always caught is named", function()
    loops.run(loop, function()
      local future = platform.run(function()
        for _ = 1, 110 do pcall(cqueues.sleep, NEVER) end
        return "in the end"
      end)
      yield(gen.sleep(0.005))
      tasks.cancel(future)
      assert.equal("in the end", yield(future))
    end)
    has(log:first "goes on at", debug.getinfo(1, "S").short_src)
    assert.equal(1, log:count "goes on at")
    log:clear()
  end)

  spec("comes before fn starts", function()
    local started
    local future = platform.run(function() started = true end)
    tasks.cancel(future)
    assert_cancelled(future)
    yield(gen.sleep(0.005))
    assert.is_nil(started)
  end)

  spec("goes through await down to the leaf", function()
    local order = {}
    local inner = gen.coroutine(function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        order[#order + 1] = "inner " .. err.reason
      end })
      yield(gen.sleep(NEVER))
    end)
    local future = platform.run(function()
      local ok, err = pcall(platform.await, inner())
      order[#order + 1] = "outer " .. err.reason
      assert(not ok)
      pcall(platform.await, gen.sleep(NEVER))
      cqueues.sleep(NEVER)
    end)
    yield(gen.sleep(0.005))
    tasks.cancel(future, "why")
    assert_cancelled(future, "why")
    assert.same({ "inner why", "outer why" }, order)
  end)

  spec("lets a Future go for which others wait", function()
    local shared = lunado.Future()
    local other = gen.coroutine(function() return yield(shared) end)()
    local future = platform.run(platform.await, shared)
    yield(gen.sleep(0.005))
    tasks.cancel(future)
    assert_cancelled(future)
    shared:set_result(5)
    assert.equal(5, yield(other))
  end)

  spec("ends timeouts and groups", function()
    local ok, err = pcall(tasks.timeout, { seconds = 0.01 }, function()
      yield(platform.run(cqueues.sleep, NEVER))
    end)
    assert.is_false(ok)
    assert.is_true(lunado.util.isinstance(err, lunado.util.TimeoutError))
    local ended
    fails("of its own", tasks.group, function(group)
      group:spawn(function()
        yield(platform.run(function()
          pcall(cqueues.sleep, NEVER)
          ended = true
          error("of its own", 0)
        end))
      end)
      yield(gen.sleep(0.005))
      group:cancel()
    end)
    assert.is_true(ended)
  end)
end)

describe("debug.dump", function()
  spec("shows what fn waits for", function()
    local text = {}
    local file = { write = function(_, ...) text[#text + 1] = table.concat {
      ... } end }
    local function work() platform.await(gen.sleep(NEVER)) end
    local future = platform.run(work)
    yield(gen.sleep(0.005))
    debugging.dump(file)
    local info = debug.getinfo(work, "S")
    local place = ("%s:%d"):format(info.short_src, info.linedefined)
    text = table.concat(text)
    has(text, "lunado.platform.cqueues.run at ")
    has(text, ("  function <%s>, a coroutine of cqueues at %s"):format(place,
      place))
    has(text, "sleep, ")
    tasks.cancel(future)
    pcall(yield, future)
  end)
end)

describe("closing", function()
  it("a loop with work under way is clean", function()
    for all_fds = 0, 1 do
      local other = lunado.IOLoop(false)
      other:make_current()
      local a, b = sockets.pair()
      other:run_sync(function()
        for _ = 1, 3 do
          platform.run(cqueues.sleep, NEVER)
          platform.run(b.read, b, "*l")
          platform.run(platform.await, gen.sleep(NEVER))
        end
        yield(gen.sleep(0.005))
      end)
      other:close(all_fds == 1)
      gc.collect()
      a:close()
      loop:make_current()
      loops.run(loop, function() yield(platform.run(cqueues.sleep, 0.001)) end)
    end
    gc.collect()
    log:clear() -- coroutines that were collected
  end)

  it("a loop inside a step is clean", function()
    for _, all_fds in ipairs { false, true } do
      local other = lunado.IOLoop(false)
      other:make_current()
      platform.run(function()
        cqueues.sleep(0.001)
        other:close(all_fds)
        cqueues.sleep(0.001)
      end)
      other:start()
      loop:make_current()
      gc.collect()
    end
    log:clear()
  end)

  it("the state with work under way is clean", function()
    local result = child [[
      local lunado = require "lunado"
      local cqueues = require "cqueues"
      local platform = require "lunado.platform.cqueues"
      lunado.run(function()
        for _ = 1, 3 do
          platform.run(cqueues.sleep, 1000)
          platform.run(platform.await, lunado.sleep(1000))
        end
        coroutine.yield(lunado.sleep(0.01))
      end)
      print "end"
    ]]
    assert.equal("end\n", result.out)
    assert.equal(0, result.code, result.err)
  end)
end)

describe("require", function()
  it("says what is missing", function()
    local result = child [[
      table.insert(package.searchers, 1, function(name)
        if name:find "cqueues" and not name:find "lunado" then
          return function() error("module '" .. name .. "' not found", 0) end
        end
      end)
      require "lunado"
      print(select(2, pcall(require, "lunado.platform.cqueues")))
    ]]
    has(result.out, "lunado.platform.cqueues needs cqueues (Debian: "
      .. "lua-cqueues, LuaRocks: cqueues), which cannot be loaded:\n"
      .. "module 'cqueues' not found")
  end)

  it("works again after package.loaded was cleared", function()
    local result = child [[
      local function clear()
        for name in pairs(package.loaded) do
          if name:find "cqueues" or name:find "lunado" then
            package.loaded[name] = nil
          end
        end
      end
      local first = require "lunado.platform.cqueues"
      for _ = 1, 3 do
        clear()
        local cqueues = require "cqueues"
        local promises = require "cqueues.promise"
        local platform = require "lunado.platform.cqueues"
        local lunado = require "lunado"
        assert(first == platform)
        lunado.run(function()
          local promise = promises.new()
          lunado.IOLoop.current():call_later(0.001, function()
            promise:set(true, "ok")
          end)
          print(coroutine.yield(promise))
          local controller = coroutine.yield(platform.run(cqueues.running))
          coroutine.yield(lunado.sleep(0.001))
          local done = lunado.Future()
          controller:wrap(function() done:set_result "wrapped" end)
          print(coroutine.yield(done))
          print((pcall(cqueues.sleep, 1)))
        end)
      end
    ]]
    assert.equal(("ok\nwrapped\nfalse\n"):rep(3), result.out, result.err)
  end)
end)

describe("a wrong use of a controller", function()
  local function says(controller, fn, message)
    local ok, err = pcall(fn, controller)
    assert.is_false(ok)
    assert.equal(message,
      err:match "^%S*platform_cqueues_spec.lua:%d+: (.*)$" or err)
  end

  spec("raises cqueues' own error, at the caller's line", function()
    local controller = cqueues.new()
    says(controller, function(cq) local _ = cq.wrap(print) end,
      "bad argument #1 to 'wrap' (Continuation Queue expected, got function)")
    says(controller, function(cq) local _ = cq:wrap(5) end,
      "bad argument #1 to 'wrap' (function expected, got number)")
    says(controller, function(cq) local _ = cq:attach(print) end,
      "bad argument #1 to 'attach' (thread expected, got function)")
    says(controller, function(cq) cq.close(5) end,
      "bad argument #1 to 'close' (Continuation Queue expected, got number)")
    controller:close()
    says(controller, function(cq) local _ = cq:wrap(print) end,
      "calling 'wrap' on bad self (cqueue closed)")
  end)
end)

describe("memory", function()
  spec("does not grow with the runs", function()
    local function round()
      for _ = 1, 200 do
        yield(platform.run(function() platform.await(gen.moment) end))
      end
      gc.collect()
      gc.collect()
      return collectgarbage "count"
    end
    round()
    local before = round()
    local after = round()
    assert.is_true(after - before < 20, after - before)
  end)
end)
