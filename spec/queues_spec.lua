-- SPDX-License-Identifier: MIT
-- lunado.queues: Queue, PriorityQueue, LifoQueue, QueueEmpty, QueueFull.
local gen = require "lunado.gen"
local queues = require "lunado.queues"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local timeouts = require "spec.support.timeouts"
local times = require "spec.support.times"

local Queue, PriorityQueue = queues.Queue, queues.PriorityQueue
local LifoQueue = queues.LifoQueue
local yield = coroutine.yield

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local NEVER = { seconds = 3600 }
local SOON = { milliseconds = 1 }

local function raises(class, message, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(util.isinstance(err, class), tostring(err))
  assert.equal(message, tostring(err))
end

local function is_empty(q)
  raises(queues.QueueEmpty, "QueueEmpty: the queue is empty",
    q.get_nowait, q)
end

local function is_full(q, item)
  raises(queues.QueueFull, "QueueFull: the queue is full",
    q.put_nowait, q, item)
end

local function times_out(future)
  raises(gen.TimeoutError, "TimeoutError: Timeout", run,
    function() return yield(future) end)
end

-- Takes all items that are there.
local function drain(q)
  local items = {}
  while not q:empty() do items[#items + 1] = q:get_nowait() end
  return items
end

-- Raises a string with the text, at a line of fn.
local function raises_here(text, fn)
  local info = debug.getinfo(fn, "S")
  local ok, err = pcall(fn)
  assert.is_false(ok)
  local line, message = tostring(err):match(":(%d+): (.*)$")
  assert.equal(text, message)
  line = tonumber(line)
  assert.is_true(info.linedefined <= line and line <= info.lastlinedefined)
end

for _, name in ipairs { "Queue", "PriorityQueue", "LifoQueue" } do
  local class = queues[name]

  describe(name, function()
    it("holds any number of items unless maxsize is given", function()
      for _, q in ipairs { class(), class(0), class(nil) } do
        assert.equal(0, q.maxsize)
        assert.is_true(q:empty())
        for i = 1, 1000 do q:put_nowait(i) end
        assert.equal(1000, q:qsize())
        assert.is_false(q:empty())
        assert.is_false(q:full())
      end
    end)

    it("holds maxsize items", function()
      local q = class(2)
      assert.equal(2, q.maxsize)
      q:put_nowait(1)
      assert.is_false(q:full())
      assert.is_true(q:put(2):done())
      assert.is_true(q:full())
      assert.equal(2, q:qsize())
      is_full(q, 3)
      assert.is_false(q:put(3):done())
      assert.equal(2, q:qsize())
      assert.equal(3, class(3.0).maxsize)
      assert.equal("integer", math.type(class(3.0).maxsize))
    end)

    it("checks maxsize", function()
      bad(function() local _ = class(-1) end, 1, name, "must not be negative")
      bad(function() local _ = class("2") end, 1, name, "number", "string")
      bad(function() local _ = class(1.5) end, 1, name,
        "number has no integer representation")
      bad(function() local _ = class(0/0) end, 1, name,
        "number has no integer representation")
      bad(function() local _ = class({}) end, 1, name, "number", "table")
      bad(function() local _ = class(false) end, 1, name, "number", "boolean")
    end)

    it("gives available items at once", function()
      local q = class()
      q:put_nowait(1)
      local f = q:get()
      assert.is_true(f:done())
      assert.equal(1, f:result())
      q:put(2)
      assert.equal(2, q:get_nowait())
      is_empty(q)
    end)

    it("hands an item to the longest waiting getter", function()
      local q = class()
      local f = { q:get(), q:get(NEVER), q:get() }
      q:put_nowait("a")
      assert.equal("a", f[1]:result())
      assert.is_true(q:empty())
      q:put("b")
      q:put("c")
      assert.equal("b", f[2]:result())
      assert.equal("c", f[3]:result())
      is_empty(q)
    end)

    it("admits the longest waiting putter", function()
      local q = class(1)
      q:put_nowait(1)
      local f = { q:put(2), q:put(3, NEVER), q:put(4) }
      assert.is_false(f[1]:done())
      q:get_nowait()
      assert.is_true(f[1]:done())
      assert.is_false(f[2]:done())
      assert.equal(1, q:qsize())
      q:get()
      assert.is_true(f[2]:done())
      assert.is_false(f[3]:done())
      q:get_nowait()
      assert.is_true(f[3]:done())
      assert.equal(0, select("#", f[3]:result()))
      assert.equal(1, q:qsize())
      q:get_nowait()
      is_empty(q)
    end)

    for _, form in ipairs(timeouts.forms) do
      it("fails get, put and join after " .. form[1], function()
        local q = class(1)
        times_out(q:get(form[2]()))
        q:put_nowait(1)
        times_out(q:put(2, form[2]()))
        times_out(q:join(form[2]()))
        assert.equal(1, q:get_nowait())
        is_empty(q)
        q:task_done()
        assert.is_true(q:join(form[2]()):done())
      end)
    end

    it("waits for ever until infinity", function()
      local q = class(1)
      local f = q:get(math.huge)
      run(function() yield(gen.sleep(0.002)) end)
      q:put_nowait(1)
      assert.equal(1, f:result())
      q:put_nowait(1)
      f = q:put(2, math.huge)
      q:get_nowait()
      assert.is_true(f:done())
    end)

    it("gives no item to a getter that timed out", function()
      local q = class()
      local f = { q:get(SOON), q:get(), q:get(SOON), q:get() }
      times_out(f[1])
      times_out(f[3])
      q:put_nowait(1)
      q:put_nowait(2)
      assert.equal(1, f[2]:result())
      assert.equal(2, f[4]:result())
      is_empty(q)
    end)

    it("takes no item of a putter that timed out", function()
      local q = class(1)
      q:put_nowait(0)
      local f = { q:put(1, SOON), q:put(2), q:put(3, SOON), q:put(4) }
      times_out(f[1])
      times_out(f[3])
      local items = {}
      for i = 1, 3 do items[i] = q:get_nowait() end
      table.sort(items)
      assert.same({ 0, 2, 4 }, items)
      is_empty(q)
      assert.is_true(f[2]:done() and f[4]:done())
    end)

    it("skips Futures that other code settled", function()
      local q = class(1)
      local a, b = q:get(NEVER), q:get()
      a:set_result("mine")
      q:put_nowait(1)
      assert.equal(1, b:result())
      q:get():set_result("mine")
      q:put_nowait(2)
      assert.is_true(q:full())
      local c, d = q:put(3), q:put(4)
      c:set_result()
      assert.is_truthy(q:get_nowait())
      assert.is_true(d:done())
      q:put(5):set_exception("mine")
      assert.is_truthy(q:get_nowait())
      is_empty(q)
      gc.collect()
      assert.equal(1, log:count("never retrieved"))
      log:clear()
    end)

    it("waits until all items are processed", function()
      local q = class()
      assert.is_true(q:join():done())
      q:put_nowait(1)
      q:put(2)
      local f = q:join()
      q:get_nowait()
      q:get_nowait()
      q:task_done()
      assert.is_false(f:done())
      q:task_done()
      assert.is_true(f:done())
      assert.is_true(q:join():done())
      raises_here("task_done was called more often than there were items",
        function() q:task_done() end)
      q:put_nowait(3)
      assert.is_false(q:join():done())
      q:task_done()
      assert.is_true(q:join(SOON):done())
    end)

    it("counts an item that waits for room once it is put", function()
      local q = class(1)
      q:put_nowait(1)
      q:put(2)
      q:task_done()
      assert.is_true(q:join():done())
      q:get_nowait()
      assert.is_false(q:join():done())
      q:task_done()
      assert.is_true(q:join():done())
    end)

    it("counts an item that a getter waited for", function()
      local q = class()
      q:get()
      q:put_nowait(1)
      assert.is_false(q:join():done())
      q:task_done()
      assert.is_true(q:join():done())
    end)

    it("is a for loop's source", function()
      local q, sum = class(2), 0
      run(function()
        local producer = gen.coroutine(function()
          for i = 1, 10 do yield(q:put(i)) end
          yield(q:join())
        end)()
        for item in q:iter() do
          sum = sum + item
          q:task_done()
          if sum == 55 then break end
          yield(gen.sleep(0))
        end
        yield(producer)
      end)
    end)

    it("keeps its items from a for loop that cannot wait", function()
      local q = class()
      raises_here("cannot await outside of a coroutine: start the function "
        .. "with gen.coroutine or lunado.run", function()
          for _ in q:iter() do print() end
        end)
      q:put_nowait(1)
      q:put_nowait(2)
      local n = 0
      pcall(function()
        for item in q:iter() do n = n + item end
      end)
      assert.equal(3, n)
      q:put_nowait(3)
      assert.equal(3, q:get_nowait())
    end)

    it("keeps no memory of what has passed", function()
      local q = class(4)
      local function pass(n)
        for i = 1, n do
          q:put_nowait(i)
          q:put_nowait(i + 1)
          q:get_nowait()
          q:get_nowait()
        end
      end
      pass(500)
      local before = gc.kilobytes()
      pass(times(20000))
      assert.is_true(gc.kilobytes() - before < 20)
    end)

    it("removes the timers of served getters and putters", function()
      local q = class(1)
      assert.is_true(gc.collects(function()
        local f = q:get(NEVER)
        q:put_nowait(1)
        return f
      end))
      q:put_nowait(1)
      assert.is_true(gc.collects(function()
        local f = q:put(2, NEVER)
        q:get_nowait()
        return f
      end))
      assert.is_true(q:full())
    end)

    it("checks timeouts before anything changes", function()
      local q = class(1)
      timeouts.check(1, q, "get")
      timeouts.check(2, q, "put")
      timeouts.check(1, q, "join")
      assert.is_true(q:empty())
      q:put_nowait(1)
      timeouts.check(1, q, "get")
      timeouts.check(2, q, "put")
      timeouts.check(1, q, "join")
      assert.equal(1, q:qsize())
      q:get_nowait()
      is_empty(q)
    end)

    describe("used from its own callbacks", function()
      it("serves waiters in order", function()
        local q, got = class(), {}
        for i = 1, 3 do
          q:get():add_done_callback(function(f)
            got[#got + 1] = i .. f:result()
            if i == 1 then
              q:put_nowait("b")
              q:put_nowait("c")
              assert.is_true(q:empty())
            end
          end)
        end
        q:put_nowait("a")
        assert.same({ "1a", "2b", "3c" }, got)
      end)

      it("gets again what it has just put", function()
        local q = class(1)
        local again
        q:get():add_done_callback(function(f)
          assert.equal(1, f:result())
          assert.is_true(q:empty())
          q:put_nowait(2)
          again = q:get_nowait()
        end)
        q:put_nowait(1)
        assert.equal(2, again)
        is_empty(q)
      end)

      it("takes more when it is let in", function()
        local q, taken = class(1), {}
        local function take() table.insert(taken, (q:get_nowait())) end
        q:put_nowait(1)
        q:put(2):add_done_callback(function()
          assert.is_true(q:full())
          take()
        end)
        q:put(3)
        take()
        take()
        table.sort(taken)
        assert.same({ 1, 2, 3 }, taken)
        is_empty(q)
      end)

      it("keeps within maxsize", function()
        local q, n = class(3), 0
        local function put()
          n = n + 1
          assert.is_true(q:qsize() <= 3)
          if n < 1000 then q:put(n):add_done_callback(put) end
        end
        for _ = 1, 5 do q:put(0):add_done_callback(put) end
        while not q:empty() do
          q:get_nowait()
          assert.is_true(q:qsize() <= 3)
        end
        assert.is_true(n >= 1000)
      end)

      it("goes on for 2,000 callbacks", function()
        local q, n = class(), 0
        local function again(f)
          n = n + f:result()
          if n < 2000 then
            q:get():add_done_callback(again)
            q:put_nowait(1)
          end
        end
        q:get():add_done_callback(again)
        q:put_nowait(1)
        assert.equal(2000, n)
        is_empty(q)
      end)

      it("gives out all items from within task_done", function()
        local q = class()
        q:put_nowait(1)
        local f
        q:join():add_done_callback(function()
          q:put_nowait(2)
          f = q:join()
          assert.is_false(f:done())
        end)
        q:task_done()
        q:task_done()
        assert.is_true(f:done())
      end)
    end)

    it("brings every item of many producers to one of many consumers",
      function()
        math.randomseed(11)
        local q, seen, n = class(3), {}, 0
        local function producer(first)
          return gen.coroutine(function()
            for i = first, first + 99 do
              if math.random(3) == 1 then yield(gen.sleep(0)) end
              local timeout = math.random(2) == 1 and { seconds = 0 } or nil
              while not pcall(yield, q:put(i, timeout)) do yield() end
            end
          end)()
        end
        local consumer = gen.coroutine(function()
          while n < 1000 do
            local ok, item = pcall(yield, q:get({ milliseconds = 1 }))
            if ok then
              assert.is_nil(seen[item])
              seen[item], n = true, n + 1
              if math.random(5) == 1 then yield(gen.sleep(0)) end
              q:task_done()
            end
          end
        end)
        run(function()
          local all = {}
          for i = 1, 10 do all[i] = producer(100 * i) end
          for i = 11, 14 do all[i] = consumer() end
          yield(all)
          yield(q:join(SOON))
        end)
        assert.equal(1000, n)
        is_empty(q)
      end)

    it("shows its state as text", function()
      local function says(what, q)
        assert.is_truthy(tostring(q):find("^" .. name .. ": %S+ %(" .. what
          .. "%)$"), tostring(q))
      end
      says("maxsize 0", class())
      local q = class(2)
      local futures = { q:get() }
      says("maxsize 2, 1 getting", q)
      for i = 1, 6 do futures[#futures + 1] = q:put(i) end
      says("maxsize 2, 2 queued, 3 putting, 3 unfinished", q)
      assert.is_true(futures[1]:done())
    end)
  end)
end

describe("a Queue", function()
  it("gives items in the order in which they were put", function()
    local q = Queue()
    for i = 1, 100 do q:put_nowait(i) end
    for i = 1, 100 do assert.equal(i, q:get_nowait()) end
    for i = 1, 100 do
      q:put_nowait(i)
      q:put_nowait(-i)
    end
    for i = 1, 100 do
      assert.equal(i, q:get_nowait())
      assert.equal(-i, q:get_nowait())
    end
  end)

  it("keeps that order beyond maxsize", function()
    local q = Queue(2)
    for i = 1, 100 do q:put(i) end
    for i = 1, 100 do assert.equal(i, q:get_nowait()) end
    is_empty(q)
  end)

  it("keeps a for loop going until it gets nil", function()
    local q, got = Queue(), {}
    for _, item in ipairs { 1, false, "x" } do q:put_nowait(item) end
    loop:call_later(0.001, function()
      q:put_nowait(4)
      q:put_nowait(nil)
      q:put_nowait(6)
    end)
    run(function()
      for item in q:iter() do got[#got + 1] = item end
    end)
    assert.same({ 1, false, "x", 4 }, got)
    assert.equal(6, q:get_nowait())
  end)
end)

for _, name in ipairs { "Queue", "LifoQueue" } do
  local class = queues[name]

  describe("a " .. name, function()
    it("holds nil and false", function()
      local q = class(2)
      q:put_nowait(nil)
      q:put_nowait(false)
      assert.equal(2, q:qsize())
      assert.is_true(q:full())
      local f = q:put(nil)
      assert.is_false(f:done())
      local n = 0
      for _ = 1, 3 do
        assert.is_falsy(q:get_nowait())
        n = n + 1
      end
      assert.is_true(f:done())
      is_empty(q)
      f = q:get()
      q:put_nowait(nil)
      assert.same({ n = 1 }, table.pack(f:result()))
      f = q:get()
      q:put()
      assert.same({ n = 1 }, table.pack(f:result()))
      f = q:get()
      q:put(false)
      assert.is_false(f:result())
    end)
  end)
end

describe("a LifoQueue", function()
  it("gives the last item first", function()
    local q = LifoQueue()
    for i = 1, 100 do q:put_nowait(i) end
    for i = 100, 1, -1 do assert.equal(i, q:get_nowait()) end
  end)

  it("takes the items of waiting putters", function()
    local q = LifoQueue(2)
    for _, item in ipairs { 1, 0, 3, 2 } do q:put(item) end
    local got = {}
    for i = 1, 4 do got[i] = q:get_nowait() end
    assert.same({ 3, 2, 0, 1 }, got)
  end)
end)

-- An item with a name and a price, compared by price; compare counts.
local function priced(price, name)
  return setmetatable({ price = price, name = name }, {
    __lt = function(a, b) return a.price < b.price end,
  })
end

describe("a PriorityQueue", function()
  it("gives the smallest item first", function()
    local q = PriorityQueue()
    for _, item in ipairs { 5, 1, 4, 1.5, -3, 9, math.huge, -math.huge } do
      q:put_nowait(item)
    end
    assert.same({ -math.huge, -3, 1, 1.5, 4, 5, 9, math.huge }, drain(q))
    for word in ("the quick brown fox"):gmatch("%a+") do q:put_nowait(word) end
    assert.same({ "brown", "fox", "quick", "the" }, drain(q))
  end)

  it("orders tables by their [1], objects by their __lt", function()
    local q = PriorityQueue()
    for _, item in ipairs { { 2, "b" }, { 1, "a" }, { 3, "c" } } do
      q:put_nowait(item)
    end
    local got = drain(q)
    assert.same({ { 1, "a" }, { 2, "b" }, { 3, "c" } }, got)
    for _, price in ipairs { 3, 1, 2 } do q:put_nowait(priced(price)) end
    got = drain(q)
    assert.same({ 1, 2, 3 }, { got[1].price, got[2].price, got[3].price })
  end)

  it("orders objects whose metatable is hidden, or has no __lt", function()
    local q = PriorityQueue()
    local hidden = { __metatable = false,
      __lt = function(a, b) return a.x < b.x end }
    for _, x in ipairs { 3, 1, 2 } do
      q:put_nowait(setmetatable({ x = x }, hidden))
    end
    local got = drain(q)
    assert.same({ 1, 2, 3 }, { got[1].x, got[2].x, got[3].x })
    local plain = {}
    for _, x in ipairs { 3, 1, 2 } do
      q:put_nowait(setmetatable({ x }, plain))
    end
    got = drain(q)
    assert.same({ 1, 2, 3 }, { got[1][1], got[2][1], got[3][1] })
    local one = priced(2)
    q:put_nowait({ price = 3 })
    q:put_nowait(one)
    assert.equal(one, q:get_nowait())
  end)

  it("gives equal items in the order in which they were put", function()
    local q = PriorityQueue()
    for i = 1, 50 do
      q:put_nowait({ 2, i })
      q:put_nowait({ 1, i })
    end
    for level = 1, 2 do
      for i = 1, 50 do assert.same({ level, i }, q:get_nowait()) end
    end
  end)

  it("takes the items of waiting putters", function()
    local q = PriorityQueue(2)
    q:put_nowait({ 1, "a" })
    q:put_nowait({ 0, "b" })
    q:put({ 3, "c" })
    q:put({ 2, "d" })
    local got = {}
    for i = 1, 4 do got[i] = q:get_nowait()[2] end
    assert.same({ "b", "a", "d", "c" }, got)
    q:put_nowait(5)
    q:put_nowait(6)
    q:put(1)
    assert.equal(1, q:get_nowait())
    assert.same({ 5, 6 }, drain(q))
  end)

  it("is like a list that is kept sorted, ties and all", function()
    math.randomseed(42)
    for maxsize = 0, 12, 4 do
      local q, model, waiting, serial = PriorityQueue(maxsize), {}, {}, 0
      local function insert(item)
        local at = #model + 1
        while at > 1 and item[1] < model[at - 1][1] do at = at - 1 end
        table.insert(model, at, item)
      end
      for _ = 1, 5000 do
        if math.random(100) <= 52 then
          serial = serial + 1
          local item = { math.random(math.random(30)), serial }
          local f = q:put(item)
          if f:done() then
            insert(item)
          else
            waiting[#waiting + 1] = { item, f }
          end
        elseif #model > 0 then
          local entry = table.remove(waiting, 1)
          if entry then insert(entry[1]) end
          assert.equal(table.remove(model, 1), q:get_nowait())
          if entry then assert.is_true(entry[2]:done()) end
        else
          is_empty(q)
        end
        assert.equal(#model, q:qsize())
      end
    end
  end)

  it("holds one item of any kind", function()
    local q = PriorityQueue()
    for _, item in ipairs { false, true, {}, print, 0/0 } do
      q:put_nowait(item)
      assert.equal(1, q:qsize())
      local got = q:get_nowait()
      assert.is_true(got == item or item ~= item)
    end
    q:put_nowait(nil)
    assert.equal(1, q:qsize())
    assert.is_nil(q:get_nowait())
    is_empty(q)
  end)

  describe("with items that cannot be compared", function()
    local function cannot(fn, ...)
      local ok, err = pcall(fn, ...)
      assert.is_false(ok)
      assert.is_truthy(tostring(err):find("attempt to compare"))
    end

    it("refuses them", function()
      for _, item in ipairs { "x", {}, { 1 }, true, print } do
        local q = PriorityQueue()
        for i = 1, 5 do q:put_nowait(i) end
        for _ = 1, 5 do q:task_done() end
        cannot(q.put_nowait, q, item)
        cannot(q.put, q, item)
        cannot(q.put, q, item, SOON)
        cannot(q.put, q, nil)
        assert.equal(5, q:qsize())
        assert.is_true(q:join():done())
        assert.same({ 1, 2, 3, 4, 5 }, drain(q))
      end
    end)

    it("hands them to waiting getters", function()
      local q = PriorityQueue()
      local a, b = q:get(), q:get()
      q:put_nowait("x")
      q:put_nowait({})
      assert.equal("x", a:result())
      assert.same({}, b:result())
    end)

    it("fails putters that wait with them for room", function()
      local q = PriorityQueue(2)
      q:put_nowait(1)
      q:put_nowait(2)
      local wrong, right = { q:put("x"), q:put({}), q:put(nil) }, q:put(3)
      assert.equal(1, q:get_nowait())
      for i = 1, 3 do
        assert.is_truthy(wrong[i]:exception():find("attempt to compare"))
      end
      assert.is_true(right:done())
      assert.same({ 2, 3 }, drain(q))
      for _ = 1, 3 do q:task_done() end
      assert.is_true(q:join():done())
    end)

    it("waits when those that were failed have taken all items", function()
      local q = PriorityQueue(1)
      q:put_nowait(1)
      local taken
      q:put("x"):add_done_callback(function(f)
        assert.is_truthy(f:exception())
        taken = q:get_nowait()
      end)
      local f = q:get()
      assert.equal(1, taken)
      assert.is_false(f:done())
      q:put_nowait(2)
      assert.equal(2, f:result())
      q:put_nowait(3)
      q:put("x"):add_done_callback(function(g)
        g:exception()
        q:get_nowait()
      end)
      is_empty(q)
    end)

    it("loses none when a get cannot compare them", function()
      -- Comparable with the first, but not with each other.
      local mt = { __lt = function(a, b)
        if a.first or b.first then return a.first == true end
        error("incomparable", 0)
      end }
      local function item(first)
        return setmetatable({ first = first }, mt)
      end
      local q = PriorityQueue(3)
      local first, a, b = item(true), item(), item()
      q:put_nowait(first)
      q:put_nowait(a)
      q:put_nowait(b)
      local f = q:put(item())
      for _ = 1, 3 do
        local ok, err = pcall(q.get_nowait, q)
        assert.is_false(ok)
        assert.equal("incomparable", err)
      end
      assert.equal("incomparable", f:exception())
      assert.equal(3, q:qsize())
      mt.__lt = function(x, y)
        return x == first or x == a and y == b
      end
      assert.is_true(rawequal(first, q:get_nowait()))
      assert.is_true(rawequal(a, q:get_nowait()))
      assert.is_true(rawequal(b, q:get_nowait()))
    end)

    it("compares NaN, in whatever order, and loses nothing", function()
      local q, nans, sum = PriorityQueue(5), 0, 0
      for i = 1, 100 do q:put(i % 3 == 0 and 0/0 or i) end
      for _ = 1, 100 do
        local item = q:get_nowait()
        if item ~= item then nans = nans + 1 else sum = sum + item end
      end
      assert.equal(33, nans)
      assert.equal(5050 - 3 * 33 * 34 // 2, sum)
      is_empty(q)
    end)
  end)

  it("notices a change while it compares", function()
    local q, meddle = PriorityQueue(), nil
    local mt = { __lt = function(a, b)
      if meddle then
        local fn = meddle
        meddle = nil
        fn()
      end
      return a[1] < b[1]
    end }
    local function item(n) return setmetatable({ n }, mt) end
    local function put(n) return function() q:put_nowait(item(n)) end end
    local function get() q:get_nowait() end
    local function fails(fn, by)
      meddle = by
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.equal("the queue was changed while its items were compared", err)
    end
    for n = 1, 20 do put(n * 10)() end
    fails(put(5), put(6))
    assert.equal(21, q:qsize())
    fails(put(5), get)
    assert.equal(20, q:qsize())
    fails(get, get)
    assert.equal(19, q:qsize())
    fails(get, put(7))
    assert.equal(20, q:qsize())
    fails(get, function() put(8)() get() end)
    local got = {}
    for i, object in ipairs(drain(q)) do got[i] = object[1] end
    assert.equal(20, #got)
    for i = 2, 20 do assert.is_true(got[i - 1] <= got[i]) end
  end)

  it("lets a comparison wait", function()
    local q, mt = PriorityQueue(), {}
    function mt.__lt(a, b)
      yield(gen.sleep(0))
      return a[1] < b[1]
    end
    local got = {}
    run(function()
      for _, n in ipairs { 3, 1, 2, 5, 4 } do
        q:put_nowait(setmetatable({ n }, mt))
      end
      for i = 1, 5 do got[i] = q:get_nowait()[1] end
    end)
    assert.same({ 1, 2, 3, 4, 5 }, got)
  end)

  it("grows and shrinks in O(log n) a time", function()
    local q, n, compared = PriorityQueue(), times(20000), 0
    local mt = { __lt = function(a, b)
      compared = compared + 1
      return a[1] < b[1]
    end }
    for i = 1, n do q:put_nowait(setmetatable({ i * 7919 % n }, mt)) end
    local last = -1
    for _ = 1, n do
      local item = q:get_nowait()[1]
      assert(last <= item)
      last = item
    end
    assert.is_true(compared < 60 * n)
  end)
end)

describe("QueueEmpty and QueueFull", function()
  it("are classes of errors", function()
    for _, name in ipairs { "QueueEmpty", "QueueFull" } do
      local err = queues[name]("x")
      assert.is_true(util.isinstance(err, util.Exception))
      assert.equal(name .. ": x", tostring(err))
    end
    assert.is_false(util.isinstance(queues.QueueFull(), queues.QueueEmpty))
  end)
end)

describe("queues", function()
  it("are collected with their waiters", function()
    assert.is_true(gc.collects(function()
      local q = Queue(1)
      q:put(1)
      q:put(2)
      q:join()
      return q
    end))
    local function lose()
      local q = Queue()
      gen.coroutine(function() for _ in q:iter() do yield() end end)()
    end
    lose()
    gc.collect()
    assert.equal(1, log:count("Coroutine was collected while waiting"))
    log:clear()
  end)

  it("work after the loop of a waiter was closed", function()
    local q = Queue(1)
    local other = require "lunado.ioloop".IOLoop(false)
    other:make_current()
    local f = q:get(NEVER)
    q:put_nowait(1)
    q:put_nowait(2)
    local g = q:put(3, NEVER)
    local late = Queue():get(NEVER)
    other:close()
    loop:make_current()
    assert.equal(1, f:result())
    assert.equal(2, q:get_nowait())
    assert.is_true(g:done())
    assert.equal(3, q:get_nowait())
    assert.is_false(late:done())
  end)

  it("are the same after a second require", function()
    package.loaded["lunado.queues"] = nil
    assert.equal(queues, require "lunado.queues")
  end)

  it("end a program when they are all done", function()
    local r = child([[
      local lunado = require "lunado"
      local q = lunado.queues.Queue(2)
      local consumer = lunado.coroutine(function()
        for item in q:iter() do
          coroutine.yield(lunado.sleep(0.001))
          print(item)
          q:task_done()
        end
        print "end"
      end)
      lunado.run(function()
        local consumed = consumer()
        for i = 1, 5 do coroutine.yield(q:put(i, { seconds = 60 })) end
        coroutine.yield(q:join())
        coroutine.yield(q:put(nil))
        coroutine.yield(consumed)
      end)
    ]])
    assert.equal(0, r.code, r.err)
    assert.equal("1\n2\n3\n4\n5\nend\n", r.out)
    assert.equal("", r.err)
  end)
end)
