-- SPDX-License-Identifier: MIT
-- luv beside lunado: one loop, whichever of the two was loaded first.  Each
-- case is a script of its own, run once for every order.
local child = require "spec.support.child"
local luv = require "spec.support.luv"

local expect = luv.expect
local orders, PRELUDE = luv.orders, luv.prelude

describe("loop:start()", function()
  it("drives luv's handles", expect("luv lunado ", [[
    after(1, function()
      io.write("luv ")
      loop:call_later(0.001, function()
        io.write("lunado ")
        loop:stop()
      end)
    end)
    loop:start()
  ]]))

  it("drives luv's requests", expect("script ", [[
    uv.fs_stat(arg[0], function(err, stat)
      assert(not err and stat.type == "file")
      io.write("script ")
      loop:stop()
    end)
    loop:start()
  ]]))

  it("can be stopped from a luv callback, and start again",
    expect("1 2 3 ", [[
      for i = 1, 3 do
        after(1, function()
          io.write(i, " ")
          loop:stop()
        end)
        loop:start()
      end
    ]]))

  it("is not ended by a stop from before it", expect("done", [[
    uv.stop()
    lunado.run(function() coroutine.yield(lunado.sleep(0.001)) end)
    uv.stop()
    lunado.run(function() coroutine.yield() end)
    io.write "done"
  ]]))

  it("can be stopped by uv.stop()", expect("stopped cut off ", [[
    after(1, uv.stop)
    loop:start()
    io.write("stopped ")
    after(1, uv.stop)
    local ok, err = pcall(lunado.run, function()
      coroutine.yield(gen.sleep(60))
    end)
    assert(not ok and tostring(err):find("stopped before", 1, true), err)
    io.write("cut off ")
  ]]))

  it("can be called in a coroutine that is not lunado's",
    expect("main alive ", [[
      coroutine.wrap(function()
        after(1, function()
          local _, main = coroutine.running()
          io.write(main and "main " or "thread ")
          collectgarbage()
          loop:stop()
        end)
        loop:start()
      end)()
      collectgarbage()
      io.write("alive ")
    ]]))

  it("goes on after luv's handles are gone", expect("later ", [[
    after(0, function()
      loop:call_later(0.003, function()
        io.write("later ")
        loop:stop()
      end)
    end)
    loop:start()
  ]]))
end)

describe("uv.run()", function()
  it("drives lunado's callbacks, timers and coroutines, and returns",
    expect("callback timer slept 5 ", [[
      local timer = lunado.Future()
      loop:add_callback(function()
        io.write("callback ")
        loop:call_later(0.003, function()
          io.write("timer ")
          timer:set_result(gen.sleep(0.003))
        end)
      end)
      gen.coroutine(function()
        coroutine.yield(coroutine.yield(timer))
        coroutine.yield()
        io.write("slept ")
        for i = 1, 5 do
          coroutine.yield()
        end
        io.write("5 ")
      end)()
      uv.run()
    ]]))

  it("returns when nothing is pending", expect("", [[
    uv.run()
    lunado.run(function() coroutine.yield(gen.sleep(0.001)) end)
    uv.run()
    loop:remove_timeout(loop:call_later(60, print))
    uv.run()
    loop:call_later(math.huge, print)
    uv.run()
    lunado.run(function()
      coroutine.yield(gen.with_timeout({ seconds = 60 }, gen.sleep(0)))
    end)
    uv.run()
  ]]))

  it("runs a turn at a time", expect("one two ", [[
    local again = false
    loop:add_callback(function()
      io.write("one ")
      loop:add_callback(function() again = true end)
    end)
    uv.run("nowait")
    local n = 0
    while not again do
      uv.run("nowait")
      n = n + 1
      assert(n < 100)
    end
    io.write("two ")
    uv.run("once")
  ]]))

  it("mixes with loop:start() in any order", expect("abcdef", [[
    loop:add_callback(function() io.write("a") end)
    uv.run()
    loop:add_callback(function() io.write("b") loop:stop() end)
    loop:start()
    after(0, function() io.write("c") end)
    uv.run()
    lunado.run(function()
      coroutine.yield(gen.sleep(0.001))
      io.write("d")
    end)
    after(0, function() io.write("e") end)
    uv.run()
    loop:call_later(0, function() io.write("f") loop:stop() end)
    loop:start()
  ]]))

  it("polls lunado's descriptors", expect("got x ", [[
    local fds = assert(uv.pipe())
    loop:add_handler(fds.read, function(fd, events)
      assert(events & loop.READ ~= 0)
      io.write("got ", uv.fs_read(fd, 10), " ")
      loop:remove_handler(fd)
    end, loop.READ)
    after(1, function() uv.fs_write(fds.write, "x") end)
    uv.run()
  ]]))

  it("tells lunado which loop is current", expect("same ", [[
    loop:add_callback(function()
      if lunado.IOLoop.current() == loop then
        io.write("same ")
      end
    end)
    uv.run()
  ]]))
end)

describe("a coroutine", function()
  it("awaits Futures that luv's callbacks settle", expect("file 42 ", [[
    lunado.run(function()
      local f = lunado.Future()
      uv.fs_stat(arg[0], function(err, stat)
        f:set_result(stat)
      end)
      io.write(coroutine.yield(f).type, " ")
      local g = lunado.Future()
      after(2, function() g:set_result(42) end)
      collectgarbage()
      io.write(coroutine.yield(g), " ")
    end)
  ]]))

  it("does not fail as one that waits for ever while luv has work",
    expect("timer pool pipe ", [[
      lunado.run(function()
        local f = lunado.Future()
        after(5, function() f:set_result("timer ") end)
        io.write(coroutine.yield(f))
        local g = lunado.Future()
        uv.fs_stat(arg[0], function() g:set_result("pool ") end)
        io.write(coroutine.yield(g))
        local h = lunado.Future()
        local fds = uv.pipe()
        local pipe = uv.new_pipe(false)
        pipe:open(fds.read)
        pipe:read_start(function(_, data)
          pipe:close()
          h:set_result(data)
        end)
        after(1, function() uv.fs_write(fds.write, "pipe ") end)
        io.write(coroutine.yield(h))
      end)
    ]]))

  it("does so when luv has nothing that could wake it",
    expect("never ", [[
      local ok, err = pcall(lunado.run, function()
        local kept = lunado.Future()
        coroutine.yield(kept)
        return kept
      end)
      assert(not ok and tostring(err):find(arg[0], 1, true), err)
      io.write("never ")
    ]]))

  it("may close luv's handles and go on", expect("closed ", [[
    lunado.run(function()
      local f = lunado.Future()
      local t = uv.new_timer()
      t:start(60000, 0, print)
      t:close(function() f:set_result() end)
      coroutine.yield(f)
      io.write("closed ")
    end)
  ]]))
end)

describe("an error in a luv callback", function()
  it("goes to handle_callback_exception, and the loop goes on",
    expect("boom after boom after ", [[
      loop.handle_callback_exception = function(self, callback, err, trace)
        assert(self == loop)
        assert(type(trace) == "string")
        io.write(err, " ")
      end
      after(1, function() error("boom", 0) end)
      after(3, function() io.write("after ") loop:stop() end)
      loop:start()
      after(1, function() error("boom", 0) end)
      after(3, function() io.write("after ") end)
      uv.run()
    ]]))

  it("arrives unchanged, whatever it is", expect("9", [[
    local errors = { {}, false, 42, 0.5, "text", print, io.stdout,
      setmetatable({}, { __tostring = function() error("again") end }),
      lunado.util.Exception("x") }
    local n = 0
    local expected
    loop.handle_callback_exception = function(_, _, err)
      assert(rawequal(err, expected))
      n = n + 1
    end
    for i = 1, #errors do
      expected = errors[i]
      after(0, function() error(expected, 0) end)
      uv.run()
    end
    io.write(n)
  ]]))

  it("has the traceback of the callback", expect("traced", [[
    loop.handle_callback_exception = function(_, callback, err, trace)
      assert(type(callback) == "function")
      assert(err:find("attempt to index a nil value", 1, true))
      assert(trace:find("'outer'.*in function <"), trace)
      io.write("traced")
    end
    local function outer()
      local nothing
      nothing.field = 1
    end
    after(0, function()
      outer()
      return 1
    end)
    uv.run()
  ]]))

  it("may come from a coroutine that the callback is",
    expect("inside", [[
      loop.handle_callback_exception = function(_, _, err) io.write(err) end
      after(0, function() end)
      local t = uv.new_timer()
      t:start(0, 0, gen.coroutine(function()
        t:close()
        coroutine.yield(gen.sleep(0.001))
        error("inside", 0)
      end))
      uv.run()
    ]]))

  it("is logged once the loop is closed, and ends nothing", function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. [[
        after(0, function() error("too late") end)
        loop:close()
        uv.run()
        io.write("alive")
      ]])
      assert.equal(0, r.code, order[1] .. r.err)
      assert.equal("alive", r.out, order[1])
      assert.is_truthy(r.err:find("too late", 1, true), r.err)
    end
  end)

  it("may be nil", expect("<no error object>", [[
    loop.handle_callback_exception = function(_, _, err)
      io.write(tostring(err))
    end
    after(0, function() error() end)
    uv.run()
  ]]))

  it("may come from a request's callback", expect("boom alive", [[
    loop.handle_callback_exception = function(_, _, err)
      io.write(err, " ")
    end
    uv.fs_stat(arg[0], function() error("boom", 0) end)
    uv.run()
    io.write("alive")
  ]]))

  it("is logged by default, with its line", function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. [[
        local line
        after(0, function()
          line = debug.getinfo(1, "l").currentline + 1
          error("in luv's callback")
        end)
        uv.run()
        after(0, function()
          loop:add_callback(loop.stop, loop)
          error("once more")
        end)
        loop:start()
        io.write("alive ", line)
      ]])
      local line = r.out:match("^alive (%d+)$")
      assert.equal(0, r.code, order[1] .. r.err)
      assert.is_truthy(line, order[1] .. r.out .. r.err)
      local _, n = r.err:gsub("Exception in callback", "")
      assert.equal(2, n, order[1] .. r.err)
      assert.is_truthy(r.err:find("script.lua:" .. line .. ": in luv's", 1,
        true), r.err)
    end
  end)

  it("leaves a handler alone that the host has set", function()
    -- luv's own: what it does with errors is not lunado's while lunado has
    -- no loop.
    local r = child [[
      local uv = require "luv"
      require "lunado"
      local t = uv.new_timer()
      t:start(0, 0, function() t:close() io.write("plain") end)
      uv.run()
    ]]
    assert.same({ code = 0, out = "plain", err = "" }, r)
  end)
end)

describe("a callback of luv's", function()
  it("is in no coroutine of lunado's", expect("cannot await 1 ", [[
    lunado.run(function()
      local f = lunado.Future()
      after(0, function()
        local ok, err = pcall(gen.await, f)
        assert(not ok and err:find("cannot await", 1, true), err)
        io.write("cannot await ")
        f:set_result(1)
      end)
      io.write(coroutine.yield(f), " ")
    end)
  ]]))

  it("is in no stack context", expect("handled raised ", [[
    loop.handle_callback_exception = function() io.write("handled ") end
    local contexts = lunado.stack_context
    local handler = contexts.ExceptionStackContext(function()
      io.write("raised ")
      return true
    end)
    handler:run(function()
      after(0, function() error("mine") end)
      uv.run()
      error("yours")
    end)
  ]]))

  it("cannot start the loop, nor run a function on it",
    expect("refused refused refused refused ", [[
      local function try(fn, ...)
        local ok, err = pcall(fn, ...)
        assert(not ok and tostring(err):find("already running", 1, true), err)
        io.write("refused ")
      end
      local function try_both()
        try(loop.start, loop)
        try(lunado.run, print)
      end
      after(0, try_both)
      uv.run()
      after(0, function()
        try_both()
        loop:stop()
      end)
      loop:start()
    ]]))

  it("cannot start a loop that was made in it", function()
    local r = child [[
      local uv = require "luv"
      local lunado = require "lunado"
      local timer = uv.new_timer()
      timer:start(0, 0, function()
        timer:close()
        local loop = lunado.IOLoop.current()
        local ok, err = pcall(loop.start, loop)
        assert(not ok and err:find("already running", 1, true), err)
        io.write("refused ")
        loop:add_callback(function() io.write("later ") end)
      end)
      uv.run()
      io.write(lunado.run(function() return "run" end))
    ]]
    assert.same({ code = 0, out = "refused later run", err = "" }, r)
  end)
end)

describe("a loop that luv runs", function()
  it("may be closed and collected in a callback", expect("one two three ", [[
    local function close(word)
      return function()
        io.write(word, " ")
        lunado.IOLoop.current():close()
        loop = nil
        collectgarbage()
        collectgarbage()
      end
    end
    loop:add_callback(close "one")
    loop:add_callback(print, "never")
    uv.run()
    lunado.IOLoop.current():call_later(0.001, close "two")
    uv.run()
    gen.coroutine(function()
      coroutine.yield(gen.sleep(0.001))
      close "three" ()
    end)()
    uv.run()
  ]]))
end)

describe("run_sync", function()
  it("refuses to nest in a luv callback", expect("refused done ", [[
    after(0, function()
      local ok = pcall(loop.run_sync, loop, function() end)
      io.write(ok and "nested " or "refused ")
      loop:stop()
    end)
    loop:start()
    lunado.run(function() io.write("done ") end)
  ]]))

  it("raises errors past luv's callbacks", expect("boom ", [[
    local err = {}
    local ok, got = pcall(lunado.run, function()
      local f = lunado.Future()
      after(1, function() f:set_exception(err) end)
      coroutine.yield(f)
    end)
    assert(not ok and got == err)
    io.write("boom ")
  ]]))
end)

describe("a second loop of lunado's", function()
  it("is independent of luv's", expect("own own luv ", [[
    local own = lunado.IOLoop(false)
    local t = after(0, function() io.write("luv ") end)
    own:run_sync(function()
      coroutine.yield(gen.sleep(0.002))
      io.write("own ")
    end)
    own:add_callback(function() io.write("own ") own:stop() end)
    own:start()
    uv.run()
    own:close()
  ]]))
end)

describe("the collector", function()
  it("may run at any time", expect("30", [[
    collectgarbage("generational")
    local n = 0
    lunado.run(function()
      local futures = {}
      for i = 1, 30 do
        local f = lunado.Future()
        after(i % 3, function()
          collectgarbage("step")
          f:set_result(i)
        end)
        futures[i] = gen.coroutine(function()
          coroutine.yield(f)
          collectgarbage()
          n = n + 1
        end)()
      end
      coroutine.yield(futures)
    end)
    io.write(n)
  ]]))
end)

describe("uv.walk", function()
  it("visits luv's handles, and no other", expect("2 2 true", [[
    loop:call_later(60, print)
    loop:add_callback(function() end)
    local timer, async = uv.new_timer(), uv.new_async(print)
    local seen, n = {}, 0
    uv.walk(function(handle) seen[handle] = true n = n + 1 end)
    local visited = 0
    for _ in pairs(seen) do visited = visited + 1 end
    io.write(n, " ", visited, " ", tostring(seen[timer] and seen[async]))
  ]]))

  it("may close all that it visits, and lunado goes on", expect("end", [[
    local pending = uv.new_timer()
    pending:start(60000, 0, print)
    uv.new_idle():start(function() end)
    uv.new_tcp()
    uv.walk(uv.close)
    uv.run()
    lunado.run(function()
      coroutine.yield(lunado.sleep(0.001))
      coroutine.yield { lunado.sleep(0), lunado.uv.fs_stat "/" }
    end)
    uv.walk(function(handle)
      if not handle:is_closing() then handle:close() end
    end)
    uv.run()
    io.write "end"
  ]]))

  it("may do so in a coroutine of lunado's, where errors are reported",
    expect("xx1", [[
    local errors = 0
    function loop.handle_callback_exception() errors = errors + 1 end
    uv.new_timer():start(60000, 0, print)
    uv.new_timer():start(60000, 0, print)
    lunado.run(function()
      coroutine.yield()
      uv.walk(function(handle) io.write "x" handle:close() end)
      uv.new_timer()
      uv.walk(function() error "here" end)
      coroutine.yield(lunado.sleep(0))
    end)
    io.write(errors >= 1 and "1" or "0")
  ]]))
end)
