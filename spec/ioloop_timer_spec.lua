-- SPDX-License-Identifier: MIT
-- The loop's timeouts: never early, in order, removed without a trace.
local IOLoop = require "lunado.ioloop".IOLoop
local testing = require "lunado.testing"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local values = require "spec.support.values"

local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Runs the loop until `n` calls of the function it returns were made; the
-- loop is stopped in any case after a while.
local function until_called(n)
  local guard = loop:call_later(loops.PATIENCE, loop.stop, loop)
  local calls = 0
  local function call()
    calls = calls + 1
    if calls == n then
      loop:stop()
    end
  end
  return call, function()
    loop:start()
    loop:remove_timeout(guard)
    return calls
  end
end

describe("a timeout", function()
  local ways = {
    call_later = function(s, ...) return loop:call_later(s, ...) end,
    call_at = function(s, ...) return loop:call_at(loop:time() + s, ...) end,
    ["add_timeout, a number"] = function(s, ...)
      return loop:add_timeout(loop:time() + s, ...)
    end,
    ["add_timeout, a table"] = function(s, ...)
      return loop:add_timeout({ seconds = s }, ...)
    end,
    ["add_timeout, a timedelta"] = function(s, ...)
      return loop:add_timeout(util.timedelta(s), ...)
    end,
  }

  for name, add in pairs(ways) do
    it("fires once, with its arguments: " .. name, function()
      for _, case in ipairs(values.lists) do
        local n, got = 0, nil
        local call, run = until_called(1)
        add(0, function(...)
          n = n + 1
          got = table.pack(...)
          call()
        end, values.unpack(case[2]))
        assert.equal(0, n)
        run()
        loops.turn(loop, 2)
        assert.equal(1, n)
        assert.same(case[2], got)
      end
    end)

    it("is never early: " .. name, function()
      local early, n = {}, 60
      local call, run = until_called(n)
      for i = 1, n do
        local delay = 0.012 * ((i * 7919) % 1009) / 1009
        local due = loop:time() + delay
        add(delay, function()
          local now = loop:time()
          if now < due then
            early[#early + 1] = ("%.9f by %.9f"):format(delay, due - now)
          end
          call()
        end)
      end
      assert.equal(n, run())
      assert.same({}, early)
    end)

    it("is never early after work that took long: " .. name, function()
      local late, due
      local call, run = until_called(1)
      loop:add_callback(function()
        local stop = loop:time() + 0.008
        while loop:time() < stop do end -- luacheck: ignore
        due = loop:time() + 0.006
        add(0.006, function()
          late = loop:time() - due
          call()
        end)
      end)
      run()
      assert.is_true(late >= 0, tostring(late))
    end)

    it("runs on the next turn if its deadline has passed: " .. name, function()
      for _, delay in ipairs { 0, -0.5, -1000, -1e300, -math.huge } do
        local n = 0
        add(delay, function() n = n + 1 end)
        assert.equal(0, n)
        loops.turn(loop)
        assert.equal(1, n, tostring(delay))
      end
    end)

    it("never comes at infinity, or at the end of time: " .. name, function()
      local n = 0
      local handles = {}
      for i, delay in ipairs { math.huge, 1e300, 1e19, 1e16, 1e10,
        math.maxinteger, 2^62, 2^53, 2^31, 2^32 } do
        handles[i] = add(delay, function() n = n + 1 end)
      end
      loops.turn(loop, 3)
      loop:call_later(0.003, loop.stop, loop)
      loop:start()
      assert.equal(0, n)
      for _, handle in ipairs(handles) do
        loop:remove_timeout(handle)
      end
    end)

    it("can be removed: " .. name, function()
      local n = 0
      local handle = add(0.001, function() n = n + 1 end)
      loop:remove_timeout(handle)
      loop:call_later(0.004, loop.stop, loop)
      loop:start()
      assert.equal(0, n)
    end)
  end

  it("takes integers", function()
    local n = 0
    loop:call_later(0, function() n = n + 1 end)
    loop:call_at(0, function() n = n + 1 end)
    loop:add_timeout(0, function() n = n + 1 end)
    loop:add_timeout({ seconds = 0, milliseconds = 0 },
      function() n = n + 1 end)
    loops.turn(loop)
    assert.equal(4, n)
  end)

  it("adds up the units of a table", function()
    local due, fired = {}, {}
    local call, run = until_called(4)
    for i, delta in ipairs {
      { seconds = 0.004 }, { milliseconds = 4 },
      { seconds = 0.002, milliseconds = 2 },
      { days = 1, hours = -24, minutes = 1, seconds = -60,
        milliseconds = 4 },
    } do
      due[i] = loop:time() + 0.004
      loop:add_timeout(delta, function()
        fired[i] = loop:time()
        call()
      end)
    end
    assert.equal(4, run())
    for i = 1, 4 do
      assert.is_true(fired[i] >= due[i] - 1e-6 - loops.grain(loop))
    end
    local far = 0
    for _, unit in ipairs { "minutes", "hours", "days" } do
      loop:add_timeout({ [unit] = 1 }, function() far = far + 1 end)
    end
    loop:call_later(0.002, loop.stop, loop)
    loop:start()
    assert.equal(0, far)
  end)
end)

describe("the order of timeouts", function()
  it("is that of adding, for those that timeouts add; none is moved", function()
    testing.virtual_clock(loop)
    local start, seen = loop:time(), {}
    local function note(name)
      return function() seen[#seen + 1] = name .. loop:time() - start end
    end
    loop:call_later(1, function()
      loop:call_later(0, note "a")
      loop:call_at(start, note "b")
      loop:add_callback(loop.call_later, loop, 0, note "d")
      loop:call_at(start + 1, note "c")
    end)
    loop:call_later(1, note "first")
    loop:call_later(2, loop.stop, loop)
    loop:start()
    assert.same({ "first1.0", "a1.0", "b1.0", "c1.0", "d1.0" }, seen)
  end)

  it("is that of their deadlines", function()
    local base = loop:time() + 0.002
    local order, n = {}, 200
    local call, run = until_called(n)
    for i = 1, n do
      local due = base + (i * 83) % 211 * 1e-6
      loop:call_at(due, function()
        order[#order + 1] = due
        call()
      end)
    end
    assert.equal(n, run())
    for i = 2, n do
      assert.is_true(order[i - 1] <= order[i])
    end
  end)

  it("is that of adding, for equal deadlines", function()
    local base = loop:time() + 0.001
    local order, n = {}, 1000
    local call, run = until_called(n)
    for i = 1, n do
      loop:call_at(base, function()
        order[#order + 1] = i
        call()
      end)
      if i % 3 == 0 then
        loop:remove_timeout(loop:call_at(base, error))
      end
    end
    assert.equal(n, run())
    for i = 1, n do
      assert.equal(i, order[i])
    end
  end)

  it("holds for deadlines in the past", function()
    local order = {}
    for i, deadline in ipairs { -5, -10, -5, 0, -math.huge, -10 } do
      loop:call_at(deadline, function() order[#order + 1] = i end)
    end
    loops.turn(loop)
    assert.same({ 5, 2, 6, 1, 3, 4 }, order)
  end)

  it("holds within a fraction of a millisecond", function()
    local base = loop:time() + 0.0021
    local order = {}
    local call, run = until_called(3)
    for _, d in ipairs { 0.0003, 0.0001, 0.0002 } do
      loop:call_at(base + d, function()
        order[#order + 1] = d
        call()
      end)
    end
    run()
    assert.same({ 0.0001, 0.0002, 0.0003 }, order)
  end)

  it("lets one added by a timeout wait for the next turn", function()
    local n = 0
    local function again()
      n = n + 1
      loop:call_later(0, again)
    end
    loop:call_later(0, again)
    loops.turn(loop)
    assert.equal(1, n)
    loops.turn(loop)
    assert.equal(2, n)
  end)
end)

describe("remove_timeout", function()
  it("is harmless after it fired, and twice", function()
    local handle = loop:call_later(0, function() end)
    loops.turn(loop)
    loop:remove_timeout(handle)
    loop:remove_timeout(handle)
    local other = loop:call_later(0, error)
    loop:remove_timeout(other)
    loop:remove_timeout(other)
    local fired = false
    loop:call_later(0, function() fired = true end)
    loop:remove_timeout(handle)
    loop:remove_timeout(other)
    loops.turn(loop, 2)
    assert.is_true(fired)
    assert.equal("", log:text())
  end)

  it("distinguishes an old handle from later ones", function()
    local fired = 0
    local function fire() fired = fired + 1 end
    local function run_until(n)
      for _ = 1, 300 do
        if fired < n then
          loops.turn(loop)
        end
      end
      assert.equal(n, fired)
    end
    local old = {}
    for i = 1, 300 do
      old[i] = loop:call_later(0, fire)
    end
    run_until(300)
    for _ = 1, 300 do
      loop:call_later(0, fire)
    end
    for _, handle in ipairs(old) do
      loop:remove_timeout(handle)
    end
    run_until(600)
  end)

  it("works from inside timeouts of the same turn", function()
    local order, handles = {}, {}
    local base = loop:time()
    for i = 1, 6 do
      handles[i] = loop:call_at(base, function()
        order[#order + 1] = i
        loop:remove_timeout(handles[i])
        if i == 2 then
          loop:remove_timeout(handles[1])
          loop:remove_timeout(handles[3])
          loop:remove_timeout(handles[6])
        end
      end)
    end
    loops.turn(loop, 2)
    assert.same({ 1, 2, 4, 5 }, order)
  end)

  it("works from inside a callback, just before the time", function()
    local n = 0
    local handle = loop:call_later(0, function() n = n + 1 end)
    loop:add_callback(loop.remove_timeout, loop, handle)
    local later = loop:call_later(0.001, function() n = n + 1 end)
    loop:call_later(0.003, loop.stop, loop)
    loop:add_callback(function()
      local stop = loop:time() + 0.002
      while loop:time() < stop do end -- luacheck: ignore
      loop:remove_timeout(later)
    end)
    loop:start()
    assert.is_true(n <= 1)
  end)

  it("frees what the callback held, at once", function()
    local handle
    assert.is_true(gc.collects(function()
      local token = {}
      handle = loop:call_later(60, function() return token end, token)
      loop:remove_timeout(handle)
      return token
    end))
    assert.is_not_nil(handle)
  end)

  it("frees what a fired timeout held", function()
    local handle
    assert.is_true(gc.collects(function()
      local token = {}
      handle = loop:call_later(0, function() return token end, token)
      loops.turn(loop)
      return token
    end))
    assert.is_not_nil(handle)
  end)

  it("is not needed: a forgotten handle fires all the same", function()
    local n = 0
    loop:call_later(0, function() n = n + 1 end)
    gc.collect()
    loops.turn(loop)
    assert.equal(1, n)
  end)

  it("serves a hundred thousand, in any order", function()
    local n = 100000
    local handles, fired = {}, 0
    for i = 1, n do
      handles[i] = loop:call_later(100 + (i * 7919 % n) / n,
        function() fired = fired + 1 end)
    end
    local before = os.clock()
    for i = 1, n do
      loop:remove_timeout(handles[i * 7907 % n + 1])
    end
    assert.is_true(os.clock() - before < 20)
    loop:call_later(0.001, loop.stop, loop)
    loop:start()
    assert.equal(0, fired)
    handles = nil -- luacheck: ignore
    local kilobytes = gc.kilobytes()
    for _ = 1, n do
      loop:remove_timeout(loop:call_later(100, print))
    end
    assert.is_true(gc.kilobytes() - kilobytes < 1000)
  end)

  it("keeps the heap in order", function()
    local live, handles, order = {}, {}, {}
    local base = loop:time() + 0.002
    local left = 0
    for i = 1, 2000 do
      local rank = (i * 1103515245 + 12345) % 65536
      local due = base + rank * 1e-8
      handles[i] = loop:call_at(due, function()
        order[#order + 1] = due
        live[i] = nil
        left = left - 1
        if left == 0 then
          loop:stop()
        end
      end)
      live[i] = true
      left = left + 1
    end
    for i = 1, 2000 do
      if (i * 31) % 3 ~= 0 then
        loop:remove_timeout(handles[i])
        live[i] = nil
        left = left - 1
      end
    end
    local expected = left
    loop:start()
    assert.equal(expected, #order)
    assert.is_nil(next(live))
    for i = 2, #order do
      assert.is_true(order[i - 1] <= order[i])
    end
  end)
end)

describe("timeouts and stop", function()
  it("keep what did not fire for the next start", function()
    local order = {}
    local base = loop:time()
    loop:call_at(base, function()
      order[#order + 1] = 1
      loop:stop()
    end)
    loop:call_at(base, function() order[#order + 1] = 2 end)
    loop:call_later(0.003, function()
      order[#order + 1] = 3
      loop:stop()
    end)
    loop:start()
    assert.equal(1, order[1])
    while not order[3] do loop:start() end -- it may have been due as well
    assert.same({ 1, 2, 3 }, order)
  end)

  it("of two loops do not mix", function()
    local other = IOLoop(false)
    local order = {}
    other:call_later(0, function() order[#order + 1] = "other" end)
    loop:call_later(0, function() order[#order + 1] = "loop" end)
    loops.turn(loop)
    assert.same({ "loop" }, order)
    loops.turn(other)
    assert.same({ "loop", "other" }, order)
    other:close()
  end)
end)

describe("a wrong argument of a timeout", function()
  local function fn() error("must not run") end

  it("is refused by call_later", function()
    bad(function() loop:call_later("soon", fn) end, 1, "call_later",
      "number", "string")
    bad(function() loop:call_later(nil, fn) end, 1, "call_later", "number",
      "nil")
    bad(function() loop:call_later({}, fn) end, 1, "call_later", "number",
      "table")
    bad(function() loop:call_later(0/0, fn) end, 1, "call_later")
    bad(function() loop:call_later(0, nil) end, 2, "call_later", "function",
      "nil")
    bad(function() loop:call_later(0) end, 2, "call_later", "function")
  end)

  it("is refused by call_at", function()
    bad(function() loop:call_at("soon", fn) end, 1, "call_at", "number",
      "string")
    bad(function() loop:call_at(0/0, fn) end, 1, "call_at")
    bad(function() loop:call_at(0, 5) end, 2, "call_at", "function",
      "number")
  end)

  it("is refused by add_timeout", function()
    bad(function() loop:add_timeout("soon", fn) end, 1, "add_timeout", nil,
      "string")
    bad(function() loop:add_timeout(nil, fn) end, 1, "add_timeout", nil,
      "nil")
    bad(function() loop:add_timeout(true, fn) end, 1, "add_timeout", nil,
      "boolean")
    bad(function() loop:add_timeout(0/0, fn) end, 1, "add_timeout")
    bad(function() loop:add_timeout({ seconds = 0/0 }, fn) end, 1,
      "add_timeout")
    bad(function() loop:add_timeout({ seconds = "x" }, fn) end, 1,
      "add_timeout")
    bad(function()
      loop:add_timeout({ seconds = math.huge, days = -math.huge }, fn)
    end, 1, "add_timeout")
    bad(function() loop:add_timeout(0, {}) end, 2, "add_timeout",
      "function", "table")
  end)

  it("is refused by remove_timeout", function()
    bad(function() loop:remove_timeout(nil) end, 1, "remove_timeout", nil,
      "nil")
    bad(function() loop:remove_timeout({}) end, 1, "remove_timeout", nil,
      "table")
    bad(function() loop:remove_timeout(io.stdout) end, 1, "remove_timeout")
  end)

  it("is refused by remove_timeout: a number that is no handle", function()
    local handle = loop:call_later(0, function() end)
    for _, number in ipairs { 0, 1, -1, handle + 0.0, handle - (1 << 62),
      handle | (1 << 62), math.maxinteger, math.mininteger, 0/0 } do
      bad(function() loop:remove_timeout(number) end, 1, "remove_timeout")
    end
    loop:remove_timeout(handle)
  end)

  it("is refused by remove_timeout: another loop's handle", function()
    local other = IOLoop(false)
    local n = 0
    local handle = other:call_later(0, function() n = n + 1 end)
    loop:call_later(0, function() n = n + 1 end)
    bad(function() loop:remove_timeout(handle) end, 1, "remove_timeout",
      "another loop")
    loops.turn(other)
    loops.turn(loop)
    assert.equal(2, n)
    loop:remove_timeout(handle)
    other:close()
    loop:remove_timeout(handle)
  end)

  after_each(function()
    loops.turn(loop, 2)
    assert.equal("", log:text())
  end)
end)
