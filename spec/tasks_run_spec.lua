-- SPDX-License-Identifier: MIT
-- How run_sync's timeout and Ctrl-C end what they leave behind.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local child = require "spec.support.child"
local frame = require "spec.support.frame"

local Future = concurrent.Future
local yield = coroutine.yield

local loop, log
before_each(function() loop, log = frame.begin_virtual() end)
after_each(function() frame.finish() end)

--- Fails unless fn, run for at most 2 seconds, times out; returns how long this
-- took.
local function time_out(fn)
  local began = loop:time()
  local ok, err = pcall(loop.run_sync, loop, fn, 2)
  assert.is_false(ok)
  assert.is_true(util.isinstance(err, util.TimeoutError), tostring(err))
  assert.matches("timed out after 2", tostring(err))
  return loop:time() - began
end

--- Returns a value for `<close>` that calls fn.
local function closing(fn) return setmetatable({}, { __close = fn }) end

describe("the timeout of run_sync", function()
  it("cancels the function and runs its handlers", function()
    local seen
    local took = time_out(function()
      local _ <close> = closing(function(_, err) seen = err end)
      yield(gen.sleep(10))
    end)
    assert.equal(2, took)
    assert.is_true(util.isinstance(seen, tasks.CancelledError), tostring(seen))
    assert.equal("run_sync timed out", seen.reason)
  end)

  it("cancels what the function waits for", function()
    local closed = {}
    time_out(function()
      yield { gen.coroutine(function()
        local _ <close> = closing(function() closed[#closed + 1] = "a" end)
        yield(Future())
      end)(), gen.coroutine(function()
        local _ <close> = closing(function() closed[#closed + 1] = "b" end)
        yield(gen.sleep(10))
      end)() }
    end)
    table.sort(closed)
    assert.same({ "a", "b" }, closed)
  end)

  it("waits for handlers that wait", function()
    local closed
    local took = time_out(function()
      local _ <close> = closing(function()
        tasks.shield(function() yield(gen.sleep(0.5)) end)
        closed = true
      end)
      yield(gen.sleep(10))
    end)
    assert.is_true(closed)
    assert.equal(2.5, took)
  end)

  it("waits no longer than a second", function()
    local future
    local took = time_out(function()
      future = gen.coroutine(function()
        tasks.shield(function() yield(gen.sleep(100)) end)
      end)()
      return yield(future)
    end)
    assert.equal(3, took)
    assert.is_false(future:done())
  end)

  it("cancels a coroutine whose Future the function returns", function()
    local seen
    time_out(function()
      return gen.with_timeout({ seconds = 100 }, gen.coroutine(function()
        local _ <close> = closing(function() seen = true end)
        yield(gen.sleep(10))
      end)())
    end)
    assert.is_true(seen)
  end)

  it("logs an error that ends the function meanwhile", function()
    log:expect "error: .*cancelled at the end of a run: .*broken"
    time_out(function()
      local _ <close> = closing(function() error "broken" end)
      yield(gen.sleep(10))
    end)
  end)

  it("drops the results of a function that ends meanwhile", function()
    time_out(function()
      pcall(yield, gen.sleep(10))
      return 1
    end)
  end)

  it("holds if a handler closes the loop", function()
    local ok, err = pcall(loop.run_sync, loop, function()
      local _ <close> = closing(function() loop:close() end)
      yield(gen.sleep(10))
    end, 2)
    assert.is_false(ok)
    assert.matches("timed out", tostring(err))
  end)

  it("holds if a canceller closes the loop", function()
    local ok, err = pcall(loop.run_sync, loop, function()
      local future = Future()
      tasks.set_canceller(future, function() loop:close() end)
      yield(future)
    end, 2)
    assert.is_false(ok)
    assert.matches("timed out", tostring(err))
  end)

  it("lets the loop be run again", function()
    time_out(function() yield(gen.sleep(10)) end)
    assert.equal(7, loop:run_sync(function()
      yield(gen.sleep(1))
      return 7
    end, 2))
  end)

end)

describe("Ctrl-C", function()
  local prelude = [[
    local lunado = require "lunado"
    local tasks, gen = lunado.tasks, lunado.gen
    local yield = coroutine.yield
    local function interrupt() io.popen("kill -INT $PPID"):close() end
    local function closing(text)
      return setmetatable({}, { __close = function(_, err)
        tasks.shield(function() yield(gen.sleep(0.001)) end)
        io.write(text, " ", tostring(err):match "^%w+", " ")
      end })
    end
  ]]

  local function expect(out, script)
    return function()
      local r = child(prelude .. script)
      assert.same({ code = 0, out = out, err = "" }, r)
    end
  end

  it("cancels the function of run", expect("closed CancelledError false", [[
    local ok, err = pcall(lunado.run, function()
      local _ <close> = closing "closed"
      lunado.IOLoop.current():call_later(0, interrupt)
      yield(gen.sleep(60))
    end)
    assert(err:find "interrupted!", err)
    io.write(tostring(ok))
  ]]))

  it("cancels the tasks of a group", expect(
    "child CancelledError child CancelledError body CancelledError false", [[
    local ok, err = pcall(lunado.run, function()
      local _ <close> = closing "body"
      local group <close> = tasks.TaskGroup()
      for _ = 1, 2 do
        group:spawn(function()
          local _ <close> = closing "child"
          yield(gen.sleep(60))
        end)
      end
      lunado.IOLoop.current():call_later(0, interrupt)
    end)
    assert(err:find "interrupted!", err)
    io.write(tostring(ok))
  ]]))

  -- Lua's own program takes only the first one.
  it("once more ends the program at once", function()
    local r = child(prelude .. [[
      lunado.run(function()
        local _ <close> = setmetatable({}, { __close = function()
          lunado.IOLoop.current():call_later(0, interrupt)
          tasks.shield(function() yield(gen.sleep(0.9)) end)
          io.write "too late "
        end })
        lunado.IOLoop.current():call_later(0, interrupt)
        yield(gen.sleep(60))
      end)
    ]])
    assert.same({ code = 130, out = "", err = "" }, r)
  end)
end)
