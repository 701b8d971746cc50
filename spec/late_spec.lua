-- SPDX-License-Identifier: MIT
-- A timer is late by no more than the work of one callback: whatever kind it
-- is of, and wherever the work is done.  And timers make nothing else late.
local child = require "spec.support.child"

-- libuv calls the prepare handle that was started first right before it waits:
-- by the time that it counts from then, all work has been done, and the wait
-- ends when the next timer is due.  Times that were taken are compared with
-- each other, however busy the machine is.
local prelude = [[
  local uv = require "luv"
  local GRAIN <const> = 2 -- milliseconds; libuv's clock is that coarse
  local worked_until, deadline, waits, wrong = 0, math.huge, 0, nil
  local observer = uv.new_prepare()
  observer:start(function()
    local wait = uv.backend_timeout()
    if worked_until == 0 or wait <= 0 then return end
    waits = waits + 1
    local now = uv.now()
    if now + GRAIN < worked_until then
      wrong = ("work of %d ms is not counted"):format(worked_until - now)
    elseif now + wait > deadline + GRAIN then
      wrong = ("waits for %d ms, which is too long"):format(wait)
    end
  end)
  observer:unref()

  local lunado = require "lunado"
  local gen, await, sleep = lunado.gen, lunado.await, lunado.sleep
  local loop = lunado.IOLoop.current()

  -- Computes for a while.
  local function work()
    local stop = uv.hrtime() + 6e6
    while uv.hrtime() < stop do end
    worked_until = uv.hrtime() // 1e6
  end

  -- Something is due in so many seconds.
  local function due(seconds)
    deadline = loop:time() * 1e3 + seconds * 1e3
    return seconds
  end

  -- Runs fn until a wait was observed that is right: on a busy machine what
  -- was to be waited for may be due by then, or begin later than due() was
  -- told.  What is added to each wait is added to all of them.
  local function check(name, fn)
    for _ = 1, 100 do
      worked_until, deadline, waits, wrong = 0, math.huge, 0, nil
      fn()
      if waits > 0 and not wrong then return end
    end
    error(name .. ": " .. (wrong or "never waits"), 0)
  end
]]

local function expect(script)
  return function()
    local r = child(prelude .. script)
    assert.equal("", r.err)
    assert.equal(0, r.code)
    assert.equal("ok\n", r.out)
  end
end

describe("work before a wait is not added to it", function()
  it("of any kind", expect [[
    local locks, queues = lunado.locks, lunado.queues
    local never = lunado.Future()
    local function in_time(fn)
      return function(seconds) pcall(fn, { seconds = seconds }) end
    end
    local function by(add)
      return function(seconds)
        local done = lunado.Future()
        add(seconds, function() done:set_result() end)
        await(done)
      end
    end
    local full, lock = queues.Queue(1), locks.Lock()
    full:put_nowait(1)
    local kinds = {
      sleep = function(seconds) await(sleep(seconds)) end,
      call_later = by(function(s, fn) loop:call_later(s, fn) end),
      call_at = by(function(s, fn) loop:call_at(loop:time() + s, fn) end),
      add_timeout = by(function(s, fn)
        loop:add_timeout({ seconds = s }, fn)
      end),
      with_timeout = in_time(function(t) await(gen.with_timeout(t, never)) end),
      ["Queue:get"] = in_time(function(t) await(queues.Queue():get(t)) end),
      ["Queue:put"] = in_time(function(t) await(full:put(2, t)) end),
      ["Queue:join"] = in_time(function(t) await(full:join(t)) end),
      ["Lock:acquire"] = in_time(function(t) await(lock:acquire(t)) end),
      ["Event:wait"] = in_time(function(t) await(locks.Event():wait(t)) end),
      ["Condition:wait"] = in_time(function(t)
        await(locks.Condition():wait(t))
      end),
      PeriodicCallback = function(seconds)
        local done = lunado.Future()
        local pc
        pc = lunado.ioloop.PeriodicCallback(function()
          pc:stop()
          done:set_result()
        end, seconds * 1e3)
        pc:start()
        await(done)
      end,
    }
    lunado.run(function() await(lock:acquire()) end)
    for name, wait in pairs(kinds) do
      check(name, function()
        lunado.run(function()
          work()
          wait(due(0.01))
        end)
      end)
    end
    check("run_sync", function()
      pcall(loop.run_sync, loop, function()
        work()
        await(never)
      end, due(0.02))
    end)
    print "ok"
  ]])

  it("wherever the work is done", expect [[
    local pool <close> = lunado.concurrent.ThreadPoolExecutor(1)
    local done
    -- Is called where work may be done, which another timer must not wait for.
    local function busy()
      done = sleep(due(0.02))
      work()
    end
    local function once(fn)
      local handle
      handle = fn(function()
        if not handle then return end
        handle:stop()
        handle:close()
        handle = nil
        busy()
      end)
    end
    local places = {
      coroutine = function() busy() end,
      ["another turn"] = function()
        coroutine.yield()
        busy()
      end,
      callback = function() loop:add_callback(busy) end,
      ["call_later"] = function() loop:call_later(0.001, busy) end,
      ["sleep"] = function()
        await(sleep(0.001))
        busy()
      end,
      ["done-callback of a sleep"] = function()
        sleep(0.001):add_done_callback(busy)
      end,
      PeriodicCallback = function()
        local pc
        pc = lunado.ioloop.PeriodicCallback(function()
          pc:stop()
          busy()
        end, 1)
        pc:start()
      end,
      handler = function()
        local fds = assert(uv.socketpair())
        loop:add_handler(fds[1], function(fd)
          loop:remove_handler(fd)
          uv.fs_close(fds[1])
          uv.fs_close(fds[2])
          busy()
        end, loop.WRITE)
      end,
      executor = function()
        pool:submit(function() end):add_done_callback(busy)
      end,
      ["luv: timer"] = function()
        once(function(fn)
          local timer = uv.new_timer()
          timer:start(1, 0, fn)
          return timer
        end)
      end,
      ["luv: idle"] = function()
        once(function(fn)
          local idle = uv.new_idle()
          idle:start(fn)
          return idle
        end)
      end,
      ["luv: prepare"] = function()
        once(function(fn)
          local prepare = uv.new_prepare()
          prepare:start(fn)
          return prepare
        end)
      end,
      ["luv: check"] = function()
        once(function(fn)
          local check = uv.new_check()
          check:start(fn)
          return check
        end)
        loop:add_callback(function() end)
      end,
      ["luv: close"] = function() uv.new_timer():close(busy) end,
      ["luv: a request"] = function() uv.fs_stat(".", busy) end,
      ["luv: async"] = function()
        local async
        async = uv.new_async(function()
          async:close()
          busy()
        end)
        async:send()
      end,
    }
    for name, start in pairs(places) do
      check(name, function()
        done = nil
        lunado.run(function()
          start()
          while not done do await(sleep(0.001)) end
          await(done)
        end)
      end)
    end
    print "ok"
  ]])

  it("nor to that of luv's timers", expect [[
    local timer = uv.new_timer()
    check("luv", function()
      lunado.run(function()
        local done = lunado.Future()
        uv.update_time()
        timer:start(15, 0, function() done:set_result() end)
        due(0.015)
        work()
        await(done)
      end)
    end)
    print "ok"
  ]])
end)

describe("a PeriodicCallback", function()
  -- The loop never waits beyond the next period.
  it("skips no period because of other work", expect [[
    check("PeriodicCallback", function()
      local calls, period <const> = 0, 0.01
      local pc
      pc = lunado.ioloop.PeriodicCallback(function()
        calls = calls + 1
        due(period)
        if calls == 10 then
          pc:stop()
          loop:stop()
        end
      end, period * 1e3)
      due(period)
      pc:start()
      lunado.coroutine(function()
        while pc:is_running() do
          work()
          await(sleep(0.002))
        end
      end)()
      loop:start()
    end)
    print "ok"
  ]])
end)

describe("a callback that works for longer than it waits", function()
  -- Each has tick() called again and again.
  for name, script in pairs {
    call_later = [[
      local function again()
        loop:call_later(0.001, again)
        tick()
      end
      again()
    ]],
    sleep = [[
      lunado.coroutine(function()
        while true do
          local slept = sleep(0.001)
          tick()
          await(slept)
        end
      end)()
    ]],
    PeriodicCallback = "lunado.ioloop.PeriodicCallback(tick, 1):start()",
    ["a timer of luv's"] = "uv.new_timer():start(1, 1, tick)",
    ["timers of both"] = [[
      lunado.ioloop.PeriodicCallback(tick, 1):start()
      uv.new_timer():start(1, 1, tick)
    ]],
  } do
    it("leaves descriptors their turn: " .. name, expect([[
      local fds, ticks = assert(uv.socketpair()), 0
      local function tick()
        ticks = ticks + 1
        if ticks == 1 then
          loop:add_handler(fds[1], function() loop:stop() end, loop.WRITE)
        elseif ticks == 50 then
          loop:stop()
        end
        work()
      end
    ]] .. script .. [[
      loop:start()
      print(ticks < 10 and "ok" or "never")
    ]]))
  end
end)
