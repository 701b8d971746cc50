-- SPDX-License-Identifier: MIT
-- A Future is anyone's to settle: what its producer brings afterwards changes
-- nothing.  A value is dropped; an error is logged once.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local queues = require "lunado.queues"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future = concurrent.Future
local yield = coroutine.yield

local loop, log
before_each(function()
  log = frame.begin_default()
  loop = IOLoop.current()
end)
after_each(function() frame.finish() end)

local TROUBLE = "late trouble"

-- Settles like f what outcome says: "value" or "error".
local function settle(f, outcome)
  if outcome == "error" then
    f:set_exception(TROUBLE)
  else
    f:set_result("late")
  end
end

-- An object whose method takes part in the game.
local Point = gen.YieldPoint:subclass("Point")
function Point:init(outcome) self.outcome = outcome end
function Point:start(runner) self.runner = runner end
function Point:is_ready() return self.ready end
function Point:get_result()
  if self.outcome == "error" then error(TROUBLE, 0) end
  return "late"
end

local BadReady = gen.YieldPoint:subclass("BadReady")
function BadReady:init(outcome) self.outcome = outcome end
function BadReady:start(runner) self.runner = runner end
function BadReady:is_ready()
  if self.ready and self.outcome == "error" then error(TROUBLE, 0) end
  return self.ready
end
function BadReady.get_result() end

local function by_runner(class)
  return function(outcome)
    local point = class(outcome)
    local f = gen.convert_yielded(point)
    return f, function()
      point.ready = true
      point.runner:run()
    end
  end
end

local function finish(outcome)
  if outcome == "error" then error(TROUBLE, 0) end
  return "late"
end

-- Each: function(outcome) → a pending Future, and a function that makes its
-- producer bring the outcome.  Called in a coroutine.
-- How often the producer's error was logged, in whatever words.
local function told()
  return log:count(TROUBLE) + log:count("ENOENT")
end

local producers = {
  ["a coroutine"] = function(outcome)
    local go = Future()
    local f = gen.coroutine(function()
      yield(go)
      return finish(outcome)
    end)()
    return f, function()
      go:set_result()
      yield()
      yield()
    end
  end,
  ["chain_future"] = function(outcome)
    local source, f = Future(), Future()
    concurrent.chain_future(source, f)
    return f, function() settle(source, outcome) end
  end,
  ["chain_future of what is done"] = function(outcome)
    local source, f = Future(), Future()
    return f, function()
      settle(source, outcome)
      concurrent.chain_future(source, f)
    end
  end,
  ["multi"] = function(outcome)
    local source = Future()
    return gen.multi { source }, function() settle(source, outcome) end
  end,
  ["with_timeout"] = function(outcome)
    local source = Future()
    return gen.with_timeout({ hours = 1 }, source), function()
      settle(source, outcome)
    end
  end,
  ["WaitIterator"] = function(outcome)
    local source = Future()
    return gen.WaitIterator(source):next(), function()
      settle(source, outcome)
    end
  end,
  ["Task"] = function(outcome)
    local go
    local f = gen.Task(function(callback)
      go = function() callback(finish(outcome)) end
      loop:add_callback(function() go() end)
    end)
    return f, function() yield() yield() end
  end,
  ["return_future"] = function(outcome)
    local f = concurrent.return_future(function(callback)
      loop:add_callback(function() callback(finish(outcome)) end)
    end)()
    return f, function() yield() yield() end
  end,
  ["return_future of an engine"] = function(outcome)
    local f = concurrent.return_future(gen.engine(function(callback)
      yield()
      callback(finish(outcome))
    end))()
    return f, function() for _ = 1, 4 do yield() end end
  end,
  ["get_result of a YieldPoint"] = by_runner(Point),
  ["is_ready of a YieldPoint"] = by_runner(BadReady),
  ["a thread"] = function(outcome)
    local executor = concurrent.ThreadPoolExecutor(1)
    local f = executor:submit(function(how, text)
      if how == "error" then error(text, 0) end
      return text
    end, outcome, TROUBLE)
    return f, function() executor:shutdown() end
  end,
  ["a method on a thread"] = function(outcome)
    local object = { executor = concurrent.ThreadPoolExecutor(1) }
    local run = concurrent.run_on_executor(function(_, how, text)
      if how == "error" then error(text, 0) end
      return text
    end)
    return run(object, outcome, TROUBLE), function()
      object.executor:shutdown()
    end
  end,
  ["put"] = function(outcome)
    -- In a full queue it waits with its item, which is compared later.
    local f
    local q = queues.PriorityQueue(1)
    local order = {}
    order.__lt = function()
      if f and not f:done() then f:set_result("mine") end
      return finish(outcome) == nil
    end
    q:put(setmetatable({}, order))
    local g = q:put(setmetatable({}, order))
    return g, function()
      f = g
      q:get()
    end, true
  end,
}

local has_luv = pcall(require, "luv")
if has_luv then
  local uv = require "lunado.uv"
  producers["a request of libuv"] = function(outcome)
    local f = uv.fs_stat(outcome == "error" and "/none/such" or "/")
    return f, function()
      for _ = 1, 20 do yield(gen.sleep(0.001)) end
      yield(uv.fs_stat("/"))
    end
  end
  producers["queue_work"] = function(outcome)
    local f = uv.queue_work(function(how, text)
      if how == "error" then error(text, 0) end
      return text
    end, outcome, TROUBLE)
    return f, function()
      yield(uv.queue_work(function() end))
      -- Threads end their work in any order.
      for _ = 1, outcome == "error" and 5000 or 5 do
        gc.collect()
        if told() > 0 then return end
        yield(gen.sleep(0.001))
      end
    end
  end
end

local function names()
  local list = {}
  for name in pairs(producers) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function bring(name, outcome)
  loops.run(loop, function()
    local f, produce, by_itself = producers[name](outcome)
    assert(not f:done(), "it is done too early")
    if not by_itself then f:set_result("mine") end
    produce()
    assert(f:result() == "mine")
  end)
  gc.collect()
  gc.collect()
end

for _, name in ipairs(names()) do
  describe("a Future of " .. name .. " that somebody else has set", function()
    it("has the error that comes later logged once", function()
      bring(name, "error")
      assert.equal(1, told(), log:text())
      assert.equal(1, #log, log:text())
    end)

    it("has a value that comes later dropped", function()
      bring(name, "value")
      assert.equal("", log:text())
    end)
  end)
end

describe("an error that arrives too late", function()
  it("is not logged when it was seen elsewhere", function()
    local function drop()
      local source, f = Future(), Future()
      concurrent.chain_future(source, f)
      f:set_result()
      source:set_exception(TROUBLE)
      assert.equal(TROUBLE, source:exception())
    end
    drop()
    gc.collect()
    assert.equal("", log:text())
  end)

  it("keeps its traceback", function()
    local line
    do
      local f = gen.coroutine(function()
        yield()
        line = debug.getinfo(1, "l").currentline + 1
        error(TROUBLE, 0)
      end)()
      f:set_result()
    end
    loops.turn(loop, 2)
    gc.collect()
    assert.is_truthy(log:first(TROUBLE):find("late_errors_spec.lua:" .. line,
      1, true), log:text())
  end)
end)
