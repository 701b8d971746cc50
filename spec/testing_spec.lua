-- SPDX-License-Identifier: MIT
-- lunado.testing: gen_test and the virtual clock.
local lunado = require "lunado"
local testing = require "lunado.testing"
local bad = require "spec.support.bad"
local busted = require "spec.support.busted"
local capture = require "spec.support.capture"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future, IOLoop = lunado.Future, lunado.IOLoop
local gen_test = testing.gen_test
local await, sleep = coroutine.yield, lunado.sleep

-- What a test raises: nil when it passes.
local function failure_of(fn, options)
  local ok, err = pcall(gen_test(fn, options))
  if ok then return nil end
  assert.is_not_nil(err)
  return err
end

local function contains(text, part)
  assert.is_truthy(text:find(part, 1, true), text)
end

local function line_here()
  return ("testing_spec.lua:%d: "):format(debug.getinfo(2, "l").currentline)
end

local function current_loop()
  return IOLoop.current(false)
end

describe("gen_test", function()
  it("runs its function as a coroutine", gen_test(function()
    local f = Future()
    IOLoop.current():call_later(0.001, f.set_result, f, "set")
    assert.equal("set", await(f))
    assert.equal("set", lunado.await(f))
  end))

  it("takes a coroutine function, and awaits a Future that is returned",
    function()
      local done = {}
      gen_test(lunado.coroutine(function()
        await(sleep(0.001))
        done[1] = true
      end))()
      gen_test(function()
        return lunado.coroutine(function()
          await(sleep(0.001))
          done[2] = true
        end)()
      end)()
      assert.same({ true, true }, done)
    end)

  it("takes a table that can be called", function()
    local called
    gen_test(setmetatable({}, { __call = function() called = true end }))()
    assert.is_true(called)
  end)

  it("passes its arguments on, and returns nothing", function()
    local got
    assert.equal(0, select("#", gen_test(function(...)
      await()
      got = table.pack(...)
      return 1
    end)("a", nil, "b", nil)))
    assert.same(table.pack("a", nil, "b", nil), got)
  end)

  it("runs the same test again", function()
    local n = 0
    local test = gen_test(function()
      await()
      n = n + 1
    end)
    test()
    test()
    assert.equal(2, n)
  end)

end)

describe("the loop of a test", function()
  it("is a fresh one, closed at the end", function()
    local seen = {}
    local before = current_loop()
    for i = 1, 2 do
      gen_test(function()
        seen[i] = IOLoop.current()
        await()
        assert.equal(seen[i], IOLoop.current())
      end)()
      assert.equal(before, current_loop())
    end
    assert.not_equal(seen[1], seen[2])
    for i = 1, 2 do
      assert.not_equal(before, seen[i])
      assert.is_truthy(tostring(seen[i]):find "closed")
    end
  end)

  it("is replaced at the end by the one that was current before", function()
    local mine <close> = loops.open()
    for _, act in ipairs {
      function() error "boom" end,
      function() IOLoop.clear_current() end,
      function() IOLoop.current():close() end,
      function() IOLoop(true) end,
    } do
      pcall(gen_test(act))
      assert.equal(mine, current_loop())
    end
    IOLoop.clear_current()
  end)

  it("leaves no current one where there was none, or one that is closed",
    function()
      IOLoop.clear_current()
      gen_test(function() end)()
      assert.is_nil(current_loop())
      local mine = loops.open()
      gen_test(function() mine:close() end)()
      assert.is_nil(current_loop())
    end)

  it("may be an existing one, which stays open", function()
    local mine <close> = loops.open()
    IOLoop.clear_current()
    local f, later = Future(), false
    gen_test(function()
      assert.equal(mine, IOLoop.current())
      mine:add_callback(f.set_result, f, "mine")
      assert.equal("mine", await(f))
      mine:add_callback(function() later = true end)
    end, { io_loop = mine })()
    assert.is_nil(current_loop())
    loops.turn(mine)
    assert.is_true(later)
  end)

  it("runs inside a test, too", gen_test(function()
    local outer = IOLoop.current()
    gen_test(function()
      assert.not_equal(outer, IOLoop.current())
      await(sleep(0.001))
    end)()
    assert.equal(outer, IOLoop.current())
    await(sleep(0.001))
  end))

  it("is collected", function()
    assert.is_true(gc.collects(function()
      local loop
      gen_test(function()
        loop = IOLoop.current()
        loop:call_later(60, function() end)
        lunado.coroutine(function() await(sleep(60)) end)()
        await(sleep(0.001))
      end)()
      return loop
    end))
  end)
end)

describe("a test that fails", function()
  it("shows the coroutine's lines, and of those that it waited for", function()
    local here
    local inner = lunado.coroutine(function()
      await(sleep(0.001))
      here = line_here() error("boom", 1)
    end)
    local err = failure_of(function() await(inner()) end)
    assert.is_truthy(err:find("^[^\n]*" .. here:gsub("%p", "%%%0")
      .. "boom\nstack traceback:\n\t%[C%]: in function 'error'\n"), err)
    contains(err, "\nawaited by:\n")
    contains(err, "in function 'coroutine.yield'")
    assert.is_nil(err:find("lunado/testing", 1, true), err)
    assert.is_nil(err:find("busted", 1, true), err)
  end)

  it("before its first yield, too", function()
    contains(failure_of(function() error "at once" end), "at once\nstack trace")
  end)

  it("with an error object, has its text behind the line", function()
    local here
    local err = failure_of(function()
      await()
      here = line_here() error(lunado.util.Exception "an object")
    end)
    contains(err, here .. "Exception: an object\nstack traceback:\n")
  end)

  it("with any other value, has that", function()
    local awkward = setmetatable({}, { __tostring = error, __index = error })
    contains(failure_of(function() error(nil) end), "<no error object>\n")
    contains(failure_of(function() error(42, 0) end), ": 42\n")
    contains(failure_of(function() error(false) end), ": false\n")
    contains(failure_of(function() error(awkward) end),
      ": (a table whose __tostring fails)\n")
    contains(failure_of(function() error(io.stdout) end), ": file (")
  end)

  it("because the loop was stopped or closed, says so", function()
    contains(failure_of(function()
      IOLoop.current():stop()
      await(sleep(60))
    end), ": the IOLoop was stopped before the function was done\nwaiting:\n")
    contains(failure_of(function()
      IOLoop.current():close()
      await(sleep(60))
    end), "the IOLoop is closed")
  end)

  it("because a Future that it returned did, has its lines", function()
    local err = failure_of(function()
      return lunado.coroutine(function()
        await(sleep(0.001))
        error "inner"
      end)()
    end)
    contains(err, ": inner\nstack traceback:\n\t[C]: in function 'error'\n")
  end)
end)

describe("a test that is not done", function()
  it("in time fails, and shows what it waits for", function()
    local err = failure_of(function()
      await { sleep(60), lunado.coroutine(function() await(sleep(90)) end)() }
    end, { timeout = 0.01 })
    assert.is_truthy(err:find("^[^\n]*testing_spec%.lua:%d+: the test was not "
      .. "done after 0%.01 seconds\nwaiting:\n"
      .. "\tfunction <[^\n]*> at [^\n]*testing_spec%.lua:%d+\n"
      .. "\t  multi of 2, 2 pending\n"
      .. "\t    sleep, %d[%d.]* s left\n"
      .. "\t    function <[^\n]*> at [^\n]*testing_spec%.lua:%d+\n"
      .. "\t      sleep, %d[%d.]* s left$"), err)
  end)

  it("in time fails though it is never idle", function()
    contains(failure_of(function()
      while true do await() end
    end, { timeout = 0.01 }), "not done after 0.01 seconds")
  end)

  it("and never will be fails at once", function()
    local err = failure_of(function() await(Future()) end, { timeout = 3600 })
    assert.is_truthy(err:find("^[^\n]*testing_spec%.lua:%d+: the test would "
      .. "never end: nothing on the IOLoop is left that could set what it "
      .. "waits for\nwaiting:\n\tfunction <[^\n]*> at [^\n]*\n"
      .. "\t  Future: 0x%x+ %(pending%)$"), err)
  end)

  it("has 5 seconds, or what the environment says", function()
    local took = {}
    local getenv = os.getenv
    finally(function() os.getenv = getenv end) -- luacheck: ignore
    os.getenv = function(name) -- luacheck: ignore
      return name == "ASYNC_TEST_TIMEOUT" and took.value or nil
    end
    took.value = "0.01"
    contains(failure_of(function() await(sleep(60)) end), "after 0.01 seconds")
    took.value = "nonsense"
    assert.is_nil(failure_of(function() await(sleep(0.02)) end))
    took.value = "0.001"
    assert.is_nil(failure_of(function() await(sleep(0.02)) end,
      { timeout = 60 }))
  end)

  it("may take for ever", function()
    assert.is_nil(failure_of(function() await(sleep(0.01)) end,
      { timeout = math.huge }))
  end)

  it("leaves an existing loop without a limit", function()
    local mine <close> = loops.open()
    for _ = 1, 2 do
      contains(failure_of(function() await(sleep(60)) end,
        { timeout = 0.01, io_loop = mine }), "not done after")
    end
    assert.is_nil(failure_of(function() end,
      { timeout = 0.01, io_loop = mine }))
    loops.run(mine, function() await(sleep(0.03)) end)
    IOLoop.clear_current()
  end)
end)

describe("what a test leaves behind:", function()
  it("an error that was not observed fails it", function()
    local err = failure_of(function()
      Future():set_exception "lost"
      await()
    end)
    assert.is_truthy(err:find("^[^\n]*testing_spec%.lua:%d+: 1 error that "
      .. "nobody took:\nFuture exception was never retrieved: lost\n"), err)
  end)

  it("so does one on a loop that stays", function()
    local mine <close> = loops.open()
    contains(failure_of(function()
      Future():set_exception "lost"
    end, { io_loop = mine }), "never retrieved: lost\n")
    IOLoop.clear_current()
  end)

  it("so does the error of a coroutine without waiters", function()
    local err = failure_of(function()
      lunado.coroutine(function()
        await()
        error "unseen"
      end)()
      await(sleep(0.001))
    end)
    contains(err, "never retrieved: ")
    contains(err, "unseen\nstack traceback:\n")
  end)

  it("a callback that failed does, with its lines and not ours", function()
    local err = failure_of(function()
      IOLoop.current():add_callback(function() error "in a callback" end)
      await(sleep(0.001))
    end)
    contains(err, "1 error that nobody took:\nException in callback function <")
    contains(err, "in a callback\nstack traceback:\n")
    assert.is_nil(err:find("lunado/testing", 1, true), err)
    assert.is_nil(err:find("busted", 1, true), err)
  end)

  it("an error in handle_callback_exception does", function()
    contains(failure_of(function()
      local loop = IOLoop.current()
      function loop.handle_callback_exception() error "in the handler" end
      loop:add_callback(error, "x")
      await(sleep(0.001))
    end), "in the handler")
  end)

  it("all errors are reported, below the test's own error", function()
    local err = failure_of(function()
      Future():set_exception "lost"
      IOLoop.current():add_callback(function() error "in a callback" end)
      await(sleep(0.001))
      error "its own"
    end)
    local own = err:find("its own\nstack traceback:\n", 1, true)
    local also = err:find("\nalso, 2 errors that nobody took:\n", 1, true)
    assert.is_true(own < also, err)
    contains(err, "retrieved: lost\n")
    contains(err, "in a callback\n")
  end)

  it("an error that was observed is none", gen_test(function()
    local f = Future()
    f:set_exception "seen"
    f:exception()
    local loop = IOLoop.current()
    local caught
    function loop.handle_callback_exception(_, _, err) caught = err end
    loop:add_callback(error, "handled")
    await(sleep(0.001))
    assert.equal("handled", caught)
  end))

  it("a Future left pending, a callback left in the queue are none",
    gen_test(function()
      lunado.coroutine(function() await(Future()) end)()
      lunado.coroutine(function() await(sleep(60)) end)()
      IOLoop.current():call_later(60, error, "never")
      IOLoop.current():add_callback(error, "never")
    end))

  it("errors left before the test do not fail it", function()
    local log = capture()
    finally(function() log:restore() end)
    Future():set_exception "of before"
    assert.is_nil(failure_of(function() await() end))
    assert.equal(1, log:count "of before")
  end)
end)

describe("the log during a test", function()
  local log
  before_each(function() log = capture() end)
  after_each(function() log:restore() end)

  it("goes to its handler, except for errors that fail the test", function()
    assert.is_not_nil(failure_of(function()
      lunado.log.app_log:warning "a warning"
      Future():set_exception "lost"
      lunado.log.app_log:error "an error"
    end))
    assert.equal("warning: a warning\nerror: an error", log:text())
  end)

  it("is a handler's that the test sets", function()
    local seen = {}
    assert.is_nil(failure_of(function()
      lunado.log.set_handler(function(_, message) seen[#seen + 1] = message end)
      Future():set_exception "expected"
      gc.collect()
    end))
    assert.equal(1, #seen)
    contains(seen[1], "never retrieved: expected")
    Future():set_exception "after"
    gc.collect()
    assert.equal(2, #seen)
  end)

  it("is the old handler's after it", function()
    gen_test(function() end)()
    lunado.log.app_log:error "after"
    pcall(gen_test(function() error "boom" end))
    lunado.log.app_log:error "after that"
    assert.equal("error: after\nerror: after that", log:text())
    Future():set_exception "nobody's"
    gc.collect()
    assert.equal(1, log:count "never retrieved: nobody's")
  end)
end)

describe("in busted", function()
  local head = [[
    local lunado = require "lunado"
    local gen_test = require "lunado.testing".gen_test
    local await = coroutine.yield
  ]]

  local function shows(source, ...)
    local result = busted(head .. source)
    for _, part in ipairs { ... } do contains(result.out, part) end
    assert.equal("", result.err)
    return result
  end

  it("a failed assertion is a failure, at its line", function()
    local result = shows([[
      it("equals", gen_test(function()
        await(lunado.sleep(0.001))
        assert.equal(1, 2)
      end))
    ]], "0 successes / 1 failure / 0 errors",
      "spec1.lua:6: Expected objects to be equal.\nPassed in:\n(number) 2\n"
      .. "Expected:\n(number) 1\nstack traceback:\n",
      "\n\tspec1.lua:6: in function <spec1.lua:4>")
    assert.equal(1, result.code)
  end)

  it("other errors are errors, with the coroutines' lines", function()
    shows([[
      local fetch = lunado.coroutine(function()
        await(lunado.sleep(0.001))
        error "no answer"
      end)
      it("fetches", gen_test(function() await(fetch()) end))
      it("is late", gen_test(function() await(lunado.sleep(9)) end,
        { timeout = 0.01 }))
      it("loses", gen_test(function()
        lunado.Future():set_exception(lunado.util.Exception "lost")
      end))
    ]], "0 successes / 0 failures / 3 errors",
      "spec1.lua:6: no answer\nstack traceback:\n"
      .. "\t[C]: in function 'error'\n"
      .. "\tspec1.lua:6: in function <spec1.lua:4>\n"
      .. "awaited by:\n\t[C]: in function 'coroutine.yield'\n"
      .. "\tspec1.lua:8: in function <spec1.lua:8>\n",
      "spec1.lua:9: the test was not done after 0.01 seconds\nwaiting:\n"
      .. "\tfunction <spec1.lua:9> at spec1.lua:9\n\t  sleep, ",
      "spec1.lua:11: 1 error that nobody took:\n"
      .. "Future exception was never retrieved: Exception: lost\n")
  end)

  it("pending and finally work", function()
    shows([[
      it("is for later", gen_test(function()
        finally(function() io.write "<finally>" end)
        await()
        pending "not today"
      end))
    ]], "0 successes / 0 failures / 0 errors / 1 pending", "<finally>",
      "not today")
  end)

  it("spies and stubs work", function()
    shows([[
      local t = { f = function() return "real" end }
      it("stubs", gen_test(function()
        stub(t, "f").returns("stubbed")
        await()
        assert.equal("stubbed", t.f())
        assert.stub(t.f).was.called(1)
      end))
    ]], "1 success ")
  end)

  it("each file loads it again, and it is the same", function()
    local source = head .. [[
      local registry = debug.getregistry()
      it("is one", gen_test(function()
        assert.equal(lunado.testing, require "lunado.testing")
        assert.equal(registry["of a spec"] or lunado.testing, lunado.testing)
        registry["of a spec"] = lunado.testing
        await(lunado.sleep(0.001))
        lunado.testing.virtual_clock()
        await(lunado.sleep(60))
      end))
      it("fails", gen_test(function() await() error "boom" end))
    ]]
    local result = busted(source, source)
    contains(result.out, "2 successes / 0 failures / 2 errors")
    contains(result.out, "spec2.lua:13: boom")
    assert.equal("", result.err)
  end)
end)

describe("virtual_clock", function()
  local loop, log
  before_each(function() loop, log = frame.begin() end)
  after_each(function() frame.finish() end)

  it("jumps to the next timer when there is nothing to do", function()
    local start = loop:time()
    testing.virtual_clock(loop)
    local order = {}
    local function note(text) order[#order + 1] = text end
    loop:call_later(7200, note, "two hours")
    loop:call_later(3600, note, "an hour")
    loop:run_sync(function()
      await(sleep(5400))
      note "one and a half"
      await(sleep(86400 * 365))
    end)
    assert.same({ "an hour", "one and a half", "two hours" }, order)
    local passed = loop:time() - start - 5400 - 86400 * 365
    assert.is_true(passed >= 0 and passed < 10)
  end)

  it("begins at a whole second, and nothing shifts it", function()
    local before = loop:time()
    local clock = testing.virtual_clock(loop)
    local start = loop:time()
    assert.equal(0, start % 1)
    assert.is_true(start >= before and start < before + 60)
    clock:advance(0.25)
    testing.virtual_clock(loop)
    assert.equal(start + 0.25, loop:time())
    clock:stop()
    clock:advance(0.25)
    before = loop:time()
    testing.virtual_clock(loop)
    assert.equal(0, loop:time() % 1)
    assert.is_true(loop:time() >= before)
    clock:advance(2^53)
    clock:stop()
    testing.virtual_clock(loop)
    assert.is_true(loop:time() >= start + 2^53)
  end)

  it("stands still while there is work", function()
    testing.virtual_clock(loop)
    local start = loop:time()
    loop:call_later(1, function() end)
    loop:run_sync(function()
      for _ = 1, 1000 do
        await()
        assert.equal(start, loop:time())
      end
      await(sleep(0.25))
      assert.equal(start + 0.25, loop:time())
    end)
  end)

  it("stands still while a thread works", function()
    testing.virtual_clock(loop)
    local start = loop:time()
    local pool <close> = lunado.concurrent.ThreadPoolExecutor(1)
    loop:call_later(1, function() end)
    loop:run_sync(function()
      local n = await(lunado.with_timeout({ seconds = 0.5 },
        pool:submit(function()
          local n = 0
          for i = 1, 1000000 do n = n + i % 2 end
          return n
        end)))
      assert.equal(500000, n)
      assert.equal(start, loop:time())
    end)
  end)

  it("controls timeouts, PeriodicCallback and all waits for time", function()
    testing.virtual_clock(loop)
    local start, ticks = loop:time(), {}
    local ticker = lunado.ioloop.PeriodicCallback(function()
      ticks[#ticks + 1] = math.tointeger(loop:time() - start)
    end, 60000, loop)
    ticker:start()
    loop:run_sync(function()
      local ok, err = pcall(await,
        lunado.with_timeout({ minutes = 2, seconds = 30 }, Future()))
      assert.is_false(ok)
      assert.equal("TimeoutError: Timeout", tostring(err))
      assert.equal(start + 150, loop:time())
      local condition = lunado.locks.Condition()
      assert.is_false(await(condition:wait(loop:time() + 40)))
    end)
    ticker:stop()
    assert.same({ 60, 120, 180 }, ticks)
  end)

  it("does not jump to timers that never fire", function()
    log:allow "Coroutine was collected while waiting"
    testing.virtual_clock(loop)
    loop:call_at(math.huge, error, "never")
    local ok, err = pcall(loop.run_sync, loop, function() await(Future()) end)
    assert.is_false(ok)
    contains(tostring(err), "the run would never end")
  end)

  it("is the current loop's by default, and one loop's alone", function()
    local other <close> = IOLoop(false)
    testing.virtual_clock()
    local before = loop:time()
    local start = other:time()
    other:run_sync(function() await(sleep(0.001)) end)
    assert.is_true(other:time() > start)
    assert.equal(before, loop:time())
  end)

  it("moves on by advance, without running anything", function()
    local clock = testing.virtual_clock(loop)
    local start, ran = loop:time(), {}
    loop:call_later(10, function() ran[#ran + 1] = loop:time() - start end)
    clock:advance(4)
    assert.equal(start + 4, loop:time())
    loop:add_callback(clock.advance, clock, 16)
    assert.same({}, ran)
    loop:run_sync(function()
      await()
      assert.equal(start + 20, loop:time())
      await(sleep(0))
      assert.same({ 20 }, ran)
    end)
    clock:advance(0)
    assert.equal(start + 20, loop:time())
  end)

  it("stopped, goes on from where it is", function()
    local clock = testing.virtual_clock(loop)
    clock:advance(3600)
    local start = loop:time()
    clock:stop()
    clock:stop()
    local before = os.clock()
    repeat until os.clock() - before > 0.002
    local now = loop:time()
    assert.is_true(now > start and now < start + 60)
    loop:run_sync(function() await(sleep(0.002)) end)
    assert.is_true(loop:time() >= now + 0.002)
    clock:advance(10)
    assert.is_true(loop:time() >= now + 10)
    testing.virtual_clock(loop)
    local still = loop:time()
    loop:run_sync(function() await(sleep(100)) end)
    assert.equal(still + 100, loop:time())
  end)

  it("is stopped by <close>", function()
    do
      local clock <close> = testing.virtual_clock(loop)
      clock:advance(1)
    end
    local start = loop:time()
    repeat until loop:time() > start
  end)

  it("outlives neither its loop nor its use", function()
    assert.is_true(gc.collects(function()
      local other = IOLoop(false)
      local clock = testing.virtual_clock(other)
      other:close()
      clock:stop()
      return clock
    end))
    assert.is_true(gc.collects(function()
      local other = IOLoop(false)
      testing.virtual_clock(other)
      other:call_later(60, error, "never")
      other:close()
      assert.is_number(other:time())
      return other
    end))
  end)

  it("is there for tests", gen_test(function()
    testing.virtual_clock(IOLoop.current())
    local start = IOLoop.current():time()
    await(sleep(86400))
    assert.equal(start + 86400, IOLoop.current():time())
  end))

  it("does not hide from a test that it takes too long", function()
    local beats, timeout = 0, 0.02
    repeat -- a busy machine may need more for some beats
      local err = failure_of(function()
        testing.virtual_clock()
        while true do
          await(sleep(1))
          beats = beats + 1
        end
      end, { timeout = timeout })
      contains(err, ("not done after %.2f seconds"):format(timeout))
      timeout = timeout * 2
    until beats > 10
  end)
end)

describe("a wrong argument", function()
  it("of gen_test raises at the caller's line", function()
    bad(function() local _ = gen_test() end, 1, "gen_test", "function", "nil")
    bad(function() local _ = gen_test(3) end, 1, "gen_test", "function",
      "number")
    local function refuses(options, ...)
      bad(function() local _ = gen_test(print, options) end, 2, "gen_test", ...)
    end
    refuses(5, "table", "number")
    refuses({ timeout = "5" }, "field 'timeout': number", "string")
    refuses({ timeout = 0 }, "field 'timeout': number of seconds above 0",
      "number")
    refuses({ timeout = -1 }, "field 'timeout'")
    refuses({ timeout = 0/0 }, "field 'timeout'")
    refuses({ io_loop = 3 }, "field 'io_loop': IOLoop", "number")
    refuses({ time = 5 }, "no option 'time'")
    refuses({ 5 }, "no option '1'")
  end)

  it("of virtual_clock too", function()
    bad(function() local _ = testing.virtual_clock(3) end, 1, "virtual_clock",
      "IOLoop", "number")
    local loop = IOLoop(false)
    local clock = testing.virtual_clock(loop)
    bad(function() clock:advance() end, 1, "advance", "number", "nil")
    bad(function() clock:advance("1") end, 1, "advance", "number", "string")
    for _, seconds in ipairs { -1, 0/0, math.huge, -math.huge } do
      bad(function() clock:advance(seconds) end, 1, "advance",
        "a time that goes forward")
    end
    loop:close()
    assert.has_error(function() testing.virtual_clock(loop) end)
    assert.has_error(function() clock:advance(1) end)
  end)
end)
