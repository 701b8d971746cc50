-- SPDX-License-Identifier: MIT
-- IOLoop: which loop is current, callbacks, run_sync, errors, close.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local testing = require "lunado.testing"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local here = require "spec.support.here"
local loops = require "spec.support.loops"
local outcomes = require "spec.support.outcomes"
local pipes = require "spec.support.pipes"
local system = require "spec.support.system"
local values = require "spec.support.values"

local Future = concurrent.Future
local failed = outcomes.failed
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Replaces the loop's handle_callback_exception; gives the list of calls.
local function catch(on)
  local caught = {}
  on.handle_callback_exception = function(...)
    caught[#caught + 1] = table.pack(...)
  end
  return caught
end

describe("the current loop", function()
  it("is one and the same", function()
    assert.equal(loop, IOLoop.current())
    assert.equal(loop, IOLoop.current())
    assert.are_not.equal(loop, IOLoop())
  end)

  it("is the default one where none was made current", function()
    IOLoop.clear_current()
    local default = IOLoop.instance()
    assert.equal(default, IOLoop.instance())
    assert.equal(default, IOLoop.current())
    assert.equal(default, IOLoop.current(true))
  end)

  it("is nil where none was made current and none is asked for", function()
    IOLoop.clear_current()
    assert.is_nil(IOLoop.current(false))
    loop:make_current()
    assert.equal(loop, IOLoop.current(false))
  end)

  it("differs from the default one after make_current", function()
    local default = IOLoop.instance()
    assert.are_not.equal(default, loop)
    local other = IOLoop(false)
    other:make_current()
    assert.equal(other, IOLoop.current())
    assert.equal(default, IOLoop.instance())
    other:close()
    loop:make_current()
  end)

  it("changes with a new loop as the argument says", function()
    local no = IOLoop(false)
    assert.equal(loop, IOLoop.current())
    local none = IOLoop()
    assert.equal(loop, IOLoop.current())
    local yes = IOLoop(true)
    assert.equal(yes, IOLoop.current())
    IOLoop.clear_current()
    local first = IOLoop()
    assert.equal(first, IOLoop.current(false))
    for _, made in ipairs { no, none, yes, first } do
      made:close()
    end
    loop:make_current()
  end)

  it("is the running one while a loop runs", function()
    local other = IOLoop(false)
    local seen
    other:add_callback(function()
      seen = IOLoop.current()
      other:stop()
    end)
    other:start()
    assert.equal(other, seen)
    assert.equal(loop, IOLoop.current())
    other:close()
  end)
end)

describe("start and stop", function()
  it("run callbacks until stopped", function()
    local n = 0
    local function step()
      n = n + 1
      if n == 5 then
        loop:stop()
      else
        loop:add_callback(step)
      end
    end
    loop:add_callback(step)
    loop:start()
    assert.equal(5, n)
  end)

  it("run one turn when stop came first", function()
    local order = {}
    loop:add_callback(function()
      order[#order + 1] = "this turn"
      loop:add_callback(function() order[#order + 1] = "next turn" end)
    end)
    loop:stop()
    loop:start()
    assert.same({ "this turn" }, order)
    loop:stop()
    loop:start()
    assert.same({ "this turn", "next turn" }, order)
  end)

  it("does not end a run_sync that begins later", function()
    loop:stop()
    assert.equal(1, loops.run(loop, function()
      yield(gen.sleep(0))
      return 1
    end))
    -- Nor does a run that was stopped and goes on.
    loop:add_callback(function() loop:stop() end)
    loop:start()
    loop:stop()
    assert.equal(2, loops.run(loop, function()
      yield()
      return 2
    end))
    loop:stop()
    require "lunado".run(yield)
  end)

  it("finish the turn in which stop is called", function()
    local order = {}
    loop:add_callback(function()
      order[#order + 1] = 1
      loop:stop()
      loop:add_callback(function() order[#order + 1] = "later" end)
    end)
    loop:add_callback(function() order[#order + 1] = 2 end)
    loop:start()
    assert.same({ 1, 2 }, order)
    loops.turn(loop)
    assert.same({ 1, 2, "later" }, order)
  end)

  -- Each: function(stop) → has stop called on the first pass, when the slice
  -- is over and callbacks of the turn are left.
  for from, arrange in pairs {
    ["a timeout"] = function(stop) loop:call_later(0, stop) end,
    ["a handler"] = function(stop)
      local pipe = pipes.pipe()
      loop:add_handler(pipe.read, function()
        loop:remove_handler(pipe.read)
        pipes.close(pipe.read)
        pipes.close(pipe.write)
        stop()
      end, IOLoop.READ)
      pipes.write(pipe.write, "x")
    end,
    ["a callback"] = function(stop) loop:add_callback(stop) end,
  } do
    it("finish a turn of several slices: from " .. from, function()
      loop:set_slice(1e-9)
      arrange(function()
        loop:add_callback(error, "another turn", 0)
        loop:stop()
      end)
      loop:add_callback(error, "one", 0)
      loop:spawn_callback(error, "two", 0)
      loop:add_callback(gen.coroutine(function()
        error("three", 0)
      end))
      loop:add_callback(failed, "four")
      loop:start()
      for _, err in ipairs { "one", "two", "three", "four" } do
        assert.equal(1, log:count("\n" .. err), log:text())
      end
      assert.equal(0, log:count "another turn")
      loops.turn(loop)
      assert.equal(1, log:count "another turn")
      assert.equal(5, #log)
    end)
  end

  it("finish timeouts of several slices", function()
    local now = loop:time()
    loop:set_slice(1e-9)
    loop:call_at(now, function()
      loop:call_at(now, error, "another turn", 0)
      loop:stop()
    end)
    for i = 1, 3 do loop:call_at(now, error, "error " .. i, 0) end
    loop:start()
    for i = 1, 3 do assert.equal(1, log:count("\nerror " .. i), log:text()) end
    assert.equal(0, log:count "another turn")
    loops.turn(loop)
    assert.equal(1, log:count "another turn")
    assert.equal(4, #log)
  end)

  it("finish the turn in which a run ends", function()
    local f = Future()
    loop:set_slice(1e-9)
    loop:call_later(0, f.set_result, f)
    for i = 1, 3 do loop:add_callback(error, "error " .. i, 0) end
    run(function() return f end)
    for i = 1, 3 do assert.equal(1, log:count("\nerror " .. i), log:text()) end
  end)

  it("may be called again while the turn is finished", function()
    local n = 0
    loop:set_slice(1e-9)
    loop:call_later(0, loop.stop, loop)
    for _ = 1, 3 do
      loop:add_callback(function()
        n = n + 1
        loop:stop()
      end)
    end
    loop:start()
    assert.equal(3, n)
    run(function() yield(gen.sleep(0)) end) -- which that has not ended
  end)

  it("may close while the turn is finished", function()
    loop:set_slice(1e-9)
    loop:call_later(0, loop.stop, loop)
    loop:add_callback(error, "one", 0)
    loop:add_callback(loop.close, loop)
    loop:add_callback(error, "two", 0)
    loop:start()
    assert.equal(1, #log)
    assert.equal(1, log:count "one")
  end)

  it("log all errors, once, before a script ends", function()
    for _, last in ipairs { "", "os.exit(0, true)", "loop:close()" } do
      local result = child([[
        local lunado = require "lunado"
        local loop = lunado.IOLoop.current()
        loop:set_slice(1e-9)
        loop:call_later(0, loop.stop, loop)
        for i = 1, 3 do
          loop:add_callback(error, "callback " .. i, 0)
          lunado.coroutine(function()
            coroutine.yield()
            error("coroutine " .. i, 0)
          end)()
          loop:call_at(loop:time() - 1, error, "timeout " .. i, 0)
        end
        loop:start()
      ]] .. last)
      for _, what in ipairs { "callback ", "coroutine ", "timeout " } do
        for i = 1, 3 do
          local _, n = result.err:gsub(what .. i .. "\n", "")
          assert.equal(1, n, what .. i .. "\n" .. result.err)
        end
      end
    end
  end)

  it("work again and again", function()
    for i = 1, 50 do
      local n = 0
      loop:call_later(0, function() n = n + i end)
      loop:call_later(0, loop.stop, loop)
      loop:start()
      assert.equal(i, n)
    end
  end)

  it("refuse to nest", function()
    local ok, err, ok2
    local after = false
    loop:add_callback(function()
      ok, err = pcall(loop.start, loop)
      ok2 = pcall(loop.run_sync, loop, function() end)
      loop:add_callback(function()
        after = true
        loop:stop()
      end)
    end)
    loop:start()
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("running", 1, true), tostring(err))
    assert.is_false(ok2)
    assert.is_true(after)
    assert.equal(5, run(function() return 5 end))
  end)

  it("refuse to nest in a coroutine, which goes on", function()
    local result = run(function()
      local ok = pcall(loop.start, loop)
      yield()
      local ok2 = pcall(loop.run_sync, loop, function() return 1 end)
      yield(gen.sleep(0))
      return { ok, ok2 }
    end)
    assert.same({ false, false }, result)
  end)

  it("go on waiting with nothing to do", function()
    local r = child([[
      io.stdout:setvbuf("no")
      local IOLoop = require "lunado.ioloop".IOLoop
      io.write("waiting ")
      IOLoop.current():start()
      io.write("gone")
    ]], 0.3)
    assert.equal("waiting ", r.out)
    assert.equal(124, r.code)
  end)

  it("resume a coroutine on the loop where it began", function()
    local other = IOLoop(false)
    local f = Future()
    local seen
    local waiting = gen.coroutine(function()
      yield(f)
      seen = IOLoop.current()
    end)()
    other:add_callback(function()
      f:set_result()
      other:add_callback(other.stop, other)
    end)
    other:start()
    assert.is_nil(seen)
    run(function() yield(waiting) end)
    assert.equal(loop, seen)
    other:close()
  end)

  it("may run one loop within another", function()
    local inner = IOLoop(false)
    local seen
    loop:add_callback(function()
      seen = inner:run_sync(function()
        yield(gen.sleep(0.001))
        return IOLoop.current() == inner
      end)
      assert(IOLoop.current() == loop)
      loop:stop()
    end)
    loop:start()
    assert.is_true(seen)
    assert.equal("", log:text())
    inner:close()
  end)
end)

describe("add_callback", function()
  for _, name in ipairs { "add_callback", "spawn_callback",
    "add_callback_from_signal" } do
    it("runs on the next turn, in order: " .. name, function()
      local order = {}
      for i = 1, 100 do
        loop[name](loop, function() order[i] = i end)
      end
      assert.equal(0, #order)
      loops.turn(loop)
      assert.equal(100, #order)
    end)

    it("lets those added meanwhile wait for the turn after: " .. name,
      function()
        local order = {}
        loop[name](loop, function()
          order[#order + 1] = "a"
          loop[name](loop, function() order[#order + 1] = "c" end)
        end)
        loop[name](loop, function() order[#order + 1] = "b" end)
        loops.turn(loop)
        assert.same({ "a", "b" }, order)
        loops.turn(loop)
        assert.same({ "a", "b", "c" }, order)
      end)

    it("passes any arguments: " .. name, function()
      for _, case in ipairs(values.lists) do
        local got
        loop[name](loop, function(...) got = table.pack(...) end,
          values.unpack(case[2]))
        loops.turn(loop)
        assert.same(case[2], got)
      end
    end)

    it("refuses what is not a function: " .. name, function()
      bad(function() loop:add_callback(nil) end, 1, "add_callback",
        "function", "nil")
      local ok, err = pcall(loop[name], loop, 5)
      assert.is_false(ok)
      assert.is_truthy(err:find("function expected, got number", 1, true))
      assert.is_false((pcall(loop[name], loop)))
      loops.turn(loop)
      assert.equal("", log:text())
    end)
  end

  it("keeps order over a hundred thousand", function()
    local n, ordered = 0, true
    for i = 1, 100000 do
      loop:add_callback(function(j)
        n = n + 1
        ordered = ordered and n == j
      end, i)
    end
    run(function()
      while n < 100000 do
        yield()
      end
    end)
    assert.is_true(ordered)
  end)

  it("frees what it has run", function()
    assert.is_true(gc.collects(function()
      local token = {}
      loop:add_callback(function() return token end, token)
      loops.turn(loop)
      return token
    end))
  end)

  it("does not starve timers when it calls itself for ever", function()
    local fired, over = false, loop:time() + 10
    loop:call_later(0.002, function() fired = true end)
    local function again()
      if fired or loop:time() > over then
        loop:stop()
      else
        loop:add_callback(again)
      end
    end
    loop:add_callback(again)
    loop:start()
    assert.is_true(fired)
  end)

  it("does not do so either when it raises each time", function()
    log:allow "again"
    local fired, over = false, loop:time() + 10
    loop:call_later(0.002, function() fired = true end)
    local function again()
      if fired or loop:time() > over then
        loop:stop()
      else
        loop:add_callback(again)
      end
      error("again")
    end
    loop:add_callback(again)
    loop:start()
    assert.is_true(fired)
  end)

  it("is not disturbed by collections", function()
    local n = 0
    for _ = 1, 100 do
      loop:add_callback(function()
        n = n + 1
        loop:add_callback(function() n = n + 1 end)
        collectgarbage()
      end)
    end
    collectgarbage()
    loops.turn(loop, 3)
    assert.equal(200, n)
  end)
end)

describe("add_future", function()
  it("calls on the turn after the Future is done", function()
    local f, got = Future(), nil
    loop:add_future(f, function(...) got = table.pack(...) end)
    loops.turn(loop)
    assert.is_nil(got)
    f:set_result("x")
    assert.is_nil(got)
    loops.turn(loop)
    assert.same(table.pack(f), got)
  end)

  it("does not call at once when it is done already", function()
    local f, got = Future(), nil
    f:set_result()
    loop:add_future(f, function() got = true end)
    assert.is_nil(got)
    loops.turn(loop)
    assert.is_true(got)
  end)

  it("keeps order", function()
    local f, order = Future(), {}
    for i = 1, 10 do
      loop:add_future(f, function() order[#order + 1] = i end)
    end
    f:set_result()
    loops.turn(loop)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, order)
  end)

  it("brings errors to handle_callback_exception", function()
    local caught, err = catch(loop), {}
    local function fn() error(err) end
    local f = Future()
    loop:add_future(f, fn)
    f:set_result()
    loops.turn(loop)
    assert.equal(1, #caught)
    assert.equal(fn, caught[1][2])
    assert.equal(err, caught[1][3])
  end)

  it("refuses bad arguments", function()
    bad(function() loop:add_future(nil, print) end, 1, "add_future",
      "future", "nil")
    bad(function() loop:add_future({}, print) end, 1, "add_future", "future",
      "table")
    local f = Future()
    bad(function() loop:add_future(f, nil) end, 2, "add_future", "function",
      "nil")
    bad(function() loop:add_future(f) end, 2, "add_future", "function")
  end)
end)

describe("a run_sync in which a hook runs the loop", function()
  -- Runs it once for each call and return of a function, with a hook that calls
  -- nested(future) there.
  local function each(nested, check)
    local n, fired = 0
    repeat
      n = n + 1
      fired = nil
      local other = IOLoop(false)
      testing.virtual_clock(other)
      other:call_later(60, function() end)
      local future, left = Future(), n
      debug.sethook(function()
        left = left - 1
        if left > 0 then return end
        debug.sethook()
        fired = other:time()
        pcall(nested, other, future)
      end, "cr")
      local ok, result = pcall(other.run_sync, other, function()
        return future
      end, 5)
      debug.sethook()
      if fired and future:done() == ok then
        check(ok, result, other:time() - fired, n)
      end
      other:close()
    until not fired
    assert.is_true(n > 10, n)
  end

  it("sees that its Future was settled there", function()
    each(function(other, future)
      pcall(other.run_sync, other, function()
        yield()
        future:set_result(7)
        yield(gen.sleep(1))
      end)
      if not future:done() then future:set_result(7) end
    end, function(ok, result, seconds, n)
      assert.same({ true, 7 }, { ok, result }, n)
      assert.is_true(seconds <= 1, seconds)
    end)
  end)

  it("sees that its time has passed there", function()
    each(function(other)
      other:run_sync(function() yield(gen.sleep(20)) end)
    end, function(ok, _, seconds, n)
      assert.is_false(ok)
      assert.is_true(seconds <= 25, n)
    end)
  end)
end)

describe("run_sync", function()
  for _, case in ipairs(values.lists) do
    it("returns " .. case[1], function()
      local list = case[2]
      local ways = {
        plain = function() return values.unpack(list) end,
        yields = function()
          yield()
          return values.unpack(list)
        end,
        coroutine = gen.coroutine(function()
          yield()
          return values.unpack(list)
        end),
        future = function()
          local f = Future()
          loop:add_callback(f.set_result, f, values.unpack(list))
          return f
        end,
        done = function()
          local f = Future()
          f:set_result(values.unpack(list))
          return f
        end,
      }
      for name, fn in pairs(ways) do
        assert.same(list, table.pack(run(fn)), name)
      end
    end)
  end

  for _, case in ipairs(values.errors) do
    it("raises " .. case[1] .. " unchanged", function()
      local err = case[2]
      local ways = {
        plain = function() error(err, 0) end,
        yields = function()
          yield()
          error(err, 0)
        end,
        coroutine = gen.coroutine(function()
          yield()
          error(err, 0)
        end),
        future = function()
          local f = Future()
          loop:add_callback(f.set_exception, f, err)
          return f
        end,
      }
      for name, fn in pairs(ways) do
        local ok, got = pcall(run, fn)
        assert.is_false(ok, name)
        assert.is_true(rawequal(err, got), name)
      end
      gc.collect()
      assert.equal("", log:text())
    end)
  end

  it("raises nil as text", function()
    local ok, err = pcall(run, function() error() end)
    assert.is_false(ok)
    assert.equal("<no error object>", err)
  end)

  it("starts fn from the loop, without arguments", function()
    local argc, current
    run(function(...)
      argc = select("#", ...)
      current = IOLoop.current()
    end)
    assert.equal(0, argc)
    assert.equal(loop, current)
  end)

  it("works with any loop, current or not", function()
    local other = IOLoop(false)
    assert.same({ 1, true }, { other:run_sync(function()
      yield(gen.sleep(0.001))
      return 1, IOLoop.current() == other
    end) })
    other:close()
  end)

  it("can run again, after success and after failure", function()
    for i = 1, 20 do
      assert.equal(i, run(function()
        yield()
        return i
      end))
      assert.is_false((pcall(run, function()
        yield()
        error("x")
      end)))
    end
  end)

  it("leaves what it did not wait for to the next run", function()
    local reached = {}
    run(function()
      for i = 1, 3 do
        gen.coroutine(function()
          yield(gen.sleep(0.001 * i))
          reached[#reached + 1] = i
        end)()
      end
    end)
    assert.same({}, reached)
    run(function() yield(gen.sleep(0.005)) end)
    assert.same({ 1, 2, 3 }, reached)
  end)

  it("raises TimeoutError after the timeout", function()
    local start = loop:time()
    local ok, err = pcall(loop.run_sync, loop, function() yield(Future()) end,
      0.005)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, util.TimeoutError), tostring(err))
    assert.is_true(loop:time() >= start + 0.005)
    assert.equal(1, run(function() return 1 end))
  end)

  it("has no timeout at infinity", function()
    log:allow "Coroutine was collected while waiting"
    assert.equal(1, loop:run_sync(function()
      yield(gen.sleep(0.001))
      return 1
    end, math.huge))
    assert.is_false((pcall(loop.run_sync, loop, function()
      local kept = Future()
      yield(kept)
      return kept
    end, math.huge)))
  end)

  it("removes the timeout when it is done before", function()
    loop:run_sync(function() end, 0.002)
    local over = false
    loop:call_later(0.005, function()
      over = true
      loop:stop()
    end)
    loop:start()
    assert.is_true(over)
  end)

  it("raises when the run can never end, saying what it waits for",
    function()
      log:allow "Coroutine was collected while waiting"
      local line
      local ok, err = pcall(loop.run_sync, loop, function()
        local kept = Future()
        line = here() + 1
        yield(kept)
        return kept
      end)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("ioloop_spec.lua:" .. line, 1,
        true), tostring(err))
      assert.equal(2, run(function() return 2 end))
    end)

  it("raises so for a Future that fn returned", function()
    local kept = Future()
    local ok, err = pcall(loop.run_sync, loop, function() return kept end)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("Future", 1, true), tostring(err))
  end)

  it("raises so when the last pending work ends only later", function()
    log:allow "Coroutine was collected while waiting"
    local ok = pcall(loop.run_sync, loop, function()
      local f = Future()
      local handle = loop:call_later(60, f.set_result, f)
      loop:call_later(0.002, loop.remove_timeout, loop, handle)
      yield(f)
    end)
    assert.is_false(ok)
  end)

  it("raises so when only a timer at infinity is left", function()
    assert.is_false((pcall(loop.run_sync, loop, function()
      yield(gen.sleep(math.huge))
    end)))
  end)

  it("does not raise so while something is pending", function()
    assert.equal(1, loop:run_sync(function()
      local f = Future()
      loop:call_later(0.005, f.set_result, f, 1)
      return yield(f)
    end))
    local f = Future()
    loop:add_callback(function()
      loop:add_callback(function()
        loop:add_callback(f.set_result, f, 2)
      end)
    end)
    assert.equal(2, loop:run_sync(function() return f end))
  end)

  it("raises when the loop is stopped under it", function()
    local ok = pcall(loop.run_sync, loop, function()
      loop:stop()
      yield(gen.sleep(60))
    end)
    assert.is_false(ok)
    assert.equal(1, run(function() return 1 end))
  end)

  it("gives the traceback of the coroutine in exc_info", function()
    local line, f
    pcall(run, function()
      f = gen.coroutine(function()
        yield()
        line = here() + 1
        error("boom", 0)
      end)()
      return f
    end)
    assert.is_truthy((select(2, f:exc_info())):find("ioloop_spec.lua:" ..
      line, 1, true))
  end)

  it("refuses bad arguments", function()
    bad(function() loop:run_sync(nil) end, 1, "run_sync", "function", "nil")
    bad(function() loop:run_sync() end, 1, "run_sync", "function")
    bad(function() loop:run_sync(Future()) end, 1, "run_sync", "function")
    local called = false
    local function fn() called = true end
    bad(function() loop:run_sync(fn, 0/0) end, 2, "run_sync")
    bad(function() loop:run_sync(fn, "soon") end, 2, "run_sync", "number",
      "string")
    bad(function() loop:run_sync(fn, {}) end, 2, "run_sync", "number",
      "table")
    loops.turn(loop)
    assert.is_false(called)
  end)
end)

describe("time", function()
  it("is monotonic and has a fraction", function()
    local t = loop:time()
    assert.equal("float", math.type(t))
    local fractions = 0
    for _ = 1, 1000 do
      local now = loop:time()
      assert.is_true(now >= t)
      fractions = fractions + (now % 1 > 0 and 1 or 0)
      t = now
    end
    assert.is_true(fractions > 900)
  end)

  it("goes on within a callback", function()
    local passed
    loop:add_callback(function()
      local start = loop:time()
      local n = 0
      repeat
        n = n + 1
      until loop:time() > start or n > 1e8
      passed = loop:time() > start
    end)
    loops.turn(loop)
    assert.is_true(passed)
  end)
end)

describe("a callback that fails", function()
  -- Ways to run fn from the loop; the loop is turned afterwards.
  local ways = {
    add_callback = function(fn) loop:add_callback(fn) end,
    spawn_callback = function(fn) loop:spawn_callback(fn) end,
    add_callback_from_signal = function(fn)
      loop:add_callback_from_signal(fn)
    end,
    call_later = function(fn) loop:call_later(0, fn) end,
    call_at = function(fn) loop:call_at(loop:time(), fn) end,
    add_timeout = function(fn) loop:add_timeout({ seconds = 0 }, fn) end,
    add_future = function(fn) loop:add_future(gen.maybe_future(1), fn) end,
  }

  for name, add in pairs(ways) do
    it("is logged with its traceback: " .. name, function()
      local line
      local function fn()
        line = here() + 1
        error("in a callback")
      end
      add(fn)
      loops.turn(loop, 2)
      local message = log:first("Exception in callback ")
      assert.is_truthy(message:find("in a callback", 1, true), message)
      assert.is_truthy(message:find("ioloop_spec.lua:" .. line, 1, true),
        message)
      assert.is_truthy(message:find("traceback", 1, true), message)
      assert.equal(1, #log, log:text())
    end)

    it("goes to the loop's own handler: " .. name, function()
      for _, case in ipairs(values.errors) do
        local caught = catch(loop)
        local function fn() error(case[2], 0) end
        add(fn)
        loops.turn(loop, 2)
        assert.equal(1, #caught)
        assert.equal(loop, caught[1][1])
        assert.equal(fn, caught[1][2])
        assert.is_true(rawequal(case[2], caught[1][3]), case[1])
        assert.is_string(caught[1][4])
      end
      assert.equal("", log:text())
    end)

    it("never stops the loop: " .. name, function()
      local n = 0
      add(function() n = n + 1 end)
      for _ = 1, 3 do
        add(function() error() end)
        add(function() n = n + 1 end)
      end
      loops.turn(loop, 2)
      assert.equal(4, n)
      assert.equal(3, #log)
      assert.equal(3, log:count "Exception in callback ")
    end)

    it("may return a Future that fails: " .. name, function()
      local f = Future()
      add(function() return f end)
      loops.turn(loop, 2)
      assert.equal("", log:text())
      f:set_exception("failed later")
      loops.turn(loop, 2)
      f = nil -- luacheck: ignore
      gc.collect()
      local message = log:first("Exception in callback ")
      assert.is_truthy(message:find("failed later", 1, true), message)
      assert.equal(1, #log)
    end)

    it("may return a Future that has failed: " .. name, function()
      local caught = catch(loop)
      local function fn() return failed("before") end
      add(fn)
      loops.turn(loop, 2)
      gc.collect()
      assert.equal(1, #caught)
      assert.same({ loop, fn, "before" }, { table.unpack(caught[1], 1, 3) })
      assert.equal("", log:text())
    end)
  end

  it("may be logged in a handler that fails itself", function()
    local n = 0
    loop.handle_callback_exception = function() error("handler broke") end
    loop:add_callback(function() error("first") end)
    loop:add_callback(function() n = n + 1 end)
    loop:call_later(0, function() error("second") end)
    loop:call_later(0, function() n = n + 1 end)
    loops.turn(loop, 3)
    assert.equal(2, n)
    assert.is_true(log:count("handler broke") >= 1, log:text())
    assert.equal(2, log:count "Exception in callback function <")
  end)

  it("is logged with the handler's error, whatever that is", function()
    loop.handle_callback_exception = function()
      error(setmetatable({}, { __tostring = error }))
    end
    loop:add_callback(error, "first")
    loops.turn(loop, 2)
    assert.equal(1, log:count("handle_callback_exception: (a table whose"))
    assert.equal(1, log:count("first"))
  end)

  it("is logged when the callback has closed the loop", function()
    local other = IOLoop(false)
    other:add_callback(function()
      other:close()
      error("after the end")
    end)
    other:start()
    assert.equal(1, #log)
    assert.equal(1, log:count("after the end"))
  end)

  it("belongs to its own loop's handler", function()
    local caught = catch(loop)
    local other = IOLoop(false)
    other:add_callback(error, "elsewhere")
    other:add_callback(other.stop, other)
    other:start()
    other:close()
    assert.equal(0, #caught)
    assert.equal(1, log:count("elsewhere"))
  end)

  it("is distinguished from failing callbacks of outer and inner runs",
    function()
      local DEPTH = 20 -- Lua allows 200 calls of C in each other
      local caught, expected, runs = {}, {}, {}
      local function nest(depth)
        local inner = IOLoop(false)
        local function fails()
          if depth < DEPTH then nest(depth + 1) end
          error(depth, 0)
        end
        runs[depth] = fails
        inner.handle_callback_exception = function(on, callback, err)
          table.insert(caught, { on == inner, callback, err })
        end
        for _ = 1, depth == DEPTH and 2 or 1 do inner:add_callback(fails) end
        inner:add_callback(inner.stop, inner)
        inner:start()
        inner:close()
      end
      nest(1)
      for depth = DEPTH, 1, -1 do
        table.insert(expected, { true, runs[depth], depth })
      end
      table.insert(expected, 1, { true, runs[DEPTH], DEPTH })
      assert.same(expected, caught)
    end)

  it("has no error that another one has caught in its traceback", function()
    local err = {}
    local f = failed(err)
    for _, ending in ipairs { "returns", "fails" } do
      local caught = catch(loop)
      loop:add_callback(function()
        pcall(f.result, f)
        if ending == "fails" then error("other") end
      end)
      loop:add_callback(error, err)
      loops.turn(loop)
      local last = caught[#caught]
      assert.equal(err, last[3])
      assert.is_nil(last[4]:find("awaited by", 1, true), last[4])
    end
  end)

  it("may call the default handler", function()
    local default = loop.handle_callback_exception
    assert.is_function(default)
    loop.handle_callback_exception = function(self, callback, err, traceback)
      default(self, callback, "passed on: " .. tostring(err), traceback)
    end
    loop:add_callback(error, "boom", 0)
    loops.turn(loop)
    assert.equal(1, log:count("passed on: boom"), log:text())
  end)

  it("is no failure when it returns other things", function()
    loop:add_callback(function() return 5 end)
    loop:add_callback(function() return nil, "x" end)
    loop:add_callback(function() return setmetatable({}, {
      __index = function() error("touched") end,
    }) end)
    loop:add_callback(function() return gen.maybe_future(1) end)
    loop:add_callback(function() return Future() end)
    loops.turn(loop, 2)
    gc.collect()
    assert.equal("", log:text())
  end)

  it("may overflow the stack", function()
    local function forever() return 1 + forever() end
    loop:add_callback(forever)
    local n = 0
    loop:add_callback(function() n = n + 1 end)
    loops.turn(loop)
    assert.equal(1, n)
    assert.equal(1, log:count("stack overflow"))
  end)

  it("may be a coroutine function", function()
    loop:add_callback(gen.coroutine(function()
      yield()
      error("in a coroutine")
    end))
    loops.turn(loop, 4)
    gc.collect()
    assert.equal(1, log:count("in a coroutine"), log:text())
    assert.equal(1, #log)
  end)
end)

describe("set_blocking_log_threshold", function()
  it("logs callbacks that hold the loop, with where they are defined",
    function()
      loop:set_blocking_log_threshold(0.004)
      local line = here() + 1
      local function slow() loops.spin(loop, 0.008) end
      loop:add_callback(slow)
      loops.turn(loop)
      local message = log:first("ioloop_spec.lua:" .. line)
      assert.is_string(message)
      log:clear()
      loop:call_later(0, slow)
      loops.turn(loop, 2)
      assert.equal(1, log:count("ioloop_spec.lua:" .. line), log:text())
    end)

  it("is silent about quick ones, and when it is not set", function()
    loop:add_callback(loops.spin, loop, 0.005)
    loops.turn(loop)
    loop:set_blocking_log_threshold(10)
    loop:add_callback(loops.spin, loop, 0.005)
    loops.turn(loop)
    assert.equal("", log:text())
  end)

  it("refuses bad arguments", function()
    bad(function() loop:set_blocking_log_threshold("x") end, 1,
      "set_blocking_log_threshold", "number", "string")
    bad(function() loop:set_blocking_log_threshold(0/0) end, 1,
      "set_blocking_log_threshold")
  end)
end)

describe("close", function()
  local closed
  before_each(function()
    closed = IOLoop(false)
    closed:close()
  end)

  it("may be called twice", function()
    closed:close()
    closed:close(true)
    closed:close(false)
  end)

  it("makes use an error that says so", function()
    local f = Future()
    local uses = {
      start = {}, run_sync = { print }, add_callback = { print },
      spawn_callback = { print }, add_callback_from_signal = { print },
      call_later = { 1, print }, call_at = { 1, print },
      add_timeout = { 1, print }, add_future = { f, print },
      add_handler = { 0, print, IOLoop.READ },
    }
    for name, args in pairs(uses) do
      local ok, err = pcall(closed[name], closed, table.unpack(args))
      assert.is_false(ok, name)
      assert.is_truthy(tostring(err):find("closed", 1, true),
        name .. ": " .. tostring(err))
    end
  end)

  it("makes calls with old handles harmless", function()
    local other = IOLoop(false)
    local handle = other:call_later(60, print)
    other:close()
    pcall(other.remove_timeout, other, handle)
    pcall(other.remove_handler, other, 0)
    pcall(other.stop, other)
    gc.collect()
  end)

  it("frees callbacks, timers and what they hold", function()
    for _, hold in ipairs {
      function(on, token) on:add_callback(function() return token end) end,
      function(on, token) on:call_later(60, function() return token end) end,
      function(on, token) on:add_callback(print, token) end,
      function(on, token)
        on:add_future(gen.maybe_future(1), function() return token end)
      end,
    } do
      local kept
      assert.is_true(gc.collects(function()
        kept = IOLoop(false)
        local token = {}
        hold(kept, token)
        kept:close()
        return token
      end))
    end
  end)

  it("runs nothing any more", function()
    local other = IOLoop(false)
    local n = 0
    other:add_callback(function() n = n + 1 end)
    other:call_later(0, function() n = n + 1 end)
    other:close()
    pcall(other.start, other)
    assert.equal(0, n)
  end)

  it("needs no stop: a loop may be dropped", function()
    for _ = 1, 50 do
      local other = IOLoop(false)
      other:add_callback(function() return other end)
      other:call_later(60, function() return other end)
    end
    gc.collect()
    assert.equal("", log:text())
  end)

  it("inside a callback does no harm", function()
    local other = IOLoop(false)
    local n = 0
    other:add_callback(function()
      pcall(other.close, other)
      pcall(other.stop, other)
      n = n + 1
    end)
    other:call_later(0, function() pcall(other.stop, other) end)
    pcall(other.start, other)
    assert.equal(1, n)
    other:close()
    assert.is_false((pcall(other.add_callback, other, print)))
  end)

  it("logs errors that were not observed", function()
    local other = IOLoop(false)
    local function drop()
      failed("unobserved at close")
    end
    drop()
    other:close()
    assert.equal(1, log:count(
      "Future exception was never retrieved: unobserved at close"),
      log:text())
    gc.collect()
    assert.equal(1, #log)
  end)

  it("does not log errors that can still be observed", function()
    local other = IOLoop(false)
    local f = failed("seen in time")
    other:close()
    f:exception()
    f = nil -- luacheck: ignore
    gc.collect()
    assert.equal("", log:text())
  end)

  it("still wakes a coroutine of another loop", function()
    local other = IOLoop(false)
    local f = Future()
    local waiting = gen.coroutine(function() return yield(f) end)()
    other:close()
    f:set_result(1)
    assert.equal(1, run(function() return yield(waiting) end))
  end)
end)

describe("the default loop", function()
  it("may be closed by a script", function()
    local r = child [[
      local lunado = require "lunado"
      local loop = lunado.IOLoop.current()
      loop:run_sync(function() coroutine.yield(lunado.sleep(0.001)) end)
      loop:add_callback(print)
      loop:close()
      loop:close()
      assert(not pcall(loop.add_callback, loop, print))
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)

  it("may be left open, with timers, by a script that ends", function()
    local r = child [[
      local lunado = require "lunado"
      local loop = lunado.IOLoop.current()
      loop:call_later(60, print)
      loop:add_callback(print)
      lunado.IOLoop():call_later(60, print)
      require "lunado.ioloop".PeriodicCallback(print, 1000):start()
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)

  it("may be left running by os.exit", function()
    for _, how in ipairs { "os.exit(5, true)", "os.exit(5)" } do
      local r = child([[
        local lunado = require "lunado"
        lunado.run(function()
          coroutine.yield(lunado.sleep(0.001))
          ]] .. how .. [[
        end)
      ]])
      assert.equal(5, r.code, r.err)
      assert.equal("", r.err)
    end
  end)

  it("ends with an error outside of run_sync", function()
    local r = child [[
      local lunado = require "lunado"
      lunado.IOLoop.current():call_later(60, print)
      error("the end", 0)
    ]]
    assert.equal(1, r.code)
    assert.is_truthy(r.err:find("the end", 1, true))
  end)
end)

describe("a loop as self", function()
  it("is checked", function()
    for _, name in ipairs { "start", "stop", "run_sync", "add_callback",
      "spawn_callback", "add_callback_from_signal", "call_later", "call_at",
      "add_timeout", "remove_timeout", "time", "add_future", "add_handler",
      "update_handler", "remove_handler", "set_blocking_log_threshold",
      "close", "make_current" } do
      assert.is_function(loop[name], name)
      for _, self in ipairs { 5, "x", {}, io.stdout, false, Future() } do
        assert.is_false((pcall(loop[name], self, print, print, 1)),
          name .. " of a " .. type(self))
      end
      assert.is_false((pcall(loop[name])), name)
    end
  end)
end)

describe("a run whose timeout has passed at once", function()
  it("does not wait for the Future that was returned", function()
    local ok, err = pcall(loop.run_sync, loop, function()
      return gen.sleep(1000)
    end, 1e-9)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find("timed out", 1, true), err)
  end)
end)

describe("a loop that was collected", function()
  it("does not call a callback that waits for a Future", function()
    local f, called = Future(), false
    assert.is_true(gc.collects(function()
      local other = IOLoop(false)
      other:add_future(f, function() called = true end)
      other:close()
      return f and setmetatable({}, { other = other })
    end))
    f:set_result(1)
    assert.is_false(called)
    assert.equal("", log:text())
  end)

  it("has errors of Futures that its callbacks returned logged", function()
    local f = Future()
    do
      local other = IOLoop(false)
      other:add_callback(function() return f end)
      other:add_callback(other.stop, other)
      other:start()
      other:close()
    end
    gc.collect()
    f:set_exception("late")
    f = nil -- luacheck: ignore
    gc.collect()
    assert.equal(1, log:count "late")
  end)
end)

describe("a finalizer that closes the loop", function()
  -- Each of them makes objects, and so may run finalizers; closing raises no
  -- more than "closed".
  local uses = {
    ["gen.sleep"] = function() return gen.sleep(1) end,
    ["gen.with_timeout"] = function() return gen.with_timeout(1, Future()) end,
    ["call_later"] = function(other) return other:call_later(1, print) end,
    ["add_callback"] = function(other)
      other:add_callback(print, table.unpack({}, 1, 40))
    end,
    ["add_future"] = function(other) other:add_future(Future(), print) end,
    ["a yield"] = function() gen.coroutine(function() yield() end)() end,
    ["run_sync"] = function(other) other:run_sync(function() end) end,
  }
  for name, use in pairs(uses) do
    it("may run inside " .. name, function()
      for _ = 1, 8 do
        local other = IOLoop(false)
        other:make_current()
        local closed = false
        setmetatable({}, { __gc = function()
          other:close()
          closed = true
        end })
        for _ = 1, 10000 do
          local ok, err = pcall(use, other)
          if not ok then
            assert.is_truthy(tostring(err):find("closed", 1, true), err)
          end
          if closed then break end
        end
        other:close()
        loop:make_current()
      end
      log:clear()
    end)
  end
end)

describe("an interrupt", function()
  -- It is sent by kill here; Windows has spec/support/ctrl_c.lua.
  if system.is_windows then return end

  -- Each script has interrupt(), which is Ctrl-C pressed, and soon(), which has
  -- it pressed a little later.  Lua's own program takes one of them.
  local prelude = [[
    local lunado = require "lunado"
    local gen, loop = lunado.gen, lunado.IOLoop.current()
    local function interrupt() io.popen("kill -INT $PPID"):close() end
    local function soon() io.popen("{ sleep 0.1; kill -INT $PPID; } &") end
    local function expect_interrupt(fn, ...)
      local ok, err = pcall(fn, ...)
      assert(not ok and err:find("interrupted!", 1, true), err)
      io.write("interrupted ")
    end
    loop:call_later(20, function()
      io.write("too late ")
      loop:stop()
    end)
  ]]

  local function expect(out, script)
    return function()
      local r = child(prelude .. script)
      assert.same({ code = 0, out = out, err = "" }, r)
    end
  end

  it("ends start, which raises it", expect("interrupted ", [[
    loop:add_callback(interrupt)
    expect_interrupt(loop.start, loop)
  ]]))

  it("ends run_sync, which raises it", expect("interrupted ", [[
    loop:add_callback(interrupt)
    expect_interrupt(lunado.run, function() coroutine.yield(gen.sleep(20)) end)
  ]]))

  it("wakes a loop that waits", expect("interrupted ", [[
    soon()
    expect_interrupt(loop.start, loop)
  ]]))

  it("ends runs that others go on in", expect("interrupted interrupted ", [[
    loop.handle_callback_exception = function() end
    loop:add_callback(function()
      local inner = lunado.IOLoop(false)
      inner:add_callback(interrupt)
      expect_interrupt(inner.start, inner)
      error "goes its way"
    end)
    expect_interrupt(loop.start, loop)
  ]]))

  for kind, script in pairs {
    timeout = "loop:call_later(0, interrupt)",
    ["done callback"] = [[
      local f = lunado.Future()
      f:add_done_callback(interrupt)
      loop:add_callback(f.set_result, f)
    ]],
    ["periodic callback"] = [[
      local pressed -- twice would end Lua's own program
      local periodic = lunado.ioloop.PeriodicCallback(function()
        if pressed then return end
        pressed = true
        interrupt()
      end, 1)
      periodic:start()
    ]],
    ["callback of luv's"] = [[
      local timer = require("luv").new_timer()
      timer:start(0, 0, interrupt)
    ]],
  } do
    it("may come in a " .. kind, expect("interrupted ", script .. [[
      expect_interrupt(loop.start, loop)
    ]]))
  end

  it("leaves the loop as it is", expect("interrupted one two ", [[
    loop:add_callback(interrupt)
    loop:add_callback(io.write, "one ")
    loop:add_callback(function()
      io.write("two ")
      loop:stop()
    end)
    expect_interrupt(loop.start, loop)
    loop:start()
  ]]))

  it("leaves due callbacks for the next run", expect(
    "interrupted one two three four ", [[
    local now = loop:time()
    loop:add_callback(interrupt)
    for _, word in ipairs { "one ", "two ", "three " } do
      loop:call_at(now, io.write, word)
    end
    loop:call_at(now, function()
      io.write("four ")
      loop:stop()
    end)
    expect_interrupt(loop.start, loop)
    loop:start()
  ]]))

  -- On the main thread, which has the hook, nothing is called until the
  -- coroutine has ended.
  it("in a coroutine is not raised in the next callback", expect(
    "interrupted one two ", [[
    loop:set_slice(1)
    lunado.coroutine(function()
      coroutine.yield()
      interrupt()
    end)()
    loop:add_callback(io.write, "one ")
    loop:add_callback(function()
      io.write("two ")
      loop:stop()
    end)
    expect_interrupt(loop.start, loop)
    loop:start()
  ]]))

  it("in a coroutine is not raised in a timeout", expect(
    "interrupted one two ", [[
    local now = loop:time()
    lunado.coroutine(function()
      coroutine.yield()
      interrupt()
    end)()
    loop:call_at(now, io.write, "one ")
    loop:call_at(now, function()
      io.write("two ")
      loop:stop()
    end)
    expect_interrupt(loop.start, loop)
    loop:start()
  ]]))

  it("ends a turn that is stopped", expect("interrupted one two ", [[
    loop:set_slice(1e-9)
    loop:call_later(0, loop.stop, loop)
    loop:add_callback(load "")
    loop:add_callback(interrupt)
    loop:add_callback(io.write, "one ")
    loop:add_callback(function()
      io.write("two ")
      loop:stop()
    end)
    expect_interrupt(loop.start, loop)
    loop:start()
  ]]))

  it("does not come if the script handles the signal", expect("sigint ", [[
    lunado.run(function()
      local signal = lunado.uv.signal "sigint"
      soon()
      io.write(coroutine.yield(signal), " ")
    end)
  ]]))
end)
