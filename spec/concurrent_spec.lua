-- SPDX-License-Identifier: MIT
-- lunado.concurrent: what a Future promises to who sets it and who reads it.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local isinstance = require "lunado.util".isinstance
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local outcomes = require "spec.support.outcomes"
local times = require "spec.support.times"
local values = require "spec.support.values"

local Future = concurrent.Future
local done_with, failed_with = outcomes.done, outcomes.observed
local chain_future = concurrent.chain_future
local InvalidStateError = concurrent.InvalidStateError

local NO_ERROR = "<no error object>"

local function raises_invalid_state(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(isinstance(err, InvalidStateError), tostring(err))
end

-- Calls fn at the bottom of `depth` nested pcalls, each a level of C.
local function under(depth, fn)
  if depth == 0 then
    return fn()
  end
  assert(pcall(under, depth - 1, fn))
end

describe("a pending Future", function()
  it("is running, and not done", function()
    local f = Future()
    assert.is_false(f:done())
    assert.is_true(f:running())
  end)

  it("has neither result nor exception yet", function()
    local f = Future()
    raises_invalid_state(f.result, f)
    raises_invalid_state(f.exception, f)
    assert.is_nil((f:exc_info()))
    assert.is_false(f:done())
  end)

  it("accepts a timeout and does not use it", function()
    local f = Future()
    raises_invalid_state(f.result, f, 10)
    raises_invalid_state(f.exception, f, 10)
    f:set_result("x")
    assert.equal("x", f:result(0))
    assert.is_nil(f:exception(0))
  end)

  it("cannot be cancelled", function()
    local f = Future()
    assert.is_false(f:cancel())
    assert.is_false(f:cancelled())
    assert.is_true(f:running())
    f:set_result(1)
    assert.is_false(f:cancel())
    assert.is_false(f:cancelled())
    assert.equal(1, f:result())
  end)
end)

describe("set_result", function()
  for _, case in ipairs(values.lists) do
    it("takes " .. case[1], function()
      local f = done_with(values.unpack(case[2]))
      assert.same(case[2], table.pack(f:result()))
      assert.same(case[2], table.pack(f:result()))
      assert.is_true(f:done())
      assert.is_false(f:running())
      assert.is_nil(f:exception())
      assert.is_nil((f:exc_info()))
    end)
  end

  it("keeps identities", function()
    local t, fn = {}, function() end
    local a, b, c = done_with(t, fn, io.stdout):result()
    assert.equal(t, a)
    assert.equal(fn, b)
    assert.equal(io.stdout, c)
  end)

  it("may take the Future itself", function()
    local f = Future()
    f:set_result(f)
    assert.equal(f, f:result())
  end)
end)

describe("set_exception", function()
  for _, case in ipairs(values.errors) do
    it("takes " .. case[1] .. " and hands it on unchanged", function()
      local f = failed_with(case[2])
      assert.is_true(f:done())
      assert.is_false(f:running())
      assert.is_true(rawequal(case[2], f:exception()))
      local ok, err = pcall(f.result, f)
      assert.is_false(ok)
      assert.is_true(rawequal(case[2], err))
      assert.is_true(rawequal(case[2], (f:exc_info())))
      assert.is_string((select(2, f:exc_info())))
    end)
  end

  it("takes nil as error(nil)", function()
    local f = failed_with(nil)
    assert.equal(NO_ERROR, f:exception())
    local ok, err = pcall(f.result, f)
    assert.is_false(ok)
    assert.equal(NO_ERROR, err)
  end)
end)

describe("set_exc_info", function()
  it("fails it, with the traceback given", function()
    local f, err = Future(), {}
    f:set_exc_info(err, "stack traceback:\n\tsomewhere.lua:12: in here")
    local got, traceback = f:exc_info()
    assert.equal(err, got)
    assert.is_truthy(traceback:find("somewhere.lua:12: in here", 1, true))
    assert.equal(err, f:exception())
  end)

  it("does not require a traceback", function()
    local f = Future()
    f:set_exc_info("boom")
    local err, traceback = f:exc_info()
    assert.equal("boom", err)
    assert.is_string(traceback)
  end)
end)

describe("a second set", function()
  local setters = {
    set_result = function(f) f:set_result("second") end,
    set_exception = function(f) f:set_exception("second") end,
    set_exc_info = function(f) f:set_exc_info("second", "second") end,
  }
  for name, set in pairs(setters) do
    it("by " .. name .. " raises and changes nothing", function()
      local f = done_with(1, nil, 2)
      raises_invalid_state(set, f)
      assert.same(table.pack(1, nil, 2), table.pack(f:result()))

      local g = Future()
      g:set_exc_info("first", "first trace")
      raises_invalid_state(set, g)
      local err, traceback = g:exc_info()
      assert.equal("first", err)
      assert.is_nil(traceback:find("second", 1, true))
    end)

    it("by " .. name .. " raises within a callback, too", function()
      local f, seen = Future(), nil
      f:add_done_callback(function(same)
        raises_invalid_state(set, same)
        seen = same:result()
      end)
      f:set_result("first")
      assert.equal("first", seen)
    end)
  end
end)

describe("add_done_callback", function()
  local log
  before_each(function() log = frame.begin_default() end)
  after_each(function() frame.finish() end)

  it("calls fn with the Future, in order, before set_result returns",
    function()
      local f, calls = Future(), {}
      for i = 1, 20 do
        f:add_done_callback(function(...)
          calls[#calls + 1] = i
          assert(select("#", ...) == 1 and ... == f and f:done())
        end)
      end
      f:set_result()
      assert.equal(20, #calls)
      for i = 1, 20 do
        assert.equal(i, calls[i])
      end
      assert.equal("", log:text())
    end)

  it("calls before set_exception returns", function()
    local f, seen = Future(), nil
    f:add_done_callback(function(same) seen = same:exception() end)
    f:set_exception("boom")
    assert.equal("boom", seen)
  end)

  it("calls at once when it is done", function()
    local f, seen = done_with(5), nil
    f:add_done_callback(function(same) seen = same:result() end)
    assert.equal(5, seen)
  end)

  it("calls a function as often as it was added", function()
    local f, n = Future(), 0
    local function count() n = n + 1 end
    f:add_done_callback(count)
    f:add_done_callback(count)
    f:set_result()
    assert.equal(2, n)
  end)

  it("takes callbacks from a callback", function()
    local f, order = Future(), {}
    f:add_done_callback(function()
      order[#order + 1] = 1
      f:add_done_callback(function() order[#order + 1] = "new" end)
    end)
    f:add_done_callback(function() order[#order + 1] = 2 end)
    f:set_result()
    table.sort(order, function(a, b) return tostring(a) < tostring(b) end)
    assert.same({ 1, 2, "new" }, order)
  end)

  for _, case in ipairs(values.errors) do
    it("logs a callback that raises " .. case[1] .. ", and goes on",
      function()
        local f, reached = Future(), 0
        f:add_done_callback(function() reached = reached + 1 end)
        f:add_done_callback(function() error(case[2], 0) end)
        f:add_done_callback(function() error() end)
        f:add_done_callback(function() reached = reached + 1 end)
        f:set_result("kept")
        assert.equal(2, reached)
        assert.equal("kept", f:result())
        assert.equal(2, #log, log:text())
        assert.equal(2, log:count "Exception in callback function <")
      end)
  end

  it("logs the error with its line", function()
    local f = Future()
    f:add_done_callback(function() error("in the callback") end)
    local line = debug.getinfo(1, "l").currentline - 1
    f:set_result()
    local message = log:first("in the callback")
    assert.is_truthy(message:find("concurrent_spec.lua:" .. line, 1, true),
      message)
  end)

  it("raises to its caller if the Future is already done", function()
    local f, err = done_with(1), {}
    local ok, got = pcall(f.add_done_callback, f, function() error(err) end)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal("", log:text())
  end)

  it("forgets callbacks that it has called", function()
    local f = Future()
    assert.is_true(gc.collects(function()
      local token = {}
      f:add_done_callback(function() return token end)
      f:set_result()
      return token
    end))
    assert.is_true(f:done())
  end)
end)

describe("a chain of callbacks", function()
  local log
  before_each(function() log = frame.begin_default() end)
  after_each(function() frame.finish() end)

  it("runs inner callbacks before the outer set returns", function()
    local a, b, order = Future(), Future(), {}
    a:add_done_callback(function()
      b:set_result()
      order[#order + 1] = "after b"
    end)
    b:add_done_callback(function() order[#order + 1] = "b" end)
    a:set_result()
    order[#order + 1] = "after a"
    assert.same({ "b", "after b", "after a" }, order)
  end)

  it("reaches its end from deep within C calls", function()
    local deepest = 0 -- some releases of Lua take less than others
    while pcall(under, deepest + 1, function() end) do deepest = deepest + 1 end
    for depth = 0, deepest - 20, 15 do
      local chain = {}
      for i = 1, 300 do
        chain[i] = Future()
      end
      for i = 1, 299 do
        chain[i]:add_done_callback(function(f)
          chain[i + 1]:set_result(f:result() + 1)
        end)
      end
      under(depth, function() chain[1]:set_result(1) end)
      assert.is_true(chain[300]:done(), "depth " .. depth .. log:text())
      assert.equal(300, chain[300]:result())
    end
    assert.equal("", log:text())
  end)
end)

describe("tostring of a Future", function()
  it("tells its state", function()
    local f = Future()
    assert.is_truthy(tostring(f):find("^Future: 0x%x+ %(pending%)$"),
      tostring(f))
    f:set_result("x")
    assert.is_truthy(tostring(f):find("^Future: 0x%x+ %(finished%)$"))
    local g = failed_with("it broke")
    assert.is_truthy(tostring(g):find("^Future: 0x%x+ %(failed: it broke%)$"))
    local h = failed_with(gen.TimeoutError("Timeout"))
    assert.is_truthy(tostring(h):find("(failed: TimeoutError: Timeout)", 1,
      true))
  end)

  it("differs between two Futures", function()
    local f, g = Future(), Future()
    assert.are_not.equal(tostring(f), tostring(g))
  end)

  for _, case in ipairs(values.errors) do
    it("copes with " .. case[1] .. " as the error", function()
      local text = tostring(failed_with(case[2]))
      assert.is_truthy(text:find("^Future: 0x%x+ %(failed"), text)
    end)
  end
end)

describe("an error that nobody observed", function()
  local NEVER = "Future exception was never retrieved: "
  local log, loop
  before_each(function() loop, log = frame.begin() end)
  after_each(function() frame.finish() end)

  -- Fails a Future, hands it to fn, drops it; tells how often it was logged.
  local function logged(fn)
    local function drop()
      local f = Future()
      fn(f)
      if not f:done() then
        f:set_exception("unseen trouble")
      end
    end
    drop()
    gc.collect()
    gc.collect()
    return log:count(NEVER)
  end

  it("is logged once, when the Future is collected", function()
    assert.equal(1, logged(function() end))
    assert.is_truthy(log:first(NEVER):find(NEVER .. "unseen trouble", 1,
      true))
    gc.collect()
    assert.equal(1, log:count(NEVER))
  end)

  it("is logged with the traceback", function()
    local line
    local function drop()
      gen.coroutine(function()
        line = debug.getinfo(1, "l").currentline + 1
        error("unseen trouble")
      end)()
    end
    drop()
    gc.collect()
    local message = log:first(NEVER)
    local place = "concurrent_spec.lua:" .. line
    local _, n = message:gsub(place:gsub("%p", "%%%0"), "")
    -- In the error's text, and in the traceback below it.
    assert.is_true(n >= 2, message)
    assert.is_truthy(message:find("traceback"), message)
  end)

  it("is logged when no callback has retrieved it", function()
    assert.equal(1, logged(function(f)
      f:add_done_callback(function(same) same:done() end)
    end))
  end)

  it("is not logged after result()", function()
    assert.equal(0, logged(function(f)
      f:set_exception("unseen trouble")
      pcall(f.result, f)
    end))
  end)

  it("is not logged after exception()", function()
    assert.equal(0, logged(function(f)
      f:set_exception("unseen trouble")
      f:exception()
    end))
  end)

  it("is not logged after exc_info()", function()
    assert.equal(0, logged(function(f)
      f:set_exception("unseen trouble")
      f:exc_info()
    end))
  end)

  it("is not logged when a callback retrieves it", function()
    assert.equal(0, logged(function(f)
      f:add_done_callback(function(same) same:exception() end)
    end))
  end)

  it("is logged when it was asked for too early", function()
    assert.equal(1, logged(function(f)
      f:exc_info()
      pcall(f.exception, f)
      pcall(f.result, f)
    end))
  end)

  it("is not logged after a yield", function()
    assert.equal(0, logged(function(f)
      loops.run(loop, function()
        loop:add_callback(f.set_exception, f, "seen")
        pcall(coroutine.yield, f)
      end)
    end))
  end)

  it("is not logged after a yield of a done Future", function()
    assert.equal(0, logged(function(f)
      f:set_exception("seen")
      loops.run(loop, function() pcall(coroutine.yield, f) end)
    end))
  end)

  it("is not logged after await, multi and WaitIterator", function()
    assert.equal(0, logged(function(f)
      f:set_exception("seen")
      loops.run(loop, function()
        pcall(gen.await, f)
        pcall(coroutine.yield, gen.multi { f })
        pcall(coroutine.yield, gen.WaitIterator(f):next())
      end)
    end))
  end)

  it("moves along chain_future, and is logged at its end", function()
    assert.equal(1, logged(function(f)
      chain_future(f, Future())
    end))
  end)

  it("is logged for the coroutine that let it pass", function()
    local function drop()
      local f = Future()
      local waiting = gen.coroutine(function() coroutine.yield(f) end)()
      f:set_exception("unseen trouble")
      loops.turn(loop, 3)
      assert.is_true(waiting:done())
    end
    drop()
    gc.collect()
    assert.equal(1, log:count(NEVER), log:text())
  end)

  it("is logged for nil and for false", function()
    local function drop()
      Future():set_exception(nil)
      Future():set_exception(false)
    end
    drop()
    gc.collect()
    assert.equal(1, log:count(NEVER .. NO_ERROR))
    assert.equal(1, log:count(NEVER .. "false"))
  end)

  for _, case in ipairs(values.errors) do
    it("is logged for " .. case[1], function()
      assert.equal(1, logged(function(f) f:set_exception(case[2]) end))
    end)
  end

  it("is logged when the error refers to its Future", function()
    assert.equal(1, logged(function(f)
      f:set_exception(setmetatable({ future = f }, {
        __tostring = function(err) return tostring(err.future:done()) end,
      }))
    end))
  end)

  it("is logged once for each of many", function()
    local function drop()
      for i = 1, times(1000) do
        Future():set_exception(i)
      end
    end
    drop()
    gc.collect()
    assert.equal(times(1000), log:count(NEVER))
  end)

  it("is logged by the collector at work, in either mode", function()
    for _, mode in ipairs { "generational", "incremental" } do
      local old = collectgarbage(mode)
      log:clear()
      for i = 1, times(2000) do
        Future():set_exception({ { i } })
      end
      gc.collect()
      collectgarbage(old)
      assert.equal(times(2000), log:count(NEVER), mode)
    end
  end)

  it("costs Futures that succeed nothing", function()
    assert.is_nil(debug.getmetatable(Future()).__gc)
    assert.is_nil(debug.getmetatable(done_with(1)).__gc)
    assert.is_nil(debug.getmetatable(gen.coroutine(function() end)()).__gc)
  end)
end)

describe("the end of the state", function()
  local child = require "spec.support.child"
  local NEVER = "Future exception was never retrieved: "

  local function count(text, part)
    local n = 0
    for _ in text:gmatch((part:gsub("%p", "%%%0"))) do
      n = n + 1
    end
    return n
  end

  it("logs errors of Futures that are still alive, once", function()
    local r = child [[
      local lunado = require "lunado"
      kept = lunado.Future()
      kept:set_exception("global trouble")
      local also = lunado.Future()
      also:set_exception("local trouble")
      seen = lunado.Future()
      seen:set_exception("seen")
      seen:exception()
    ]]
    assert.equal(0, r.code, r.err)
    assert.equal(1, count(r.err, NEVER .. "global trouble"), r.err)
    assert.equal(1, count(r.err, NEVER .. "local trouble"), r.err)
    assert.equal(2, count(r.err, NEVER), r.err)
  end)

  it("logs them in any order of collection", function()
    local r = child [[
      local lunado = require "lunado"
      kept = {}
      for i = 1, 50 do
        -- Some older, some younger than what they are reported by.
        kept[i] = lunado.Future()
        kept[i]:set_exception(setmetatable({ kept }, {
          __tostring = function() return "trouble" end,
          __gc = function() end,
        }))
        if i == 25 then
          lunado.run(function() coroutine.yield(lunado.sleep(0)) end)
          pcall(require, "luv")
        end
      end
    ]]
    assert.equal(0, r.code, r.err)
    assert.equal(50, count(r.err, NEVER .. "trouble"), r.err)
  end)

  it("logs through the handler that is set", function()
    local r = child [[
      local lunado = require "lunado"
      lunado.log.set_handler(function(level, message)
        io.stdout:write(level, "|", message:match("^[^\n]*"), "\n")
      end)
      kept = lunado.Future()
      kept:set_exception("late trouble")
    ]]
    assert.equal("", r.err)
    assert.equal(1, count(r.out, NEVER .. "late trouble"), r.out)
  end)

  it("logs after os.exit that closes the state", function()
    local r = child [[
      local lunado = require "lunado"
      kept = lunado.Future()
      kept:set_exception("late trouble")
      lunado.run(function() end)
      os.exit(3, true)
    ]]
    assert.equal(3, r.code)
    assert.equal(1, count(r.err, NEVER .. "late trouble"), r.err)
  end)
end)

describe("TracebackFuture", function()
  it("is Future", function()
    assert.equal(Future, concurrent.TracebackFuture)
  end)
end)

describe("is_future", function()
  it("is true for Futures of every origin", function()
    for _, f in ipairs {
      Future(), done_with(1), failed_with("x"), gen.sleep(math.huge),
      gen.coroutine(function() end)(), gen.multi {}, gen.maybe_future(1),
    } do
      assert.is_true(concurrent.is_future(f))
    end
  end)

  it("is false for anything else", function()
    assert.is_false(concurrent.is_future(nil))
    assert.is_false(concurrent.is_future({}))
    assert.is_false(concurrent.is_future(Future))
    for _, case in ipairs(values.errors) do
      assert.is_false(concurrent.is_future(case[2]), case[1])
    end
  end)
end)

describe("chain_future", function()
  local log
  before_each(function() log = frame.begin_default() end)
  after_each(function() frame.finish() end)

  for _, case in ipairs(values.lists) do
    it("copies " .. case[1], function()
      local a, b = Future(), Future()
      chain_future(a, b)
      assert.is_false(b:done())
      a:set_result(values.unpack(case[2]))
      assert.same(case[2], table.pack(b:result()))
      assert.same(case[2], table.pack(a:result()))
    end)
  end

  for _, case in ipairs(values.errors) do
    it("copies the error " .. case[1], function()
      local a, b = Future(), Future()
      chain_future(a, b)
      a:set_exception(case[2])
      assert.is_true(b:done())
      assert.is_true(rawequal(case[2], b:exception()))
    end)
  end

  it("copies the traceback", function()
    local line
    local a = gen.coroutine(function()
      line = debug.getinfo(1, "l").currentline + 1
      error("boom")
    end)()
    local b = Future()
    chain_future(a, b)
    local _, traceback = b:exc_info()
    assert.is_truthy(traceback:find("concurrent_spec.lua:" .. line, 1, true),
      traceback)
  end)

  it("copies at once from a done Future", function()
    local a, b = done_with(1, nil, 3), Future()
    chain_future(a, b)
    assert.same(table.pack(1, nil, 3), table.pack(b:result()))
  end)

  it("leaves b alone if b is already done", function()
    local a, b = Future(), Future()
    chain_future(a, b)
    b:set_result("own")
    a:set_result("late")
    assert.equal("own", b:result())

    local c, d = done_with("late"), done_with("own")
    chain_future(c, d)
    assert.equal("own", d:result())
    assert.equal("", log:text())
  end)

  it("copies to many and along many", function()
    local a, b, c, d = Future(), Future(), Future(), Future()
    chain_future(a, b)
    chain_future(a, c)
    chain_future(b, d)
    a:set_result(1)
    assert.same({ 1, 1, 1 }, { b:result(), c:result(), (d:result()) })
  end)

  it("copes with a ring", function()
    local a, b = Future(), Future()
    chain_future(a, b)
    chain_future(b, a)
    chain_future(a, a)
    a:set_result(1)
    assert.equal(1, b:result())
    assert.equal("", log:text())
  end)

  it("keeps order with callbacks", function()
    local a, b, order = Future(), Future(), {}
    a:add_done_callback(function() order[#order + 1] = "first" end)
    chain_future(a, b)
    b:add_done_callback(function() order[#order + 1] = "b" end)
    a:add_done_callback(function() order[#order + 1] = "last" end)
    a:set_result()
    assert.same({ "first", "b", "last" }, order)
  end)

  it("does not keep b's chain alive by itself", function()
    assert.is_true(gc.collects(function()
      local a, b = Future(), Future()
      chain_future(a, b)
      return b
    end))
  end)
end)

describe("a Future's memory", function()
  it("is freed with the last reference, cycles included", function()
    assert.is_true(gc.collects(function()
      local f = Future()
      f:add_done_callback(function() return f end)
      return f
    end))
    assert.is_true(gc.collects(function()
      local f = Future()
      f:set_result({ f })
      return f
    end))
    assert.is_true(gc.collects(function()
      local f = failed_with({})
      f:exception().future = f
      return f
    end))
  end)

  it("holds its results and no longer", function()
    local token = {}
    local f = done_with(token, nil, { token })
    gc.collect()
    assert.equal(token, (f:result()))
    assert.is_true(gc.collects(function()
      local value = {}
      done_with(1, value)
      return value
    end))
  end)
end)

describe("a wrong argument", function()
  it("is refused by the methods", function()
    local f = Future()
    bad(function() f:add_done_callback(nil) end, 1, "add_done_callback",
      "function", "nil")
    bad(function() f:add_done_callback() end, 1, "add_done_callback",
      "function")
    bad(function() f:add_done_callback({}) end, 1, "add_done_callback",
      "function", "table")
    bad(function() f:set_exc_info("x", {}) end, 2, "set_exc_info", "string",
      "table")
    assert.is_false(f:done())
    local g = done_with(1)
    bad(function() g:add_done_callback(5) end, 1, "add_done_callback",
      "function", "number")
  end)

  it("is refused as self", function()
    local f = Future()
    for _, name in ipairs { "result", "exception", "exc_info", "done",
      "running", "cancel", "cancelled", "add_done_callback", "set_result",
      "set_exception", "set_exc_info" } do
      for _, self in ipairs { 5, "x", {}, io.stdout, false } do
        local ok, err = pcall(f[name], self, print)
        assert.is_false(ok, name)
        assert.is_truthy(tostring(err):find("future expected"), err)
      end
      assert.is_false((pcall(f[name])), name)
    end
  end)

  it("is refused by chain_future", function()
    local f, g = Future(), Future()
    bad(function() chain_future(nil, f) end, 1, "chain_future", "future",
      "nil")
    bad(function() chain_future(f, nil) end, 2, "chain_future", "future",
      "nil")
    bad(function() chain_future(f, {}) end, 2, "chain_future", "future",
      "table")
    bad(function() chain_future(done_with(1), 1) end, 2, "chain_future",
      "future", "number")
    chain_future(f, g)
    f:set_result(1)
    assert.equal(1, g:result())
  end)
end)
