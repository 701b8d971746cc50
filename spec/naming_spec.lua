-- SPDX-License-Identifier: MIT
-- Messages name what the user has written: callbacks by their names or places,
-- and the user's line, never one inside lunado.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local debugging = require "lunado.debug"
local gen = require "lunado.gen"
local ioloop = require "lunado.ioloop"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local stack_context = require "lunado.stack_context"
local testing = require "lunado.testing"
local util = require "lunado.util"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future = concurrent.Future
local yield = coroutine.yield

local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Without a limit: that it would never end is to be seen.
local function run(fn) return loop:run_sync(fn) end

local FILE = debug.getinfo(1, "S").short_src
local function place(line) return ("%s:%d"):format(FILE, line) end
local function line_of(fn) return debug.getinfo(fn, "S").linedefined end

-- What fails, and where it is written.
local function fails() error("trouble", 0) end
local HERE = place(line_of(fails))

-- Names that can be looked up.
local Crawler = {}
function Crawler.refresh() error("trouble", 0) end
local METHOD = place(line_of(Crawler.refresh))
setup(function()
  package.loaded["spec.crawler"] = { Crawler = Crawler, fetch = fails,
    work = gen.coroutine(fails) }
end)
teardown(function() package.loaded["spec.crawler"] = nil end)

local function callable(mt)
  mt.__call = function() error("trouble", 0) end
  return setmetatable({}, mt), place(line_of(mt.__call))
end

-- Each: a function that fails when it is called, and what it is called.
local function callbacks()
  local unnamed = function() error("trouble", 0) end
  local where = place(line_of(unnamed))
  local plain = ("function <%s>"):format(where)
  local job, job_place = callable { __name = "Job" }
  local text, text_place = callable { __tostring = function()
    return "job 17"
  end }
  local nameless, nameless_place = callable {}
  local odd, odd_place = callable { __name = { 1 } }
  local broken, broken_place = callable { __tostring = function() error {} end }
  local closing = callable { __tostring = function() return {} end }
  return {
    ["a function without a name"] = { unnamed, plain },
    ["a field of a module"] = { fails, "spec.crawler.fetch (" .. HERE .. ")" },
    ["a method of a class in a module"] = { Crawler.refresh,
      "spec.crawler.Crawler.refresh (" .. METHOD .. ")" },
    ["a coroutine function"] = { gen.coroutine(unnamed), plain },
    ["a coroutine function with a name"] = {
      package.loaded["spec.crawler"].work,
      "spec.crawler.work (" .. HERE .. ")" },
    ["a coroutine function that fails later"] = {
      gen.coroutine(function() yield() error("trouble", 0) end),
      "function <" .. FILE .. ":" },
    ["an engine"] = { gen.engine(unnamed), plain },
    ["an engine that fails later"] = {
      gen.engine(function() yield() error("trouble", 0) end),
      "function <" .. FILE .. ":" },
    ["a function of return_future"] = {
      concurrent.return_future(function(_) error("trouble", 0) end),
      "function <" .. FILE .. ":" },
    ["a wrapped function"] = { (function()
      local fn
      stack_context.ExceptionStackContext(function() end):run(function()
        fn = stack_context.wrap(unnamed)
      end)
      return fn
    end)(), plain },
    ["a callable table with a name"] = { job, "Job (" .. job_place .. ")" },
    ["a callable table with a text"] = { text,
      "job 17 (" .. text_place .. ")" },
    ["a callable table"] = { nameless,
      "callable table (" .. nameless_place .. ")" },
    ["a callable table whose __name is no string"] = { odd,
      "callable table (" .. odd_place .. ")" },
    ["a callable table whose __tostring fails"] = { broken,
      "(a table whose __tostring fails) (" .. broken_place .. ")" },
    ["a callable table whose __tostring gives a table"] = { closing,
      "(a table whose __tostring fails) (" },
    ["a function of C"] = { error, "error" },
    ["a method of C"] = { (function()
      local f = Future()
      f:set_result()
      return f.set_result, f
    end)(), "Future:set_result" },
  }
end

local function names_of(of)
  local list = {}
  for name in pairs(of) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- How a callback gets called.
local ways = {
  add_callback = function(fn) loop:add_callback(fn, 1) end,
  spawn_callback = function(fn) loop:spawn_callback(fn, 1) end,
  call_later = function(fn) loop:call_later(0, fn, 1) end,
  add_future = function(fn)
    local f = Future()
    loop:add_future(f, fn)
    f:set_result()
  end,
  ["add_future of what is done"] = function(fn)
    loop:add_future(gen.maybe_future(1), fn)
  end,
  add_done_callback = function(fn)
    local f = Future()
    f:add_done_callback(fn)
    f:set_result()
  end,
  ["add_callback in a context"] = function(fn)
    stack_context.ExceptionStackContext(function() end):run(function()
      loop:add_callback(fn, 1)
    end)
  end,
  ["the callback of a coroutine"] = function(fn)
    gen.coroutine(function() end)(util.kwargs { callback = fn })
  end,
  ["the callback of return_future"] = function(fn)
    concurrent.return_future(function(done) done() end)(
      util.kwargs { callback = fn })
  end,
  ["the callback of a method on an executor"] = function(fn)
    local object = { executor = concurrent.dummy_executor }
    concurrent.run_on_executor(function() end)(object,
      util.kwargs { callback = fn })
  end,
}

describe("a callback that fails", function()
  for _, way in ipairs(names_of(ways)) do
    for _, what in ipairs(names_of(callbacks())) do
      -- A Future that add_done_callback's function returns is nobody's.
      local later = what:find "later$" or what:find "coroutine function"
        or what:find "return_future"
      if not (way == "add_done_callback" and later)
        and not (way:find "^the callback" and later) then
        it("is called by its name: " .. way .. " of " .. what, function()
          local fn, name = table.unpack(callbacks()[what])
          ways[way](fn)
          loops.turn(loop, 6)
          assert.is_truthy(log:first("Exception in callback")
            :find("Exception in callback " .. name, 1, true), log:text())
          assert.equal(1, #log, log:text())
        end)
      end
    end
  end

  it("is called by its name in PeriodicCallback", function()
    local function tick() error("trouble", 0) end
    local repeated = ioloop.PeriodicCallback(gen.coroutine(tick), 1, loop)
    local clock <close> = testing.virtual_clock(loop)
    repeated:start()
    clock:advance(1)
    loops.turn(loop, 2)
    repeated:stop()
    assert.is_truthy(log:first("Exception in callback")
      :find(("function <%s>"):format(place(line_of(tick))), 1, true),
      log:text())
  end)

  it("is called by its name when it holds the loop", function()
    loop:set_blocking_log_threshold(1e-9)
    loop:add_callback(gen.coroutine(function() end))
    loops.turn(loop, 2)
    local message = log:first("held the loop")
    assert.is_truthy(message:find("function <" .. FILE, 1, true), message)
  end)

  it("is called by its name when PeriodicCallback calls it", function()
    loop:set_blocking_log_threshold(1e-9)
    local function tick() end
    local repeated = ioloop.PeriodicCallback(tick, 1, loop)
    local clock <close> = testing.virtual_clock(loop)
    repeated:start()
    clock:advance(1)
    loops.turn(loop, 2)
    repeated:stop()
    local message = log:first("held the loop")
    assert.is_truthy(message:find(place(line_of(tick)), 1, true), message)
  end)

  it("comes to the handler as it was given", function()
    local given
    function loop.handle_callback_exception(_, fn) given = fn end
    local fn = function() error "trouble" end
    gen.coroutine(function() end)(util.kwargs { callback = fn })
    loops.turn(loop, 3)
    assert.equal(fn, given)
    local engine = gen.engine(function() yield() error "trouble" end)
    loop:add_callback(engine)
    loops.turn(loop, 4)
    assert.is_true(given ~= fn and type(given) == "function")
  end)
end)

-- Each waits, at the line after `here()`, for what never comes.
local LINE
local function here() LINE = debug.getinfo(2, "l").currentline + 1 end
local waits = {
  ["an iterator of a queue"] = function()
    local q = queues.Queue()
    here()
    for _ in q:iter() do LINE = nil end
  end,
  ["an iterator of a WaitIterator"] = function()
    local wi = gen.WaitIterator(Future())
    here()
    for _ in wi:results() do LINE = nil end
  end,
  ["a lock"] = function()
    local lock = locks.Lock()
    lock:acquire()
    here()
    yield(lock:acquire())
  end,
  ["await"] = function()
    local f = Future()
    here()
    gen.await(f)
  end,
}

describe("a line at which a coroutine waits", function()
  before_each(function() log:allow "Coroutine was collected while waiting" end)

  for _, name in ipairs(names_of(waits)) do
    it("is the user's in the message of a run: " .. name, function()
      local ok, err = pcall(run, waits[name])
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("it waits at " .. place(LINE) .. ",",
        1, true), tostring(err))
    end)

    it("is the user's in debug.tasks: " .. name, function()
      local future = gen.coroutine(waits[name])()
      local found
      for _, task in ipairs(debugging.tasks()) do
        if task.future == future then found = task end
      end
      assert.equal(place(LINE), found.where)
    end)

    it("is the user's when it is collected: " .. name, function()
      gen.coroutine(waits[name])()
      gc.collect()
      gc.collect()
      assert.is_truthy(log:first("Coroutine was collected while waiting at ")
        :find("waiting at " .. place(LINE) .. ":", 1, true), log:text())
    end)
  end

  it("is the user's wherever lunado is, embedded or installed", function()
    local result = child [[
      -- As luaopen_lunado has them: chunks with other names.
      for name in ("argument callback concurrent debug executor gen"
        .." ioloop legacy locks log queues stack_context util waiters waitgraph"
        ):gmatch "%a[%a_]*" do
        local path = assert(package.searchpath("lunado." .. name,
          package.path))
        local file = assert(io.open(path))
        local text = file:read "a"
        file:close()
        package.preload["lunado." .. name] = assert(load(text,
          "=elsewhere." .. name))
      end
      local lunado = require "lunado"
      lunado.run(function()
        for _ in lunado.queues.Queue():iter() do end -- line 15
      end)
    ]]
    assert.equal(1, result.code)
    assert.is_truthy(result.err:find "it waits at [^\n]*script.lua:15,",
      result.err)
  end)
end)

describe("items of a PriorityQueue that cannot be compared", function()
  local cases = { { 1, "x", "number with string" },
    { {}, {}, "two nil values" }, { { 1 }, { true }, "number with boolean" },
    { print, print, "two function values" } }
  for _, case in ipairs(cases) do
    it("are reported at the user's line: " .. case[3], function()
      local q, line = queues.PriorityQueue(), nil
      q:put(case[1])
      local ok, err = pcall(function()
        line = debug.getinfo(1, "l").currentline + 1
        q:put(case[2])
      end)
      assert.is_false(ok)
      assert.equal(1, q:qsize())
      local begin = place(line) .. ": attempt to compare "
      assert.equal(begin, err:sub(1, #begin), err)
      for word in case[3]:gmatch "%a+" do
        assert.is_truthy(err:find(word, 1, true), err)
      end
    end)
  end
end)

describe("an error of a test", function()
  it("has the user's place, where lunado has raised it", function()
    local line = debug.getinfo(1, "l").currentline + 2
    local ok, err = pcall(testing.gen_test(function()
      yield(queues.Queue():get(0.01))
    end))
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find(place(line) .. ": TimeoutError", 1,
      true), tostring(err))
    -- A coroutine function that returns at once what has failed.
    local f = Future()
    f:set_exc_info({}, "")
    ok, err = pcall(testing.gen_test(gen.coroutine(function() return f end)))
    assert.is_false(ok)
    assert.is_nil(tostring(err):find("[C]:-1", 1, true), tostring(err))
  end)
end)

describe("lunado's own code", function()
  it("is recognized by its source", function()
    local function source(fn) return debug.getinfo(fn, "S").source end
    assert.is_true(core.is_own(source(queues.Queue.put)))
    assert.is_true(core.is_own(source(util.timedelta)))
    assert.is_false(core.is_own(source(fails)))
    assert.is_false(core.is_own("=?"))
  end)
end)

describe("a run that would never end", function()
  it("names the line that runs a function which returns a Future", function()
    local function never() return Future() end
    local line
    local ok, err = pcall(function()
      line = debug.getinfo(1, "l").currentline + 1
      local _ = loop:run_sync(never)
    end)
    assert.is_false(ok)
    assert.matches("it waits at " .. place(line) .. " for a plain Future that "
      .. "was returned by function <" .. place(line_of(never)) .. ">,",
      tostring(err), 1, true)
  end)
end)

-- Lua's order of tables is another one in each process.
describe("of several names", function()
  local names = {}
  local function each(visit)
    for i = 1, 40 do visit(("spec.name%s"):format(("x"):rep(i))) end
  end
  local function trouble() error("trouble", 0) end
  local class = { trouble = trouble }
  before_each(function()
    names = {}
    each(function(module)
      names[#names + 1] = module
      package.loaded[module] = { work = trouble, atwork = trouble }
    end)
  end)
  after_each(function()
    for _, module in ipairs(names) do package.loaded[module] = nil end
  end)

  it("a traceback shows the shortest", function()
    local f = gen.coroutine(function() trouble() end)()
    local _, traceback = f:exc_info()
    assert.matches("in function 'spec.namex.work'\n", traceback, 1, true)
  end)

  it("messages show the shortest", function()
    assert.equal("spec.namex.work (" .. place(line_of(trouble)) .. ")",
      core.describe(trouble))
  end)

  it("methods have the shortest", function()
    each(function(module)
      package.loaded[module] = { Class = class, OtherClass = class }
    end)
    assert.equal("spec.namex.Class.trouble ("
      .. place(line_of(trouble)) .. ")", core.describe(trouble))
  end)

  it("debug.tasks shows the shortest", function()
    log:allow "Coroutine was collected while waiting"
    local wait = function() yield(Future()) end
    each(function(module)
      package.loaded[module] = { work = wait, atwork = wait }
    end)
    local f = gen.coroutine(wait)()
    for _, entry in ipairs(debugging.tasks()) do
      if entry.future == f then assert.equal("spec.namex.work", entry.name) end
    end
  end)

  it("lunado's own are those that users write", function()
    require "lunado"
    local f = gen.coroutine(function() gen.await(1) end)()
    local _, traceback = f:exc_info()
    assert.matches("in function 'lunado.await'\n", traceback, 1, true)
  end)
end)
