-- SPDX-License-Identifier: MIT
-- Whatever takes a function takes what can be called: tables and userdata with
-- __call, also where their metatable is protected.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local ioloop = require "lunado.ioloop"
local iostream = require "lunado.iostream"
local log = require "lunado.log"
local stack_context = require "lunado.stack_context"
local testing = require "lunado.testing"
local util = require "lunado.util"
local uv = require "luv"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local pipes = require "spec.support.pipes"

local loop
local calls -- of the callable under test
before_each(function()
  loop = loops.open()
  calls = 0
  log.set_handler(function() end)
end)
after_each(function()
  log.set_handler(nil)
  loops.close(loop)
end)

-- Ways to make something callable of a function(self, ...).
local function table_of(fn) return setmetatable({}, { __call = fn }) end

local function userdata_of(fn)
  local object = io.tmpfile()
  local mt = { __gc = debug.getmetatable(object).__gc, __call = fn }
  return debug.setmetatable(object, mt)
end

local function protected_of(fn)
  return setmetatable({}, { __call = fn, __metatable = "hidden" })
end

local function nested_of(fn)
  return setmetatable({}, { __call = table_of(function(_, ...)
    return fn(...)
  end) })
end

local kinds = {
  { "a table", table_of },
  { "a userdata", userdata_of },
  { "a table whose metatable is hidden", protected_of },
  { "a table whose __call is one", nested_of },
}

local function turn() loops.turn(loop, 3) end

-- Runs a loop until the callable was called.
local function wait(on)
  loops.wait_for(on or loop, function() return calls > 0 end)
end

local quiet_error = "late"

-- Each: a name, the position of the argument, a function that passes `fn` and
-- has it called, and what it is called in messages where that differs.
local takers = {
  { "add_done_callback", 1, function(fn)
    local f = concurrent.Future()
    f:add_done_callback(fn)
    f:set_result()
  end },
  { "return_future", 1, function(fn)
    concurrent.return_future(fn)()
  end },
  { "run_on_executor", 1, function(fn)
    local self = { executor = concurrent.dummy_executor }
    concurrent.run_on_executor(fn)(self)
  end },
  { "run_on_executor", 1, function(fn)
    local self = { pool = concurrent.dummy_executor }
    concurrent.run_on_executor { executor = "pool" }(fn)(self)
  end },
  { "submit", 1, function(fn) concurrent.dummy_executor:submit(fn) end },
  { "map", 1, function(fn) concurrent.dummy_executor:map(fn, { 1 }) end },
  { "coroutine", 1, function(fn) gen.coroutine(fn)() end },
  { "engine", 1, function(fn) gen.engine(fn)() end },
  { "Task", 1, function(fn) gen.Task(fn) end },
  { "register", 2, function(fn)
    local mt = {}
    gen.convert_yielded.register(mt, fn)
    pcall(gen.convert_yielded, setmetatable({}, mt))
  end },
  { "with_timeout", 3, function(fn)
    local f = concurrent.Future()
    gen.with_timeout({ seconds = 0 }, f, fn):add_done_callback(function(done)
      done:exception()
      f:set_exception(quiet_error)
    end)
    gc.collect()
    wait()
  end },
  { "with_timeout", 3, function(fn)
    local f = concurrent.Future()
    gen.with_timeout({ seconds = 0 }, f, { "never", fn })
      :add_done_callback(function(done)
        done:exception()
        f:set_exception(quiet_error)
      end)
    wait()
  end },
  { "multi", 2, function(fn)
    local f, g = concurrent.Future(), concurrent.Future()
    local m = gen.multi({ f, g }, fn)
    f:set_exception("first")
    g:set_exception(quiet_error)
    m:exception()
  end },
  { "add_callback", 1, function(fn) loop:add_callback(fn) end },
  { "spawn_callback", 1, function(fn) loop:spawn_callback(fn) end },
  { "add_callback_from_signal", 1, function(fn)
    loop:add_callback_from_signal(fn)
  end },
  { "call_later", 2, function(fn) loop:call_later(0, fn) end },
  { "call_at", 2, function(fn) loop:call_at(0, fn) end },
  { "add_timeout", 2, function(fn) loop:add_timeout(0, fn) end },
  { "add_future", 2, function(fn)
    local f = concurrent.Future()
    loop:add_future(f, fn)
    f:set_result()
  end },
  { "add_handler", 2, function(fn)
    local p = pipes.pipe()
    loop:add_handler(p.write, fn, loop.WRITE)
    turn()
    loop:remove_handler(p.write)
    pipes.close(p.read)
    pipes.close(p.write)
  end },
  { "add_signal_handler", 2, function(fn)
    loop:add_signal_handler("sigusr2", fn)
    uv.kill(uv.os_getpid(), "sigusr2")
    wait()
    loop:remove_signal_handler("sigusr2")
  end },
  { "run_sync", 1, function(fn) loop:run_sync(fn) end },
  { "run", 1, function(fn) require "lunado".run(fn) end },
  { "PeriodicCallback", 1, function(fn)
    local periodic = ioloop.PeriodicCallback(fn, 0.1, loop)
    periodic:start()
    wait()
    periodic:stop()
  end },
  { "StackContext", 1, function(fn)
    pcall(function()
      stack_context.StackContext(fn):run(function() end)
    end)
  end, creates = function(fn) stack_context.StackContext(fn) end },
  { "ExceptionStackContext", 1, function(fn)
    pcall(function()
      stack_context.ExceptionStackContext(fn):run(error)
    end)
  end, creates = function(fn) stack_context.ExceptionStackContext(fn) end },
  { "run", 1, function(fn)
    stack_context.ExceptionStackContext(print):run(fn)
  end },
  { "run", 1, function(fn) stack_context.NullContext():run(fn) end },
  { "wrap", 1, function(fn)
    local wrapped = stack_context.wrap(fn)
    if wrapped then wrapped() end
  end, no_nil = true },
  { "wrap", 1, function(fn)
    local wrapped
    stack_context.ExceptionStackContext(print):run(function()
      wrapped = stack_context.wrap(fn)
    end)
    if wrapped then wrapped() end
  end, no_nil = true, creates = function() stack_context.wrap(1) end },
  { "run_with_stack_context", 2, function(fn)
    stack_context.run_with_stack_context(stack_context.NullContext(), fn)
  end },
  { "set_handler", 1, function(fn)
    log.set_handler(fn)
    log.app_log:error("x")
  end, no_nil = true },
  { "gen_test", 1, function(fn)
    local test = testing.gen_test(fn)
    loops.close(loop)
    test()
    loop = loops.open()
  end, creates = function(fn) testing.gen_test(fn) end },
  { "set_close_callback", 1, function(fn)
    local instance = ioloop.IOLoop.instance()
    local stream = iostream.IOStream(uv.new_tcp())
    stream:set_close_callback(fn)
    stream:close()
    wait(instance)
  end, no_nil = true },
}

describe("what takes a function", function()
  for _, taker in ipairs(takers) do
    local name, position, pass = taker[1], taker[2], taker[3]

    for _, kind in ipairs(kinds) do
      it(("(%s #%d) takes %s"):format(name, position, kind[1]), function()
        local self
        local callable = kind[2](function(object)
          calls, self = calls + 1, object
        end)
        if name == "register" then
          callable = kind[2](function(object)
            calls, self = calls + 1, object
            return concurrent.Future()
          end)
        end
        pass(callable)
        turn()
        assert.is_true(calls >= 1)
        assert.is_true(rawequal(self, callable))
      end)
    end

    it(("(%s #%d) refuses other values"):format(name, position),
      function()
        local refused = taker.creates or pass
        for _, value in ipairs { 1, "x", true, {}, io.tmpfile(),
          setmetatable({}, { __call = 1 }),
          setmetatable({}, { __index = { __call = print } }) } do
          if not (taker[2] == 3 or name == "multi")
            or type(value) ~= "string" and type(value) ~= "table" then
            local ok, err = pcall(refused, value)
            assert.is_false(ok, type(value))
            if name ~= "wrap" or type(value) ~= "table" then
              assert.is_truthy(tostring(err):find("bad argument #", 1, true),
                tostring(err))
              assert.is_truthy(tostring(err):find("function", 1, true),
                tostring(err))
            end
          end
        end
        if not taker.no_nil and position < 3 and name ~= "run_on_executor"
          and name ~= "multi" then
          assert.is_false((pcall(refused, nil)))
        end
      end)
  end

  it("detects a cycle of __call", function()
    local mt = {}
    local object = setmetatable({}, mt)
    mt.__call = object
    assert.is_false(core.is_callable(object))
    assert.is_false((pcall(loop.add_callback, loop, object)))
  end)

  it("has its failure logged as an exception in a callback", function()
    local messages = {}
    log.set_handler(function(_, message) messages[#messages + 1] = message end)
    loop:add_callback(setmetatable({}, {
      __call = function() error("boom", 0) end,
      __tostring = function() return "the worker" end,
    }))
    turn()
    assert.is_truthy(messages[1]:find("Exception in callback", 1, true))
    assert.is_truthy(messages[1]:find("boom", 1, true))
  end)
end)

describe("a callback given by name", function()
  for _, kind in ipairs(kinds) do
    it("may be " .. kind[1], function()
      local got = {}
      local done = kind[2](function(_, value) got[#got + 1] = value end)
      local function async(callback) callback(7) end
      concurrent.return_future(async)(util.kwargs { callback = done })
      gen.coroutine(function() return 8 end)(util.kwargs { callback = done })
      gen.engine(function(callback) callback(9) end)(
        util.kwargs { callback = done })
      local self = { executor = concurrent.dummy_executor }
      concurrent.run_on_executor(function() return 10 end)(self,
        util.kwargs { callback = done })
      turn()
      table.sort(got)
      assert.same({ 7, 8, 9, 10 }, got)
    end)
  end
end)

describe("a callable object that takes a callback", function()
  for _, kind in ipairs(kinds) do
    it("gets it in the last place of its __call: " .. kind[1], function()
      local seen
      local object = kind[2](function(_, a, b, callback)
        if callback then
          seen = table.pack(a, b)
          callback("done")
        end
      end)
      if kind[2] == nested_of then return end -- __call is vararg there
      assert.equal("done", loop:run_sync(function()
        return concurrent.return_future(object)(1)
      end))
      assert.same({ 1, nil, n = 2 }, seen)
      assert.equal("done", loop:run_sync(function()
        return gen.Task(object, 1, 2)
      end))
      assert.same({ 1, 2, n = 2 }, seen)
    end)
  end
end)

describe("a callable table", function()
  local function counter(n)
    return setmetatable({ n = n }, { __call = function(self, by, and_by)
      return self.n + (by or 0) + (and_by or 0)
    end })
  end

  it("is sent to a worker with its __call", function()
    local pool <close> = concurrent.ThreadPoolExecutor(1)
    loop:run_sync(function()
      assert.equal(42, gen.await(pool:submit(counter(40), 1, 1)))
      assert.same({ 11, 12 }, gen.await(pool:map(counter(10), { 1, 2 })))
      local outer = setmetatable({}, { __call = counter(1) })
      local ok, err = pcall(gen.await, pool:submit(outer))
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find "arithmetic on a table")
      local object = { executor = pool, n = 5, method =
        concurrent.run_on_executor(setmetatable({}, {
          __call = function(_, self, by) return self.n + by end,
        })) }
      assert.equal(8, gen.await(object:method(3)))
      object.twice = concurrent.run_on_executor(function(self, by)
        return self:method(by) + self:method(by)
      end)
      assert.equal(16, gen.await(object:twice(3)))
    end)
  end)

  it("is refused by the names of its arguments", function()
    local pool <close> = concurrent.ThreadPoolExecutor(1)
    local object = counter(1)
    for n, fn in ipairs { function() pool:submit(object, print) end,
      function() pool:submit(object, 1, print) end } do
      local _, err = pcall(fn)
      assert.is_truthy(err:find(("argument #%d"):format(n + 1), 1, true), err)
    end
    object.field = print
    local _, err = pcall(pool.submit, pool, object)
    assert.is_truthy(err:find("argument #1, field 'field'", 1, true), err)
    _, err = pcall(pool.map, pool, counter(1), { 1, print })
    assert.is_truthy(err:find("argument #2, index [2]", 1, true), err)
    _, err = pcall(pool.submit, pool, setmetatable({}, { __call = 1 }))
    assert.is_truthy(err:find "function expected", err)
  end)

  it("can be a method of a YieldPoint", function()
    local Point = gen.YieldPoint:subclass("Point")
    Point.start = table_of(function() end)
    Point.is_ready = table_of(function() return true end)
    Point.get_result = table_of(function() return 7 end)
    assert.equal(7, loop:run_sync(function()
      return (coroutine.yield(Point()))
    end))
  end)

  it("can be a context's enter and exit", function()
    local trail = {}
    local function note(name)
      return table_of(function() trail[#trail + 1] = name end)
    end
    stack_context.StackContext(table_of(function()
      return { enter = note "enter", exit = note "exit" }
    end)):run(note "run")
    assert.same({ "enter", "run", "exit" }, trail)
  end)
end)
