-- SPDX-License-Identifier: MIT
-- Futures of every kind, alone and within each other, where somebody asks what
-- they are: a run that would never end, gen_test, lunado.debug.
local lunado = require "lunado"
local lunado_debug = require "lunado.debug"
local testing = require "lunado.testing"
local frame = require "spec.support.frame"

local Future = lunado.Future
local gen, concurrent = lunado.gen, lunado.concurrent
local yield = coroutine.yield

-- Each gives a Future that nothing can set.
local makers = {
  plain = function() return Future() end,
  coroutine = function()
    return lunado.coroutine(function() yield(Future()) end)()
  end,
  engine = function()
    return concurrent.return_future(gen.engine(function()
      yield(Future())
    end))()
  end,
  task = function() return gen.Task(function() end) end,
  sleep = function() return lunado.sleep(math.huge) end,
  multi = function() return lunado.multi { Future(), Future() } end,
  dict = function() return lunado.multi { a = Future(), b = Future() } end,
  quiet = function()
    return lunado.multi({ Future() }, lunado.util.TimeoutError)
  end,
  converted = function() return gen.convert_yielded { Future() } end,
  timeout = function() return lunado.with_timeout(math.huge, Future()) end,
  quiet_timeout = function()
    return lunado.with_timeout(math.huge, Future(), lunado.util.TimeoutError)
  end,
  timeout_of_list = function()
    return lunado.with_timeout(math.huge, { Future(), { a = Future() } })
  end,
  next = function()
    return lunado.WaitIterator(Future(), Future()):next()
  end,
  lock = function()
    local lock = lunado.locks.Lock()
    lock:acquire()
    return lock:acquire()
  end,
  event = function() return lunado.locks.Event():wait() end,
  queue = function() return lunado.queues.Queue():get() end,
}

-- Each gives a Future that waits for another, or gets its outcome.
local wrappers = {
  coroutine = function(f) return lunado.coroutine(yield)(f) end,
  multi = function(f) return lunado.multi { f, f } end,
  dict = function(f) return lunado.multi { a = f, b = { f } } end,
  timeout = function(f) return lunado.with_timeout(math.huge, f) end,
  timeout_of_list = function(f)
    return lunado.with_timeout(math.huge, { f })
  end,
  next = function(f) return lunado.WaitIterator(f, Future()):next() end,
  chain = function(f)
    local target = Future()
    concurrent.chain_future(f, target)
    return target
  end,
}

local function sorted(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Calls visit(name, make) for all kinds, alone and within up to `depth` others.
local function each_kind(depth, visit)
  for _, inner in ipairs(sorted(makers)) do
    local make = makers[inner]
    visit(inner, make)
    for _, middle in ipairs(sorted(wrappers)) do
      local function wrapped() return wrappers[middle](make()) end
      visit(middle .. " of " .. inner, wrapped)
      for _, outer in ipairs(depth > 1 and sorted(wrappers) or {}) do
        visit(outer .. " of " .. middle .. " of " .. inner, function()
          return wrappers[outer](wrapped())
        end)
      end
    end
  end
end

local loop
before_each(function()
  loop = frame.begin()
  lunado.log.set_level "error" -- many are forgotten on purpose
end)
after_each(function() frame.finish() end)

describe("a Future of any kind", function()
  it("may be awaited by a run that would never end", function()
    each_kind(2, function(name, make)
      for _, run in ipairs {
        function() return loop:run_sync(make) end,
        function() return lunado.run(make) end,
        function() return lunado.run(function() return yield(make()) end) end,
      } do
        local ok, err = pcall(run)
        assert.is_false(ok, name)
        assert.matches("the run would never end: it waits at ", tostring(err),
          1, true, name)
      end
    end)
  end)

  it("may be awaited by a test that would never end", function()
    each_kind(1, function(name, make)
      local ok, err = pcall(testing.gen_test(make, { timeout = 3600 }))
      assert.is_false(ok, name)
      assert.matches("the test would never end: ", tostring(err), 1, true,
        name)
    end)
  end)

  it("can be examined while a coroutine waits for it", function()
    each_kind(1, function(name, make)
      local f = make()
      local waiter = lunado.coroutine(yield)(f)
      local found = false
      for _, entry in ipairs(lunado_debug.tasks()) do
        if entry.future == waiter then
          found = true
          assert.equal(f, entry.waiting_for, name)
        end
      end
      assert.is_true(found, name)
      local out = {}
      lunado_debug.dump { write = function(_, ...)
        out[#out + 1] = table.concat { ... }
      end }
      assert.matches("suspended coroutine", out[1], 1, true, name)
    end)
  end)

  it("shows the line of the coroutine that a with_timeout waits for", function()
    local line
    local function wait()
      line = debug.getinfo(1, "l").currentline + 1
      yield(Future())
    end
    local ok, err = pcall(lunado.run, function()
      local f = lunado.coroutine(wait)()
      return lunado.with_timeout(math.huge, lunado.with_timeout(math.huge, f))
    end)
    assert.is_false(ok)
    assert.matches(("it waits at %s:%d,"):format(
      debug.getinfo(1, "S").short_src, line), tostring(err), 1, true)
  end)

  it("is named, and the function that returned it, if none waits", function()
    local kinds = { plain = "a plain Future", sleep = "a sleep",
      multi = "a multi", timeout = "a plain Future in a with_timeout",
      next = "next of a WaitIterator", event = "the Future of a wait in line" }
    for name, kind in pairs(kinds) do
      local function mine() return makers[name]() end
      local info = debug.getinfo(mine, "S")
      local expected = (" for %s that was returned by function <%s:%d>,")
        :format(kind, info.short_src, info.linedefined)
      for _, run in ipairs {
        function() return loop:run_sync(mine) end,
        function() return lunado.run(mine) end,
      } do
        local ok, err = pcall(run)
        assert.is_false(ok, name)
        assert.matches(expected, tostring(err), 1, true, name)
      end
    end
  end)

  it("is described by debug.dump", function()
    local function dumped(f)
      local waiter = lunado.coroutine(yield)(f)
      local out = {}
      lunado_debug.dump { write = function(_, ...)
        for _, part in ipairs { ... } do out[#out + 1] = part end
      end }
      assert.is_false(waiter:done())
      return table.concat(out)
    end
    testing.virtual_clock(loop)
    assert.matches("with_timeout, 10 s left\n    sleep, 5 s left\n",
      dumped(lunado.with_timeout({ seconds = 10 }, lunado.sleep(5))))
    assert.matches("multi of 2, 2 pending\n    Future: ",
      dumped(lunado.multi { Future(), Future() }))
    assert.matches(", next of a WaitIterator\n",
      dumped(lunado.WaitIterator(Future()):next()))
  end)
end)
