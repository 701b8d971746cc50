-- SPDX-License-Identifier: MIT
-- luv beside lunado: one loop, whichever of the two was loaded first.  Each
-- case is a script of its own, run once for every order.
local child = require "spec.support.child"

-- Ways in which the two may come to be loaded, before anything else is done.
local orders = {
  { "luv first", [[
    local uv = require "luv"
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
  ]] },
  { "luv first, the loop later", [[
    local uv = require "luv"
    local lunado = require "lunado"
    local timer = uv.new_timer()
    timer:start(0, 0, function() timer:close() end)
    uv.run()
    local loop = lunado.IOLoop.current()
  ]] },
  { "lunado first", [[
    local lunado = require "lunado"
    local uv = require "luv"
    local loop = lunado.IOLoop.current()
  ]] },
  { "lunado first, its loop made", [[
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
    local uv = require "luv"
  ]] },
  { "lunado first, its loop used", [[
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
    lunado.run(function() coroutine.yield(lunado.sleep(0.001)) end)
    local uv = require "luv"
  ]] },
  { "luv first, inside a coroutine that is gone", [[
    local uv
    coroutine.wrap(function() uv = require "luv" end)()
    collectgarbage()
    collectgarbage()
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
  ]] },
  { "lunado first, luv inside a coroutine of lunado's", [[
    local lunado = require "lunado"
    local loop = lunado.IOLoop.current()
    local uv
    lunado.run(function()
      coroutine.yield()
      uv = require "luv"
    end)
    collectgarbage()
  ]] },
}

-- What every script may use.
local PRELUDE = [[
  local gen = lunado.gen
  local function after(ms, fn)
    local t = uv.new_timer()
    t:start(ms, 0, function()
      t:close()
      fn()
    end)
    return t
  end
]]

local function expect(out, script)
  return function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. script)
      local name = order[1] .. ": " .. r.err
      assert.equal(0, r.code, name)
      assert.equal(out, r.out, name)
      assert.equal("", r.err, name)
    end
  end
end

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
      loop:add_callback(function() io.write("callback ") end)
      loop:call_later(0.03, function() io.write("timer ") end)
      gen.coroutine(function()
        coroutine.yield(gen.sleep(0.06))
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
  it("awaits what luv's callbacks set", expect("file 42 ", [[
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

  it("is not told that it waits for ever while luv has work",
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

  it("is told so when luv has nothing that could wake it",
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

describe("the end of the state", function()
  it("is clean with luv's handles open", expect("", [[
    for i = 1, 3 do
      uv.new_timer():start(60000, 0, print)
    end
    local fds = uv.pipe()
    local pipe = uv.new_pipe(false)
    pipe:open(fds.read)
    pipe:read_start(print)
    uv.new_tcp()
    uv.new_async(print)
    uv.new_idle()
    uv.new_prepare():start(print)
    loop:call_later(60, print)
    loop:add_callback(print)
  ]]))

  it("is clean with requests in the thread pool", expect("", [[
    for i = 1, 20 do
      uv.fs_stat(arg[0], function() end)
    end
    gen.coroutine(function() coroutine.yield(gen.sleep(60)) end)()
  ]]))

  it("is clean after both were used", expect("", [[
    for _ = 1, 3 do
      after(1, function() end)
      lunado.run(function() coroutine.yield(gen.sleep(0.001)) end)
      uv.run()
    end
  ]]))

  it("is clean with handles that are closing", expect("", [[
    uv.new_timer():close()
    local t = uv.new_timer()
    t:start(0, 0, print)
    t:close()
    lunado.run(function() end)
    uv.new_timer():close()
  ]]))

  it("is clean by os.exit", function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. [[
        uv.new_timer():start(60000, 0, print)
        loop:call_later(60, print)
        after(1, function() os.exit(7, true) end)
        loop:start()
      ]])
      assert.same({ code = 7, out = "", err = "" }, r, order[1])
    end
  end)

  it("is clean after the loop was closed, and luv lives on",
    expect("luv lives", [[
      loop:call_later(60, print)
      loop:close()
      after(1, function() io.write("luv lives") end)
      uv.run()
    ]]))

  it("logs errors that nobody observed, once", function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. [[
        kept = lunado.Future()
        kept:set_exception("late trouble")
        uv.new_timer():start(60000, 0, print)
      ]])
      local _, n = r.err:gsub("never retrieved: late trouble", "")
      assert.equal(0, r.code, r.err)
      assert.equal(1, n, order[1] .. ": " .. r.err)
    end
  end)
end)

describe("luv required again", function()
  it("is the same luv, and nothing breaks", expect("timer timer ", [[
    for _ = 1, 2 do
      package.loaded.luv = nil
      collectgarbage()
      collectgarbage()
      local again = require "luv"
      local t = again.new_timer()
      t:start(1, 0, function()
        t:close()
        io.write("timer ")
      end)
      again.run()
      lunado.run(function() coroutine.yield(gen.sleep(0.001)) end)
    end
  ]]))

  it("works with lunado required again, too", expect("again ", [[
    for name in pairs(package.loaded) do
      if name == "luv" or name:find("^lunado") then
        package.loaded[name] = nil
      end
    end
    uv = nil
    collectgarbage()
    collectgarbage()
    local uv2 = require "luv"
    local lunado2 = require "lunado"
    assert(lunado2.IOLoop.current() == loop)
    local f = lunado.Future()
    local t = uv2.new_timer()
    t:start(1, 0, function()
      t:close()
      f:set_result("again ")
    end)
    io.write(lunado2.run(function() return coroutine.yield(f) end))
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

describe("required while lunado has a loop, luv", function()
  -- Every script has found out before which names package.preload had.
  local LOOP = [[
    local before = {}
    for name in pairs(package.preload) do
      before[name] = true
    end
    local function added()
      local names = {}
      for name in pairs(package.preload) do
        if not before[name] then
          names[#names + 1] = name
        end
      end
      table.sort(names)
      return table.concat(names, " ")
    end
    local lunado = require "lunado"
    assert(added() == "")
    local loop = lunado.IOLoop.current()
  ]]

  local function expect_out(out, script)
    return function()
      assert.same({ code = 0, out = out, err = "" }, child(LOOP .. script))
    end
  end

  it("is found by package.preload until the loop is closed",
    expect_out("luv uv|luv|||", [[
      io.write(added(), "|")
      require "luv"
      io.write(added(), "|")
      loop:close()
      io.write(added(), "|")
      lunado.IOLoop():close()
      io.write(added(), "|")
    ]]))

  it("is what the program has put there, if anything",
    expect_out("mine luv :preload:|kept", [[
      package.preload.luv = function(...)
        io.write("mine ", table.concat({ ... }, " "), "|")
        return {}
      end
      require "luv"
      loop:close()
      io.write(package.preload.luv and "kept" or "lost")
    ]]))

  it("is not found where it is not installed", expect_out("no no yes", [[
    local path = package.cpath
    package.cpath = ""
    for _, name in ipairs { "luv", "uv" } do
      local ok, err = pcall(require, name)
      assert(not ok)
      assert(err:find("module '" .. name .. "' not found:", 1, true), err)
      assert(err:find("no file '", 1, true), err)
      assert(package.loaded[name] == nil)
      io.write("no ")
    end
    package.cpath = path
    io.write(require("luv").run and "yes")
  ]]))

  it("may fail to load, and be required again", expect_out("failed yes", [[
    local searchers = package.searchers
    local function broken()
      return function() error("broken", 0) end
    end
    table.insert(searchers, 2, broken)
    local ok, err = pcall(require, "luv")
    assert(not ok and err == "broken", err)
    io.write("failed ")
    table.remove(searchers, 2)
    io.write(require("luv").run and "yes")
  ]]))

  it("has a loop of its own when the loop was closed before",
    expect_out("own", [[
      loop:call_later(60, print)
      loop:close()
      local uv = require "luv"
      assert(uv._loop)
      local t = uv.new_timer()
      t:start(0, 0, function()
        t:close()
        io.write("own")
      end)
      uv.run()
    ]]))

  it("shares the next default loop", expect_out("next", [[
    loop:close()
    loop = lunado.IOLoop.current()
    local uv = require "luv"
    loop:close()
    loop = lunado.IOLoop.current()
    local t = uv.new_timer()
    t:start(0, 0, function()
      t:close()
      io.write("next")
      loop:stop()
    end)
    loop:start()
  ]]))
end)

describe("uv.loop_close()", function()
  it("is refused while the IOLoop is open, and leads to another loop",
    expect("EBUSY 0 slept again ", [[
      local _, _, name = uv.loop_close()
      io.write(name, " ")
      loop:close()
      uv.run()
      io.write(uv.loop_close(), " ")
      loop = lunado.IOLoop.current()
      lunado.run(function() coroutine.yield(gen.sleep(0.001)) end)
      io.write("slept ")
      package.loaded.luv = nil
      uv = require "luv"
      after(1, function()
        io.write("again ")
        loop:stop()
      end)
      loop:start()
      uv.new_timer():start(60000, 0, print)
    ]]))
end)

-- Builds with checkers, which see what valgrind would.
local sanitized = (os.getenv("LUNADO_BUILD") or ""):find("san", 1, true)

describe("luv that was forgotten before lunado came", function()
  for _, held in ipairs { "held", "not held" } do
    it("and is " .. held .. " by anybody does not matter", function()
      local r = child(("local held, sanitized = %q, %q\n"):format(held,
        sanitized ~= nil) .. [[
        local uv = require "luv"
        local old = uv.new_timer()
        old:start(60000, 0, print)
        package.loaded.luv = nil
        if held == "not held" then
          uv, old = nil, nil
        end
        local lunado = require "lunado"
        local loop = lunado.IOLoop.current()
        lunado.run(function() coroutine.yield(lunado.sleep(0.001)) end)
        local uv2 = require "luv"
        uv = nil
        collectgarbage()
        collectgarbage()
        local t = uv2.new_timer()
        t:start(1, 0, function()
          t:close()
          io.write("runs")
          loop:stop()
        end)
        loop:start()
        if old then
          -- luv's first loop is lost; a checker of leaks need not be told.
          old:close()
          os.exit(0, not sanitized)
        end
      ]])
      assert.same({ code = 0, out = "runs", err = "" }, r)
    end)
  end
end)

describe("a luv with a libuv of its own", function()
  local dir

  -- A second copy of libuv by another name, and a luv that wants that one.
  setup(function()
    local maps = io.open("/proc/self/maps")
    local found = package.searchpath("luv", package.cpath)
    if not (maps and found) then return end
    require "luv"
    maps:close()
    local libuv
    for line in io.lines("/proc/self/maps") do
      libuv = libuv or line:match("(/%S*/libuv%.so%.1%S*)")
    end
    if not libuv then return end
    local name = os.tmpname()
    os.remove(name)
    assert(os.execute("mkdir " .. name))
    dir = name
    for from, to in pairs { [found] = "/luv.so", [libuv] = "/libuv.so.9" } do
      local input <close> = assert(io.open(from, "rb"))
      local output <close> = assert(io.open(dir .. to, "wb"))
      local text, n = input:read("a"):gsub("libuv%.so%.1%z", "libuv.so.9\0")
      assert(n > 0, from)
      assert(output:write(text))
    end
  end)

  teardown(function()
    if not dir then return end
    os.remove(dir .. "/luv.so")
    os.remove(dir .. "/libuv.so.9")
    os.remove(dir)
  end)

  local function expect_refusal(script)
    return function()
      if not dir then return pending("needs ELF and a shared libuv") end
      local r = child(([[
        local dir = %q
        assert(package.loadlib(dir .. "/libuv.so.9", "uv_run"))
        package.cpath = dir .. "/?.so;" .. package.cpath
        local function refuses(fn, ...)
          local ok, err = pcall(fn, ...)
          assert(not ok)
          assert(err:find("luv cannot share a loop with lunado", 1, true), err)
          assert(err:find("luarocks install luv WITH_SHARED_LIBUV=ON", 1,
            true), err)
        end
        local function run(uv)
          local t = uv.new_timer()
          t:start(1, 0, function()
            t:close()
            io.write("luv ")
          end)
          uv.run()
        end
        local lunado = require "lunado"
      ]]):format(dir) .. script)
      assert.same({ code = 0, out = "refused luv lunado", err = "" }, r)
    end
  end

  it("is refused, and says what to do: luv first", expect_refusal [[
    local uv = require "luv"
    refuses(lunado.IOLoop.current)
    refuses(lunado.run, print)
    io.write("refused ")
    run(uv)
    local own <close> = lunado.IOLoop(true)
    lunado.run(function() coroutine.yield(lunado.sleep(0.001)) end)
    io.write("lunado")
  ]])

  it("is refused, and says what to do: lunado first", expect_refusal [[
    local loop = lunado.IOLoop.current()
    refuses(require, "luv")
    refuses(require, "luv")
    io.write("refused ")
    loop:close()
    run(require "luv")
    local own <close> = lunado.IOLoop(true)
    lunado.run(function() coroutine.yield(lunado.sleep(0.001)) end)
    io.write("lunado")
  ]])
end)

describe("handles of luv's that were closed", function()
  it("are freed while the loop runs", expect("freed", [[
    local alive = setmetatable({}, { __mode = "k" })
    local n = 0
    local function next_one()
      n = n + 1
      if n == 500 then return loop:stop() end
      local t = uv.new_timer()
      alive[t] = true
      t:start(0, 0, function() t:close(next_one) end)
    end
    next_one()
    loop:start()
    for _ = 1, 2 do
      collectgarbage()
      collectgarbage()
      after(0, function() loop:stop() end)
      loop:start()
    end
    local left = 0
    for _ in pairs(alive) do
      left = left + 1
    end
    assert(left < 10, left)
    io.write("freed")
  ]]))
end)

-- With a handle of every type, open or closing, and requests under way.
local BUSY = [[
  local function never() io.write("called") end
  uv.new_timer():start(60000, 0, never)
  uv.new_timer():start(0, 1, never)
  uv.new_timer():close(never)
  uv.new_idle():start(never)
  uv.new_prepare():start(never)
  uv.new_check():start(never)
  uv.new_async(never):close(never)
  uv.new_async(never)
  uv.new_signal():start("sigusr1", never)
  uv.new_fs_poll():start(arg[0], 60000, never)
  uv.new_fs_event():start(arg[0], {}, never)
  local server = uv.new_tcp()
  server:bind("127.0.0.1", 0)
  server:listen(8, never)
  uv.new_tcp():connect("127.0.0.1", server:getsockname().port, never)
  local udp = uv.new_udp()
  udp:bind("127.0.0.1", 0)
  udp:recv_start(never)
  uv.spawn("true", {}, never)
  uv.fs_stat(arg[0], never)
  uv.getaddrinfo("localhost", nil, {}, never)
  loop:call_later(60, never)
  loop:add_callback(never)
  gen.coroutine(function() coroutine.yield(gen.sleep(60)) end)()
]]

describe("the end of a busy state", function()
  it("calls nobody", expect("", BUSY))

  it("calls nobody after the loop was closed",
    expect("", BUSY .. "loop:close()"))

  it("is the same for every order of collection", expect("", BUSY .. [[
    collectgarbage("generational")
    collectgarbage()
    uv, loop, lunado, gen = nil, nil, nil, nil
    server, udp = nil, nil
    collectgarbage()
  ]]))
end)

describe("valgrind", function()
  local available = not sanitized
    and os.execute("command -v valgrind >/dev/null 2>&1")

  local function expect_clean(script)
    return function()
      if not available then return pending("valgrind is not here") end
      for _, order in ipairs(orders) do
        local name = os.tmpname()
        local file = assert(io.open(name, "w"))
        file:write(order[2] .. PRELUDE .. script)
        file:close()
        local r = child(([[
          local _, _, code = os.execute(("valgrind --quiet --leak-check=full "
            .. "--errors-for-leak-kinds=definite --error-exitcode=99 %%s %%s")
            :format(arg[-1], %q))
          os.exit(code)
        ]]):format(name))
        os.remove(name)
        assert.equal(0, r.code, order[1] .. ": " .. r.err)
        assert.equal("", r.err, order[1])
      end
    end
  end

  it("finds nothing at the end of a busy state", expect_clean(BUSY))

  it("finds nothing when both were used, and required again", expect_clean [[
    loop.handle_callback_exception = function() end
    after(1, function() error("in luv") end)
    lunado.run(function()
      local f = lunado.Future()
      after(2, function() f:set_result() end)
      coroutine.yield(f)
    end)
    package.loaded.luv = nil
    collectgarbage()
    uv = require "luv"
    after(0, function() end)
    uv.run()
    loop:close()
    after(0, function() end)
    uv.run()
    loop = lunado.IOLoop.current()
    after(0, function() loop:stop() end)
    loop:start()
    uv.new_timer():start(60000, 0, print)
  ]])
end)
