-- SPDX-License-Identifier: MIT
-- tasks.TaskGroup, group and race.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local queues = require "lunado.queues"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local cancelled = require "spec.support.cancelled"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future = concurrent.Future
local yield = coroutine.yield
local start, assert_cancelled = cancelled.start, cancelled.check
local is_cancelled = cancelled.is_error

local run = frame.run
local loop, log
before_each(function() loop, log = frame.begin_virtual() end)
after_each(function() frame.finish() end)

local function sleep(n, ...)
  yield(gen.sleep(n))
  return ...
end

local function fail_after(n, err)
  yield(gen.sleep(n))
  error(err, 0)
end

--- Opens a group, calls fn(group) within it, and returns what pcall of that
-- returns, and the seconds that it took.
local function in_group(fn, opts)
  local began = loop:time()
  local ok, err = pcall(function()
    local group <close> = tasks.TaskGroup(opts)
    return fn(group)
  end)
  return ok, err, loop:time() - began
end

describe("TaskGroup", function()
  it("waits for all at the end of the block", function()
    run(function()
      local one, two
      local ok, _, took = in_group(function(group)
        one = group:spawn(sleep, 1, "one")
        two = group:spawn(gen.coroutine(sleep), 3, "two")
        assert.is_false(one:done())
      end)
      assert.is_true(ok)
      assert.equal(3, took)
      assert.equal("one", one:result())
      assert.equal("two", two:result())
    end)
  end)

  it("runs a child at once, up to its first suspension", function()
    run(function()
      local group <close> = tasks.TaskGroup()
      local ran
      local future = group:spawn(function(...) ran = ... return ... end, 1, 2)
      assert.equal(1, ran)
      assert.same({ 1, 2 }, { future:result() })
    end)
  end)

  it("cancels all others when a child raises, and raises that", function()
    run(function()
      local seen
      local ok, err, took = in_group(function(group)
        group:spawn(function()
          local _, why = pcall(yield, gen.sleep(10))
          seen = why
          error(why, 0)
        end)
        group:spawn(fail_after, 1, "broken")
        yield(gen.sleep(5))
      end)
      assert.is_false(ok)
      assert.equal("broken", err)
      assert.is_true(is_cancelled(seen))
      assert.equal(1, took)
    end)
  end)

  it("waits for those that clean up", function()
    run(function()
      local ok, err, took = in_group(function(group)
        group:spawn(function()
          pcall(yield, Future())
          tasks.shield(sleep, 5)
        end)
        group:spawn(fail_after, 1, "broken")
      end)
      assert.is_false(ok)
      assert.equal("broken", err)
      assert.equal(6, took)
    end)
  end)

  it("cancels the children when the body raises, and raises that", function()
    run(function()
      local child
      local ok, err, took = in_group(function(group)
        child = group:spawn(sleep, 10)
        error("body", 0)
      end)
      assert.is_false(ok)
      assert.equal("body", err)
      assert.equal(0, took)
      assert_cancelled(child)
    end)
  end)

  it("keeps the error's place in the traceback", function()
    run(function()
      local future = start(function()
        local group <close> = tasks.TaskGroup()
        group:spawn(fail_after, 1, "broken")
      end)
      assert.is_false(pcall(yield, future))
      local _, traceback = future:exc_info()
      assert.matches("tasks_group_spec.lua:%d+: in [^\n]*$", traceback)
    end)
  end)

  it("raises the error that came first, and logs later ones", function()
    run(function()
      local group
      local ok, err = in_group(function(g)
        group = g
        g:spawn(fail_after, 1, "first")
        g:spawn(function()
          pcall(yield, Future())
          error("second", 0)
        end)
        g:spawn(fail_after, 1, "third")
      end)
      assert.is_false(ok)
      assert.equal("first", err)
      assert.equal("first", group:errors()[1])
      assert.equal(3, #group:errors())
    end)
    log:expect "Error in a TaskGroup: "
    assert.equal(2, #log)
  end)

  it("logs no later errors that quiet_exceptions cover", function()
    run(function()
      local ok, err = in_group(function(g)
        g:spawn(fail_after, 1, "first")
        g:spawn(fail_after, 1, "second")
      end, { quiet_exceptions = "sec" })
      assert.is_false(ok)
      assert.equal("first", err)
    end)
  end)

  it("goes on when a child is cancelled alone", function()
    run(function()
      local ok, _, took = in_group(function(group)
        local child = group:spawn(sleep, 10)
        group:spawn(sleep, 2)
        assert.is_true(tasks.cancel(child))
        assert_cancelled(child)
      end)
      assert.is_true(ok)
      assert.equal(2, took)
    end)
  end)

  it("takes another's CancelledError for an error", function()
    run(function()
      local ok, err = in_group(function(group)
        group:spawn(function() error(tasks.CancelledError "mine") end)
      end)
      assert.is_false(ok)
      assert.equal("mine", err.message)
    end)
  end)

  it("can be cancelled: the children, not the body", function()
    run(function()
      local slept
      local ok, _, took = in_group(function(group)
        local child = group:spawn(sleep, 10)
        group:cancel("enough")
        assert.equal("enough", assert_cancelled(child).reason)
        yield(gen.sleep(1))
        slept = true
        local refused = group:spawn(function() slept = "ran" end)
        assert.equal("enough", assert_cancelled(refused).reason)
      end)
      assert.is_true(ok)
      assert.equal(1, took)
      assert.is_true(slept)
    end)
  end)

  it("lets a child spawn into it, also at the end", function()
    run(function()
      local last
      local ok, _, took = in_group(function(group)
        group:spawn(function()
          yield(gen.sleep(1))
          group:spawn(function()
            yield(gen.sleep(1))
            last = group:spawn(sleep, 1, "last")
          end)
        end)
      end)
      assert.is_true(ok)
      assert.equal(3, took)
      assert.equal("last", last:result())
    end)
  end)

  it("does not spawn after its end", function()
    run(function()
      local group
      in_group(function(g) group = g end)
      assert.error_matches(function() group:spawn(print) end,
        "^the TaskGroup has ended$")
      assert.error_matches(function() group:spawn(1) end,
        "bad argument #1 to 'spawn' %(function expected, got number%)")
      assert.matches("^TaskGroup: .* %(ended%)$", tostring(group))
    end)
  end)

  it("wait() never fails, and waits for each call's own", function()
    run(function()
      local ok, err = in_group(function(group)
        local began = loop:time()
        local child = group:spawn(sleep, 9)
        local early, same_as_early = group:wait(), group:wait()
        group:spawn(sleep, 2)
        local late = group:wait()
        group:spawn(function()
          pcall(yield, gen.sleep(5))
          error("broken", 0)
        end)
        tasks.cancel(child)
        yield(early)
        yield(same_as_early)
        assert.equal(began, loop:time())
        yield(late)
        assert.equal(began + 2, loop:time())
        assert.is_true(group:wait():set_result() == nil)
      end)
      assert.is_false(ok)
      assert.equal("broken", err)
    end)
  end)

  it("is not hurt when somebody settles its children's Futures", function()
    run(function()
      local ok, _, took = in_group(function(group)
        local child = group:spawn(sleep, 2)
        child:set_result "early"
        assert.equal("early", child:result())
      end)
      assert.is_true(ok)
      assert.equal(0, took)
    end)
  end)

  it("wait() waits for what was spawned before", function()
    run(function()
      local group <close> = tasks.TaskGroup()
      local began = loop:time()
      group:spawn(sleep, 1)
      local waited = group:wait()
      group:spawn(sleep, 3)
      yield(waited)
      assert.equal(began + 1, loop:time())
      yield(group:wait())
      assert.equal(began + 3, loop:time())
      yield(group:wait())
    end)
  end)

  it("passes a cancellation from outside to the children", function()
    run(function()
      local child, after
      local future = start(function()
        do
          local group <close> = tasks.TaskGroup()
          child = group:spawn(function()
            local _, err = pcall(yield, Future())
            tasks.shield(sleep, 2)
            error(err, 0)
          end)
        end
        after = true
      end)
      local began = loop:time()
      tasks.cancel(future)
      assert_cancelled(future)
      assert_cancelled(child)
      assert.equal(began + 2, loop:time())
      assert.is_nil(after)
    end)
  end)

  it("within a timeout", function()
    run(function()
      local ok, err = pcall(tasks.timeout, { seconds = 2 }, function()
        local group <close> = tasks.TaskGroup()
        group:spawn(sleep, 10)
        group:spawn(sleep, 1)
      end)
      assert.is_false(ok)
      assert.is_true(util.isinstance(err, util.TimeoutError), tostring(err))
    end)
  end)

  it("within another", function()
    run(function()
      local ok, err, took = in_group(function(outer)
        outer:spawn(function()
          local inner <close> = tasks.TaskGroup()
          inner:spawn(fail_after, 1, "inner")
          inner:spawn(sleep, 9)
        end)
        outer:spawn(sleep, 9)
      end)
      assert.is_false(ok)
      assert.equal("inner", err)
      assert.equal(1, took)
    end)
  end)

  it("does not cancel a child whose waiter is cancelled", function()
    run(function()
      local child
      local ok = in_group(function(group)
        child = group:spawn(sleep, 2, "done")
        local future = start(function() yield(child) end)
        tasks.cancel(future)
        assert_cancelled(future)
      end)
      assert.is_true(ok)
      assert.equal("done", child:result())
    end)
  end)

  it("ends on every way out", function()
    run(function()
      local began = loop:time()
      for _ = 1, 2 do
        local group <close> = tasks.TaskGroup()
        group:spawn(sleep, 1)
        goto continue
        ::continue::
      end
      for i = 1, 2 do
        local group <close> = tasks.TaskGroup()
        group:spawn(sleep, 1)
        if i == 1 then break end
      end
      assert.equal(began + 3, loop:time())
      assert.equal("value", (function()
        local group <close> = tasks.TaskGroup()
        group:spawn(sleep, 1)
        return "value"
      end)())
      assert.equal(began + 4, loop:time())
    end)
  end)

  it("with an error in another <close> handler of the block", function()
    run(function()
      local child
      local ok, err = pcall(function()
        local group <close> = tasks.TaskGroup()
        local _ <close> = setmetatable({}, {
          __close = function() error("handler", 0) end,
        })
        child = group:spawn(sleep, 5)
      end)
      assert.is_false(ok)
      assert.equal("handler", err)
      assert_cancelled(child)
    end)
  end)

  it("with coroutine.close cancels, and cannot wait", function()
    run(function()
      local thread, child
      local future = start(function()
        thread = coroutine.running()
        local group <close> = tasks.TaskGroup()
        child = group:spawn(sleep, 5)
        yield(gen.sleep(1))
      end)
      assert.is_true(coroutine.close(thread))
      assert_cancelled(child)
      local ok, err = pcall(yield, future)
      assert.is_false(ok)
      assert.matches("resumed or closed by somebody else", err)
    end)
  end)

  it("with coroutine.close while its end waits cancels", function()
    run(function()
      local thread, child
      local future = start(function()
        thread = coroutine.running()
        local group <close> = tasks.TaskGroup()
        child = group:spawn(sleep, 5)
      end)
      assert.is_true(coroutine.close(thread))
      assert_cancelled(child)
      assert.is_false(pcall(yield, future))
    end)
  end)

  it("raises where it cannot be", function()
    assert.error_matches(function() tasks.TaskGroup() end,
      "cannot open a TaskGroup outside of a coroutine")
    run(function()
      assert.error_matches(coroutine.wrap(function() tasks.TaskGroup() end),
        "cannot open a TaskGroup inside a coroutine that lunado does not run")
      assert.error_matches(function() tasks.TaskGroup(1) end,
        "bad argument #1 to 'TaskGroup' %(table expected, got number%)")
    end)
  end)

  it("cannot be closed by another coroutine", function()
    run(function()
      local group
      local future = start(function()
        local g <close> = tasks.TaskGroup()
        group = g
        g:spawn(sleep, 1)
        yield(gen.sleep(2))
        return "unharmed"
      end)
      assert.error_matches(function() local _ <close> = group end,
        "a scope was closed in another coroutine")
      assert.equal("unharmed", yield(future))
    end)
  end)

  it("goes on as before when another coroutine has tried that", function()
    run(function()
      local group
      local future = start(function()
        local g <close> = tasks.TaskGroup()
        group = g
        g:spawn(sleep, 1)
        yield(gen.sleep(2))
        g:spawn(fail_after, 1, "late")
        yield(gen.sleep(5))
      end)
      assert.is_false(pcall(function() local _ <close> = group end))
      local ok, err = pcall(yield, future)
      assert.is_false(ok)
      assert.equal("late", err)
    end)
  end)

  it("inside what cannot be suspended raises the error of a child", function()
    local function in_gsub(fn)
      local ok, err = pcall(string.gsub, "x", ".", fn)
      assert.is_false(ok)
      return err
    end
    run(function()
      assert.equal("boom", in_gsub(function()
        local group <close> = tasks.TaskGroup()
        group:spawn(error, "boom", 0)
      end))
      assert.equal("boom", in_gsub(function()
        tasks.group(function(group) group:spawn(error, "boom", 0) end)
      end))
      assert.matches("a TaskGroup cannot wait for its tasks inside a function "
        .. "that cannot be suspended", in_gsub(function()
        local group <close> = tasks.TaskGroup()
        group:spawn(sleep, 1)
      end))
    end)
  end)

  it("inside what cannot be suspended keeps the error of the body", function()
    run(function()
      local child
      string.gsub("x", ".", function()
        local ok, err = pcall(function()
          local group <close> = tasks.TaskGroup()
          child = group:spawn(sleep, 1)
          error("body", 0)
        end)
        assert.is_false(ok)
        assert.equal("body", err)
      end)
      assert_cancelled(child)
    end)
    log:expect("^error: TaskGroup of [^\n]*tasks_group_spec.lua:%d+ cannot "
      .. "wait for its tasks inside a function that cannot be suspended$")
  end)

  it("that could not wait logs errors that come later", function()
    run(function()
      local thread, group
      local future = start(function()
        thread = coroutine.running()
        local g <close> = tasks.TaskGroup()
        group = g
        g:spawn(function()
          pcall(yield, gen.sleep(5))
          error("clean-up", 0)
        end)
        yield(gen.sleep(1))
      end)
      coroutine.close(thread)
      pcall(yield, future)
      assert.same({ "clean-up" }, group:errors())
    end)
    log:expect "^error: Error in a TaskGroup: clean%-up\nstack traceback:"
  end)

  it("that cannot raise the error of a child logs it", function()
    run(function()
      local thread
      local future = start(function()
        thread = coroutine.running()
        local group <close> = tasks.TaskGroup()
        pcall(group.spawn, group, error, "first", 0)
        pcall(yield, gen.sleep(1))
        yield(gen.sleep(1))
      end)
      coroutine.close(thread)
      pcall(yield, future)
    end)
    log:expect "^error: Error in a TaskGroup: first\nstack traceback:"
  end)

  it("that nobody closes logs the error of a child", function()
    run(function()
      yield(start(function()
        tasks.TaskGroup():spawn(error, "first", 0)
      end))
    end)
    log:expect("^error: TaskGroup of [^\n]* was not closed[^\n]*\n"
      .. "error: Error in a TaskGroup: first\nstack traceback:")
  end)

  it("that nobody closes is logged, and its children are cancelled", function()
    run(function()
      local child
      yield(start(function()
        local group = tasks.TaskGroup()
        child = group:spawn(sleep, 5)
      end))
      assert_cancelled(child)
    end)
    log:expect("^error: TaskGroup of [^\n]*tasks_group_spec.lua:%d+ was not "
      .. "closed: use local group <close>")
  end)

  it("that a block around it ends is logged, and cancelled", function()
    run(function()
      local child, group
      tasks.timeout({ seconds = 9 }, function()
        group = tasks.TaskGroup()
        child = group:spawn(sleep, 5)
      end)
      assert_cancelled(child)
      assert.error_matches(function() group:spawn(print) end,
        "the TaskGroup has ended")
    end)
    log:expect "^error: TaskGroup of [^\n]* was not closed"
  end)

  it("that is abandoned may call cancellers that cancel its coroutine",
    function()
      run(function()
        local future, told
        local gate = Future()
        future = start(function()
          local outer = tasks.TaskGroup()
          local work = Future()
          tasks.set_canceller(work, function()
            told = tasks.cancel(future)
            outer:cancel()
          end)
          outer:spawn(function() yield(work) end)
          yield(gate)
          return "result"
        end)
        gate:set_result()
        assert.equal("result", yield(future))
        assert.is_false(told)
        local again = start(function() yield(gen.sleep(1)) return 1 end)
        assert.equal(1, yield(again))
      end)
      log:expect "was not closed"
    end)

  it("that is collected while open is logged with its line", function()
    run(function()
      start(function()
        local group <close> = tasks.TaskGroup()
        yield(Future())
        group:spawn(print)
      end)
      gc.collect()
    end)
    gc.collect()
    log:expect("error: TaskGroup of [^\n]*tasks_group_spec.lua:%d+ was "
      .. "collected while it was open")
    assert.matches("Coroutine was collected while waiting", log:text())
  end)

  it("that is open when its loop is closed is no bug", function()
    run(function()
      start(function()
        local group <close> = tasks.TaskGroup()
        group:spawn(sleep, 5)
        yield(gen.sleep(5))
      end)
    end)
  end)

  it("that is collected while open logs the error of a child", function()
    run(function()
      start(function()
        local group <close> = tasks.TaskGroup()
        pcall(yield, { group:spawn(error, "first", 0) })
        tasks.shield(yield, gen.sleep(5))
      end)
    end)
    loops.close(loop)
    gc.collect()
    log:expect "^error: Error in a TaskGroup: first\nstack traceback:"
  end)

  it("cancels 100,000 children in linear time", function()
    run(function()
      local ok, err, took = in_group(function(group)
        for _ = 1, 100000 do group:spawn(sleep, 3600) end
        error("stop", 0)
      end)
      assert.is_false(ok)
      assert.equal("stop", err)
      assert.equal(0, took)
    end)
  end)
end)

describe("group", function()
  it("returns the results of its function", function()
    run(function()
      local began = loop:time()
      assert.same({ 1, nil, 3, n = 3 },
        table.pack(tasks.group(function(group, ...)
          group:spawn(sleep, 2)
          return ...
        end, 1, nil, 3)))
      assert.equal(began + 2, loop:time())
    end)
  end)

  it("absorbs its own cancel", function()
    run(function()
      local began = loop:time()
      assert.same({ n = 0 }, table.pack(tasks.group(function(group)
        group:spawn(function() yield(gen.sleep(1)) group:cancel() end)
        yield(gen.sleep(10))
        return "results"
      end)))
      assert.equal(began + 1, loop:time())
      yield(gen.sleep(1))
    end)
  end)

  it("raises the errors of body and children", function()
    run(function()
      assert.has_error(function()
        tasks.group(function(group)
          group:spawn(fail_after, 1, "child")
          yield(Future())
        end)
      end, "child")
      assert.has_error(function()
        tasks.group(function(group)
          group:spawn(sleep, 5)
          error("body", 0)
        end)
      end, "body")
      assert.error_matches(function() tasks.group(1) end,
        "bad argument #1 to 'group' %(function expected, got number%)")
    end)
  end)

  it("passes on a cancellation from outside", function()
    run(function()
      local future = start(function()
        tasks.group(function(group)
          group:spawn(sleep, 5)
          yield(Future())
        end)
      end)
      tasks.cancel(future, "outside")
      assert.equal("outside", assert_cancelled(future).reason)
    end)
  end)
end)

describe("race", function()
  it("gives key and results of the first, and cancels the others", function()
    run(function()
      local began, loser = loop:time(), start(sleep, 9)
      assert.same({ 2, "a", "b" },
        { yield(tasks.race { loser, start(sleep, 1, "a", "b") }) })
      assert_cancelled(loser)
      assert.same({ "x", 5 },
        { yield(tasks.race { x = start(sleep, 1, 5), y = gen.sleep(7) }) })
      assert.equal(began + 2, loop:time())
    end)
  end)

  it("raises the error of the first", function()
    run(function()
      local loser = start(sleep, 9)
      local ok, err = pcall(yield,
        tasks.race { loser, start(fail_after, 1, "no") })
      assert.is_false(ok)
      assert.equal("no", err)
      assert_cancelled(loser)
    end)
  end)

  it("waits for losers that clean up, and logs their errors", function()
    run(function()
      local began = loop:time()
      local loser = start(function()
        pcall(yield, Future())
        tasks.shield(sleep, 4)
        error("cleaning", 0)
      end)
      assert.equal(1, yield(tasks.race { gen.sleep(1), loser }))
      assert.equal(began + 5, loop:time())
    end)
    log:expect "^error: Error in a loser of a race: cleaning"
  end)

  it("lets go of what others wait for, and of plain Futures", function()
    run(function()
      local shared, plain = start(sleep, 3, "shared"), Future()
      local other = start(function() return (yield(shared)) end)
      assert.equal(3, yield(tasks.race { shared, plain, gen.sleep(1) }))
      assert.equal("shared", yield(other))
      assert.is_false(plain:done())
    end)
  end)

  it("takes one that is done already", function()
    run(function()
      local done = Future()
      done:set_result "done"
      local loser = start(sleep, 5)
      assert.same({ 2, "done" }, { yield(tasks.race { loser, done }) })
      assert_cancelled(loser)
    end)
  end)

  it("that is cancelled cancels all, within the call", function()
    run(function()
      local queue, child = queues.Queue(), start(sleep, 9)
      local future = start(function()
        yield(tasks.race { queue:get(), child, gen.sleep(7) })
      end)
      tasks.cancel(future)
      queue:put_nowait "kept"
      assert_cancelled(future)
      assert_cancelled(child)
      assert.equal("kept", queue:get_nowait())
    end)
  end)

  it("leaves a getter that lost no item", function()
    run(function()
      local queue = queues.Queue()
      assert.equal(2, yield(tasks.race { queue:get(), gen.sleep(1) }))
      queue:put_nowait "kept"
      assert.equal("kept", queue:get_nowait())
    end)
  end)

  it("lets no loser take an item once the first is done", function()
    for _, way in ipairs { "one", "two" } do
      run(function()
        local one, two = queues.Queue(), queues.Queue()
        local future = tasks.race { one = one:get(), two = two:get() }
        local winner = way == "two" and two or one
        winner:put_nowait "first"
        local loser = winner == one and two or one
        loser:put_nowait "kept"
        local key, item = yield(future)
        assert.equal(winner == one and "one" or "two", key)
        assert.equal("first", item)
        assert.equal("kept", loser:get_nowait())
      end)
    end
  end)

  it("that is over before it is cancelled gives its outcome", function()
    run(function()
      local queue, got = queues.Queue(), nil
      local future = start(function()
        got = { yield(tasks.race { queue:get(), gen.sleep(9) }) }
        yield()
      end)
      queue:put_nowait "item"
      tasks.cancel(future)
      assert_cancelled(future)
      assert.same({ 1, "item" }, got)
    end)
  end)

  it("that is cancelled before an item comes leaves it", function()
    run(function()
      local queue, got = queues.Queue(), nil
      local future = start(function()
        got = yield(tasks.race { queue:get(), gen.sleep(9) })
      end)
      tasks.cancel(future)
      queue:put_nowait "item"
      assert_cancelled(future)
      assert.is_nil(got)
      assert.equal("item", queue:get_nowait())
    end)
  end)

  it("checks its arguments", function()
    assert.error_matches(function() tasks.race {} end,
      "bad argument #1 to 'race' %(no children%)")
    assert.error_matches(function() tasks.race() end,
      "bad argument #1 to 'race' %(table expected, got nil%)")
    assert.error_matches(function() tasks.race { 1 } end,
      "yielded what is not yieldable: a number")
  end)
end)

describe("a cycle of waits", function()
  -- Ways in which a coroutine waits for children fn1, fn2, ...
  local holders = {
    ["a group"] = function(...)
      local group <close> = tasks.TaskGroup()
      for _, fn in ipairs { ... } do group:spawn(fn) end
    end,
    ["a group with a function"] = function(...)
      local fns = { ... }
      tasks.group(function(group)
        for _, fn in ipairs(fns) do group:spawn(fn) end
      end)
    end,
    ["a race"] = function(...)
      local children = {}
      for i, fn in ipairs { ... } do children[i] = start(fn) end
      yield(tasks.race(children))
    end,
    ["a race of tables"] = function(...)
      local children = {}
      for i, fn in ipairs { ... } do children[i] = { start(fn) } end
      yield(tasks.race(children))
    end,
    ["a group around a group"] = function(...)
      local outer <close> = tasks.TaskGroup()
      outer:spawn(function(...)
        local inner <close> = tasks.TaskGroup()
        for _, fn in ipairs { ... } do inner:spawn(fn) end
      end, ...)
    end,
  }

  -- Ways in which a child waits for its owner.
  local ways = {
    directly = yield,
    ["through a coroutine"] = function(future)
      yield(start(function() yield(future) end))
    end,
    ["through a table"] = function(future) yield { future, Future() } end,
    ["through a multi"] = function(future) yield(gen.multi { future }) end,
    ["through a with_timeout"] = function(future)
      yield(gen.with_timeout({ seconds = 3600 }, future))
    end,
    ["through a race"] = function(future) yield(tasks.race { future }) end,
    ["through a group"] = function(future)
      local group <close> = tasks.TaskGroup()
      group:spawn(function() yield(future) end)
    end,
    ["through a target"] = function(future) yield(tasks.keep(future)) end,
  }

  for holder, hold in pairs(holders) do
    for way, wait in pairs(ways) do
      it(("of %s and a child, %s"):format(holder, way), function()
        if holder:find "race" and way == "through a table" then
          log:allow "Coroutine was collected while waiting"
        end
        for _, swallows in ipairs { 0, 1, 3 } do
          run(function()
            local owner
            local function child()
              yield()
              for _ = 1, swallows do
                local ok, err = pcall(wait, owner)
                assert(not ok and is_cancelled(err), err)
              end
              wait(owner)
            end
            owner = start(hold, child, child)
            yield(gen.sleep(1))
            local began = loop:time()
            assert.is_false(owner:done())
            tasks.cancel(owner)
            assert_cancelled(owner)
            assert.equal(began, loop:time())
          end)
        end
      end)
    end
  end

  it("ends when a sibling fails", function()
    run(function()
      local owner
      owner = start(function()
        in_group(function(group)
          group:spawn(function() yield() yield(owner) end)
          group:spawn(fail_after, 1, "boom")
        end)
        return "ended"
      end)
      assert.equal("ended", yield(owner))
    end)
  end)

  it("ends when a race is over", function()
    run(function()
      local owner
      owner = start(function()
        return yield(tasks.race {
          start(function() yield() yield(owner) end),
          start(sleep, 1, "won"),
        })
      end)
      local key, result = yield(owner)
      assert.equal(2, key)
      assert.equal("won", result)
    end)
  end)

  it("of two groups", function()
    for _, which in ipairs { 1, 2 } do
      run(function()
        local owners = {}
        for i = 1, 2 do
          owners[i] = start(function()
            in_group(function(group)
              group:spawn(function() yield() yield(owners[3 - i]) end)
            end)
            yield()
          end)
        end
        yield(gen.sleep(1))
        tasks.cancel(owners[which])
        assert_cancelled(owners[which])
        pcall(yield, owners[3 - which])
      end)
    end
  end)

  it("lets the owner go when the child alone is cancelled", function()
    for _, seconds in ipairs { 0, 2 } do
      run(function()
        local owner, child
        owner = start(function()
          in_group(function(group)
            child = group:spawn(function() yield() yield(owner) end)
            yield(gen.sleep(seconds))
          end)
          return "went on"
        end)
        yield(gen.sleep(1))
        tasks.cancel(child)
        assert_cancelled(child)
        assert.equal("went on", yield(owner))
      end)
    end
  end)

  it("lets go what waits in a shield", function()
    run(function()
      local owner, child
      child = start(function() yield() yield(owner) end)
      owner = start(function()
        tasks.shield(function()
          local ok, err = pcall(yield, child)
          assert(not ok and is_cancelled(err), err)
        end)
        return "went on"
      end)
      yield(gen.sleep(1))
      tasks.cancel(child)
      assert_cancelled(child)
      assert.equal("went on", yield(owner))
    end)
  end)

  it("begins after the cancellation", function()
    run(function()
      local owner, met
      owner = start(function()
        in_group(function(group)
          group:spawn(function()
            pcall(sleep, 3600)
            local ok, err = pcall(yield, start(function()
              pcall(sleep, 3600)
              met = true
              yield(owner)
            end))
            assert(not ok and is_cancelled(err), err)
            yield(owner)
          end)
        end)
        yield()
      end)
      yield(gen.sleep(1))
      tasks.cancel(owner)
      assert_cancelled(owner)
      assert.is_true(met)
    end)
  end)

  it("takes other coroutines along as before", function()
    run(function()
      local owner, helpers = nil, {}
      owner = start(function()
        local group <close> = tasks.TaskGroup()
        for i = 1, 3 do
          helpers[i] = start(function() yield(start(sleep, 3600)) end)
          group:spawn(function() yield { helpers[i], owner } end)
        end
      end)
      local above = start(function() yield(owner) end)
      yield(gen.sleep(1))
      local began = loop:time()
      tasks.cancel(above)
      assert_cancelled(above)
      for i = 1, 3 do assert_cancelled(helpers[i]) end
      assert.equal(began, loop:time())
    end)
  end)
end)
