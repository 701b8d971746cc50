-- SPDX-License-Identifier: MIT
-- require "lunado": what it holds, what it leaves alone, and run().
local lunado = require "lunado"
local bad = require "spec.support.bad"
local capture = require "spec.support.capture"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local values = require "spec.support.values"

-- Calls fn with none of lunado's modules loaded; loads the old ones again.
local function reloaded(fn)
  local saved = {}
  for name, module in pairs(package.loaded) do
    if name == "lunado" or name:find("^lunado%.") then
      saved[name] = module
    end
  end
  for name in pairs(saved) do
    package.loaded[name] = nil
  end
  local ok, result = pcall(fn)
  for name, module in pairs(saved) do
    package.loaded[name] = module
  end
  if not ok then
    error(result, 0)
  end
  return result
end

describe("the module lunado", function()
  it("holds its modules as fields", function()
    for _, name in ipairs { "gen", "concurrent", "ioloop", "util", "log" } do
      assert.is_table(lunado[name])
      assert.equal(require("lunado." .. name), lunado[name])
    end
  end)

  it("holds short names", function()
    assert.equal(lunado.concurrent.Future, lunado.Future)
    assert.equal(lunado.ioloop.IOLoop, lunado.IOLoop)
    for _, name in ipairs { "coroutine", "await", "sleep", "multi",
      "with_timeout", "WaitIterator", "moment" } do
      assert.is_not_nil(lunado[name], name)
      assert.equal(lunado.gen[name], lunado[name], name)
    end
    assert.is_function(lunado.run)
    assert.is_string(lunado._VERSION)
  end)

  it("names the classes of each module", function()
    local names = {
      concurrent = { "Future", "TracebackFuture", "is_future", "chain_future",
        "ReturnValueIgnoredError", "InvalidStateError" },
      gen = { "coroutine", "Return", "await", "with_timeout", "sleep",
        "moment", "WaitIterator", "multi", "multi_future", "Multi",
        "convert_yielded", "maybe_future", "is_coroutine_function",
        "reuse_threads", "TimeoutError", "BadYieldError",
        "ReturnValueIgnoredError" },
      ioloop = { "IOLoop", "PeriodicCallback" },
      util = { "Exception", "TimeoutError", "isinstance", "timedelta" },
      log = { "app_log", "set_handler", "set_level" },
    }
    for module, list in pairs(names) do
      for _, name in ipairs(list) do
        assert.is_not_nil(lunado[module][name], module .. "." .. name)
      end
    end
  end)

  it("loads optional modules on first use", function()
    local r = child [[
      local lunado = require "lunado"
      assert(not package.loaded["lunado.uv"])
      assert(not package.loaded["luv"])
      for _, name in ipairs { "uv", "iostream", "tcpclient", "tcpserver",
        "debug", "httputil", "platform", "process", "tasks", "testing" } do
        assert(lunado[name] == require("lunado." .. name), name)
        assert(lunado[name] == lunado[name])
      end
      -- These need a library that may not be there.
      for name, module in pairs { httpclient = "lunado.httpclient",
        tls = "lunado.tls" } do
        local ok, found = pcall(require, module)
        assert(not ok or lunado[name] == found, name)
      end
      local ok, cqueues = pcall(require, "lunado.platform.cqueues")
      assert(not ok or lunado.platform.cqueues == cqueues)
      assert(lunado.platform.no_such_name == nil)
    ]]
    assert.equal("", r.err)
    assert.equal(0, r.code)
  end)

  it("has nil for unknown fields", function()
    assert.is_nil(lunado.no_such_name)
  end)

  it("creates no global and changes no standard function", function()
    local r = child [[
      local function snapshot()
        local seen = {}
        for name, value in pairs(_G) do
          seen[name] = value
          if type(value) == "table" and name ~= "_G" and name ~= "package" then
            for key, field in pairs(value) do
              seen[name .. "." .. tostring(key)] = field
            end
          end
        end
        seen.string_mt = getmetatable("")
        seen["string_mt.__index"] = getmetatable("").__index
        seen.G_mt = getmetatable(_G)
        for _, of in ipairs { 0, true, print, coroutine.create(print) } do
          seen["mt of " .. type(of)] = debug.getmetatable(of)
        end
        return seen
      end
      local before = snapshot()
      local lunado = require "lunado"
      lunado.run(function()
        coroutine.yield(lunado.sleep(0))
        pcall(coroutine.yield, 5)
      end)
      local after = snapshot()
      for name, value in pairs(after) do
        assert(rawequal(before[name], value), name .. " is new")
      end
      for name in pairs(before) do
        assert(after[name] ~= nil, name .. " is gone")
      end
    ]]
    assert.equal("", r.err)
    assert.equal(0, r.code)
  end)

  it("starts no thread and opens no loop", function()
    if not os.execute("test -d /proc/self/fdinfo") then
      return pending("needs /proc")
    end
    local r = child [[
      local function threads()
        local file = io.open("/proc/self/status")
        local n = file:read("a"):match("Threads:%s*(%d+)")
        file:close()
        return n
      end
      -- Asks here, since musl has a pipe open while it starts a command.
      local function descriptors()
        local n = 0
        for fd = 0, 255 do
          local file = io.open("/proc/self/fdinfo/" .. fd)
          if file then
            n = n + 1
            file:close()
          end
        end
        return n
      end
      local t, d = threads(), descriptors()
      local lunado = require "lunado"
      lunado.Future()
      assert(threads() == t, "threads")
      assert(descriptors() == d, "descriptors")
    ]]
    assert.equal("", r.err)
    assert.equal(0, r.code)
  end)

  it("leaves a state that never used it alone", function()
    local r = child [[require "lunado"]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)

  it("shares nothing between the states of a process", function()
    local r = child [[
      local uv = require "luv"
      local function work(n, path, cpath, gate)
        package.path, package.cpath = path, cpath
        local lunado = require "lunado"
        local total = lunado.run(function()
          local sum = 0
          local add = lunado.coroutine(function(i)
            coroutine.yield()
            coroutine.yield(lunado.sleep(0.0001 * (i % 5)))
            sum = sum + i
          end)
          local children = {}
          for i = 1, 200 do
            children[i] = add(i)
          end
          coroutine.yield(children)
          return sum
        end)
        assert(total == 20100)
        assert(MARK == nil)
        MARK = n
        io.write("done\n")
        if gate then
          assert(require "luv".fs_read(gate, 1))
        end
      end
      -- No thread ends while the loop runs: luv since 1.45 would join it then,
      -- and once more below, which musl does not survive.
      local threads, gate = {}, assert(uv.pipe())
      for n = 1, 4 do
        threads[n] = uv.new_thread(work, n, package.path, package.cpath,
          gate.read)
      end
      work(0, package.path, package.cpath)
      uv.fs_write(gate.write, "....")
      for _, thread in ipairs(threads) do
        thread:join()
      end
      uv.run() -- luv 1.45 crashes if it hears of their end in the finalizer
    ]]
    assert.equal("", r.err)
    assert.equal(("done\n"):rep(5), r.out)
    assert.equal(0, r.code)
  end)
end)

describe("a second require", function()
  it("makes no other types", function()
    reloaded(function()
      local again = require "lunado"
      assert.equal(lunado.Future, again.Future)
      assert.equal(lunado.IOLoop, again.IOLoop)
      assert.equal(lunado.moment, again.moment)
      for _, name in ipairs { "Exception", "TimeoutError" } do
        assert.equal(lunado.util[name], again.util[name])
      end
      assert.equal(lunado.gen.BadYieldError, again.gen.BadYieldError)
      assert.equal(lunado.gen.TimeoutError, again.gen.TimeoutError)
      assert.equal(lunado.concurrent.InvalidStateError,
        again.concurrent.InvalidStateError)
    end)
  end)

  it("finds the same loop", function()
    local loop = lunado.IOLoop.current()
    reloaded(function()
      assert.equal(loop, require "lunado.ioloop".IOLoop.current())
      assert.equal(loop, require "lunado.ioloop".IOLoop.instance())
    end)
  end)

  it("knows the Futures of the first", function()
    local old = lunado.Future()
    local oldfn = lunado.gen.coroutine(function()
      return coroutine.yield(old)
    end)
    local waiting = oldfn()
    reloaded(function()
      local again = require "lunado"
      assert.is_true(again.concurrent.is_future(old))
      assert.is_true(again.gen.is_coroutine_function(oldfn))
      assert.same({ 7, 7 }, again.run(function()
        again.IOLoop.current():add_callback(old.set_result, old, 7)
        return coroutine.yield { waiting, old }
      end))
    end)
    local new = reloaded(function() return require "lunado".Future() end)
    assert.is_true(lunado.concurrent.is_future(new))
    lunado.concurrent.chain_future(old, new)
    assert.equal(7, new:result())
  end)

  it("knows the errors of the first", function()
    reloaded(function()
      local util = require "lunado.util"
      local err = lunado.gen.BadYieldError("x")
      assert.is_true(util.isinstance(err, util.Exception))
      assert.is_true(util.isinstance(err,
        require "lunado.gen".BadYieldError))
    end)
  end)

  it("keeps the log's handler and the converters", function()
    local log = capture()
    local class = {}
    class.__name = "convertible"
    lunado.gen.convert_yielded.register(class, function(x)
      return lunado.gen.maybe_future(x.value)
    end)
    reloaded(function()
      local again = require "lunado"
      again.log.app_log:error("said %s", "again")
      assert.equal(5, again.run(function()
        return coroutine.yield(setmetatable({ value = 5 }, class))
      end))
    end)
    assert.equal(1, log:count("said again"))
    log:restore()
  end)
end)

describe("lunado.run", function()
  local loop
  before_each(function() loop = frame.begin() end)
  after_each(function() frame.finish() end)

  for _, case in ipairs(values.lists) do
    it("passes and returns " .. case[1], function()
      local got = table.pack(lunado.run(function(...)
        coroutine.yield()
        return ...
      end, values.unpack(case[2])))
      assert.same(case[2], got)
    end)
  end

  for _, case in ipairs(values.errors) do
    it("raises " .. case[1] .. " unchanged", function()
      local ok, err = pcall(lunado.run, function()
        coroutine.yield()
        error(case[2], 0)
      end)
      assert.is_false(ok)
      assert.is_true(rawequal(case[2], err))
    end)
  end

  it("runs on the current loop", function()
    local current = lunado.run(function()
      coroutine.yield()
      return lunado.IOLoop.current()
    end)
    assert.equal(loop, current)
  end)

  it("runs a coroutine function", function()
    assert.equal(3, lunado.run(lunado.coroutine(function(n)
      coroutine.yield(lunado.sleep(0))
      return n + 1
    end), 2))
  end)

  it("refuses what is not a function", function()
    bad(function() lunado.run(nil) end, 1, "run", "function", "nil")
    bad(function() lunado.run(5) end, 1, "run", "function", "number")
  end)

  it("shows the coroutines' lines when a string error ends the script",
    function()
      local r = child [[
        local lunado = require "lunado"
        local leaf = lunado.coroutine(function()
          coroutine.yield()
          error("boom")
        end)
        lunado.run(function()
          local f = leaf()
          coroutine.yield(f)
        end)
      ]]
      assert.equal(1, r.code)
      assert.is_truthy(r.err:find("script.lua:4: boom", 1, true), r.err)
      assert.is_truthy(r.err:find("script.lua:8:", 1, true), r.err)
      assert.is_nil(r.err:find("never retrieved", 1, true), r.err)
    end)

  it("writes the lines before an error object ends the script", function()
    local r = child [[
      local lunado = require "lunado"
      lunado.run(function()
        coroutine.yield()
        error(lunado.util.Exception("boom"))
      end)
    ]]
    assert.equal(1, r.code)
    assert.is_truthy(r.err:find("Exception: boom", 1, true), r.err)
    assert.is_truthy(r.err:find("script.lua:4:", 1, true), r.err)
    assert.is_true(r.err:find("script.lua:4:", 1, true)
      < r.err:match(".*()Exception: boom"), r.err)
  end)

  it("writes nothing about an error that was caught", function()
    local r = child [[
      local lunado = require "lunado"
      for _, err in ipairs { "text", {}, lunado.util.Exception("object") } do
        local ok, got = pcall(lunado.run, function()
          coroutine.yield()
          error(err, 0)
        end)
        assert(not ok and got == err)
      end
    ]]
    assert.same({ code = 0, out = "", err = "" }, r)
  end)
end)
