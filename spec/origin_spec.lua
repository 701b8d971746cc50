-- SPDX-License-Identifier: MIT
-- Where an error was first raised is in exc_info(), in the log and in the
-- message of the top level, whatever the error has passed through.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local Future, chain_future = concurrent.Future, concurrent.chain_future
local return_future = concurrent.return_future
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- The error is raised here, and nowhere else.
local LINE
local function boom(err)
  LINE = debug.getinfo(1, "l").currentline + 1
  error(err, 0)
end
local ORIGIN = function() return "origin_spec.lua:" .. LINE .. ": in" end

local errors = { "trouble", setmetatable({}, { __tostring = function()
  return "an object"
end }) }

-- A Future of a coroutine that fails after a turn.
local fails = gen.coroutine(function(err)
  yield()
  boom(err)
end)

local ANY = {} -- in place of the error: it has changed on its way

local function caught(future)
  local ok, err = pcall(yield, future)
  assert(not ok)
  return err
end

-- Each: function(err) → a Future that fails, or has failed, with the error by
-- some way.  Called in a coroutine.
local ways = {
  ["a coroutine"] = fails,
  ["coroutines"] = function(err)
    return gen.coroutine(function()
      return yield(gen.coroutine(function() return yield(fails(err)) end)())
    end)()
  end,
  ["chain_future"] = function(err)
    local f = Future()
    chain_future(fails(err), f)
    return f
  end,
  ["multi"] = function(err) return gen.multi { fails(err) } end,
  ["a table that is yielded"] = function(err)
    return gen.coroutine(function() yield { a = fails(err) } end)()
  end,
  ["with_timeout"] = function(err)
    return gen.with_timeout({ hours = 1 }, fails(err))
  end,
  ["WaitIterator"] = function(err)
    return gen.WaitIterator(fails(err)):next()
  end,
  ["results() of a WaitIterator"] = function(err)
    return gen.coroutine(function()
      for _ in gen.WaitIterator(fails(err)):results() do yield() end
    end)()
  end,
  ["results() of a WaitIterator whose Future is done"] = function(err)
    local f = fails(err)
    pcall(yield, f)
    return gen.coroutine(function()
      for _ in gen.WaitIterator(f):results() do yield() end
    end)()
  end,
  ["an error that is raised again at once"] = function(err)
    return gen.coroutine(function() error(caught(fails(err)), 0) end)()
  end,
  ["an error that is raised again later"] = function(err)
    return gen.coroutine(function()
      local same = caught(fails(err))
      yield(gen.sleep(0))
      yield()
      collectgarbage()
      error(same, 0)
    end)()
  end,
  ["an error that is raised again after other coroutines"] = function(err)
    return gen.coroutine(function()
      local same = caught(fails(err))
      local other = gen.coroutine(function() pcall(yield, fails("other")) end)
      yield { other(), other(), gen.coroutine(function() end)() }
      error(same, 0)
    end)()
  end,
  ["an error from await"] = function(err)
    return gen.coroutine(function()
      local _, same = pcall(gen.await, fails(err))
      yield()
      error(same, 0)
    end)()
  end,
  ["an error that is raised again with a position"] = function(err)
    return gen.coroutine(function()
      local same = caught(fails(err))
      yield()
      error(same)
    end)(), type(err) == "string" and ANY
  end,
  ["an error from xpcall"] = function(err)
    return gen.coroutine(function()
      local _, same = xpcall(yield, function(e) return e end, fails(err))
      error(same, 0)
    end)()
  end,
  ["result()"] = function(err)
    return gen.coroutine(function()
      local f = fails(err)
      pcall(yield, f)
      local _, same = pcall(f.result, f)
      error(same, 0)
    end)()
  end,
  ["exception()"] = function(err)
    return gen.coroutine(function()
      local f = fails(err)
      yield(gen.sleep(0))
      while not f:done() do yield() end
      error(f:exception(), 0)
    end)()
  end,
  ["exc_info() in a callback"] = function(err)
    local f = Future()
    fails(err):add_done_callback(function(done)
      f:set_exception((done:exc_info()))
    end)
    return f
  end,
  ["set_exception"] = function(err)
    local f = Future()
    gen.coroutine(function() f:set_exception(caught(fails(err))) end)()
    return f
  end,
  ["set_exception, later"] = function(err)
    local f = Future()
    gen.coroutine(function()
      local same = caught(fails(err))
      yield()
      f:set_exception(same)
    end)()
    return f
  end,
  ["set_exc_info"] = function(err)
    local f = Future()
    gen.coroutine(function() f:set_exc_info(caught(fails(err))) end)()
    return f
  end,
  ["exception() and set_exception in a callback of the loop"] = function(err)
    local f = Future()
    loop:add_future(fails(err), function(done)
      f:set_exception(done:exception())
    end)
    return f
  end,
  ["a close handler that waits"] = function(err)
    return gen.coroutine(function()
      local _ <close> = setmetatable({}, { __close = function()
        yield(gen.sleep(0))
      end })
      yield(fails(err))
    end)()
  end,
  ["an object that is awaited"] = function(err)
    return gen.coroutine(function()
      yield(setmetatable({}, { __await = function() boom(err) end }))
    end)()
  end,
  ["a generator"] = function(err)
    return gen.coroutine(function()
      local f = fails(err)
      pcall(yield, f)
      local step = coroutine.create(function() f:result() end)
      local _, same = coroutine.resume(step)
      error(same, 0)
    end)()
  end,
  ["return_future"] = return_future(function(err, callback)
    loop:add_callback(function()
      boom(err)
      callback()
    end)
  end),
  ["return_future of an engine"] = return_future(gen.engine(
    function(err, callback)
      yield(gen.sleep(0))
      boom(err)
      callback()
    end)),
  ["return_future of an engine that waits"] = return_future(gen.engine(
    function(err, callback)
      yield(fails(err))
      callback()
    end)),
  ["return_future of an engine that catches"] = return_future(gen.engine(
    function(err, callback)
      local same = caught(fails(err))
      yield()
      error(same, 0)
      callback()
    end)),
  ["return_future, at once"] = function(err)
    return gen.coroutine(function()
      return_future(function(_) boom(err) end)()
    end)()
  end,
  ["return_future in return_future"] = return_future(function(err, callback)
    return_future(gen.engine(function(_)
      yield(fails(err))
    end))()
    loop:add_future(fails(err), function(f) callback(f:result()) end)
  end),
  ["Task"] = function(err)
    return gen.Task(function(callback)
      loop:add_callback(function()
        boom(err)
        callback()
      end)
    end)
  end,
  ["Task of an engine"] = function(err)
    return gen.Task(gen.engine(function(callback)
      yield(fails(err))
      callback()
    end))
  end,
  ["stack contexts"] = function(err)
    local f = Future()
    stack_context.ExceptionStackContext(function(same, traceback)
      f:set_exc_info(same, traceback)
      return true
    end):run(function()
      stack_context.StackContext(function()
        return { enter = function() end, exit = function() end }
      end):run(function()
        stack_context.ExceptionStackContext(function() end):run(function()
          loop:add_future(fails(err), function(done) done:result() end)
        end)
      end)
    end)
    return f
  end,
  ["NullContext in a coroutine"] = function(err)
    return gen.coroutine(function()
      local f = fails(err)
      pcall(yield, f)
      stack_context.NullContext():run(function() f:result() end)
    end)()
  end,
  ["run_with_stack_context"] = function(err)
    return gen.coroutine(function()
      stack_context.run_with_stack_context(stack_context.NullContext(),
        function() boom(err) end)
    end)()
  end,
  ["a wrapped function"] = function(err)
    local fn
    stack_context.ExceptionStackContext(function() end):run(function()
      fn = stack_context.wrap(function() boom(err) end)
    end)
    return gen.coroutine(function() fn() end)()
  end,
  ["the dummy executor"] = function(err)
    return concurrent.dummy_executor:submit(boom, err)
  end,
  ["run_on_executor with the dummy executor"] = function(err)
    local object = { executor = concurrent.dummy_executor }
    return concurrent.run_on_executor(function() boom(err) end)(object)
  end,
  ["an error that the dummy executor was given"] = function(err)
    return gen.coroutine(function()
      local f = fails(err)
      pcall(yield, f)
      yield(concurrent.dummy_executor:submit(f.result, f))
    end)()
  end,
  ["a YieldPoint's is_ready"] = function(err)
    local Point = gen.YieldPoint:subclass("Point")
    function Point.start() end
    function Point.is_ready() boom(err) end
    function Point.get_result() end
    return gen.coroutine(function() yield(Point()) end)()
  end,
  ["a YieldPoint's get_result"] = function(err)
    local Point = gen.YieldPoint:subclass("Point")
    function Point.start() end
    function Point.is_ready() return true end
    function Point.get_result() boom(err) end
    return gen.coroutine(function() yield(Point()) end)()
  end,
  ["a YieldPoint's start"] = function(err)
    local Point = gen.YieldPoint:subclass("Point")
    function Point.start() boom(err) end
    function Point.is_ready() return true end
    function Point.get_result() end
    return gen.coroutine(function() yield(Point()) end)()
  end,
  ["a thread's run"] = function(err)
    local executor = concurrent.ThreadPoolExecutor(1)
    LINE = debug.getinfo(1, "l").currentline + 5 -- in the thread
    local f = executor:submit(function(same)
      local lunado = require "lunado"
      lunado.run(function()
        coroutine.yield(lunado.coroutine(function()
          error(same, 0)
        end)())
      end)
    end, type(err) ~= "table" and err or nil)
    executor:shutdown(false)
    return f, type(err) == "table" and "<no error object>"
  end,
  ["comparing items of a queue"] = function(err)
    local q = require "lunado.queues".PriorityQueue(1)
    local item = setmetatable({}, { __lt = function() boom(err) end })
    q:put(item)
    local f = q:put(setmetatable({}, getmetatable(item)))
    pcall(q.get, q)
    return f
  end,
  ["MultiYieldPoint"] = function(err)
    return gen.coroutine(function()
      yield(gen.MultiYieldPoint { fails(err) })
    end)()
  end,
  ["convert_yielded"] = function(err)
    return gen.convert_yielded { fails(err) }
  end,
  ["maybe_future"] = function(err) return gen.maybe_future(fails(err)) end,
  ["another loop's run"] = function(err)
    return gen.coroutine(function()
      local other = loops.open()
      local ok, same = pcall(other.run_sync, other, function()
        yield(fails(err))
      end)
      assert(not ok)
      other:close()
      loop:make_current()
      yield()
      error(same, 0)
    end)()
  end,
}

local function names(of)
  local list = {}
  for name in pairs(of) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function has_origin(traceback, err, what)
  assert(type(traceback) == "string" and traceback:find(ORIGIN(), 1, true),
    ("%s: %s is not in %s:\n%s"):format(tostring(err), ORIGIN(), what,
      tostring(traceback)))
end

for _, name in ipairs(names(ways)) do
  describe("an error that passes through " .. name, function()
    if name == "return_future in return_future" then -- nobody has the inner one
      before_each(function() log:allow "exception was never retrieved" end)
    end

    for _, err in ipairs(errors) do
      it("shows where it was raised in exc_info: " .. tostring(err),
        function()
          local f, instead
          run(function()
            f, instead = ways[name](err)
            pcall(yield, f)
          end)
          local same, traceback = f:exc_info()
          if instead ~= ANY then
            assert.is_true(rawequal(same, instead or err), tostring(same))
          end
          has_origin(traceback, err, "exc_info")
        end)

      it("shows it in the log: " .. tostring(err), function()
        run(function()
          local f = ways[name](err)
          while not f:done() do yield(gen.sleep(0)) end
          for _ = 1, 6 do yield() end -- what else is on its way
        end)
        gc.collect()
        gc.collect()
        assert.is_true(log:count(ORIGIN()) > 0, log:text())
      end)

      it("shows it to callbacks and contexts: " .. tostring(err), function()
        local told
        run(function()
          stack_context.ExceptionStackContext(function(_, traceback)
            told = traceback
            return true
          end):run(function()
            loop:add_future(gen.coroutine(function()
              yield(stack_context.run_with_stack_context(
                stack_context.NullContext(), function()
                  return (ways[name](err))
                end))
            end)(), function(done) done:result() end)
          end)
          while not told do yield(gen.sleep(0)) end
        end)
        has_origin(told, err, "the handler's traceback")
      end)
    end
  end)
end

describe("a callback that returns a Future", function()
  it("has the error reported with its place", function()
    loop:add_callback(fails, "trouble")
    loops.turn(loop, 4)
    has_origin(log:first("Exception in callback"), "trouble", "the log")
  end)
end)

describe("the callback of a coroutine", function()
  it("has the error reported with its place", function()
    fails("trouble", util.kwargs { callback = print })
    loops.turn(loop, 4)
    has_origin(log:first("Exception in callback"), "trouble", "the log")
  end)
end)

describe("another error", function()
  it("has nothing of the previous error", function()
    local f = run(function()
      local g = gen.coroutine(function()
        pcall(yield, fails("trouble"))
        pcall(yield, fails({}))
        error("else", 0)
      end)()
      pcall(yield, g)
      return g and { g }
    end)[1]
    local _, traceback = f:exc_info()
    assert.is_nil(traceback:find(ORIGIN(), 1, true), traceback)
    f = gen.coroutine(function()
      pcall(yield, fails("trouble"))
      error()
    end)()
    loops.turn(loop, 4)
    _, traceback = f:exc_info()
    assert.is_nil(traceback:find(ORIGIN(), 1, true), traceback)
  end)

  it("in a coroutine on the same thread has nothing of it, either",
    function()
      local f = Future()
      f:set_exception("trouble")
      run(function()
        yield(gen.coroutine(function() pcall(yield, f) end)())
        local g = gen.coroutine(function() error("trouble", 0) end)()
        local _, traceback = g:exc_info()
        assert.is_nil(traceback:find("awaited by", 1, true), traceback)
      end)
    end)

  it("outside of the callback that was given one has nothing of it",
    function()
      local f = Future()
      f:set_exception("trouble")
      pcall(f.result, f)
      loop:add_callback(function() error("trouble", 0) end)
      loops.turn(loop, 2)
      local message = log:first("Exception in callback")
      assert.is_nil(message:find("awaited by", 1, true), message)
      f:exception()
    end)
end)

-- Another place than boom's.
local function bang(err)
  error(err, 0)
end
local BANG = "origin_spec.lua:" .. debug.getinfo(bang, "S").linedefined + 1
  .. ": in"

local bangs = gen.coroutine(function(err)
  yield()
  bang(err)
end)

local function object(name)
  return setmetatable({}, { __tostring = function() return name end })
end

local function raise(err) error(err, 0) end
local raises = gen.coroutine(raise)

-- A coroutine that is given both errors, and raises the one again.
local picks = gen.coroutine(function(one, other)
  local err = caught(one)
  caught(other)
  raise(err)
end)

local function set_on_future(err)
  local f = Future()
  f:set_exception(err)
  return f
end

-- The two errors, each raised again, in alternation, by so many coroutines, and
-- set on so many Futures.
local function alternate(rounds, one, other)
  for _ = 1, rounds do one, other = picks(one, other), picks(other, one) end
  local err, second = caught(one), caught(other)
  for _ = 1, rounds do
    err = caught(set_on_future(err))
    second = caught(set_on_future(second))
  end
  return err, second
end

local function of_bang(traceback)
  assert(traceback:find(BANG, 1, true), traceback)
  assert.is_nil(traceback:find(ORIGIN(), 1, true), traceback)
end

describe("each of two errors that alternate", function()
  for name, make in pairs {
    strings = tostring,
    objects = object,
    ["a string and an object"] = function(text)
      return text == "one" and text or object(text)
    end,
    numbers = function(text) return #text + (text == "one" and 0.5 or 0) end,
  } do
    for _, rounds in ipairs { 0, 1, 2, 20 } do
      it(("has its own place: %s, %d"):format(name, rounds), function()
        run(function()
          local first, second
          local f = gen.coroutine(function()
            first, second = alternate(rounds, fails(make "one"),
              bangs(make "other"))
            raise(first)
          end)()
          pcall(yield, f)
          has_origin(select(2, f:exc_info()), first, "exc_info")
          assert.is_nil(select(2, f:exc_info()):find(BANG, 1, true))
          local g = gen.coroutine(function()
            second, first = alternate(rounds, bangs(second), fails(first))
            raise(second)
          end)()
          pcall(yield, g)
          of_bang(select(2, g:exc_info()))
        end)
      end)
    end
  end

  it("has its own place when it is set on a Future", function()
    run(function()
      local a, b = Future(), Future()
      local one, other = alternate(1, fails("one"), bangs("other"))
      a:set_exception(one)
      b:set_exception(other)
      has_origin(select(2, a:exc_info()), one, "exc_info")
      of_bang(select(2, b:exc_info()))
    end)
  end)

  it("has its own place behind a position", function()
    run(function()
      local f = gen.coroutine(function()
        error((alternate(0, fails("one"), bangs("other"))))
      end)()
      pcall(yield, f)
      has_origin(select(2, f:exc_info()), "one", "exc_info")
    end)
  end)

  it("has its own place in the log", function()
    run(function()
      gen.coroutine(function()
        raise((alternate(1, fails("one"), bangs("other"))))
      end)()
      yield(gen.sleep(0))
      for _ = 1, 9 do yield() end
    end)
    gc.collect()
    gc.collect()
    has_origin(log:first "never retrieved", "one", "the log")
  end)

  it("has its own place in the message of the top level", function()
    local result = child([[
      local lunado = require "lunado"
      local function a() error("one", 0) end -- line 2
      local function b() error("other", 0) end
      lunado.run(function()
        local f, g = lunado.coroutine(a)(), lunado.coroutine(b)()
        local _, one = pcall(coroutine.yield, f)
        pcall(coroutine.yield, g)
        error(one, 0)
      end)
    ]])
    assert.is_truthy(result.err:find "script.lua:2: in", result.err)
    assert.is_nil(result.err:find "script.lua:3: in", result.err)
  end)

  it("has its own place, equal strings, where it was given last", function()
    run(function()
      for _, first in ipairs { false, true } do
        local f = gen.coroutine(function()
          local one = first and bangs "equal" or fails "equal"
          local other = first and fails "equal" or bangs "equal"
          for _ = 1, 3 do
            pcall(yield, raises(caught(one)))
            pcall(yield, raises(caught(other)))
          end
          raise(caught(one))
        end)()
        pcall(yield, f)
        local _, traceback = f:exc_info()
        if first then
          of_bang(traceback)
        else
          has_origin(traceback, "equal", "exc_info")
        end
      end
    end)
  end)
end)

describe("the first of sixteen errors", function()
  for name, make in pairs { strings = tostring, objects = object } do
    it("has its place: " .. name, function()
      run(function()
        local f = gen.coroutine(function()
          local first, others = caught(fails(make "first")), {}
          for i = 1, 15 do others[i] = make("error " .. i) end
          for i = 1, 30 do caught(bangs(others[(i - 1) % 15 + 1])) end
          raise(first)
        end)()
        pcall(yield, f)
        has_origin(select(2, f:exc_info()), "first", "exc_info")
      end)
    end)
  end
end)

describe("the last of many errors", function()
  for _, count in ipairs { 15, 16, 17, 40 } do
    it(("has its place: %d"):format(count), function()
      run(function()
        local f = gen.coroutine(function()
          for i = 1, count do caught(bangs("error " .. i)) end
          raise(caught(fails("last")))
        end)()
        pcall(yield, f)
        has_origin(select(2, f:exc_info()), "last", "exc_info")
      end)
    end)
  end
end)

describe("an error that is no key of a table", function()
  it("is raised as any other", function()
    run(function()
      for _, last in ipairs { "one", 0 / 0 } do
        local f = gen.coroutine(function()
          for _ = 1, 2 do
            caught(fails(0 / 0))
            caught(fails("two"))
            caught(fails(0 / 0))
          end
          raise(caught(fails(last)))
        end)()
        local err = caught(f)
        assert.is_true(err == last or err ~= err)
      end
    end)
  end)
end)

describe("a coroutine that is given errors for ever", function()
  it("takes no more memory", function()
    run(function()
      local rounds, kilobytes = times(4000), nil
      for i = 1, rounds do
        caught(raises(object "trouble"))
        caught(raises("trouble " .. i))
        if i == rounds // 2 then kilobytes = gc.kilobytes() end
      end
      assert(gc.kilobytes() - kilobytes < 20)
    end)
  end)
end)

describe("an error that is handed on for ever", function()
  it("takes no more memory, and still shows its place", function()
    run(function()
      local first = fails("trouble")
      pcall(yield, first)
      local f, kilobytes = first, nil
      local rounds = times(3000)
      for i = 1, rounds do
        local err = f:exception()
        f = Future()
        f:set_exception(err)
        pcall(yield, f)
        if i == rounds // 2 then kilobytes = gc.kilobytes() end
      end
      assert(gc.kilobytes() - kilobytes < 20)
      has_origin(select(2, f:exc_info()), "trouble", "exc_info")
    end)
  end)
end)

describe("an error that a coroutine was given", function()
  it("is released when another has followed", function()
    run(function()
      assert(gc.collects(function()
        local err = object "trouble"
        caught(fails(err))
        caught(fails(object "another"))
        return err
      end))
    end)
  end)

  it("is released when the coroutine ends", function()
    run(function()
      assert(gc.collects(function()
        local err = {}
        gen.coroutine(function() pcall(yield, fails(err)) end)()
        yield(gen.sleep(0))
        yield()
        return err
      end))
    end)
  end)
end)

describe("the message of the top level", function()
  for _, name in ipairs { "run(fails)", "run(function() "
    .. "local ok, err = pcall(coroutine.yield, fails()) coroutine.yield() "
    .. "error(err, 0) end)",
    "run(lunado.concurrent.return_future(lunado.gen.engine(function(cb) "
      .. "coroutine.yield(fails()) cb() end)))" } do
    it("shows it: " .. name, function()
      local result = child(([[
        local lunado = require "lunado"
        local run = lunado.run
        local fails = lunado.coroutine(function()
          coroutine.yield()
          error("trouble", 0) -- line 5
        end)
        %s
      ]]):format(name))
      assert.equal(1, result.code)
      assert.is_truthy(result.err:find "script.lua:5: in", result.err)
    end)
  end
end)
