-- SPDX-License-Identifier: MIT
-- Signals: uv.signal, IOLoop:add_signal_handler and remove_signal_handler, with
-- signals that the process sends itself.
local lunado = require "lunado"
local luv = require "luv"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local IOLoop, await = lunado.IOLoop, coroutine.yield

local function raise(name) assert(luv.kill(luv.os_getpid(), name)) end

-- Turns the loop until what has come is told.
local function settle()
  for _ = 1, 3 do await(lunado.sleep(0.001)) end
end

local function spec(name, fn)
  it(name, function()
    local loop = IOLoop.instance()
    loop:run_sync(function() fn(loop) end, loops.PATIENCE)
  end)
end

-- A script ends well and writes just `out`.
local function expect(out, script)
  return function()
    local result = child([[
      local lunado = require "lunado"
      local IOLoop, await = lunado.IOLoop, coroutine.yield
      local pid
      do
        local file = io.open "/proc/self/stat"
        pid = file:read "n"
        file:close()
      end
      local function raise(name)
        os.execute("kill -" .. name .. " " .. pid)
      end
      local function settle()
        for _ = 1, 3 do await(lunado.sleep(0.001)) end
      end
    ]] .. script)
    assert.equal("", result.err)
    assert.equal(out, result.out)
    assert.equal(0, result.code)
  end
end

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

describe("uv.signal", function()
  -- A signal that other specs have raised is kept for the next uv.signal.
  before_each(function()
    for _, name in ipairs { "sigusr1", "sigusr2" } do
      local future = uv.signal(name)
      if not future:done() then future:set_result() end
    end
  end)

  spec("is told to all that wait", function()
    local futures = { uv.signal "sigusr1", uv.signal "SIGUSR1",
      uv.signal(luv.constants.SIGUSR1) }
    raise "sigusr1"
    assert.same({ "sigusr1", "sigusr1", "sigusr1" }, await(futures))
  end)

  spec("is told once", function()
    local first = uv.signal "sigusr1"
    raise "sigusr1"
    await(first)
    local second = uv.signal "sigusr1"
    settle()
    assert.is_false(second:done())
    raise "sigusr1"
    assert.equal("sigusr1", await(second))
  end)

  spec("keeps one that comes while nobody waits", function()
    local first = uv.signal "sigusr2"
    raise "sigusr2"
    await(first)
    raise "sigusr2"
    raise "sigusr2"
    settle()
    assert.equal("sigusr2", await(uv.signal "sigusr2"))
    local third = uv.signal "sigusr2"
    settle()
    assert.is_false(third:done())
    raise "sigusr2"
    await(third)
  end)

  spec("keeps one that comes before the loop turns", function()
    local first = uv.signal "sigusr2"
    raise "sigusr2"
    raise "sigusr2"
    await(first)
    assert.is_true(uv.signal("sigusr2"):done())
    local third = uv.signal "sigusr2"
    settle()
    assert.is_false(third:done())
    raise "sigusr2"
    await(third)
  end)

  spec("keeps one that comes when its Future was dropped", function()
    uv.signal "sigusr1"
    raise "sigusr1"
    settle()
    assert.equal("sigusr1", await(uv.signal "sigusr1"))
  end)

  spec("keeps one that comes when who waited has given up", function()
    local ok = pcall(await, lunado.with_timeout({ seconds = 0.001 },
      uv.signal "sigusr1"))
    assert.is_false(ok)
    raise "sigusr1"
    settle()
    assert.equal("sigusr1", await(uv.signal "sigusr1"))
  end)

  spec("does not tell twice what a Future that is held was told", function()
    local held = uv.signal "sigusr1"
    raise "sigusr1"
    settle()
    assert.is_true(held:done())
    local second = uv.signal "sigusr1"
    assert.is_false(second:done())
    raise "sigusr1"
    await(second)
    assert.equal("sigusr1", held:result())
  end)

  spec("leaves nothing behind that is not waited for", function()
    local function rounds(n)
      for _ = 1, n do uv.signal "sigusr1" end
      gc.collect()
      return collectgarbage "count"
    end
    rounds(100)
    local before = rounds(100)
    assert.is_true(rounds(1000) - before < 20)
    uv.signal("sigusr1"):set_result()
  end)

  spec("may be set by hand", function()
    local future = uv.signal "sigusr1"
    future:set_result("enough")
    raise "sigusr1"
    settle()
    assert.equal("enough", future:result())
    assert.equal("sigusr1", await(uv.signal "sigusr1"))
  end)

  it("works on any loop, and survives its end", function()
    local loop <close> = IOLoop(false)
    loop:make_current()
    local abandoned
    loop:run_sync(function()
      local future = uv.signal "sigusr1"
      raise "sigusr1"
      assert.equal("sigusr1", await(future))
      abandoned = uv.signal "sigusr1"
    end, loops.PATIENCE)
    loop:close()
    raise "sigusr1" -- which would end the process
    local second <close> = IOLoop(false)
    second:make_current()
    second:run_sync(function()
      local future = uv.signal "sigusr1"
      assert.equal("sigusr1", await(abandoned))
      assert.is_false(future:done())
      raise "sigusr1"
      await(future)
      raise "sigusr1"
      settle()
    end, loops.PATIENCE)
    second:run_sync(function()
      assert.equal("sigusr1", await(uv.signal "sigusr1"))
    end, loops.PATIENCE)
  end)

  spec("names what is no signal", function()
    for _, value in ipairs { "sigfoo", "term", "" } do
      bad(function() uv.signal(value) end, 1, "signal", "signal", value)
    end
    bad(function() uv.signal({}) end, 1, "signal", "signal", "table")
    bad(function() uv.signal(1.5) end, 1, "signal", "signal", "number")
    for _, value in ipairs { "sigkill", 0, -1, 1 << 40, 12345 } do
      local ok, err = pcall(await, uv.signal(value))
      assert.is_false(ok)
      assert.is_truthy(err:find "^EINVAL")
    end
  end)

  it("is survived where a write breaks, after a handler as well",
    expect("StreamClosedError: Stream is closed: EPIPE", [[
      local luv = require "luv"
      local ends = luv.socketpair()
      local stream = lunado.iostream.IOStream.open(ends[1])
      local loop = IOLoop.current()
      loop:add_signal_handler("sigpipe", print)
      loop:remove_signal_handler("sigpipe")
      luv.fs_close(ends[2])
      lunado.run(function()
        io.write(tostring(select(2, pcall(await, stream:write("x")))))
      end)
    ]]))

  it("keeps a run from ending", expect("sigusr1", [[
    io.write((lunado.run(function()
      lunado.IOLoop.current():call_later(0.01, raise, "USR1")
      return await(lunado.uv.signal "sigusr1")
    end)))
  ]]))

  it("is kept beside a handler, too", expect("handled sigusr1", [[
    local loop = IOLoop.current()
    loop:add_signal_handler("sigusr1", function() io.write "handled " end)
    lunado.run(function()
      lunado.uv.signal("sigusr1"):set_result() -- asked for, and over
      raise "USR1"
      settle()
      io.write((await(lunado.uv.signal "sigusr1")))
    end)
  ]]))

  it("serves the recipe for a program that hangs", expect("2", [[
    local dumps = 0
    local loop = IOLoop.current()
    loop:add_signal_handler("sigusr1", function() dumps = dumps + 1 end)
    lunado.run(function()
      raise "USR1"
      settle()
      raise "USR1"
      settle()
    end)
    io.write(dumps)
  ]]))

  it("is not a child's, and not that of a thread's state", expect("15 true", [[
    lunado.run(function()
      local ignored = lunado.uv.signal "sigterm"
      local process = lunado.uv.spawn("sleep", { args = { "60" } })
      process:kill "sigterm"
      local _, signal = await(process:wait())
      local pool <close> = lunado.concurrent.ThreadPoolExecutor(1)
      local other = await(pool:submit(function()
        local lunado = require "lunado"
        return lunado.uv.signal("sigterm"):done() == false
      end))
      io.write(signal, " ", tostring(other))
      ignored:set_result()
    end)
  ]]))
end)

describe("add_signal_handler", function()
  spec("calls with its arguments each time", function(loop)
    local calls = {}
    loop:add_signal_handler("sigusr1", function(...)
      calls[#calls + 1] = table.pack(...)
    end, "a", nil, 3)
    raise "sigusr1"
    raise "sigusr1"
    settle()
    raise "sigusr1"
    settle()
    assert.equal(3, #calls)
    assert.same({ "a", nil, 3, n = 3 }, calls[3])
    loop:remove_signal_handler("sigusr1")
  end)

  spec("takes the place of the one before", function(loop)
    local calls = ""
    loop:add_signal_handler("sigusr1", function() calls = calls .. "a" end)
    raise "sigusr1"
    loop:add_signal_handler("SIGUSR1", function() calls = calls .. "b" end)
    raise "sigusr1"
    settle()
    assert.equal("b", calls)
    loop:remove_signal_handler(luv.constants.SIGUSR1)
  end)

  spec("goes together with uv.signal", function(loop)
    local n = 0
    loop:add_signal_handler("sigusr1", function() n = n + 1 end)
    local future = uv.signal "sigusr1"
    raise "sigusr1"
    assert.equal("sigusr1", await(future))
    settle()
    raise "sigusr1"
    settle()
    assert.equal(2, n)
    assert.is_true(uv.signal("sigusr1"):done()) -- kept all the same
    loop:remove_signal_handler("sigusr1")
    raise "sigusr1"
    settle()
  end)

  spec("calls no more once it is removed, from itself, too", function(loop)
    local n = 0
    loop:add_signal_handler("sigusr1", function()
      n = n + 1
      loop:remove_signal_handler("sigusr1")
      loop:remove_signal_handler("sigusr1")
    end)
    raise "sigusr1"
    raise "sigusr1"
    settle()
    assert.equal(1, n)
  end)

  spec("names the function that fails", function(loop)
    loop:add_signal_handler("sigusr1", function() error "boom" end)
    raise "sigusr1"
    settle()
    loop:remove_signal_handler("sigusr1")
    assert.is_truthy(log:text():find("boom", 1, true))
    assert.is_truthy(log:text():find("signals_spec.lua", 1, true))
    log:clear()
  end)

  spec("runs in the contexts of its registration", function(loop)
    local got
    lunado.stack_context.ExceptionStackContext(function(err)
      got = err
      return true
    end):run(function()
      loop:add_signal_handler("sigusr1", function() error("in it", 0) end)
    end)
    raise "sigusr1"
    settle()
    loop:remove_signal_handler("sigusr1")
    assert.equal("in it", got)
  end)

  spec("takes what can be called, and refuses the rest", function(loop)
    local n = 0
    local callable = setmetatable({}, { __call = function() n = n + 1 end })
    loop:add_signal_handler("sigusr1", callable)
    raise "sigusr1"
    settle()
    assert.equal(1, n)
    loop:remove_signal_handler("sigusr1")
    local name = "add_signal_handler"
    bad(function() loop:add_signal_handler("sigsad", print) end, 1, name,
      "signal", "sigsad")
    bad(function() loop:add_signal_handler(nil, print) end, 1, name,
      "signal", "nil")
    bad(function() loop:add_signal_handler("sigusr1", 1) end, 2, name,
      "function", "number")
    bad(function() loop:remove_signal_handler("sigsad") end, 1,
      "remove_signal_handler", "signal", "sigsad")
    for _, signal in ipairs { "sigkill", "sigstop", 0, -3, 1 << 33 } do
      local ok, err = pcall(loop.add_signal_handler, loop, signal, print)
      assert.is_false(ok)
      assert.is_truthy(err:find "cannot be handled: EINVAL")
    end
    loop:remove_signal_handler("sigkill")
    loop:remove_signal_handler("sigwinch")
  end)

  it("does not hide that a run would never end", expect("true", [[
    local loop = IOLoop.current()
    loop:add_signal_handler("sigusr1", print)
    local ok, err = pcall(loop.run_sync, loop, function()
      await(lunado.Future())
    end)
    io.write(tostring(not ok and tostring(err):find(
      "the run would never end", 1, true) ~= nil))
  ]]))

  it("is called where the loop only waits", expect("x", [[
    local loop = IOLoop.current()
    loop:add_signal_handler("sigusr1", function()
      io.write "x"
      loop:stop()
    end)
    os.execute("(sleep 0.1; kill -USR1 " .. pid .. ") &")
    loop:start()
  ]]))

  it("gives the default effect back", function()
    local result = child [[
      local lunado = require "lunado"
      local loop = lunado.IOLoop.current()
      loop:add_signal_handler("sigterm", function() io.write "x" end)
      loop:remove_signal_handler("sigterm")
      local file = io.open "/proc/self/stat"
      os.execute("kill -TERM " .. file:read "n")
      io.write "alive"
    ]]
    assert.equal("", result.out)
    assert.equal(128 + 15, result.code)
  end)

  it("gives it back once no loop wants the signal", expect("ab", [[
    local one, two = IOLoop(), IOLoop()
    one:add_signal_handler("sigterm", function() io.write "a" end)
    two:add_signal_handler("sigterm", function() io.write "b" end)
    one:remove_signal_handler("sigterm")
    one:add_signal_handler("sigterm", function() io.write "a" end)
    raise "TERM"
    one:run_sync(settle)
    two:run_sync(settle)
    one:close()
    raise "TERM"
    two:remove_signal_handler("sigterm")
    two:close()
  ]]))

  it("leaves no default effect when its loop is closed", expect("ok", [[
    local loop = IOLoop()
    loop:add_signal_handler("sigterm", print)
    loop:close()
    raise "TERM"
    IOLoop():run_sync(settle)
    io.write "ok"
  ]]))

  it("needs no luv", expect("x", [[
    package.preload.luv = function() error "no luv here" end
    local loop = IOLoop.current()
    loop:add_signal_handler("sighup", function() io.write "x" end)
    lunado.run(function()
      raise "HUP"
      settle()
    end)
  ]]))

  it("refuses a loop that is closed or none", function()
    local loop = IOLoop(false)
    loop:close()
    for _, name in ipairs { "add_signal_handler", "remove_signal_handler" } do
      local ok, err = pcall(loop[name], loop, "sigusr1", print)
      assert.is_false(ok)
      assert.is_truthy(err:find("the IOLoop is closed", 1, true))
      ok, err = pcall(IOLoop[name], {}, "sigusr1", print)
      assert.is_false(ok)
      assert.is_truthy(err:find("IOLoop expected, got table", 1, true))
    end
  end)
end)
