-- SPDX-License-Identifier: MIT
-- luv beside lunado: luv required again, after lunado has a loop, from another
-- place, or with another libuv.
local child = require "spec.support.child"
local luv = require "spec.support.luv"

local expect = luv.expect

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

describe("luv that was unloaded before lunado was loaded", function()
  for _, held in ipairs { "held", "not held" } do
    it("and is " .. held .. " by the program does not matter", function()
      local r = child(("local held, checked = %q, %q\n"):format(held,
        luv.checked) .. [[
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
          os.exit(0, not checked)
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

  -- musl does not look for libuv.so.9 among the libraries that are loaded.
  local function with_dir(command)
    return ("LD_LIBRARY_PATH='%s':$LD_LIBRARY_PATH %s"):format(dir, command)
  end

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
      ]]):format(dir) .. script, nil, with_dir)
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
