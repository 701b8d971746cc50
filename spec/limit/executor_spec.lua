-- SPDX-License-Identifier: MIT
-- Large values to and from workers, and many jobs.
local concurrent = require "lunado.concurrent"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local yield = coroutine.yield

local DEPTH = times(100000)
local CHAIN = times(10000)
local MANY = times(1000000)

local run = frame.run
local loop, executor
before_each(function()
  loop = frame.begin()
  executor = concurrent.ThreadPoolExecutor(2)
end)
after_each(function()
  executor:shutdown()
  frame.finish()
end)

local function on_thread(fn, ...)
  local future = executor:submit(fn, ...)
  return run(function() return yield(future) end)
end

local function identity(...) return ... end

local function depth(value)
  local n = 0
  while value[1] do value, n = value[1], n + 1 end
  return n
end

describe("a value for a worker", function()
  it("may be nested 100,000 levels deep", function()
    local value = {}
    for _ = 1, DEPTH do value = { value } end
    local copy, there = on_thread(function(t)
      local inner, n = t, 0
      while inner[1] do inner, n = inner[1], n + 1 end
      return t, n
    end, value)
    assert.equal(DEPTH, there)
    assert.equal(DEPTH, depth(copy))
  end)

  it("may be a chain of 10,000 functions", function()
    local f = function() return 0 end
    for _ = 1, CHAIN do
      local inner = f
      f = function() return inner end
    end
    local g = on_thread(identity, f)
    local n = 0
    while true do
      g, n = g(), n + 1
      if g == 0 then break end
    end
    assert.equal(CHAIN + 1, n)
  end)

  it("is refused with a short path, however deep", function()
    local value = { io.stdout }
    for _ = 1, DEPTH do value = { value } end
    local ok, err = pcall(executor.submit, executor, identity, value)
    assert.is_false(ok)
    assert.is_true(#err < 300)
  end)

  it("may share without growing", function()
    local long = ("x"):rep(1000000)
    local value = {}
    for i = 1, 1000 do value[i] = { long } end
    for _ = 1, 30 do value = { value, value } end
    local copy = on_thread(identity, value)
    for _ = 1, 30 do
      assert.equal(copy[1], copy[2])
      copy = copy[1]
    end
    assert.equal(1000, #copy)
    assert.equal(long, copy[1000][1])
  end)

  it("may be a million numbers, strings, fields", function()
    local numbers, strings, fields = {}, {}, {}
    for i = 1, MANY do
      numbers[i] = i
      strings[i] = "string " .. i
      fields["field " .. i] = i
    end
    local a, b, c = on_thread(identity, numbers, strings, fields)
    assert.equal(MANY, #a)
    assert.equal(MANY, #b)
    for i = 1, MANY, 997 do
      assert.equal(i, a[i])
      assert.equal(strings[i], b[i])
      assert.equal(i, c[strings[i]:gsub("string", "field")])
    end
  end)

  it("may be a string of 64 MB", function()
    local value = ("0123456789abcdef"):rep(4 * 1024 * 1024)
    assert.is_true(on_thread(identity, value) == value)
  end)

  it("may be 200,000 arguments", function()
    local many = {}
    for i = 1, 200000 do many[i] = i end
    local back = table.pack(on_thread(identity, table.unpack(many)))
    assert.equal(200000, back.n)
    assert.equal(200000, back[200000])
  end)

  it("may be a function of 255 upvalues", function()
    local lines = {}
    for block = 0, 1 do
      for i = 1, 127 do
        local n = block * 127 + i
        lines[#lines + 1] = ("local a%d = %d"):format(n, n)
      end
      lines[#lines + 1] = block == 0 and "return function()" or ""
    end
    local sum = {}
    for n = 1, 254 do sum[n] = "a" .. n end
    lines[#lines + 1] = "return function() return " .. table.concat(sum, "+")
      .. " end end"
    local f = assert(load(table.concat(lines, "\n")))()()
    assert.equal(254 * 255 // 2, on_thread(f))
  end)
end)

describe("jobs", function()
  it("may be 20,000 at once", function()
    local futures = {}
    for i = 1, times(20000) do futures[i] = executor:submit(identity, i) end
    loops.run(loop, function() yield(futures) end)
    for i, future in ipairs(futures) do assert.equal(i, future:result()) end
  end)

  it("leave no memory behind", function()
    local function rounds(n)
      loops.run(loop, function()
        for i = 1, n do yield(executor:submit(identity, { i })) end
      end)
      return gc.kilobytes()
    end
    local before = rounds(times(2000))
    assert.is_true(rounds(times(2000)) < before + 64)
  end)

  it("may be those of 300 executors", function()
    local futures = {}
    for i = 1, 300 do
      local own = concurrent.ThreadPoolExecutor(1)
      futures[i] = own:submit(identity, i)
      own:shutdown(false)
    end
    loops.run(loop, function() yield(futures) end)
    for i, future in ipairs(futures) do assert.equal(i, future:result()) end
  end)

  it("may have 100 threads", function()
    local many <close> = concurrent.ThreadPoolExecutor(100)
    local list = {}
    for i = 1, 100 do list[i] = i end
    local future = many:map(identity, list)
    assert.same(list, loops.run(loop, function() return yield(future) end))
  end)
end)
