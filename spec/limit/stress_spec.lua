-- SPDX-License-Identifier: MIT
-- Random programs whose outcome is known beforehand: hundreds of coroutines
-- that wait for one another in every way there is.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local yield = coroutine.yield

local COUNT = 200

local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

-- Ways to wait for the Futures of a list; each gives the sum of the results
-- or raises the error of the first that failed.
local ways = {
  function(list)
    local sum = 0
    for i = 1, #list do
      sum = sum + yield(list[i])
    end
    return sum
  end,
  function(list)
    local sum = 0
    for i = 1, #list do
      sum = sum + gen.await(list[i])
    end
    return sum
  end,
  function(list)
    local sum = 0
    for i = 1, #list do
      local ok, x = pcall(yield, gen.with_timeout({ seconds = 600 }, list[i]))
      sum = ok and sum + x or error(x, 0)
    end
    return sum
  end,
  function(list)
    local sum = 0
    for _, x in ipairs(yield(gen.multi(list, function() return true end))) do
      sum = sum + x
    end
    return sum
  end,
  function(list)
    local sum, failed = 0, {}
    local wi = gen.WaitIterator(table.unpack(list))
    while not wi:done() do
      local ok, x = pcall(yield, wi:next())
      if ok then
        sum = sum + x
      else
        failed[wi.current_index] = x
      end
    end
    for i = 1, #list do
      if failed[i] then
        error(failed[i], 0)
      end
    end
    return sum
  end,
  function(list)
    local sum = 0
    for i = 1, #list do
      local copy = concurrent.Future()
      concurrent.chain_future(list[i], copy)
      sum = setmetatable({}, { __add = function(_, x)
        return x + yield(copy)
      end }) + sum
    end
    return sum
  end,
}

-- What coroutine i does: which others it waits for, how, how often it lets
-- the loop turn before and after, and whether it fails in the end.
local function program(random)
  local steps = {}
  for i = 1, COUNT do
    local before = {}
    for _ = 1, i > 1 and random(0, 4) or 0 do
      before[#before + 1] = random(1, i - 1)
    end
    steps[i] = { before = before, way = ways[random(#ways)],
      turns = random(0, 3), sleep = random(8) == 1, fails = random(40) == 1,
      late = random(3) == 1 }
  end
  return steps
end

-- The sum, or nil and the number of the coroutine whose error arrives.
local function expected(steps)
  local sums, errors = {}, {}
  for i = 1, COUNT do
    local sum = i
    for _, j in ipairs(steps[i].before) do
      if errors[j] then
        errors[i] = errors[j]
        break
      end
      sum = sum + sums[j] % 1000
    end
    if not errors[i] and steps[i].fails then
      errors[i] = i
    end
    sums[i] = sum
  end
  return sums, errors
end

local function execute(steps)
  local raised, futures = {}, {}
  for i = 1, COUNT do
    raised[i] = { number = i }
  end
  local function pass()
    for _ = 1, 2 do
      yield()
    end
  end
  for i = 1, COUNT do
    local step = steps[i]
    futures[i] = gen.coroutine(function()
      if step.late then
        pass()
      end
      local list = {}
      for n, j in ipairs(step.before) do
        list[n] = gen.coroutine(function()
          return yield(futures[j]) % 1000
        end)()
      end
      local sum = i + step.way(list)
      for _ = 1, step.turns do
        yield(gen.moment)
      end
      if step.sleep then
        yield(gen.sleep(0))
      end
      if step.fails then
        error(raised[i], 0)
      end
      return sum
    end)()
  end
  loops.run(loop, function()
    for i = 1, COUNT do
      pcall(yield, futures[i])
    end
  end)
  return futures, raised
end

local function check(seed)
  local state = seed
  local function random(a, b)
    if not b then
      a, b = 1, a
    end
    state = (state * 6364136223846793005 + 1442695040888963407)
    return a + (state >> 33) % (b - a + 1)
  end
  local steps = program(random)
  local sums, errors = expected(steps)
  local futures, raised = execute(steps)
  for i = 1, COUNT do
    if errors[i] then
      assert(futures[i]:exception() == raised[errors[i]], "error of " .. i)
    else
      assert(futures[i]:result() == sums[i], "sum of " .. i)
    end
  end
end

describe("random programs", function()
  for _, mode in ipairs { "incremental", "generational" } do
    it("come out as they should (" .. mode .. ")", function()
      log:allow "Future exception was never retrieved: " -- no way waits for all
      local old = collectgarbage(mode)
      for seed = 1, times(40) do
        local ok, err = pcall(check, seed)
        if not ok then
          collectgarbage(old)
          error(("seed %d: %s"):format(seed, tostring(err)))
        end
      end
      collectgarbage(old)
    end)
  end
end)
