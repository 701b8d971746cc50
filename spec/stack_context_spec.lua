-- SPDX-License-Identifier: MIT
-- Contexts: what goes through them, what carries them along, what they cost.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local PeriodicCallback = require "lunado.ioloop".PeriodicCallback
local stack_context = require "lunado.stack_context"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local contexts = require "spec.support.contexts"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local pipes = require "spec.support.pipes"
local values = require "spec.support.values"

local Future = concurrent.Future
local ExceptionStackContext = stack_context.ExceptionStackContext
local NullContext = stack_context.NullContext
local StackContext = stack_context.StackContext
local wrap = stack_context.wrap
local yield = coroutine.yield

local run = frame.run
local loop, log, active, context
before_each(function()
  loop, log = frame.begin()
  active, context = contexts()
end)
after_each(function()
  -- Whatever happened, no context is left behind.
  assert.is_false(core.get_context())
  assert.same({}, active)
  frame.finish()
end)

local function names()
  return table.concat(active, " ")
end

-- A context whose enter and exit append to a list.
local function noted(list, name, handles)
  return StackContext(function()
    return {
      enter = function() table.insert(list, "+" .. name) end,
      exit = function(_, err)
        table.insert(list,
          "-" .. name .. (err and "(" .. tostring(err) .. ")" or ""))
        return handles
      end,
    }
  end)
end

-- A context whose handler puts errors into a list, and tracebacks into
-- another one.
local function handling(list, handled, tracebacks)
  return ExceptionStackContext(function(err, traceback)
    table.insert(list, err)
    if tracebacks then table.insert(tracebacks, traceback) end
    return handled
  end)
end

local function assert_inconsistent(ok, err)
  assert.is_false(ok)
  assert.is_true(
    util.isinstance(err, stack_context.StackContextInconsistentError),
    tostring(err))
end

describe("run", function()
  it("calls fn within the context, with deactivate and its arguments",
    function()
      context("a"):run(function(deactivate, ...)
        assert.equal("a", names())
        assert.is_function(deactivate)
        assert.same({ n = 3, nil, 2 }, table.pack(...))
      end, nil, 2, nil)
    end)

  for _, case in ipairs(values.lists) do
    it("returns " .. case[1], function()
      for _, each in ipairs { context("a"), NullContext(),
        handling({}, true) } do
        assert.same(case[2], table.pack(each:run(function()
          return values.unpack(case[2])
        end)))
      end
    end)
  end

  for _, case in ipairs(values.errors) do
    it("raises " .. case[1] .. " unchanged", function()
      local seen = {}
      local function raise() error(case[2]) end
      for _, each in ipairs { context("a"), NullContext(),
        handling(seen, false) } do
        local ok, err = pcall(each.run, each, function()
          return pcall(raise) and nil or raise()
        end)
        assert.is_false(ok)
        if type(case[2]) == "string" then
          assert.is_truthy(err:find(case[2], 1, true))
        else
          assert.is_true(rawequal(case[2], err))
        end
      end
      assert.equal(1, #seen)
    end)
  end

  it("keeps an error whose handler raises another one", function()
    for _, make in ipairs {
      function(exit) return ExceptionStackContext(exit) end,
      function(exit)
        return StackContext(function()
          return { enter = function() end,
            exit = function(_, err) return exit(err) end }
        end)
      end,
    } do
      local failing = make(function(err) error("second after " .. err, 0) end)
      local future = gen.coroutine(function()
        failing:run(function() error("first", 0) end)
      end)()
      local err, traceback = future:exc_info()
      assert.equal("second after first", err)
      local _, n = traceback:gsub("raised while this error was handled:\n"
        .. "first\nstack traceback:", "")
      assert.equal(1, n, traceback)
    end
  end)

  it("shows an error once that its handler raises again", function()
    local raising = ExceptionStackContext(function(err) error(err, 0) end)
    local future = gen.coroutine(function()
      raising:run(function() error("first", 0) end)
    end)()
    local err, traceback = future:exc_info()
    assert.equal("first", err)
    assert.is_nil(traceback:find("was handled", 1, true), traceback)
  end)

  it("raises error(nil) as something", function()
    local list = {}
    local ok = pcall(function()
      handling(list, false):run(function() error(nil) end)
    end)
    assert.is_false(ok)
  end)

  it("returns nothing when the context has handled the error", function()
    assert.equal(0, select("#", handling({}, true):run(error, "boom")))
  end)

  it("may be used again, and within itself", function()
    local a = context("a")
    for _ = 1, 3 do
      a:run(function()
        a:run(function() assert.equal("a a", names()) end)
        assert.equal("a", names())
      end)
    end
  end)

  it("calls the factory for an object each time", function()
    local made = 0
    local each = StackContext(function()
      made = made + 1
      return { enter = function() end, exit = function() end }
    end)
    run(function()
      each:run(function() loop:add_callback(function() end) end)
      assert.equal(1, made)
      yield()
      yield()
      assert.equal(2, made)
    end)
  end)

  it("finds enter and exit in the object's class", function()
    local order = {}
    local Class = {}
    Class.__index = Class
    function Class:enter() table.insert(order, self.name .. " in") end
    function Class:exit() table.insert(order, self.name .. " out") end
    StackContext(function()
      return setmetatable({ name = "a" }, Class)
    end):run(function() table.insert(order, "run") end)
    assert.same({ "a in", "run", "a out" }, order)
  end)

  it("nests sixty deep", function()
    local deepest = 0
    local function nest(n)
      deepest = math.max(deepest, n)
      if n < 60 then context(n):run(function() nest(n + 1) end) end
    end
    nest(0)
    assert.equal(60, deepest)
  end)
end)

describe("an error", function()
  it("passes the contexts from the innermost outwards", function()
    local order = {}
    local ok, err = pcall(function()
      noted(order, "a"):run(function()
        noted(order, "b"):run(function() error("boom", 0) end)
      end)
    end)
    assert.is_false(ok)
    assert.equal("boom", err)
    assert.same({ "+a", "+b", "-b(boom)", "-a(boom)" }, order)
  end)

  it("stops at the one that handles it", function()
    local order = {}
    noted(order, "a"):run(function()
      noted(order, "b", true):run(function() error("boom", 0) end)
      table.insert(order, "on")
    end)
    assert.same({ "+a", "+b", "-b(boom)", "on", "-a" }, order)
  end)

  it("passes the contexts of a callback", function()
    local order = {}
    run(function()
      noted(order, "a", true):run(function()
        noted(order, "b"):run(function()
          loop:add_callback(function() error("boom", 0) end)
        end)
      end)
      yield()
      yield()
    end)
    assert.same({ "+a", "+b", "-b", "-a", "+a", "+b", "-b(boom)",
      "-a(boom)" }, order)
    assert.equal(0, #log)
  end)

  it("is handled by true alone", function()
    for _, answer in ipairs { 1, "yes", {} } do
      assert.is_false(pcall(function()
        handling({}, answer):run(error, "boom")
      end))
    end
  end)

  it("may be replaced by the handler's own", function()
    local list, second = {}, {}
    local outer = handling(list, true)
    outer:run(function()
      ExceptionStackContext(function() error(second) end):run(error, "boom")
    end)
    assert.equal(second, list[1])
    run(function()
      outer:run(function()
        ExceptionStackContext(function() error(second) end):run(function()
          loop:add_callback(error, "boom")
        end)
      end)
      yield()
      yield()
    end)
    assert.equal(second, list[2])
    assert.equal(2, #list)
  end)

  it("comes with the traceback of where it was raised", function()
    local line = debug.getinfo(1, "l").currentline + 2
    local function fail()
      error({})
    end
    local tracebacks = {}
    local outer = handling({}, true, tracebacks)
    outer:run(fail)
    -- Through several contexts, and on the loop.
    outer:run(function()
      context("b"):run(function() handling({}, false):run(fail) end)
    end)
    run(function()
      outer:run(function()
        context("b"):run(function()
          handling({}, false):run(function() loop:add_callback(fail) end)
        end)
      end)
      yield()
      yield()
    end)
    assert.equal(3, #tracebacks)
    for _, traceback in ipairs(tracebacks) do
      assert.matches("stack_context_spec.lua:" .. line .. ":", traceback, 1,
        true)
    end
  end)

  it("that no context handles is logged by the loop, with its line",
    function()
      local line = debug.getinfo(1, "l").currentline + 2
      local function fail()
        error({})
      end
      run(function()
        context("a"):run(function() loop:add_callback(fail) end)
        yield()
        yield()
      end)
      local message = log:first("Exception in callback")
      assert.matches("stack_context_spec.lua:" .. line .. ":", message, 1,
        true)
      assert.equal(1, #log)
    end)

  it("that no context handles goes to the loop's handler with the callback",
    function()
      local caught
      function loop.handle_callback_exception(_, callback, err)
        caught = { callback, err }
      end
      local function fail() error("boom", 0) end
      run(function()
        context("a"):run(function() loop:add_callback(fail) end)
        yield()
        yield()
      end)
      assert.equal("boom", caught[2])
      assert.equal(fail, caught[1])
    end)

  it("of a Future that the callback returned names the callback", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local function fail()
      local future = Future()
      future:set_exception("boom")
      return future
    end
    run(function()
      loop:set_blocking_log_threshold(1e-9)
      context("a"):run(function() loop:add_callback(fail) end)
      yield()
      yield()
    end)
    local name = ("stack_context_spec.lua:%d>"):format(line)
    local message = log:first("Exception in callback")
    assert.is_truthy(message:find(name, 1, true), message)
    assert.equal(2, log:count(name), log:text())
  end)

  it("in enter keeps fn from being called", function()
    local order = {}
    local broken = StackContext(function()
      return {
        enter = function() error("enter", 0) end,
        exit = function() table.insert(order, "exit of broken") end,
      }
    end)
    local ok, err = pcall(function()
      noted(order, "a"):run(function()
        broken:run(function() table.insert(order, "fn") end)
      end)
    end)
    assert.is_false(ok)
    assert.equal("enter", err)
    assert.same({ "+a", "-a(enter)" }, order)
  end)

  it("in enter, on the loop, leaves those that were entered", function()
    local order, broken = {}, false
    local fragile = StackContext(function()
      return {
        enter = function() if broken then error("enter", 0) end end,
        exit = function() end,
      }
    end)
    run(function()
      noted(order, "a", true):run(function()
        fragile:run(function()
          noted(order, "c"):run(function()
            loop:add_callback(function() table.insert(order, "fn") end)
          end)
        end)
      end)
      broken = true
      while #order > 0 do table.remove(order) end
      yield()
      yield()
    end)
    assert.same({ "+a", "-a(enter)" }, order)
  end)

  it("in exit takes the place of the first", function()
    local seen = {}
    local broken = StackContext(function()
      return {
        enter = function() end,
        exit = function() error("exit", 0) end,
      }
    end)
    handling(seen, true):run(function() broken:run(function() end) end)
    handling(seen, true):run(function() broken:run(error, "first") end)
    assert.same({ "exit", "exit" }, seen)
    run(function()
      handling(seen, true):run(function()
        pcall(broken.run, broken, function()
          loop:add_callback(function() end)
        end)
      end)
      yield()
      yield()
    end)
    assert.same({ "exit", "exit", "exit" }, seen)
  end)

  it("of the factory is raised by run", function()
    local ok, err = pcall(function()
      StackContext(function() error("factory", 0) end):run(function() end)
    end)
    assert.is_false(ok)
    assert.equal("factory", err)
  end)
end)

describe("spawn_callback and add_callback_from_signal", function()
  it("leave the contexts behind", function()
    local seen, entered = {}, {}
    run(function()
      handling(seen, true):run(function()
        context("a"):run(function()
          for _, name in ipairs { "spawn_callback",
            "add_callback_from_signal" } do
            loop[name](loop, function(...)
              table.insert(entered, names())
              error(table.concat({ ... }, " "), 0)
            end, name, "boom")
          end
        end)
      end)
      yield()
      yield()
    end)
    assert.same({ "", "" }, entered)
    assert.same({}, seen)
    assert.equal(1, log:count("spawn_callback boom"))
    assert.equal(1, log:count("add_callback_from_signal boom"))
  end)
end)

describe("contexts are carried along by", function()
  -- Registers check(finish) in a context in each of the ways there are.
  local ways = {
    add_callback = function(check) loop:add_callback(check) end,
    call_later = function(check) loop:call_later(0, check) end,
    call_at = function(check) loop:call_at(loop:time(), check) end,
    add_timeout = function(check)
      loop:add_timeout({ milliseconds = 1 }, check)
    end,
    ["add_future of a pending Future"] = function(check)
      local future = Future()
      loop:add_future(future, check)
      NullContext():run(function()
        loop:add_callback(future.set_result, future)
      end)
    end,
    ["add_future of a Future that is done"] = function(check)
      local future = Future()
      future:set_result()
      loop:add_future(future, check)
    end,
    ["wrap and add_done_callback"] = function(check)
      local future = Future()
      future:add_done_callback(wrap(check))
      NullContext():run(function()
        loop:add_callback(future.set_result, future)
      end)
    end,
    ["a coroutine across a suspension"] = function(check)
      gen.coroutine(function()
        assert.equal("a b", names())
        yield()
        assert.equal("a b", names())
        yield(gen.sleep(0.001))
        check()
      end)()
    end,
    ["a coroutine that awaits"] = function(check)
      gen.coroutine(function()
        gen.await(gen.moment)
        gen.await(gen.sleep(0.001))
        check()
      end)()
    end,
    ["coroutines in coroutines"] = function(check)
      local function nest(n)
        return gen.coroutine(function()
          if n > 0 then
            yield(nest(n - 1))
          else
            yield()
          end
          assert.equal("a b", names())
          if n == 100 then check() end
        end)()
      end
      nest(100)
    end,
    ["the callback of a coroutine"] = function(check)
      gen.coroutine(function() yield() end)(util.kwargs { callback = check })
    end,
    with_timeout = function(check)
      loop:add_future(gen.with_timeout({ seconds = 60 }, gen.sleep(0)),
        check)
    end,
    PeriodicCallback = function(check)
      local periodic
      periodic = PeriodicCallback(function()
        periodic:stop()
        check()
      end, 1)
      periodic:start()
    end,
  }

  for name, register in pairs(ways) do
    it(name, function()
      local seen = {}
      run(function()
        local finished = Future()
        context("a"):run(function()
          context("b"):run(function()
            register(function()
              seen[#seen + 1] = names()
              if not finished:done() then finished:set_result() end
            end)
          end)
        end)
        assert.same({}, active)
        yield(finished)
        assert.same({}, active)
      end)
      assert.same({ "a b" }, seen)
      assert.equal(0, #log, log:text())
    end)
  end

  it("add_handler", function()
    local fds = pipes.pipe()
    run(function()
      local finished = Future()
      context("a"):run(function()
        loop:add_handler(fds.read, function(fd)
          loop:remove_handler(fd)
          finished:set_result(names())
        end, IOLoop.READ)
      end)
      pipes.write(fds.write, "x")
      assert.equal("a", yield(finished))
    end)
    pipes.close(fds.read)
    pipes.close(fds.write)
  end)

  it("callbacks of callbacks", function()
    run(function()
      local finished = Future()
      local function again(n)
        assert.equal("a", names())
        if n == 0 then return finished:set_result() end
        loop:add_callback(again, n - 1)
      end
      context("a"):run(function() again(10) end)
      yield(finished)
    end)
  end)

  it("the arguments of a callback", function()
    run(function()
      local finished = Future()
      context("a"):run(function()
        loop:add_callback(function(...)
          finished:set_result(select("#", ...), ...)
        end, nil, 2, nil)
      end)
      assert.same({ n = 4, 3, nil, 2, nil },
        table.pack(yield(finished)))
    end)
  end)

  it("nothing that was registered outside", function()
    run(function()
      local finished = Future()
      loop:add_callback(function() finished:set_result(names()) end)
      context("a"):run(function() loop:add_callback(function() end) end)
      assert.equal("", yield(finished))
    end)
  end)

  it("no done-callback by itself", function()
    run(function()
      local future, seen = Future(), nil
      context("a"):run(function()
        future:add_done_callback(function() seen = names() end)
      end)
      future:set_result()
      assert.equal("", seen)
    end)
  end)

  it("no run_sync on another loop", function()
    context("a"):run(function()
      run(function()
        yield()
      end)
      assert.equal("a", names())
    end)
  end)
end)

describe("a coroutine", function()
  it("keeps the contexts in which it was called, whatever wakes it", function()
    run(function()
      local future, done = Future(), Future()
      context("a"):run(function()
        gen.coroutine(function()
          yield(future)
          done:set_result(names())
        end)()
      end)
      context("b"):run(function() future:set_result() end)
      assert.equal("a", yield(done))
    end)
  end)

  it("does not leave its contexts to its caller", function()
    run(function()
      local inner = gen.coroutine(function() yield() end)
      local future
      context("a"):run(function() future = inner() end)
      assert.same({}, active)
      yield(future)
      assert.same({}, active)
      assert.is_false(core.get_context())
    end)
  end)

  it("keeps its errors to itself within a context", function()
    local seen = {}
    run(function()
      local future
      handling(seen, true):run(function()
        future = gen.coroutine(function()
          yield()
          error("boom", 0)
        end)()
      end)
      local ok, err = pcall(yield, future)
      assert.is_false(ok)
      assert.equal("boom", err)
    end)
    assert.same({}, seen)
  end)

  it("may use contexts between its suspensions", function()
    run(function()
      for _ = 1, 3 do
        context("a"):run(function() assert.equal("a", names()) end)
        yield()
        assert.same({}, active)
      end
    end)
  end)

  for _, case in ipairs {
    { "a pending Future", function() return Future() end },
    { "a done Future", function() return gen.maybe_future(1) end },
    { "nothing", function() end },
    { "a list", function() return {} end },
    { "what is not yieldable", function() return 42 end },
  } do
    it("fails when it yields " .. case[1] .. " within run", function()
      run(function()
        local order = {}
        local future = gen.coroutine(function()
          noted(order, "a"):run(function() yield(case[2]()) end)
        end)()
        assert_inconsistent(pcall(yield, future))
        assert.equal(2, #order)
        assert.is_false(core.get_context())
      end)
    end)
  end

  it("may catch that, and go on", function()
    run(function()
      local future = gen.coroutine(function()
        context("a"):run(function()
          assert_inconsistent(pcall(yield))
          assert.equal("a", names())
        end)
        assert.same({}, active)
        yield()
        return "done"
      end)()
      assert.equal("done", yield(future))
    end)
  end)

  it("fails when it yields within NullContext in a context", function()
    run(function()
      local future
      context("a"):run(function()
        future = gen.coroutine(function()
          NullContext():run(function() yield() end)
        end)()
      end)
      assert_inconsistent(pcall(yield, future))
    end)
  end)

  it("may await done Futures within run", function()
    run(function()
      assert.equal(1, context("a"):run(function()
        return (gen.await(gen.maybe_future(1)))
      end))
    end)
  end)

  it("may be called within run, and awaited outside", function()
    run(function()
      local future = context("a"):run(gen.coroutine(function()
        yield()
        return names()
      end))
      assert.equal("a", yield(future))
    end)
  end)

  it("suspended in a wrapped function fails there", function()
    run(function()
      local wrapped
      context("a"):run(function() wrapped = wrap(function() yield() end) end)
      assert_inconsistent(pcall(wrapped))
      assert.same({}, active)
      yield()
    end)
  end)

  it("in a reused thread knows nothing of the one before", function()
    run(function()
      for round = 1, 20 do
        local first
        context("a"):run(function()
          first = gen.coroutine(function() yield() end)()
        end)
        yield(first)
        yield(gen.coroutine(function()
          assert.is_false(core.get_context())
          yield()
          assert.is_false(core.get_context())
        end)())
        local failed = gen.coroutine(function()
          context("b"):run(function() yield() end)
        end)()
        assert.is_false(pcall(yield, failed), round)
      end
    end)
  end)

  it("that starts deep in others has its contexts", function()
    local seen = {}
    run(function()
      local function nest(n)
        if n == 50 then
          yield(context("a"):run(function()
            return gen.coroutine(nest)(n - 1)
          end))
        elseif n > 0 then
          yield(gen.coroutine(nest)(n - 1))
        else
          yield()
        end
        seen[#seen + 1] = names()
      end
      nest(100)
    end)
    for i = 1, 50 do assert.equal("a", seen[i], i) end
    for i = 51, 101 do assert.equal("", seen[i], i) end
  end)
end)

describe("deactivate", function()
  it("may be called in run, and more than once", function()
    context("a"):run(function(deactivate)
      deactivate()
      deactivate()
      assert.equal("a", names())
    end)
  end)

  it("takes the context from a coroutine at its next suspension", function()
    run(function()
      local deactivate
      local future
      context("a"):run(function(a)
        context("b"):run(function(b)
          deactivate = { a, b }
          future = gen.coroutine(function()
            yield()
            assert.equal("a b", names())
            deactivate[1]()
            yield()
            assert.equal("b", names())
            deactivate[2]()
            yield()
            assert.equal("", names())
          end)()
        end)
      end)
      yield(future)
    end)
  end)

  it("takes the context from what was registered already", function()
    run(function()
      local done = Future()
      context("a"):run(function(deactivate)
        loop:add_callback(function() done:set_result(names()) end)
        deactivate()
      end)
      assert.equal("", yield(done))
    end)
  end)

  it("keeps the handler from errors to come", function()
    local seen = {}
    run(function()
      handling(seen, true):run(function(deactivate)
        loop:add_callback(function() error("boom", 0) end)
        deactivate()
      end)
      yield()
      yield()
    end)
    assert.same({}, seen)
    assert.equal(1, log:count("boom"))
  end)

  it("of NullContext does nothing", function()
    context("a"):run(function()
      NullContext():run(function(deactivate)
        deactivate()
        assert.is_false(core.get_context())
      end)
    end)
  end)

  it("releases what the context held", function()
    run(function()
      -- A coroutine that deactivates as it goes has no ever longer list.
      local weak = setmetatable({}, { __mode = "k" })
      local done = Future()
      local function step(n)
        if n == 0 then return done:set_result() end
        local object = {}
        weak[object] = true
        ExceptionStackContext(function() return object end):run(
          function(deactivate)
            loop:add_callback(function()
              deactivate()
              step(n - 1)
            end)
          end)
      end
      step(100)
      yield(done)
      gc.collect()
      local left = 0
      for _ in pairs(weak) do left = left + 1 end
      assert.is_true(left <= 3, left .. " left")
    end)
  end)
end)

describe("NullContext", function()
  it("runs fn in no context", function()
    local seen = {}
    run(function()
      handling(seen, true):run(function()
        context("a"):run(function()
          NullContext():run(function()
            loop:add_callback(function()
              assert.same({}, active)
              error("boom", 0)
            end)
          end)
          assert.is_table(core.get_context())
        end)
      end)
      yield()
      yield()
    end)
    assert.same({}, seen)
    assert.equal(1, log:count("boom"))
  end)

  it("lets contexts begin anew", function()
    run(function()
      local done = Future()
      context("a"):run(function()
        NullContext():run(function()
          context("b"):run(function()
            loop:add_callback(function() done:set_result(names()) end)
          end)
        end)
      end)
      assert.equal("b", yield(done))
    end)
  end)
end)

describe("wrap", function()
  it("gives nil for nil", function()
    assert.is_nil(wrap(nil))
  end)

  it("gives a wrapped function back", function()
    local wrapped
    context("a"):run(function() wrapped = wrap(names) end)
    assert.equal(wrapped, wrap(wrapped))
    context("b"):run(function()
      assert.equal(wrapped, wrap(wrapped))
      assert.equal("b a", wrapped())
    end)
    NullContext():run(function() assert.equal(wrapped, wrap(wrapped)) end)
    assert.equal("a", wrapped())
  end)

  it("outside of contexts keeps those of callers out", function()
    local wrapped = wrap(function() return core.get_context() end)
    assert.is_false(wrapped())
    context("a"):run(function()
      assert.is_false(wrapped())
      assert.is_table(core.get_context())
    end)
  end)

  for _, case in ipairs(values.lists) do
    it("passes " .. case[1] .. " in and out", function()
      local wrapped
      context("a"):run(function()
        wrapped = wrap(function(...) return ... end)
      end)
      assert.same(case[2], table.pack(wrapped(values.unpack(case[2]))))
    end)
  end

  it("raises what its contexts do not handle", function()
    local seen, err = {}, {}
    local wrapped
    handling(seen, false):run(function()
      wrapped = wrap(function() error(err) end)
    end)
    local ok, raised = pcall(wrapped)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.same({ err }, seen)
  end)

  it("returns nothing where they handle it", function()
    local wrapped
    handling({}, true):run(function() wrapped = wrap(error) end)
    assert.equal(0, select("#", wrapped("boom")))
  end)

  it("can be called again and again, and in itself", function()
    local wrapped
    local depth = 0
    context("a"):run(function()
      wrapped = wrap(function()
        depth = depth + 1
        assert.equal(("a "):rep(depth):sub(1, -2), names())
        if depth < 10 then wrapped() end
        depth = depth - 1
      end)
    end)
    wrapped()
    wrapped()
  end)

  it("restores the contexts of its caller after an error", function()
    local wrapped
    context("a"):run(function() wrapped = wrap(error) end)
    context("b"):run(function()
      pcall(wrapped, "boom")
      assert.equal("b", names())
      loop:add_callback(function() end)
    end)
  end)
end)

describe("run_with_stack_context", function()
  it("returns what fn returns, called without arguments", function()
    assert.same({ n = 3, 0, nil, "a" }, table.pack(
      stack_context.run_with_stack_context(context("a"), function(...)
        return select("#", ...), nil, names()
      end)))
  end)
end)

describe("memory", function()
  it("is free of contexts that have ended", function()
    assert.is_true(gc.collects(function()
      local object = {}
      run(function()
        StackContext(function()
          return {
            object = object,
            enter = function() end,
            exit = function() end,
          }
        end):run(function()
          loop:add_callback(function() end)
          gen.coroutine(function() yield() end)()
        end)
        yield()
        yield()
      end)
      return object
    end))
  end)

  it("is free of errors that went through contexts", function()
    assert.is_true(gc.collects(function()
      local err = {}
      run(function()
        pcall(function()
          context("a"):run(function()
            context("b"):run(function() error(err) end)
          end)
        end)
        yield()
      end)
      return err
    end))
  end)

  it("is free of an unreachable coroutine in its context",
    function()
      assert.is_true(gc.collects(function()
        local object = {}
        context("a"):run(function()
          gen.coroutine(function()
            yield(Future())
            return object
          end)()
        end)
        return object
      end))
      gc.collect()
      assert.equal(1, log:count("collected while waiting"))
    end)

  it("does not grow with what passes through", function()
    run(function()
      local function round()
        for _ = 1, 50 do
          context("a"):run(function()
            loop:add_callback(function() end)
            gen.coroutine(function() yield() end)()
          end)
        end
        yield()
        yield()
      end
      for _ = 1, 5 do round() end
      local before = gc.kilobytes()
      for _ = 1, 10 do round() end
      assert.is_true(gc.kilobytes() - before < 16)
    end)
  end)
end)

describe("a wrong argument", function()
  it("is refused", function()
    bad(function() local _ = StackContext(1) end, 1, "StackContext",
      "function", "number")
    bad(function() local _ = StackContext() end, 1, "StackContext",
      "function", "nil")
    bad(function() local _ = ExceptionStackContext({}) end, 1,
      "ExceptionStackContext", "function", "table")
    bad(function() local _ = wrap(1) end, 1, "wrap", "function", "number")
    for _, each in ipairs { context("a"), NullContext(),
      handling({}, true) } do
      bad(function() each:run() end, 1, "run", "function", "nil")
      bad(function() each:run("f") end, 1, "run", "function", "string")
    end
  end)

  it("of a factory is an error of run", function()
    for _, made in ipairs { false, 1, "object", {}, { enter = print },
      { exit = print }, { enter = 1, exit = print },
      { enter = print, exit = 1 } } do
      local called = false
      local ok, err = pcall(function()
        StackContext(function() return made end):run(function()
          called = true
        end)
      end)
      assert.is_false(ok)
      assert.matches("factory returned", err, 1, true)
      assert.is_false(called)
    end
  end)

  it("in place of a context is refused", function()
    local run_within = stack_context.run_with_stack_context
    for _, wrong in ipairs { false, 1, {} } do
      bad(function() run_within(wrong, print) end, 1, "run_with_stack_context",
        "context", type(wrong))
    end
    bad(function() run_within(NullContext(), 5) end, 2,
      "run_with_stack_context", "function", "number")
  end)
end)
