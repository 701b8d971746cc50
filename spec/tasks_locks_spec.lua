-- SPDX-License-Identifier: MIT
-- Cancelled waits for locks, conditions, events, semaphores and queues: what
-- they would have got is neither lost nor given twice.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local tasks = require "lunado.tasks"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"

local Future = concurrent.Future
local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check

local run = frame.run
local loop
before_each(function() loop = frame.begin_virtual() end)
after_each(function() frame.finish() end)

-- The ways in which a coroutine can wait for the Future that wait() returns.
local HOUR <const> = { hours = 1 }
local ways <const> = {
  ["at a yield"] = function(wait) return (yield(wait())) end,
  ["by await"] = function(wait) return (gen.await(wait())) end,
  ["with its own timeout"] = function(wait) return (yield(wait(HOUR))) end,
  ["in with_timeout"] = function(wait)
    return (yield(gen.with_timeout(HOUR, wait())))
  end,
  ["in another coroutine"] = function(wait)
    return (yield(start(function() return (yield(wait())) end)))
  end,
  ["in a timeout"] = function(wait)
    return tasks.timeout(HOUR, function() return (yield(wait())) end)
  end,
  ["in a group"] = function(wait)
    return tasks.group(function(group)
      return yield(group:spawn(function() return (yield(wait())) end))
    end)
  end,
}

-- What is waited for.  make() returns wait([timeout]), which returns a Future;
-- grant(), by which the longest waiting one gets what it waits for; and
-- is_left(), which returns whether that is there for others again.
local things <const> = {
  Lock = function()
    local lock = locks.Lock()
    yield(lock:acquire())
    return function(timeout) return lock:acquire(timeout) end,
      function() lock:release() end,
      function() return tostring(lock):find "unlocked" ~= nil end
  end,
  Semaphore = function()
    local semaphore = locks.Semaphore(0)
    return function(timeout) return semaphore:acquire(timeout) end,
      function() semaphore:release() end,
      function() return tostring(semaphore):find "value 1" ~= nil end
  end,
  ["Queue:get"] = function()
    local queue = queues.Queue()
    return function(timeout) return queue:get(timeout) end,
      function() queue:put_nowait "item" end,
      function() return pcall(queue.get_nowait, queue) end
  end,
  ["PriorityQueue:get"] = function()
    local queue = queues.PriorityQueue()
    return function(timeout) return queue:get(timeout) end,
      function() queue:put_nowait(7) end,
      function() return pcall(queue.get_nowait, queue) end
  end,
  Condition = function()
    local condition = locks.Condition()
    return function(timeout) return condition:wait(timeout) end,
      function() condition:notify() end,
      function() return tostring(condition):find "0 waiting" ~= nil end
  end,
  Event = function()
    local event = locks.Event()
    return function(timeout) return event:wait(timeout) end,
      function() event:set() end,
      function() return event:is_set() end
  end,
  ["Queue:join"] = function()
    local queue = queues.Queue()
    queue:put_nowait(1)
    return function(timeout) return queue:join(timeout) end,
      function() queue:task_done() end,
      function() return queue:join():done() end
  end,
}

for name, make in pairs(things) do
  describe(name, function()
    for way, wait_by in pairs(ways) do
      it("cancelled before it is granted, " .. way, function()
        run(function()
          local wait, grant, is_left = make()
          local got = false
          local future = start(function()
            wait_by(wait)
            got = true
          end)
          assert.is_true(tasks.cancel(future))
          grant()
          assert_cancelled(future)
          assert.is_false(got)
          assert.is_true(is_left())
        end)
      end)

      it("granted before it is cancelled, " .. way, function()
        run(function()
          local wait, grant = make()
          local got, held = false, nil
          local future = start(function()
            held = wait_by(wait)
            got = true
            yield(Future())
          end)
          grant()
          assert.is_true(tasks.cancel(future))
          assert_cancelled(future)
          assert.is_true(got)
          if type(held) == "table" then held:release() end
        end)
      end)

      it("cancelled, then granted to the next, " .. way, function()
        run(function()
          local wait, grant = make()
          local order = {}
          local function take(n)
            local held = wait_by(wait)
            order[#order + 1] = n
            if type(held) == "table" and held.release then held:release() end
          end
          local first, second = start(take, 1), start(take, 2)
          tasks.cancel(first)
          grant()
          assert_cancelled(first)
          yield(second)
          assert.same({ 2 }, order)
        end)
      end)
    end
  end)
end

describe("Queue:put", function()
  for way, wait_by in pairs(ways) do
    it("cancelled before there is room, " .. way, function()
      run(function()
        local queue = queues.Queue(1)
        queue:put_nowait "first"
        local future = start(function()
          wait_by(function(timeout) return queue:put("second", timeout) end)
        end)
        tasks.cancel(future)
        assert.equal("first", queue:get_nowait())
        assert_cancelled(future)
        assert.is_true(queue:empty())
      end)
    end)

    it("done before it is cancelled, " .. way, function()
      run(function()
        local queue = queues.Queue(1)
        queue:put_nowait "first"
        local future = start(function()
          wait_by(function(timeout) return queue:put("second", timeout) end)
          yield(Future())
        end)
        assert.equal("first", queue:get_nowait())
        tasks.cancel(future)
        assert_cancelled(future)
        assert.equal("second", queue:get_nowait())
        assert.is_true(queue:empty())
      end)
    end)
  end
end)

describe("Queue:iter", function()
  it("ends with the cancellation, and leaves the items", function()
    run(function()
      local queue, taken = queues.Queue(), {}
      local future = start(function()
        for item in queue:iter() do taken[#taken + 1] = item end
      end)
      queue:put_nowait(1)
      yield()
      yield()
      tasks.cancel(future)
      queue:put_nowait(2)
      assert_cancelled(future)
      assert.same({ 1 }, taken)
      assert.equal(2, queue:get_nowait())
    end)
  end)
end)

describe("a cancelled wait", function()
  it("is gone from the wait queue, and stops its timer", function()
    run(function()
      local began = loop:time()
      local lock = locks.Lock()
      yield(lock:acquire())
      local list = {}
      for i = 1, 100 do
        list[i] = start(function() yield(lock:acquire { hours = 1 }) end)
      end
      assert.matches("100 waiting", tostring(lock))
      for _, future in ipairs(list) do tasks.cancel(future) end
      assert.is_nil(tostring(lock):find "waiting")
      for _, future in ipairs(list) do assert_cancelled(future) end
      assert.equal(began, loop:time())
    end)
  end)

  it("of a lock that is free does not suspend", function()
    run(function()
      local lock = locks.Lock()
      local future = start(function()
        pcall(yield, Future())
        local held <close> = yield(lock:acquire())
        assert.is_table(held)
        yield()
      end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.matches("unlocked", tostring(lock))
    end)
  end)

  it("can be repeated with the same Future", function()
    run(function()
      local queue = queues.Queue()
      local item = queue:get()
      local future = start(function() yield(item) end)
      tasks.cancel(future)
      assert_cancelled(future)
      assert.is_false(item:done())
      queue:put_nowait "item"
      assert.equal("item", yield(item))
    end)
  end)

  it("at a timeout loses nothing: an item in the same turn", function()
    run(function()
      for order = 1, 2 do
        local queue, got = queues.Queue(), nil
        local when = loop:time() + 1
        local function put() queue:put_nowait "item" end
        if order == 1 then loop:call_at(when, put) end
        local future = start(function()
          local _ <close> = tasks.timeout(when)
          got = yield(queue:get())
        end)
        if order == 2 then loop:call_at(when, put) end
        local ok = pcall(yield, future)
        yield(gen.sleep(1))
        assert.equal(order == 1, ok)
        assert.equal("item", got or queue:get_nowait())
      end
    end)
  end)
end)

describe("a table of takers", function()
  it("leaves the items of those that were done in their Futures", function()
    run(function()
      local jobs, seen = queues.Queue(), nil
      local future = start(function()
        local job = jobs:get()
        local ok, err = pcall(yield, { job, jobs:get(), gen.sleep(5) })
        assert.is_false(ok)
        seen = job:result()
        error(err, 0)
      end)
      jobs:put_nowait "first"
      tasks.cancel(future)
      jobs:put_nowait "second"
      assert_cancelled(future)
      assert.equal("first", seen)
      assert.equal("second", jobs:get_nowait())
    end)
  end)
end)
