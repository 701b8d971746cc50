-- SPDX-License-Identifier: MIT
-- lunado.locks and lunado.queues: 100,000 that wait, or have waited.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local testing = require "lunado.testing"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local Queue = queues.Queue
local yield = coroutine.yield

local MANY = times(10000)

local run = frame.run
local loop
before_each(function() loop = frame.begin() end)
after_each(function() frame.finish() end)

describe("locks", function()
  it("keep no memory of 100,000 that timed out", function()
    local s = locks.Lock()
    s:acquire()
    local function many(n)
      local futures = {}
      for i = 1, n do futures[i] = s:acquire({ seconds = 0 }) end
      run(function() yield(gen.sleep(0.001)) end)
      for i = 1, n do assert(futures[i]:exception()) end
    end
    many(MANY)
    local before = gc.kilobytes()
    for _ = 1, 10 do many(MANY) end
    assert.is_true(gc.kilobytes() - before < 50)
  end)

  it("forget in O(1), whatever the order", function()
    local c = locks.Condition()
    local futures = {}
    local start = loop:time()
    for i = 1, 10 * MANY do
      futures[i] = c:wait({ milliseconds = (i * 7919) % 50 })
    end
    run(function() yield(gen.sleep(0.1)) end)
    for i = 1, 10 * MANY do assert(futures[i]:result() == false) end
    assert.is_true(loop:time() - start < loops.PATIENCE)
    c:notify_all()
  end)
end)

describe("a Queue", function()
  it("keeps no memory of 100,000 timeouts", function()
    local q = Queue(1)
    local function many(n)
      local futures = {}
      for i = 1, n do
        futures[i] = q:empty() and q:get({ seconds = 0 })
          or q:put(1, { seconds = 0 })
      end
      run(function() yield(gen.sleep(0.001)) end)
      for i = 1, n do assert(futures[i]:exception()) end
    end
    many(MANY)
    q:put_nowait(1)
    many(MANY)
    local before = gc.kilobytes()
    for i = 1, 10 do
      if i == 6 then q:get_nowait() end
      many(MANY)
    end
    assert.is_true(gc.kilobytes() - before < 50)
  end)
end)

-- Waits for ever, on what nothing ends.
local waits = {
  ["Event:wait"] = function()
    local e = locks.Event()
    return function(timeout) return e:wait(timeout) end
  end,
  ["Condition:wait"] = function()
    local c = locks.Condition()
    return function(timeout) return c:wait(timeout) end
  end,
  ["Semaphore:acquire"] = function()
    local s = locks.Semaphore(0)
    return function(timeout) return s:acquire(timeout) end
  end,
  ["Lock:acquire"] = function()
    local lock = locks.Lock()
    lock:acquire()
    return function(timeout) return lock:acquire(timeout) end
  end,
  ["Queue:get"] = function()
    local q = Queue()
    return function(timeout) return q:get(timeout) end
  end,
  ["Queue:put"] = function()
    local q = Queue(1)
    q:put_nowait(0)
    return function(timeout) return q:put({}, timeout) end
  end,
  ["Queue:join"] = function()
    local q = Queue(1)
    q:put_nowait(0)
    return function(timeout) return q:join(timeout) end
  end,
}

local NOW = { seconds = 0 }

local ready = concurrent.Future()
ready:set_result()

local races = {
  ["with_timeout"] = function(future)
    pcall(yield, gen.with_timeout(NOW, future))
  end,
  ["with_timeout of a list"] = function(future)
    pcall(yield, gen.with_timeout(NOW, { future }))
  end,
  ["another of a WaitIterator"] = function(future)
    yield(gen.WaitIterator(future, ready):next())
  end,
}

describe("a wait that lost against", function()
  for race, lose in pairs(races) do
    for name, make in pairs(waits) do
      it(race .. " leaves nothing: " .. name, function()
        local wait = make()
        local function many()
          run(function()
            for i = 1, MANY / 2 do
              lose(wait())
              -- What has lost is in the line until it is collected.
              if i % 250 == 0 then collectgarbage() end
            end
            yield(gen.sleep(0))
          end)
        end
        many()
        local before = gc.kilobytes()
        for _ = 1, 3 do many() end
        local kept = gc.kilobytes() - before
        assert.is_true(kept < 50, kept .. " kB")
      end)
    end
  end
end)

-- Its clock stands where it is when no timer runs on the loop.
local function assert_at_rest()
  local start = loop:time()
  pcall(loop.run_sync, loop, function() return concurrent.Future() end)
  assert.equal(start, loop:time())
end

local endings = {
  ["that lost against a with_timeout"] = races.with_timeout,
  ["that was settled by hand"] = function(future)
    local waiter = gen.coroutine(function() pcall(yield, future) end)()
    future:set_result()
    yield(waiter)
  end,
  ["that was settled by hand before anything waited"] = function(future)
    future:set_result()
  end,
}

describe("a wait with an hour left", function()
  for how, lose in pairs(endings) do
    for name, make in pairs(waits) do
      it(how .. " leaves no timer: " .. name, function()
        testing.virtual_clock(loop)
        local wait = make()
        local function many()
          run(function()
            for _ = 1, MANY / 5 do lose(wait { hours = 1 }) end
          end)
        end
        many()
        assert_at_rest()
        local before = gc.kilobytes()
        for _ = 1, 3 do many() end
        assert_at_rest()
        local kept = gc.kilobytes() - before
        assert.is_true(kept < 50, kept .. " kB")
      end)
    end
  end
end)
