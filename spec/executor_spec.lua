-- SPDX-License-Identifier: MIT
-- lunado.concurrent: functions on threads, and methods that run there.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local queues = require "lunado.queues"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local ThreadPoolExecutor = concurrent.ThreadPoolExecutor
local isinstance = util.isinstance
local yield = coroutine.yield

local run = frame.run
local loop, log, executor
before_each(function()
  loop, log = frame.begin()
  executor = ThreadPoolExecutor(2)
end)
after_each(function()
  executor:shutdown()
  frame.finish()
end)

-- What fn(...) returns on a thread.
local function on_thread(fn, ...)
  local future = executor:submit(fn, ...)
  return run(function() return yield(future) end)
end

-- The error of fn(...) on a thread, and its traceback.
local function error_on_thread(fn, ...)
  local future = executor:submit(fn, ...)
  run(function() pcall(yield, future) end)
  return future:exc_info()
end

-- The message with which submit(fn, ...) refuses, without its position.
local function refusal(fn, ...)
  local arguments = table.pack(...)
  local ok, err = pcall(function()
    local future = executor:submit(fn,
      table.unpack(arguments, 1, arguments.n))
    return future
  end)
  assert.is_false(ok)
  local where, message = err:match("^(.-:%d+: )(.*)$")
  assert.is_truthy(where:find("executor_spec.lua", 1, true), err)
  return message
end

local function identity(...) return ... end

describe("submit", function()
  it("returns a Future of the results", function()
    local future = executor:submit(function(a, b) return a + b, a * b end, 3, 4)
    assert.is_true(concurrent.is_future(future))
    assert.is_false(future:done())
    assert.same({ 7, 12 }, { run(function() return yield(future) end) })
  end)

  it("keeps nils and counts of values", function()
    assert.equal(0, select("#", on_thread(identity)))
    assert.equal(3, select("#", on_thread(identity, nil, false, nil)))
    assert.same({ n = 3, nil, false, nil },
      table.pack(on_thread(identity, nil, false, nil)))
  end)

  it("runs in another Lua state, on another thread", function()
    marker = "here" -- luacheck: ignore
    finally(function() marker = nil end) -- luacheck: ignore
    assert.is_nil(on_thread(function()
      return marker -- luacheck: ignore
    end))
  end)

  it("keeps a worker's state between jobs", function()
    local one = ThreadPoolExecutor(1)
    local first = one:submit(function() counter = 1 end) -- luacheck: ignore
    local second = one:submit(function()
      counter = counter + 1 -- luacheck: ignore
      return counter -- luacheck: ignore
    end)
    one:shutdown()
    first:result()
    assert.equal(2, second:result())
  end)

  it("removes a debug hook that a job has set", function()
    local one = ThreadPoolExecutor(1)
    local first = one:submit(function()
      debug.sethook(function() error("hooked") end, "", 1)
      return 1
    end)
    local second = one:submit(function()
      local hook = debug.gethook()
      return hook
    end)
    one:shutdown()
    assert.is_truthy(first:exception():find("hooked", 1, true))
    assert.is_nil(second:result())
  end)

  it("does not wait while threads are available", function()
    -- The first job ends when the second has written what it waits for.
    local name = os.tmpname()
    finally(function() os.remove(name) end)
    local first = executor:submit(function(path)
      while true do
        local file = assert(io.open(path))
        local text = file:read("a")
        file:close()
        if text == "go" then return "went" end
      end
    end, name)
    local second = executor:submit(function(path)
      local file = assert(io.open(path, "w"))
      file:write("go")
      file:close()
    end, name)
    run(function() yield { first, second } end)
    assert.equal("went", first:result())
  end)

  it("keeps the loop responsive, and alive", function()
    local ticks = 0
    local function tick()
      ticks = ticks + 1
      loop:add_callback(tick)
    end
    loop:add_callback(tick)
    assert.equal("done", on_thread(function()
      for _ = 1, 1e6 do end
      return "done"
    end))
    assert.is_true(ticks > 1)
  end)

  it("starts from a done callback", function()
    local result = concurrent.Future()
    executor:submit(identity, 20):add_done_callback(function(future)
      local again = executor:submit(function(n) return n + 1 end,
        future:result())
      concurrent.chain_future(again, result)
    end)
    assert.equal(21, run(function() return yield(result) end))
  end)

  it("wants a function", function()
    bad(function() executor:submit() end, 1, "submit", "function", "no value")
    bad(function() executor:submit("print") end, 1, "submit", "function",
      "string")
    bad(function() executor:submit({}) end, 1, "submit", "function", "table")
  end)

  it("wants an executor", function()
    assert.has_error(function() executor.submit({}, identity) end)
  end)
end)

describe("copies", function()
  it("have the same plain values", function()
    local values = { true, false, 0, -1, math.maxinteger, math.mininteger,
      0.5, -0.0, math.huge, "", "a\0b\r\n\255", ("x"):rep(127),
      ("y"):rep(128), ("z\0"):rep(100000) }
    local copies = table.pack(on_thread(identity, table.unpack(values)))
    assert.equal(#values, copies.n)
    for i, value in ipairs(values) do
      assert.equal(value, copies[i])
      assert.equal(math.type(value), math.type(copies[i]))
    end
    assert.equal("-0.0", tostring(copies[8]))
    local nan = on_thread(identity, 0 / 0)
    assert.is_true(nan ~= nan)
  end)

  it("of tables have their structure", function()
    local value = { 1, "two", { 3, { four = 5 } }, [10] = true, [1.5] = "x",
      [false] = "no", [("k"):rep(1000)] = "long" }
    local copy = on_thread(identity, value)
    assert.are_not.equal(value, copy)
    assert.same(value, copy)
  end)

  it("of lists with holes are as long", function()
    local copy = on_thread(identity, { nil, 2, nil, 4 })
    -- In Lua 5.5 the length of a list with holes depends on its history.
    if _VERSION == "Lua 5.4" then assert.equal(4, #copy) end
    assert.same({ nil, 2, nil, 4 }, copy)
  end)

  it("keep what is shared, and cycles", function()
    local shared = { "shared" }
    local value = { a = shared, b = { shared }, [shared] = shared }
    value.self = value
    local one, two = on_thread(identity, value, shared)
    assert.equal(one, one.self)
    assert.equal(two, one.a)
    assert.equal(two, one.b[1])
    assert.equal(two, one[two])
  end)

  it("lose their metatables", function()
    local value = setmetatable({ 1 }, { __index = { x = 2 }, __len = print })
    local copy = on_thread(identity, value)
    assert.is_nil(getmetatable(copy))
    assert.same({ 1 }, copy)
  end)

  it("of the globals table are the other state's", function()
    assert.is_true(on_thread(function(G) return G == _G end, _G))
    assert.equal(_G, on_thread(function() return _G end))
  end)

  it("of long strings need not be made at once", function()
    local one <close> = ThreadPoolExecutor(1)
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    one:submit(function(name)
      while io.open(name) do end -- luacheck: ignore
    end, path)
    local futures = {}
    for i = 1, 10 do
      futures[i] = one:submit(function(s, t)
        return #s, s:sub(1, 4), t.s == s
      end, ("%04d"):format(i):rep(1 << 16), { s = ("%04d"):format(i)
        :rep(1 << 16) })
    end
    gc.collect()
    for i = 1, 20 do local _ = (("%d"):format(i)):rep(1 << 18) end
    os.remove(path)
    for i = 1, 10 do
      assert.same({ 1 << 18, ("%04d"):format(i), true },
        { run(function() return yield(futures[i]) end) })
    end
  end)

  it("of long strings in results may be made late", function()
    local one <close> = ThreadPoolExecutor(1)
    local function make(i)
      local text = ("%05d"):format(i):rep(20000)
      return text, { text, i }
    end
    local futures = {}
    for i = 1, 20 do futures[i] = one:submit(make, i) end
    one:submit(function() collectgarbage() end)
    for i = 1, 20 do
      local text, list = run(function() return yield(futures[i]) end)
      assert.equal(("%05d"):format(i):rep(20000), text)
      assert.same({ text, i }, list)
    end
  end)

  it("of long results are made when the executor shuts down", function()
    local one = ThreadPoolExecutor(2)
    local futures = {}
    for i = 1, 8 do
      futures[i] = one:submit(function(n) return ("x"):rep(n) end, i * 100000)
    end
    one:shutdown()
    for i = 1, 8 do assert.equal(i * 100000, #futures[i]:result()) end
  end)

  it("are taken when the job is submitted", function()
    local value = { 1 }
    local future = executor:submit(identity, value)
    value[1] = 2
    assert.same({ 1 }, run(function() return yield(future) end))
  end)
end)

describe("functions on their way", function()
  it("take their upvalues along", function()
    local n, t = 5, { 6 }
    assert.equal(11, on_thread(function() return n + t[1] end))
  end)

  it("keep upvalues that they share", function()
    local count = 0
    local function increase() count = count + 1 end
    local function get() return count end
    local first, last = on_thread(function()
      local before = get()
      increase()
      increase()
      return before, get()
    end)
    assert.equal(0, first)
    assert.equal(2, last)
    assert.equal(0, count)
  end)

  it("may call themselves and each other", function()
    local is_odd
    local function is_even(n) return n == 0 or is_odd(n - 1) end
    function is_odd(n) return n ~= 0 and is_even(n - 1) end
    assert.is_true(on_thread(is_even, 100))
    assert.is_false(on_thread(is_odd, 100))
  end)

  it("are values and keys of tables", function()
    local function key() return "key" end
    local t = { [key] = { run = function() return "value" end } }
    assert.equal("keyvalue", on_thread(function(copy)
      local k, v = next(copy)
      return k() .. v.run()
    end, t))
  end)

  it("come back", function()
    local make = on_thread(function(n)
      return function() n = n + 1 return n end
    end, 1)
    assert.equal(2, make())
    assert.equal(3, make())
  end)

  it("may be made anew for each job", function()
    for i = 1, 300 do
      assert.equal(i, on_thread(function(...) return ... end, i))
      assert.equal(i, on_thread(function() return i end))
    end
  end)

  it("of the same code stay different functions", function()
    local function make() return function() return 1 end end
    local one, two = make(), make()
    for _ = 1, 3 do
      assert.is_true(on_thread(function(t, a, b)
        return a ~= b and t[a] == 1 and t[b] == 2
      end, { [one] = 1, [two] = 2 }, one, two))
    end
  end)

  it("do not find what an earlier job did to their globals", function()
    local one <close> = ThreadPoolExecutor(1)
    local function change()
      local before = x -- luacheck: ignore
      _ENV = { x = 1 } -- luacheck: ignore
      return before
    end
    local futures = {}
    for i = 1, 3 do futures[i] = one:submit(change) end
    for i = 1, 3 do
      assert.is_nil((run(function() return yield(futures[i]) end)))
    end
  end)

  it("see the globals of the state they are in", function()
    local function f() return tostring, _G end
    local there = on_thread(function() return f() == tostring end)
    assert.is_true(there)
    local back = on_thread(function() return function() return _G end end)
    assert.equal(_G, back())
  end)

  it("may be without debug information", function()
    local stripped = load(string.dump(function(n)
      return tostring(n)
    end, true))
    assert.equal("7", on_thread(stripped, 7))
  end)

  it("find the modules of this state", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local file = assert(io.open(path, "w"))
    file:write("return { answer = 42 }")
    file:close()
    local before = package.path
    package.path = path:match("^(.*[/\\])") .. "?" .. ";" .. package.path
    local other = ThreadPoolExecutor(1)
    package.path = before
    local name = path:match("([^/\\]+)$")
    local future = other:submit(function(module)
      return require(module).answer
    end, name)
    other:shutdown()
    assert.equal(42, future:result())
    assert.is_false(pcall(require, name))
  end)

  it("may use lunado there", function()
    assert.equal("slept", on_thread(function()
      local lunado = require "lunado"
      return lunado.run(function()
        coroutine.yield(lunado.sleep(0.001))
        return "slept"
      end)
    end))
  end)
end)

describe("a refusal", function()
  local file = io.stdout
  local co = coroutine.create(identity)

  it("names the argument", function()
    assert.equal("cannot send a userdata to a worker: argument #2",
      refusal(identity, file))
    assert.equal("cannot send a thread to a worker: argument #3",
      refusal(identity, 1, co))
    assert.equal("cannot send a C function to a worker: argument #1",
      refusal(print))
  end)

  it("names fields, indices and keys", function()
    assert.equal(
      "cannot send a userdata to a worker: argument #2, field 'sock'",
      refusal(identity, { sock = file }))
    assert.equal(
      "cannot send a C function to a worker: argument #2, index [3], "
      .. "field 'f', index [true], index [1.5]",
      refusal(identity, { 1, 2, { f = { [true] = { [1.5] = print } } } }))
    assert.equal("cannot send a userdata to a worker: argument #2, key",
      refusal(identity, { [file] = 1 }))
    assert.equal(
      "cannot send a userdata to a worker: argument #2, key, field 'x'",
      refusal(identity, { [{ x = file }] = 1 }))
  end)

  it("names upvalues", function()
    assert.equal(
      "cannot send a userdata to a worker: argument #1, upvalue 'file'",
      refusal(function() return file end))
    local t = { { print } }
    local function inner() return t end
    assert.equal("cannot send a C function to a worker: argument #1, "
      .. "upvalue 'inner', upvalue 't', index [1], index [1]",
      refusal(function() return inner end))
  end)

  it("is what __copy = false asks for", function()
    local t = setmetatable({}, { __copy = false })
    assert.equal("cannot send a table marked __copy = false to a worker: "
      .. "argument #2, field 't'", refusal(identity, { t = t }))
    local u = setmetatable({ 1 }, { __copy = true })
    assert.same({ 1 }, on_thread(identity, u))
  end)

  it("shortens long paths and names", function()
    local deep = { file }
    for _ = 1, 50 do deep = { deep } end
    assert.equal("cannot send a userdata to a worker: argument #2, "
      .. ("index [1], "):rep(4) .. "..., " .. ("index [1], "):rep(4)
      .. "index [1]", refusal(identity, deep))
    local message = refusal(identity, { [("n"):rep(1000)] = file })
    assert.is_true(#message < 200)
    assert.is_truthy(message:find("field 'nnnn", 1, true))
  end)

  it("leaves nothing behind", function()
    for _ = 1, 100 do refusal(identity, { 1, 2, { file } }) end
    assert.equal(1, on_thread(identity, 1))
  end)

  it("of a result fails the Future", function()
    assert.equal("cannot send a userdata from a worker: result #2, field 'f'",
      (error_on_thread(function() return 1, { f = io.stdout } end)))
  end)

  it("of an error comes with the error's text", function()
    local err, traceback = error_on_thread(function()
      error(setmetatable({}, {
        __copy = false,
        __tostring = function() return "my text" end,
      }))
    end)
    assert.equal("my text (cannot send a table marked __copy = false "
      .. "from a worker: error)", err)
    assert.is_truthy(traceback:find("executor_spec.lua", 1, true))
  end)
end)

describe("errors", function()
  it("are copied", function()
    assert.same({ code = 7 }, (error_on_thread(function()
      error({ code = 7 })
    end)))
    assert.equal(12, (error_on_thread(function() error(12) end)))
    assert.equal("<no error object>", (error_on_thread(function()
      error()
    end)))
  end)

  it("have the worker's traceback, then the caller's", function()
    local function innermost() error("on a thread") end
    local outer = gen.coroutine(function()
      return (yield(executor:submit(function() innermost() end)))
    end)
    local future = outer()
    run(function() pcall(yield, future) end)
    local err, traceback = future:exc_info()
    assert.is_truthy(err:find("executor_spec.lua:%d+: on a thread$"))
    local raised = traceback:find("in upvalue 'innermost'", 1, true)
    local awaited = traceback:find("awaited by:", 1, true)
    assert.is_truthy(raised, traceback)
    assert.is_truthy(awaited, traceback)
    assert.is_true(raised < awaited)
  end)

  it("of lunado's classes arrive as such", function()
    local TimeoutError = util.TimeoutError
    local err = error_on_thread(function() error(TimeoutError("late")) end)
    assert.is_true(isinstance(err, TimeoutError))
    assert.equal("TimeoutError: late", tostring(err))
    err = error_on_thread(function()
      error(require("lunado.queues").QueueFull("full"))
    end)
    assert.is_true(isinstance(err, queues.QueueFull))
    assert.equal("QueueFull: full", tostring(err))
  end)

  it("of classes made here are found again", function()
    local Base = util.TimeoutError:subclass("Base")
    local Mine = Base:subclass("Mine")
    local Twin = Base:subclass("Mine")
    for _, class in ipairs { Base, Mine, Twin } do
      local err = error_on_thread(function()
        local made = class("x")
        made.extra = { 1 }
        error(made)
      end)
      assert.equal(class, getmetatable(err))
      assert.same({ 1 }, err.extra)
    end
    assert.equal(Twin, on_thread(identity, Twin))
    local argument = on_thread(identity, Mine("y"))
    assert.is_true(isinstance(argument, util.TimeoutError))
  end)

  it("of classes made there are derived here", function()
    local err = error_on_thread(function()
      local Timeout = require("lunado.util").TimeoutError
      local There = Timeout:subclass("There")
      error(There:subclass("Below")("deep"))
    end)
    assert.equal("Below: deep", tostring(err))
    assert.is_true(isinstance(err, util.TimeoutError))
  end)

  it("of a lack of memory do not affect other jobs", function()
    local err = error_on_thread(function()
      return ("x"):rep(1 << 40)
    end)
    assert.is_truthy(tostring(err):find("too large")
      or tostring(err):find("memory"))
    assert.equal(1, on_thread(identity, 1))
  end)

  it("of os.exit: a worker cannot end the process", function()
    local err = error_on_thread(function() os.exit(1) end)
    assert.is_truthy(err:find("os.exit is not allowed in a worker", 1, true))
  end)

  it("of endless recursion do not affect other jobs", function()
    local function f() return 1 + f() end
    local err = error_on_thread(f)
    assert.is_truthy(tostring(err):find("stack overflow", 1, true))
    assert.equal(1, on_thread(identity, 1))
  end)

  it("that are never retrieved are logged", function()
    run(function()
      executor:submit(function() error("unseen") end)
      yield(executor:submit(identity))
      yield(executor:submit(identity))
    end)
    executor:shutdown()
    gc.collect()
    assert.equal(1, log:count("Future exception was never retrieved"))
    assert.is_truthy(log:first("never retrieved"):find("unseen", 1, true))
  end)

  it("leave a Future alone that was settled here", function()
    local future = executor:submit(identity, 1)
    future:set_result("mine")
    executor:shutdown()
    assert.equal("mine", future:result())
  end)
end)

describe("map", function()
  it("returns a Future of the list of results", function()
    local future = executor:map(function(x) return x * x end, { 1, 2, 3, 4 })
    assert.is_true(concurrent.is_future(future))
    assert.same({ 1, 4, 9, 16 }, run(function() return yield(future) end))
  end)

  it("of nothing is done", function()
    local future = executor:map(identity, {})
    assert.is_true(future:done())
    assert.same({}, future:result())
  end)

  it("fails with the first error by position", function()
    local future = executor:map(function(x)
      if x > 1 then error("no " .. x, 0) end
      return x
    end, { 1, 2, 3 })
    run(function() pcall(yield, future) end)
    assert.equal("no 2", future:exception())
    assert.equal(1, log:count("no 3"))
  end)

  it("refuses before anything runs", function()
    local path = os.tmpname()
    os.remove(path)
    local ok, err = pcall(function()
      local future = executor:map(function()
        io.open(path, "w"):close()
      end, { 1, { x = io.stdout } })
      return future
    end)
    assert.is_false(ok)
    assert.is_truthy(err:find("cannot send a userdata to a worker: "
      .. "argument #2, index [2], field 'x'", 1, true), err)
    executor:shutdown()
    assert.is_nil(io.open(path))
  end)

  it("checks its arguments", function()
    bad(function() executor:map(nil, {}) end, 1, "map", "function", "nil")
    bad(function() executor:map(identity, 1) end, 2, "map", "table", "number")
  end)
end)

describe("a bounded queue", function()
  it("refuses what does not fit", function()
    local one = ThreadPoolExecutor(1, { max_queue = 2 })
    local name = os.tmpname()
    finally(function() os.remove(name) end)
    local function wait(path)
      while true do
        local file = io.open(path)
        if not file then return true end
        file:close()
      end
    end
    for _ = 1, 3 do one:submit(wait, name) end
    for _, method in ipairs { one.submit, one.map } do
      local ok, err = pcall(method, one, identity, { 1 })
      assert.is_false(ok)
      assert.is_true(isinstance(err, queues.QueueFull), tostring(err))
    end
    os.remove(name)
    one:shutdown()
  end)

  it("has room for map as a whole or not at all", function()
    local one = ThreadPoolExecutor(2, { max_queue = 3 })
    local ok, err = pcall(one.map, one, identity, { 1, 2, 3, 4, 5, 6 })
    assert.is_false(ok)
    assert.is_true(isinstance(err, queues.QueueFull))
    local future = one:map(identity, { 1, 2, 3, 4, 5 })
    one:shutdown()
    assert.same({ 1, 2, 3, 4, 5 }, run(function() return yield(future) end))
  end)
end)

describe("ThreadPoolExecutor", function()
  it("checks its arguments", function()
    bad(function() local _ = ThreadPoolExecutor("x") end, 1,
      "ThreadPoolExecutor", "number", "string")
    bad(function() local _ = ThreadPoolExecutor(0) end, 1,
      "ThreadPoolExecutor", "greater than 0")
    bad(function() local _ = ThreadPoolExecutor(-1) end, 1,
      "ThreadPoolExecutor", "greater than 0")
    bad(function() local _ = ThreadPoolExecutor(1, 2) end, 2,
      "ThreadPoolExecutor", "table", "number")
    bad(function() local _ = ThreadPoolExecutor(1, { threads = 1 }) end, 2,
      "ThreadPoolExecutor", "the only option is 'max_queue'")
    bad(function() local _ = ThreadPoolExecutor(1, { max_queue = -1 }) end, 2,
      "ThreadPoolExecutor", "'max_queue' must be a number of jobs")
  end)

  it("has a number of threads by default", function()
    local default <close> = ThreadPoolExecutor()
    assert.equal(1, run(function()
      return yield(default:submit(identity, 1))
    end))
  end)

  it("is a string with its name", function()
    assert.is_truthy(tostring(executor):find("^ThreadPoolExecutor: "))
  end)
end)

describe("shutdown", function()
  it("waits for all jobs; their Futures are done", function()
    local futures = {}
    for i = 1, 20 do futures[i] = executor:submit(identity, i) end
    local called = 0
    futures[20]:add_done_callback(function() called = called + 1 end)
    executor:shutdown()
    for i, future in ipairs(futures) do assert.equal(i, future:result()) end
    assert.equal(1, called)
    loops.turn(loop, 3)
    assert.equal(1, called)
  end)

  it("need not wait", function()
    local future = executor:submit(identity, 1)
    executor:shutdown(false)
    assert.is_false(future:done())
    assert.equal(1, run(function() return yield(future) end))
  end)

  it("refuses jobs from then on", function()
    executor:shutdown(false)
    for _, method in ipairs { executor.submit, executor.map } do
      local ok, err = pcall(method, executor, identity, { 1 })
      assert.is_false(ok)
      assert.equal("Exception: the executor was shut down", tostring(err))
    end
  end)

  it("may be repeated", function()
    executor:submit(identity)
    executor:shutdown(false)
    executor:shutdown()
    executor:shutdown(true)
  end)

  it("may come from a done callback", function()
    for _, wait in ipairs { true, false } do
      for _, at_end in ipairs { true, false } do
        local own, count = ThreadPoolExecutor(2), 0
        local function done()
          count = count + 1
          own:shutdown(wait)
        end
        local futures = {}
        for i = 1, 5 do
          futures[i] = own:submit(identity)
          futures[i]:add_done_callback(done)
        end
        if at_end then own:shutdown() end
        run(function() yield(futures) end)
        assert.equal(5, count)
      end
    end
  end)

  it("is what <close> does", function()
    local future
    do
      local closed <close> = ThreadPoolExecutor(1)
      future = closed:submit(identity, 5)
    end
    assert.equal(5, future:result())
  end)

  it("happens to unreachable executors", function()
    local future
    assert.is_true(gc.collects(function()
      local lost = ThreadPoolExecutor(1)
      future = lost:submit(identity, 6)
      return lost
    end))
    assert.equal(6, run(function() return yield(future) end))
  end)

  it("of a collected one ends its threads after its loop is closed", function()
    local function threads()
      local file = io.open("/proc/self/status")
      if not file then return 0 end -- not Linux
      local text = file:read("a")
      file:close()
      return tonumber(text:match("Threads:%s*(%d+)"))
    end
    local before = threads()
    local other = loops.open()
    do
      local lost = ThreadPoolExecutor(2)
      loops.run(other, function() yield(lost:map(identity, { 1, 2, 3 })) end)
    end
    loops.close(other)
    loop:make_current()
    gc.collect()
    -- A thread that was joined may be listed a moment longer, those of the
    -- tests above (counted in `before`) as well.
    local now
    for _ = 1, 10000 do
      now = threads()
      if now <= before then break end
    end
    assert.is_true(now <= before)
  end)

  it("of one that was never used costs nothing", function()
    assert.is_true(gc.collects(function() return ThreadPoolExecutor(1) end))
    ThreadPoolExecutor(1):shutdown()
  end)
end)

describe("a pending job", function()
  it("keeps its Future and its waiters", function()
    local seen
    run(function()
      gen.coroutine(function()
        seen = yield(executor:submit(function()
          for _ = 1, 1e6 do end
          return "kept"
        end))
      end)()
      gc.collect()
      while not seen do yield(gen.moment) end
    end)
    assert.equal("kept", seen)
  end)

  it("releases them when it is done", function()
    assert.is_true(gc.collects(function()
      local future = executor:submit(identity)
      run(function() yield(future) end)
      return future
    end))
  end)

  it("survives the closing of its loop", function()
    local other = loops.open()
    local future = executor:submit(identity, 1)
    local long = executor:submit(identity, ("x"):rep(1 << 20))
    loops.close(other)
    loop:make_current()
    gc.collect()
    executor:shutdown()
    assert.equal(1, future:result())
    assert.equal(("x"):rep(1 << 20), long:result())
  end)
end)

describe("the end of the state", function()
  local head = [[
    local lunado = require "lunado"
    local ex = lunado.concurrent.ThreadPoolExecutor(1)
    local function busy(n) for _ = 1, n do end return n end
  ]]

  -- A job says that it has begun by making the file `started`.
  local starting = head .. [[
    local started = os.tmpname()
    os.remove(started)
    local function wait_until_started()
      local file
      repeat file = io.open(started) until file
      file:close()
      os.remove(started)
    end
  ]]

  it("waits for the running job, and drops the others", function()
    local got = child(starting .. [[
      ex:submit(function(path)
        io.open(path, "w"):close()
        for _ = 1, 1e7 do end
      end, started)
      for _ = 1, 3 do
        ex:submit(busy, 1):add_done_callback(function(future)
          print(future:exception())
        end)
      end
      wait_until_started()
    ]])
    assert.equal(0, got.code, got.err)
    assert.equal(("Exception: the executor was closed before the job began\n")
      :rep(3), got.out)
    assert.is_truthy(got.err:find(
      "ThreadPoolExecutor was closed before 3 of its jobs began", 1, true))
  end)

  it("reports the error of a running job", function()
    local got = child(starting .. [[
      ex:submit(function(path)
        io.open(path, "w"):close()
        for _ = 1, 1e6 do end
        error("too late")
      end, started)
      wait_until_started()
    ]])
    assert.equal(0, got.code, got.err)
    assert.is_truthy(got.err:find("never retrieved", 1, true), got.err)
    assert.is_truthy(got.err:find("too late", 1, true), got.err)
  end)

  it("is not needed for a finalizer to shut down, as results arrive", function()
    local got = child([[
      collectgarbage("generational")
      local lunado = require "lunado"
      local ex = lunado.concurrent.ThreadPoolExecutor(1)
      local one = ex:submit(function()
        local list = {}
        for i = 1, 20000 do list[i] = { i } end
        return list, ("x"):rep(1000000)
      end)
      local two = ex:submit(function() return ("y"):rep(100000) end)
      local early
      setmetatable({}, { __gc = function()
        ex:shutdown()
        early = two:done() and not one:done()
      end })
      lunado.run(function() coroutine.yield { one, two } end)
      local list, text = one:result()
      print(early, list[20000][1], #text, #two:result())
    ]])
    assert.same({ 0, "true\t20000\t1000000\t100000\n", "" },
      { got.code, got.out, got.err })
  end)

  it("may come while jobs use long strings", function()
    local got = child(head .. [[
      local function sum(s)
        local n = 0
        for i = 1, #s do n = n + s:byte(i) end
        return s, n
      end
      for i = 1, 4 do ex:submit(sum, ("x"):rep(1000000)) end
      lunado.run(function()
        coroutine.yield(ex:submit(sum, ("y"):rep(100000)))
      end)
      for i = 1, 4 do ex:submit(sum, ("z"):rep(1000000)) end
    ]])
    assert.equal(0, got.code, got.err)
  end)

  it("is quiet after all is done", function()
    local got = child(head .. [[
      print(lunado.run(function()
        return coroutine.yield(ex:submit(busy, 10))
      end))
    ]])
    assert.same({ 0, "10\n", "" }, { got.code, got.out, got.err })
  end)

  it("is quiet with os.exit", function()
    local got = child(head .. [[
      lunado.run(function() coroutine.yield(ex:submit(busy, 10)) end)
      os.exit(3, true)
    ]])
    assert.same({ 3, "", "" }, { got.code, got.out, got.err })
  end)

  it("can come while coroutines wait", function()
    local got = child(head .. [[
      lunado.coroutine(function()
        coroutine.yield(ex:submit(busy, 1e6))
        print("never")
      end)()
    ]])
    assert.equal(0, got.code, got.err)
    assert.equal("", got.out)
  end)

  it("can come in a worker that has workers", function()
    local got = child(head .. [[
      print(lunado.run(function()
        return coroutine.yield(ex:submit(function()
          local concurrent = require "lunado.concurrent"
          inner = concurrent.ThreadPoolExecutor(2)
          return require("lunado").run(function()
            return coroutine.yield(inner:submit(function() return "deep" end))
          end)
        end))
      end))
    ]])
    assert.same({ 0, "deep\n", "" }, { got.code, got.out, got.err })
  end)
end)

describe("dummy_executor", function()
  local dummy = concurrent.dummy_executor

  it("runs at once, here", function()
    local here
    local future = dummy:submit(function(...)
      here = true
      return ...
    end, 1, nil, io.stdout)
    assert.is_true(here)
    assert.is_true(future:done())
    assert.same({ n = 3, 1, nil, io.stdout }, table.pack(future:result()))
    assert.equal(0, select("#", dummy:submit(identity):result()))
  end)

  it("catches errors, with their traceback", function()
    local function raise() error({}) end
    local future = dummy:submit(raise)
    local err, traceback = future:exc_info()
    assert.same({}, err)
    assert.is_truthy(traceback:find("executor_spec.lua", 1, true), traceback)
    assert.equal("<no error object>", dummy:submit(error):exception())
  end)

  it("maps, shuts down and closes as others do", function()
    local closed <close> = concurrent.DummyExecutor()
    assert.same({ 1, 4 }, closed:map(function(x) return x * x end,
      { 1, 2 }):result())
    dummy:shutdown()
    dummy:shutdown(false)
    assert.equal(1, dummy:submit(identity, 1):result())
  end)

  it("checks its arguments", function()
    bad(function() dummy:submit(1) end, 1, "submit", "function", "number")
    bad(function() dummy:map(1, {}) end, 1, "map", "function", "number")
    bad(function() dummy:map(identity) end, 2, "map", "table", "nil")
  end)
end)

describe("run_on_executor", function()
  local run_on_executor = concurrent.run_on_executor

  local function object(fields)
    fields = fields or {}
    fields.executor, fields.io_loop = executor, loop
    return fields
  end

  it("runs a method on the executor of its object", function()
    local get = run_on_executor(function(self, a, b)
      return self.value + a * b, self.executor == nil and self.io_loop == nil
    end)
    local future = get(object { value = 1 }, 2, 3)
    assert.is_true(concurrent.is_future(future))
    assert.same({ 7, true }, { run(function() return yield(future) end) })
  end)

  it("takes names of fields", function()
    local decorate = run_on_executor {
      executor = "_pool", io_loop = "_loop",
    }
    local get = decorate(function(self) return self._pool == nil, self.x end)
    local self = { _pool = executor, _loop = loop, x = 5 }
    assert.same({ true, 5 }, { run(function() return yield(get(self)) end) })
  end)

  it("without arguments is a decorator", function()
    local get = run_on_executor()(function(self) return self.x end)
    assert.equal(2, run(function() return yield(get(object { x = 2 })) end))
  end)

  it("copies self wherever it is met without these fields", function()
    local self = object()
    self.child = { parent = self }
    local get = run_on_executor(function(copy, again)
      return copy.child.parent == copy, again == copy
    end)
    assert.same({ true, true },
      { run(function() return yield(get(self, self)) end) })
    assert.equal(executor, self.executor)
  end)

  it("gives methods that call each other as they are", function()
    local self = object { n = 3 }
    self.double = run_on_executor(function(me) return 2 * me.n end)
    self.quadruple = run_on_executor(function(me)
      return 2 * me:double(), me.quadruple
    end)
    local four, back = run(function() return yield(self:quadruple()) end)
    assert.equal(12, four)
    assert.equal("function", type(back))
    assert.equal(6, on_thread(self.double, { n = 3 }))
  end)

  it("is used with gen.Task", function()
    local self = object()
    local get = run_on_executor(function(_, x) return x + 1 end)
    assert.equal(5, run(function() return yield(gen.Task(get, self, 4)) end))
  end)

  it("calls the callback on the loop, with the result", function()
    local get = run_on_executor(function(_, x) return x, x + 1 end)
    local result = concurrent.Future()
    local future = get(object(), 1, util.kwargs {
      callback = function(...) result:set_result(...) end,
    })
    assert.is_true(concurrent.is_future(future))
    assert.same({ 1, 2 }, { run(function() return yield(result) end) })
  end)

  it("calls the callback on the loop that self names", function()
    local other = loops.open()
    loop:make_current()
    finally(function() other:close() end)
    local called = false
    local self = object()
    self.io_loop = other
    run_on_executor(function() end)(self, util.kwargs {
      callback = function() called = true end,
    })
    executor:shutdown()
    loops.turn(loop, 2)
    assert.is_false(called)
    loops.turn(other, 2)
    assert.is_true(called)
  end)

  it("passes on the other keyword arguments", function()
    local get = run_on_executor(function(_, a, kwargs) return a, kwargs end)
    local a, kwargs = run(function()
      return yield(get(object(), 1, util.kwargs { x = 2, callback = identity }))
    end)
    assert.equal(1, a)
    assert.same({ x = 2 }, kwargs)
    local count = run_on_executor(function(...) return select("#", ...) end)
    assert.equal(2, run(function()
      return yield(count(object(), 1, util.kwargs { callback = identity }))
    end))
  end)

  it("does not call the callback on failure", function()
    local called = false
    local fail = run_on_executor(function() error("failed") end)
    local future = fail(object(), util.kwargs {
      callback = function() called = true end,
    })
    run(function()
      pcall(yield, future)
      yield(gen.moment)
    end)
    assert.is_false(called)
    assert.equal(1, log:count("failed"))
  end)

  it("works with the dummy and with executors of one's own", function()
    local self = object { x = io.stdout }
    self.executor = concurrent.dummy_executor
    local get = run_on_executor(function(me, y) return me, me.x, y end)
    local me, x, y = get(self, 1):result()
    assert.same({ self, io.stdout, 1 }, { me, x, y })
    self.executor = { submit = function(_, fn, ...)
      local future = concurrent.Future()
      future:set_result(fn(...))
      return future
    end }
    assert.equal(1, (select(3, get(self, 1):result())))
  end)

  local function message(fn)
    local ok, err = pcall(fn)
    assert.is_false(ok)
    local found = tostring(err):match("executor_spec.lua:%d+: (.*)$")
    return found or error("not at the caller's line: " .. tostring(err))
  end

  it("names what it cannot send as the method's caller does", function()
    local file = io.stdout
    local get = run_on_executor(function() end)
    assert.equal("cannot send a userdata to a worker: argument #2",
      message(function() local _ = get(object(), 1, file) end))
    assert.equal("cannot send a userdata to a worker: self, field 'x'",
      message(function() local _ = get(object { x = file }) end))
    local with = run_on_executor(function() return file end)
    assert.equal("cannot send a userdata to a worker: self, field 'with', "
      .. "upvalue 'file'",
      message(function() local _ = get(object { with = with }) end))
    assert.equal(
      "cannot send a userdata to a worker: the method, upvalue 'file'",
      message(function() local _ = with(object()) end))
  end)

  it("wants an executor", function()
    local get = run_on_executor(function() end)
    assert.equal("the object's field 'executor' is nil, not an executor",
      message(function() local _ = get({}) end))
    assert.equal("the object's field 'executor' is a number, not an executor",
      message(function() local _ = get({ executor = 1 }) end))
    assert.equal("the object's field 'executor' is a table, not an executor",
      message(function() local _ = get({ executor = {} }) end))
    local named = run_on_executor { executor = "_pool" }(function() end)
    assert.equal("the object's field '_pool' is nil, not an executor",
      message(function() local _ = named({ executor = executor }) end))
    assert.equal("a method that runs on an executor wants an object, not nil",
      message(function() local _ = get() end))
  end)

  it("wants a callback that can be called, and a loop", function()
    local get = run_on_executor(function() end)
    local five = util.kwargs { callback = 5 }
    assert.equal("the callback is a number, not a function",
      message(function() local _ = get(object(), five) end))
    local self = object()
    self.io_loop = "x"
    local kwargs = util.kwargs { callback = identity }
    assert.equal("the object's field 'io_loop' is a string, not an IOLoop",
      message(function() local _ = get(self, kwargs) end))
    local named = run_on_executor { io_loop = "_loop" }(function() end)
    assert.equal("the object's field '_loop' is nil, not an IOLoop",
      message(function() local _ = named(object(), kwargs) end))
  end)

  it("takes a function or names, one of them", function()
    local f = function() end
    assert.equal("run_on_executor takes a function or names, not both",
      message(function() run_on_executor(f, { executor = "x" }) end))
    assert.equal("run_on_executor takes 1 argument, got 2",
      message(function() run_on_executor(f, f) end))
    bad(function() run_on_executor(1) end, 1, "run_on_executor",
      "function or table", "number")
    bad(function() run_on_executor(nil) end, 1, "run_on_executor",
      "function or table", "nil")
    bad(function() run_on_executor { executer = "x" } end, 1,
      "run_on_executor", "may be named")
    bad(function() run_on_executor { executor = 1 } end, 1,
      "run_on_executor", "may be named")
    bad(function() run_on_executor {}(1) end, 1, "run_on_executor",
      "function", "number")
  end)
end)
