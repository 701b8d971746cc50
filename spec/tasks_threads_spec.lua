-- SPDX-License-Identifier: MIT
-- Cancelled waits for executors' jobs.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local tasks = require "lunado.tasks"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"

local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check

local run = frame.run
local executor
before_each(function()
  frame.begin()
  executor = concurrent.ThreadPoolExecutor(1)
end)
after_each(function()
  executor:shutdown()
  frame.finish()
end)

-- Runs on the thread until the file exists, then creates a second file.
local function wait_for_file(path)
  local file
  repeat file = io.open(path) until file
  file:close()
  return "went on"
end

local function append(path, text)
  local file <close> = assert(io.open(path, "a"))
  file:write(text)
  return text
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- Calls fn(gate, path) while the thread waits for the file `gate`.
local function with_busy_thread(fn)
  local gate, path = os.tmpname(), os.tmpname()
  os.remove(gate)
  local busy = executor:submit(wait_for_file, gate)
  fn(function()
    append(gate, "")
    return yield(busy)
  end, path, busy)
  os.remove(gate)
  os.remove(path)
end

describe("a job that has not begun", function()
  it("is taken out of the queue", function()
    run(function()
      with_busy_thread(function(open, path)
        local future = start(function()
          yield(executor:submit(append, path, "cancelled"))
        end)
        local other = executor:submit(append, path, "other")
        assert.is_true(tasks.cancel(future))
        assert_cancelled(future)
        assert.equal("went on", open())
        assert.equal("other", yield(other))
        assert.equal("other", read(path))
      end)
    end)
  end)

  it("goes on if others wait for it", function()
    run(function()
      with_busy_thread(function(open, path)
        local job = executor:submit(append, path, "shared")
        local future = start(function() yield(job) end)
        local other = start(function() return (yield(job)) end)
        tasks.cancel(future)
        assert_cancelled(future)
        open()
        assert.equal("shared", yield(other))
      end)
    end)
  end)

  it("of a map, and of many, leaves room in the queue", function()
    run(function()
      local small = concurrent.ThreadPoolExecutor(1, { max_queue = 3 })
      local gate = os.tmpname()
      os.remove(gate)
      local busy = small:submit(wait_for_file, gate)
      for _ = 1, 3 do
        local future = start(function()
          yield(small:map(function(x) return x end, { 1, 2, 3 }))
        end)
        assert.is_false(pcall(small.submit, small, append, gate, ""))
        tasks.cancel(future)
        assert_cancelled(future)
      end
      append(gate, "")
      assert.equal("went on", yield(busy))
      assert.equal(7, yield(small:submit(function() return 7 end)))
      small:shutdown()
      os.remove(gate)
    end)
  end)

  it("may be cancelled by what ends the executor", function()
    run(function()
      with_busy_thread(function(open, path, busy)
        local future = start(function()
          yield(executor:submit(append, path, "cancelled"))
        end)
        future:add_done_callback(function() executor:shutdown(false) end)
        tasks.cancel(future)
        pcall(yield, future)
        open()
        assert.equal("went on", busy:result())
        assert.equal("", read(path))
      end)
    end)
  end)
end)

describe("a job that runs", function()
  it("is let go, and its result stays with its Future", function()
    run(function()
      with_busy_thread(function(open, _, busy)
        yield(gen.sleep(0.05)) -- the thread begins
        local future = start(function() yield(busy) end)
        tasks.cancel(future)
        assert_cancelled(future)
        assert.equal("went on", open())
      end)
    end)
  end)

  it("that is done before the cancellation gives its result", function()
    run(function()
      local job = executor:submit(function() return "result" end)
      local future, got
      job:add_done_callback(function() tasks.cancel(future) end)
      future = start(function()
        got = yield(job)
        yield()
      end)
      assert_cancelled(future)
      assert.equal("result", got)
    end)
  end)
end)
