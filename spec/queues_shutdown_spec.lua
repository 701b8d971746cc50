-- SPDX-License-Identifier: MIT
-- lunado.queues: shutdown, QueueShutDown.
local gen = require "lunado.gen"
local queues = require "lunado.queues"
local util = require "lunado.util"
local frame = require "spec.support.frame"

local yield = coroutine.yield
local QueueShutDown = queues.QueueShutDown

local run = frame.run
before_each(function() frame.begin() end)
after_each(function() frame.finish() end)

-- Has something wait for the Future, and give up.
local function wait_in_vain(future)
  assert.is_false(pcall(run, function()
    yield(gen.with_timeout({ seconds = 0 }, future))
  end))
end

local function is_shut_down(err)
  assert.is_true(util.isinstance(err, QueueShutDown), tostring(err))
  assert.equal("QueueShutDown: the queue is shut down", tostring(err))
end

local function raises(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  is_shut_down(err)
end

it("QueueShutDown is a class of errors", function()
  assert.is_true(util.isinstance(QueueShutDown(), util.Exception))
  assert.is_false(util.isinstance(QueueShutDown(), queues.QueueEmpty))
end)

for _, name in ipairs { "Queue", "PriorityQueue", "LifoQueue" } do
  local class = queues[name]

  describe("a " .. name .. " that is shut down", function()
    it("refuses items", function()
      local q = class()
      q:shutdown()
      raises(q.put_nowait, q, 1)
      is_shut_down(q:put(1):exception())
      is_shut_down(q:put(1, { seconds = 1 }):exception())
      raises(run, function() yield(q:put(1)) end)
      assert.equal(0, q:qsize())
    end)

    it("refuses items rather than being full", function()
      local q = class(1)
      q:put_nowait(1)
      q:shutdown()
      raises(q.put_nowait, q, 2)
      is_shut_down(q:put(2):exception())
      assert.equal(1, q:qsize())
    end)

    it("gives the items it has, then fails", function()
      local q = class()
      for i = 1, 3 do q:put_nowait(i) end
      q:shutdown()
      local got = { q:get():result(), q:get_nowait(), q:get():result() }
      table.sort(got)
      assert.same({ 1, 2, 3 }, got)
      raises(q.get_nowait, q)
      is_shut_down(q:get():exception())
      is_shut_down(q:get({ seconds = 1 }):exception())
    end)

    it("drops its items where that is to be immediate", function()
      local q = class()
      for i = 1, 3 do q:put_nowait(i) end
      q:shutdown(true)
      assert.is_true(q:empty())
      raises(q.get_nowait, q)
      is_shut_down(q:get():exception())
    end)

    it("fails its waiters, in order", function()
      local q, order = class(), {}
      for i = 1, 3 do
        q:get():add_done_callback(function(f)
          is_shut_down(f:exception())
          order[#order + 1] = i
        end)
      end
      q:shutdown()
      assert.same({ 1, 2, 3 }, order)
    end)

    for _, immediate in ipairs { true, false } do
      it("fails those that wait for room" .. (immediate and ", at once" or ""),
        function()
          local q = class(1)
          q:put_nowait(1)
          local futures = { q:put(2), q:put(3, { hours = 1 }) }
          q:shutdown(immediate)
          for _, f in ipairs(futures) do is_shut_down(f:exception()) end
          assert.equal(immediate and 0 or 1, q:qsize())
        end)
    end

    it("fails one that had given up when it is looked at", function()
      local q = class(1)
      local getting = q:get()
      q:put_nowait(0)
      assert.is_true(getting:done())
      getting = q:get()
      wait_in_vain(getting)
      q:put_nowait(1)
      local putting = q:put(2)
      wait_in_vain(putting)
      q:shutdown(true)
      is_shut_down(getting:exception())
      is_shut_down(putting:exception())
    end)

    it("ends a for loop", function()
      local q, got = class(), {}
      q:put_nowait(1)
      local consumed = gen.coroutine(function()
        for item in q:iter() do got[#got + 1] = item end
        return "ended"
      end)()
      run(function()
        q:put_nowait(2)
        yield(gen.sleep(0))
        q:put_nowait(3)
        q:shutdown()
        assert.equal("ended", yield(consumed))
        for _ in q:iter() do error "nothing is left" end
      end)
      assert.same({ 1, 2, 3 }, got)
    end)

    it("ends join when its items are dropped", function()
      local q = class()
      for i = 1, 3 do q:put_nowait(i) end
      local joined = q:join()
      q:shutdown(true)
      assert.is_true(joined:done())
      assert.is_true(q:join():done())
      assert.is_false(pcall(q.task_done, q))
    end)

    it("waits for items that were taken before they are dropped", function()
      local q = class()
      for i = 1, 3 do q:put_nowait(i) end
      q:get_nowait()
      local joined = q:join()
      q:shutdown(true)
      assert.is_false(joined:done())
      q:task_done()
      assert.is_true(joined:done())
    end)

    it("has join wait for all items that it gives out", function()
      local q = class()
      for i = 1, 2 do q:put_nowait(i) end
      local joined = q:join()
      q:shutdown()
      q:get_nowait()
      q:task_done()
      assert.is_false(joined:done())
      q:get_nowait()
      q:task_done()
      assert.is_true(joined:done())
    end)

    it("may be shut down again, and at once", function()
      local q = class()
      q:put_nowait(1)
      q:shutdown()
      q:shutdown()
      assert.equal(1, q:qsize())
      q:shutdown(true)
      q:shutdown(true)
      assert.equal(0, q:qsize())
      assert.is_true(q:join():done())
    end)

    it("checks timeouts all the same", function()
      local q = class()
      q:shutdown()
      assert.is_false(pcall(q.get, q, "soon"))
      assert.is_false(pcall(q.put, q, 1, "soon"))
    end)

    it("may be shut down again by a waiter that fails", function()
      local q, n = class(), 0
      for _ = 1, 3 do
        q:get():add_done_callback(function(f)
          is_shut_down(f:exception())
          n = n + 1
          q:shutdown(true)
          is_shut_down(q:get():exception())
        end)
      end
      q:shutdown()
      assert.equal(3, n)
    end)

    it("shows it in its text", function()
      local q = class()
      q:shutdown()
      assert.is_truthy(tostring(q):find(", shut down)", 1, true))
    end)
  end)
end
