-- SPDX-License-Identifier: MIT
-- Who keeps a suspended coroutine alive, and what is said when nobody does.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local here = require "spec.support.here"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local Future = concurrent.Future
local IOLoop = require "lunado.ioloop".IOLoop
local yield = coroutine.yield

-- A finalizer may run at many places.  Under a checker, which makes each step
-- slow, every third one is tried.
local STRIDE = times(3) == 3 and 1 or 3

local COLLECTED = "Coroutine was collected while waiting at "

local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Starts a coroutine that waits for f; fn(token) is what it does then.  The
-- weak table says whether it is still there.
local function waiter(f, fn)
  local weak = setmetatable({}, { __mode = "v" })
  local function start()
    local token = {}
    weak.token = token
    local future = gen.coroutine(function()
      yield(f)
      if fn then
        fn(token)
      end
    end)()
    return future
  end
  return weak, start()
end

local function in_modes(name, fn)
  for _, mode in ipairs { "incremental", "generational" } do
    it(name .. " (" .. mode .. ")", function()
      local old = collectgarbage(mode)
      local ok, err = pcall(fn)
      collectgarbage(old)
      if not ok then
        error(err, 0)
      end
    end)
  end
end

describe("an abandoned coroutine", function()
  in_modes("is collected, and that is logged once with its line", function()
    local line
    local weak = setmetatable({}, { __mode = "v" })
    local function abandon()
      local token = {}
      weak[1] = token
      gen.coroutine(function()
        local f = Future()
        line = here() + 1
        yield(f)
        return token
      end)()
    end
    abandon()
    gc.collect()
    assert.is_nil(weak[1])
    local message, level = log:first(COLLECTED)
    assert.equal("warning", level)
    local where, why = message:match("waiting at (%S+:%d+): ([^\n]*)")
    assert.is_truthy(where, message)
    assert.equal("gen_lifetime_spec.lua:" .. line, where:match("[^/]*$"))
    assert.equal("nobody can set the Future it waits for", why)
    gc.collect()
    assert.equal(1, log:count(COLLECTED))
    assert.equal(1, #log, log:text())
  end)

  it("names the line of await, too", function()
    local line
    local function abandon()
      gen.coroutine(function()
        local f = Future()
        line = here() + 1
        local x = gen.await(f)
        return x
      end)()
    end
    abandon()
    gc.collect()
    assert.is_truthy(log:first(COLLECTED):find(":" .. line .. ":", 1, true))
  end)

  it("names the line in the function that yielded", function()
    local line
    local function helper(f)
      line = here() + 1
      local x = yield(f)
      return x
    end
    local function abandon()
      gen.coroutine(function()
        local x = helper(Future())
        return x
      end)()
    end
    abandon()
    gc.collect()
    assert.is_truthy(log:first(COLLECTED):find(":" .. line .. ":", 1, true))
  end)

  in_modes("is collected with a cycle through its own Future", function()
    local function abandon()
      local f = Future()
      local mine
      mine = gen.coroutine(function()
        f.add_done_callback(f, function() return mine end)
        yield(f)
        f:result()
      end)()
    end
    abandon()
    gc.collect()
    assert.equal(1, log:count(COLLECTED))
  end)

  in_modes("is collected when it waits for several", function()
    local function abandon()
      gen.coroutine(function() yield { Future(), Future(), x = Future() } end)()
      gen.coroutine(function() yield(Future(), Future()) end)()
      gen.coroutine(function()
        yield(gen.WaitIterator(Future(), Future()):next())
      end)()
    end
    abandon()
    gc.collect()
    assert.equal(3, log:count(COLLECTED), log:text())
  end)

  in_modes("takes those along that wait for it", function()
    local weak = setmetatable({}, { __mode = "v" })
    local function abandon()
      local inner = gen.coroutine(function() yield(Future()) end)()
      for i = 1, 3 do
        local token = {}
        weak[i] = token
        gen.coroutine(function()
          yield(inner)
          return token
        end)()
      end
    end
    abandon()
    gc.collect()
    assert.is_nil(next(weak))
    assert.is_true(log:count(COLLECTED) >= 1)
  end)

  in_modes("is collected by the hundred, each logged once", function()
    for _ = 1, 300 do
      gen.coroutine(function() yield(Future()) end)()
    end
    gc.collect()
    assert.equal(300, log:count(COLLECTED))
  end)

  -- The frame of `wide` has slots that no value was given to.  They have what
  -- was there before, such as values of the finalizers in `allocate`.
  it("is logged, whatever the stack held before", function()
    local indexed = setmetatable({}, { __index = function() return {} end })
    local function allocate() return {} end
    local function wide(t)
      allocate()
      local _ = indexed.x
      if t then
        return select("#", t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t,
          t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t)
      end
    end
    local finish = gc.at_each_allocation()
    collectgarbage()
    for _ = 1, 5 do wide() end
    finish()
    gen.coroutine(function() yield(Future()) end)()
    gc.collect()
    assert.equal(1, log:count(COLLECTED))
  end)

  it("is silent when the log is set so", function()
    require "lunado.log".set_level("error")
    local function abandon()
      gen.coroutine(function() yield(Future()) end)()
    end
    abandon()
    gc.collect()
    assert.equal(0, #log)
  end)

  it("leaks nothing", function()
    local function abandon(n)
      for _ = 1, n do
        gen.coroutine(function()
          local f = Future()
          f:add_done_callback(function() return f end)
          yield(f)
        end)()
      end
      gc.collect()
      log:clear()
    end
    local n = times(2000)
    abandon(n)
    local before = gc.kilobytes()
    for _ = 1, 5 do
      abandon(n)
    end
    local grown = gc.kilobytes() - before
    assert.is_true(grown < 200, grown .. " KB more")
  end)
end)

describe("a suspended coroutine lives", function()
  it("while Lua code holds the Future it waits for", function()
    local f, reached = Future(), false
    local weak = waiter(f, function() reached = true end)
    gc.collect()
    assert.is_not_nil(weak.token)
    f:set_result()
    gc.collect()
    loops.turn(loop)
    assert.is_true(reached)
    gc.collect()
    assert.is_nil(weak.token)
  end)

  it("while a timer holds it", function()
    local reached = 0
    local function start()
      waiter(gen.sleep(0.001), function() reached = reached + 1 end)
      local f = Future()
      waiter(f, function() reached = reached + 1 end)
      loop:call_later(0.001, function() f:set_result() end)
      waiter(gen.with_timeout({ milliseconds = 1 }, gen.sleep(0)),
        function() reached = reached + 1 end)
    end
    start()
    gc.collect()
    loops.wait_for(loop, function() return reached == 3 end)
    assert.equal("", log:text())
  end)

  it("while a timeout will raise in it", function()
    local err
    local function start()
      gen.coroutine(function()
        err = select(2, pcall(yield,
          gen.with_timeout({ milliseconds = 2 }, Future())))
      end)()
    end
    start()
    gc.collect()
    loops.wait_for(loop, function() return err end)
    assert.equal("TimeoutError: Timeout", tostring(err))
    gc.collect()
    assert.equal("", log:text())
  end)

  it("while the loop will go on with it", function()
    local reached = 0
    local function start()
      gen.coroutine(function()
        yield()
        gc.collect()
        reached = reached + 1
        yield(gen.moment)
        gc.collect()
        reached = reached + 1
      end)()
      local f = Future()
      waiter(f, function() reached = reached + 1 end)
      loop:add_callback(f.set_result, f)
    end
    start()
    gc.collect()
    loops.turn(loop, 4)
    assert.equal(3, reached)
    assert.equal("", log:text())
  end)

  it("while anything holds its own Future", function()
    local function start()
      return waiter(Future())
    end
    local weak, future = start()
    gc.collect()
    assert.is_not_nil(weak.token)
    assert.is_false(future:done())
    assert.equal("", log:text())
    future = nil -- luacheck: ignore
    gc.collect()
    assert.is_nil(weak.token)
    assert.equal(1, log:count(COLLECTED))
  end)

  it("while another coroutine that lives waits for it", function()
    local f, reached = Future(), 0
    local function start()
      local inner = gen.coroutine(function()
        yield(f)
        reached = reached + 1
      end)()
      gen.coroutine(function()
        yield(inner)
        reached = reached + 1
      end)()
    end
    start()
    gc.collect()
    f:set_result()
    gc.collect()
    loops.turn(loop, 4)
    assert.equal(2, reached)
  end)

  it("while the settled Future has not resumed it yet", function()
    local reached = false
    local function start()
      local f = Future()
      waiter(f, function() reached = true end)
      f:set_result()
    end
    start()
    gc.collect()
    loops.turn(loop)
    assert.is_true(reached)
    assert.equal("", log:text())
  end)
end)

describe("a coroutine that has ended", function()
  it("leaves nothing behind", function()
    local work = gen.coroutine(function(i)
      yield(gen.sleep(0))
      local ok = pcall(yield, gen.coroutine(error)("x"))
      assert(not ok)
      return { i }
    end)
    local function many()
      loops.run(loop, function()
        local futures = {}
        for i = 1, 2000 do
          futures[i] = work(i)
        end
        yield(futures)
      end)
    end
    many()
    many()
    local before = gc.kilobytes()
    for _ = 1, 4 do
      many()
    end
    local grown = gc.kilobytes() - before
    assert.is_true(grown < 200, grown .. " KB more")
  end)

  it("frees its function and what that held", function()
    assert.is_true(gc.collects(function()
      local token = {}
      loops.run(loop, gen.coroutine(function()
        yield()
        return token and 1
      end))
      return token
    end))
  end)
end)

describe("the collector at work", function()
  local function busy(many, rounds)
    local work = gen.coroutine(function(i)
      local t = { i }
      for _ = 1, 4 do
        yield()
        t = { t[1] }
        local ok, err = pcall(yield, gen.coroutine(error)({ i }))
        assert(not ok and err[1] == i)
        t[2] = yield { a = gen.maybe_future({ i }) }
      end
      return t[1] + t[2].a[1]
    end)
    return loops.run(loop, function()
      local sum = 0
      for _ = 1, rounds do
        local futures = {}
        for i = 1, many do
          futures[i] = work(i)
        end
        for _, n in ipairs(yield(futures)) do
          sum = sum + n
        end
      end
      return sum
    end)
  end

  in_modes("disturbs nothing", function()
    local n = times(400)
    assert.equal(2 * 5 * n * (n + 1) // 2, busy(n, 5))
    assert.equal("", log:text())
  end)

  it("disturbs nothing when it runs all the time", function()
    collectgarbage("incremental", 10, 400)
    local rounds = times(5)
    local ok, sum = pcall(busy, 20, rounds)
    collectgarbage("incremental", 200, 100)
    assert.is_true(ok, tostring(sum))
    assert.equal(2 * rounds * 20 * 21 // 2, sum)
  end)

  it("may change its mode while coroutines wait", function()
    local f, n = Future(), 0
    for _ = 1, 100 do
      gen.coroutine(function()
        local kept = { yield(f) }
        collectgarbage("step")
        n = n + kept[1][1]
      end)()
    end
    local old = collectgarbage("generational")
    collectgarbage("step")
    f:set_result({ 1 })
    collectgarbage("incremental")
    collectgarbage("step")
    collectgarbage("generational")
    loops.turn(loop, 2)
    collectgarbage(old)
    assert.equal(100, n)
  end)
end)

-- Whatever makes an object may run finalizers, and these may do anything.
describe("a finalizer that runs while a coroutine is suspended", function()
  local MANY = 12 -- no way makes more objects

  local function callback_of(f)
    local out = Future()
    f:add_done_callback(function() out:set_result(f:result()) end)
    return out
  end

  local function callback_on_loop(f)
    local out = Future()
    loop:add_future(f, function() out:set_result(f:result()) end)
    return out
  end

  local function chain(f)
    local out = Future()
    concurrent.chain_future(f, out)
    return out
  end

  local function run_sync(f)
    local out = Future()
    loop:call_later(0.001, function()
      if not f:done() then f:set_result(42) end
    end)
    out:set_result(loops.run(loop, function() return f end))
    return out
  end

  local ways = {
    ["the coroutine that yields it"] = gen.coroutine(function(f)
      return yield(f)
    end),
    ["the coroutine that awaits it"] = gen.coroutine(function(f)
      return gen.await(f)
    end),
    ["its callback"] = callback_of,
    ["its callback on the loop"] = callback_on_loop,
    ["the end of a chain"] = chain,
    ["a multi"] = function(f) return gen.multi({ f }) end,
    ["a WaitIterator"] = function(f) return gen.WaitIterator(f):next() end,
    with_timeout = function(f)
      return gen.with_timeout(loop:time() + 60, f)
    end,
    run_sync = run_sync,
  }

  for name, way in pairs(ways) do
    it("may settle the Future, which reaches " .. name, function()
      for waiters = 0, 2 do
        for n = 1, MANY do
          local f, called = Future(), 0
          for _ = 1, waiters do
            f:add_done_callback(function() called = called + 1 end)
          end
          local out = gc.interfere(n, function() f:set_result(42) end,
            function() return way(f) end)
          if not f:done() then f:set_result(42) end
          loops.turn(loop, 3)
          local result = out:done() and out:result()
          if type(result) == "table" then result = result[1] end
          assert.same({ waiters, n, 42, 42, waiters },
            { waiters, n, result, f:result(), called })
        end
      end
    end)
  end

  it("may settle the Future that is being settled", function()
    local refused = 0
    for n = 1, 3 do
      local f = Future()
      local ok = gc.interfere(n, function() f:set_result("first") end,
        function() return (pcall(f.set_result, f, 1, 2)) end)
      if not ok then
        refused = refused + 1
        assert.equal("first", f:result())
      end
    end
    assert.equal(1, refused)
  end)

  -- A new queue has 32 places, of which these callbacks leave one or more.
  local function takes_places(start)
    for n = 1, 2 * MANY, STRIDE do
      for callbacks = 28, 32 do
        local other = loops.open()
        local f = Future()
        f:add_done_callback(function() end)
        for _ = 1, callbacks do other:add_callback(function() end) end
        local future = gc.interfere(n, function()
          for _ = 1, 3 do other:add_callback(function() end) end
        end, function() return start(f) end)
        f:set_result(42)
        loops.turn(other, 3)
        assert.equal(42, future:result())
        loops.close(other)
      end
    end
    loop:make_current()
  end

  it("may take the slot of the queue that a coroutine needs", function()
    takes_places(gen.coroutine(function(f) return yield(f) end))
  end)

  it("may take the slot while stack contexts are saved", function()
    local stack_context = require "lunado.stack_context"
    local again = gen.coroutine(function()
      yield()
      return 42
    end)
    local function nothing() end
    takes_places(function()
      local future
      stack_context.StackContext(function()
        return { enter = nothing, exit = nothing }
      end):run(function() future = again() end)
      return future
    end)
  end)
end)

-- Nobody but lunado holds the loop.
describe("a finalizer that closes the current loop meanwhile", function()
  local waits = gen.coroutine(function(f) yield(f) end)

  local function deep(depth)
    if depth == 0 then return waits(nil) end
    return gen.coroutine(deep)(depth - 1)
  end

  local ways = {
    ["a coroutine is to wait for a Future"] = waits,
    ["one is to go on in the next turn"] = function() return waits(nil) end,
    ["many are"] = function()
      for _ = 1, times(40) do
        waits(nil)
      end
      return waits(nil)
    end,
    ["one is started deep inside others"] = function()
      return deep(times(50))
    end,
  }

  for name, way in pairs(ways) do
    it("does no harm while " .. name, function()
      for n = 1, 40, STRIDE do
        local f = Future()
        f:add_done_callback(function() end)
        IOLoop(true):make_current()
        local future = gc.interfere(n, function()
          IOLoop.current():close()
        end, function() return way(f) end)
        gc.collect()
        f:set_result(42)
        if future:done() and future:exception() then
          assert.is_truthy(future:exception():find "closed")
        end
        gc.collect()
        local left = IOLoop.current(false)
        if left then left:close() end
        loop:make_current()
      end
      log:clear()
    end)
  end
end)

-- Lua decides when garbage is collected.
describe("no collection is hurried by", function()
  local function assert_unhurried(fn)
    local n = gc.collections(function()
      for _ = 1, 100 do fn() end
    end)
    assert.is_true(n < 30, n .. " collections")
  end

  local waits = gen.coroutine(function(f) return yield(f) end)

  it("a second waiter", function()
    assert_unhurried(function()
      local f = Future()
      f:add_done_callback(function() end)
      local waiting = waits(f)
      f:set_result(1)
      loops.turn(loop)
      assert.equal(1, waiting:result())
    end)
  end)

  it("a chain of Futures that is settled deep inside", function()
    assert_unhurried(function()
      local first = Future()
      local last = first
      for _ = 1, 40 do -- deeper than callbacks nest
        local next, previous = Future(), last
        previous:add_done_callback(function() next:set_result(1) end)
        last = next
      end
      first:set_result(1)
      assert.equal(1, last:result())
    end)
  end)
end)

describe("the end of the state", function()
  it("logs nothing about coroutines that are suspended", function()
    local r = child [[
      local lunado = require "lunado"
      local gen = lunado.gen
      kept = lunado.Future()
      local waits = gen.coroutine(function(f) coroutine.yield(f) end)
      waits(kept)
      local also = lunado.Future()
      waits(also)
      mine = waits(lunado.Future())
      waits(gen.sleep(60))
      waits(gen.moment)
      waits { gen.sleep(60), kept }
      waits(gen.with_timeout({ seconds = 60 }, kept))
      lunado.run(function() coroutine.yield(gen.sleep(0)) end)
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)

  it("logs nothing about them when an error ends the script", function()
    local r = child [[
      local lunado = require "lunado"
      kept = lunado.Future()
      lunado.gen.coroutine(function() coroutine.yield(kept) end)()
      lunado.run(function()
        lunado.gen.coroutine(function()
          coroutine.yield(lunado.sleep(60))
        end)()
        error("the end", 0)
      end)
    ]]
    assert.equal(1, r.code)
    assert.is_nil(r.err:find("collected", 1, true), r.err)
  end)
end)
