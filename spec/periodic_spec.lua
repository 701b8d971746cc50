-- SPDX-License-Identifier: MIT
-- PeriodicCallback: the beat, overruns, stopping.
local concurrent = require "lunado.concurrent"
local ioloop = require "lunado.ioloop"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local selves = require "spec.support.selves"

local PeriodicCallback = ioloop.PeriodicCallback

local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Lets the loop run, for so long at most.
local function run_for(seconds)
  local handle = loop:call_later(seconds, loop.stop, loop)
  loop:start()
  loop:remove_timeout(handle)
end

-- Returns a PeriodicCallback that calls fn(n), if given, at its nth beat, and
-- whose last beat stops it and the loop; and a function that returns n.
local function beats(last, fn, period)
  local n = 0
  local pc
  pc = PeriodicCallback(function(...)
    n = n + 1
    if n == last then
      pc:stop()
      loop:stop()
    end
    if fn then fn(n, ...) end
  end, period or 1)
  return pc, function() return n end
end

describe("a PeriodicCallback", function()
  it("calls again and again, never before its time", function()
    local times, argc = {}, nil
    local begin = loop:time()
    beats(4, function(n, ...)
      argc = select("#", ...)
      times[n] = loop:time() - begin
    end, 3):start()
    run_for(20)
    assert.equal(4, #times)
    assert.equal(0, argc)
    for i, t in ipairs(times) do
      assert.is_true(t >= 0.003 * i - 1e-9 - i * loops.grain(loop),
        ("call %d at %f"):format(i, t))
    end
  end)

  it("tells whether it runs", function()
    local pc = PeriodicCallback(function() end, 1)
    assert.is_false(pc:is_running())
    pc:start()
    assert.is_true(pc:is_running())
    pc:stop()
    assert.is_false(pc:is_running())
    pc:stop()
    assert.is_false(pc:is_running())
  end)

  it("does not call before start and after stop", function()
    local n = 0
    local pc = PeriodicCallback(function() n = n + 1 end, 1)
    run_for(0.003)
    assert.equal(0, n)
    pc:start()
    pc:stop()
    run_for(0.004)
    assert.equal(0, n)
  end)

  it("can be stopped by its own callback", function()
    local n = 0
    local pc
    pc = PeriodicCallback(function()
      n = n + 1
      pc:stop()
    end, 1)
    pc:start()
    run_for(0.006)
    assert.equal(1, n)
    assert.is_false(pc:is_running())
  end)

  it("can start again", function()
    local n = 0
    local pc
    pc = PeriodicCallback(function()
      n = n + 1
      pc:stop()
      loop:stop()
    end, 1)
    for i = 1, 3 do
      pc:start()
      run_for(20)
      assert.equal(i, n)
    end
  end)

  it("can be stopped and started in one callback", function()
    local n = 0
    local pc
    pc = PeriodicCallback(function()
      n = n + 1
      pc:stop()
      if n < 3 then
        pc:start()
      else
        loop:stop()
      end
    end, 1)
    pc:start()
    run_for(20)
    run_for(0.005)
    assert.equal(3, n)
  end)

  it("keeps one beat when it is started twice", function()
    local times = {}
    local pc = beats(4, function(n) times[n] = loop:time() end, 2)
    local begin = loop:time()
    pc:start()
    pc:start()
    run_for(20)
    assert.is_true(times[4] >= begin + 0.008 - 1e-9 - 4 * loops.grain(loop),
      times[4] - begin)
    run_for(0.006)
    assert.equal(4, #times)
  end)

  it("skips to the next whole period on overrun", function()
    local period = 0.008
    local times = {}
    local pc
    local begin
    pc = PeriodicCallback(function()
      times[#times + 1] = loop:time() - begin
      if #times == 1 then
        loops.spin(loop, 2.5 * period)
      elseif #times == 3 then
        pc:stop()
        loop:stop()
      end
    end, period * 1000)
    begin = loop:time()
    pc:start()
    run_for(20)
    assert.equal(3, #times)
    -- The calls in between are left out, not caught up with, and the beat is
    -- kept: after 2.5 periods in the first call the second is the fourth beat.
    assert.is_true(times[2] >= 4 * period - 1e-4,
      ("at %f and %f"):format(times[1], times[2]))
    assert.is_true(times[3] >= 5 * period - 1e-4)
  end)

  it("runs on the loop that it was given", function()
    local other = ioloop.IOLoop(false)
    local n = 0
    local pc
    pc = PeriodicCallback(function()
      n = n + 1
      assert(ioloop.IOLoop.current() == other)
      pc:stop()
      other:stop()
    end, 1, other)
    pc:start()
    run_for(0.004)
    assert.equal(0, n)
    other:start()
    assert.equal(1, n)
    other:close()
    assert.equal("", log:text())
  end)

  it("goes on after an error, which is logged", function()
    local pc, count = beats(3, function(n) error("beat " .. n) end)
    pc:start()
    run_for(20)
    assert.equal(3, count())
    for i = 1, 3 do
      assert.equal(1, log:count("beat " .. i .. "\n"), log:text())
    end
    assert.equal(3, log:count("Exception in callback"))
  end)

  it("goes on when its error's handler fails, too", function()
    loop.handle_callback_exception = function() error("handler") end
    local pc, count = beats(2, function() error("beat") end)
    pc:start()
    run_for(20)
    assert.equal(2, count())
    assert.equal(2, log:count "Exception in handle_callback_exception: ")
    assert.equal(2, log:count ": beat")
  end)

  it("ends with its loop", function()
    local own, n = ioloop.IOLoop(false), 0
    local pc
    pc = PeriodicCallback(function()
      n = n + 1
      own:close()
    end, 1, own)
    pc:start()
    own:start()
    assert.equal(1, n)
    assert.is_false(pc:is_running())
    assert.equal("", log:text())
  end)

  it("may have a period that no clock can tell", function()
    local pc, count = beats(3, nil, 5e-324)
    pc:start()
    run_for(20)
    assert.equal(3, count())
    assert.equal("", log:text())
  end)

  it("logs a Future that it returned and that failed", function()
    local pc
    pc = PeriodicCallback(function()
      pc:stop()
      local f = concurrent.Future()
      loop:add_callback(function()
        f:set_exception("failed later")
        loop:add_callback(loop.stop, loop)
      end)
      return f
    end, 1)
    pc:start()
    run_for(20)
    loops.turn(loop, 2)
    gc.collect()
    assert.equal(1, log:count("failed later"), log:text())
  end)

  it("is kept alive by the loop while it runs", function()
    local function start()
      local pc, count = beats(2)
      pc:start()
      return count
    end
    local count = start()
    gc.collect()
    run_for(20)
    assert.equal(2, count())
  end)

  it("is freed when it was stopped", function()
    assert.is_true(gc.collects(function()
      local token = {}
      local pc = PeriodicCallback(function() return token end, 1)
      pc:start()
      pc:stop()
      return token
    end))
  end)

  it("is stopped by the end of its loop", function()
    local other = ioloop.IOLoop(false)
    local pc = PeriodicCallback(function() end, 1, other)
    pc:start()
    other:close()
    assert.is_false(pc:is_running())
    local ok, err = pcall(pc.start, pc)
    assert.is_false(ok)
    assert.truthy(err:find "the IOLoop is closed$")
    pc:stop()
    pc:stop()
  end)

  it("refuses bad arguments", function()
    selves(PeriodicCallback(print, 1), "PeriodicCallback", "start", "stop",
      "is_running")
    local function fn() end
    bad(function() PeriodicCallback(nil, 1) end, 1, "PeriodicCallback",
      "function", "nil")
    bad(function() PeriodicCallback(5, 1) end, 1, "PeriodicCallback",
      "function", "number")
    bad(function() PeriodicCallback(fn, "x") end, 2, "PeriodicCallback",
      "number", "string")
    bad(function() PeriodicCallback(fn, nil) end, 2, "PeriodicCallback",
      "number")
    bad(function() PeriodicCallback(fn, 0/0) end, 2, "PeriodicCallback")
    bad(function() PeriodicCallback(fn, 0) end, 2, "PeriodicCallback")
    bad(function() PeriodicCallback(fn, -5) end, 2, "PeriodicCallback")
    bad(function() PeriodicCallback(fn, 5, {}) end, 3, "PeriodicCallback")
  end)
end)
