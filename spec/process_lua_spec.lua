-- SPDX-License-Identifier: MIT
-- lunado.process: Subprocess with programs in Lua, which run on every system;
-- and what Windows does in another way.
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local process = require "lunado.process"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local interpreter = require "spec.support.interpreter"
local loops = require "spec.support.loops"
local system = require "spec.support.system"

local await = coroutine.yield
local Subprocess = process.Subprocess
local STREAM, DEVNULL, STDOUT = process.STREAM, process.DEVNULL, process.STDOUT

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

local scripts = {}

-- Starts a program that runs the chunk, with the arguments in `...`.
local function lua(chunk, options, ...)
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "w"))
  file:write(chunk)
  file:close()
  scripts[#scripts + 1] = path
  return Subprocess({ interpreter, path, ... }, options)
end

teardown(function()
  for _, path in ipairs(scripts) do os.remove(path) end
end)

-- A program that only ends when it is made to.
local function sleeper(options)
  options = options or {}
  options.stdin = STREAM
  return lua("io.read()", options)
end

-- What the chunk writes to its stdout; with Unix' ends of lines.
local function output_of(chunk, options, ...)
  options = options or {}
  options.stdin, options.stdout = options.stdin or DEVNULL, STREAM
  local out = await(lua(chunk, options, ...):communicate())
  return (out:gsub("\r\n", "\n"))
end

-- Statuses that say that the program was killed.  lua catches sigint.
local SIGNALS = { sigterm = -15, sigkill = -9 }

describe("a program in Lua", function()
  spec("is started with a list of arguments", function()
    local function shows(...)
      local text = "<" .. table.concat({ ... }, "><") .. ">"
      assert.equal(text, output_of(
        "io.write('<', table.concat(arg, '><'), '>')", nil, ...))
    end
    shows "a"
    shows("a b", "", "c")
    shows([[a"b]], [[c\]], [[\"]], [[d\\]], "%PATH%", "'")
  end)

  spec("has a status", function()
    for _, status in ipairs { 0, 1, 3, 255 } do
      local p = lua("os.exit(" .. status .. ")")
      assert.is_nil(p.returncode)
      assert.equal(status, await(p:wait_for_exit(false)))
      assert.equal(status, p.returncode)
    end
  end)

  spec("fails for another status than 0", function()
    local p = lua "os.exit(3)"
    local ok, err = pcall(await, p:wait_for_exit())
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, process.CalledProcessError))
    assert.equal(3, err.returncode)
  end)

  spec("has the streams that it is asked to have", function()
    local p = lua([[
      io.stdout:setvbuf "no"
      local line = io.read()
      io.write("<", line, ">\n")
      io.stderr:write "err"
    ]], { stdin = STREAM, stdout = STREAM, stderr = STREAM })
    await(p.stdin:write "line\n")
    assert.equal("<line>", (await(p.stdout:read_line()):gsub("\r", "")))
    assert.equal("err", await(p.stderr:read_until_close()))
    assert.equal(0, await(p:wait_for_exit()))
    p.stdin:close()
  end)

  spec("may have its stderr where its stdout is", function()
    assert.equal("abc", output_of([[
      for _, file in ipairs { io.stdout, io.stderr } do file:setvbuf "no" end
      io.write "a" io.stderr:write "b" io.write "c"
    ]], { stderr = STDOUT }))
  end)

  spec("may have nothing", function()
    local p = lua("assert(not io.read()) print 'lost' io.stderr:write 'lost'",
      { stdin = DEVNULL, stdout = DEVNULL, stderr = DEVNULL })
    assert.equal(0, await(p:wait_for_exit()))
  end)

  spec("has an environment of its own", function()
    local path = os.getenv "PATH"
    assert.equal("b=c nil", output_of(
      "io.write(tostring(os.getenv 'A'), ' ', tostring(os.getenv 'LUA_PATH'))",
      { env = { A = "b=c", PATH = path } }))
  end)

  spec("is started in a folder", function()
    local name = os.tmpname()
    local folder, file = name:match "^(.*)[/\\]([^/\\]+)$"
    io.open(name, "w"):close()
    assert.equal("yes", output_of(
      "io.write(io.open(arg[1]) and 'yes' or 'no')", { cwd = folder }, file))
    os.remove(name)
  end)

  spec("that is not there raises with its name", function()
    local all = { stdin = STREAM, stdout = STREAM, stderr = STREAM }
    local name = "./no-such-program" -- PATH may name folders that are forbidden
    assert.has_error(function() Subprocess({ name }, all) end,
      ('ENOENT: no such file or directory (program "%s")'):format(name))
  end)

  spec("inherits no end of another one's pipe", function()
    local first = lua("io.read 'a'", { stdin = STREAM, stdout = STREAM })
    local second = sleeper()
    first.stdin:close() -- `second` does not keep it open
    assert.equal("", await(first.stdout:read_until_close()))
    second.stdin:close()
    await { first:wait_for_exit(), second:wait_for_exit() }
  end)

  spec("may run beside many others", function()
    local all = {}
    for i = 1, 20 do
      all[i] = lua(("os.exit(%d)"):format(i)):wait_for_exit(false)
    end
    for i, status in ipairs(await(all)) do assert.equal(i, status) end
  end)
end)

describe("communicate with a program in Lua", function()
  local ECHO = [[
    while true do
      local data = io.read(65536)
      if not data then break end
      io.write(data)
    end
  ]]

  spec("passes 4 MB in both directions", function()
    local big = ("0123456789abcde\t"):rep(4 * 1024 * 1024 // 16)
    local p = lua(ECHO, { stdin = STREAM, stdout = STREAM })
    local out, err = await(p:communicate(big))
    assert.equal(#big, #out)
    assert.is_true(out == big)
    assert.is_nil(err)
    assert.equal(0, p.returncode)
  end)

  spec("returns both outputs", function()
    local p = lua("io.write(('a'):rep(1e5)) io.stderr:write(('b'):rep(1e5))",
      { stdin = DEVNULL, stdout = STREAM, stderr = STREAM })
    local out, err = await(p:communicate())
    assert.equal(("a"):rep(1e5), out)
    assert.equal(("b"):rep(1e5), err)
  end)

  spec("is no error if the program reads nothing", function()
    local p = lua("os.exit(4)", { stdin = STREAM, stdout = STREAM })
    assert.equal("", (await(p:communicate(("x"):rep(1e6)))))
    assert.equal(4, p.returncode)
  end)

  spec("can be called again after a cancellation, and loses nothing",
    function()
      local p = lua("io.stdout:setvbuf 'no' io.write 'one' io.read()"
        .. " io.write 'two'", { stdin = STREAM, stdout = STREAM })
      assert.equal("o", await(p.stdout:read_bytes(1)))
      local ok, err = pcall(tasks.timeout, { seconds = 0.05 }, function()
        await(lua("io.read()", { stdin = STREAM, stdout = STREAM })
          .stdout:read_until_close())
      end)
      assert.is_false(ok)
      assert.is_true(util.isinstance(err, util.TimeoutError))
      assert.equal("netwo", (await(p:communicate "\n")))
    end)
end)

describe("a program that is killed", function()
  for name, status in pairs(SIGNALS) do
    spec("has the status of " .. name, function()
      local p = sleeper()
      assert.is_true(p:kill(name))
      assert.equal(status, await(p:wait_for_exit(false)))
      assert.same({ nil, "ESRCH: no such process", "ESRCH" }, { p:kill(name) })
      p.stdin:close()
    end)
  end

  spec("takes signal 0 only as a question", function()
    local p <close> = sleeper()
    assert.is_true(p:kill(0))
    assert.is_nil(p.returncode)
    p:kill "sigterm"
    p:kill(0)
    assert.equal(SIGNALS.sigterm, await(p:wait_for_exit(false)))
  end)

  spec("at the end of its block", function()
    local p
    do
      local q <close> = sleeper()
      p = q
      assert.is_nil(q.returncode)
    end
    assert.equal(SIGNALS.sigkill, p.returncode)
    assert.is_true(p.stdin:closed())
  end)

  spec("closes its streams", function()
    local p = lua("io.write 'x' io.stdout:flush() io.read()",
      { stdin = STREAM, stdout = STREAM })
    assert.equal("x", await(p.stdout:read_bytes(1)))
    local rest = p.stdout:read_until_close()
    p:kill "sigkill"
    assert.equal("", await(rest))
    await(p:wait_for_exit(false))
    p.stdin:close()
  end)

  it("may have a loop that is closed", function()
    local loop = loops.open()
    local p <close> = lua "while true do end"
    loops.close(loop)
    assert.is_nil(p.returncode)
    assert.is_true(p:kill "sigterm")
    IOLoop.instance():run_sync(function()
      while not p.returncode do await(gen.sleep(0.002)) end
    end, loops.PATIENCE)
    assert.equal(SIGNALS.sigterm, p.returncode)
  end)
end)

describe("the end of a program", function()
  it("keeps a run of the loop from ending", function()
    local loop = loops.open()
    local status
    local p = lua "os.exit(6)"
    gen.coroutine(function() status = await(p:wait_for_exit(false)) end)()
    loops.run(loop, function() await(p:wait_for_exit(false)) end)
    assert.equal(6, status)
    loops.close(loop)
  end)

  spec("calls the exit callback", function()
    local over = require "lunado.concurrent".Future()
    local p = lua "os.exit(2)"
    p:set_exit_callback(function(...) over:set_result(...) end)
    assert.equal(2, await(over))
  end)

  spec("is noticed for one that is forgotten", function()
    assert.is_true(gc.collects(function() return lua "os.exit(0)" end))
    assert.equal(0, await(lua "os.exit(0)":wait_for_exit()))
  end)

  spec("is found by a loop after that of the program is closed", function()
    local loop = loops.open()
    local p = lua "os.exit(7)"
    loops.close(loop)
    IOLoop.instance():make_current()
    while not p.returncode do await(gen.sleep(0.002)) end
    assert.equal(7, await(p:wait_for_exit(false)))
  end)
end)

if not system.is_windows then return end

describe("on Windows", function()
  spec("a program cannot belong to another user", function()
    local refused = "ENOTSUP: uid and gid are not supported on this system"
    for _, options in ipairs { { uid = 1 }, { gid = 1 } } do
      local ok, err = pcall(lua, "", options)
      assert.is_false(ok)
      assert.equal(1, err:find(refused, 1, true), err)
    end
  end)

  it("workers get no sockets", function()
    local ok, err = pcall(process.spawn_workers, 1)
    assert.is_false(ok)
    assert.truthy(err:find("spawn_workers: ENOTSUP: ", 1, true), err)
  end)

  spec("other signals cannot be sent", function()
    local p <close> = sleeper()
    assert.same({ nil, "ENOSYS: function not implemented", "ENOSYS" },
      { p:kill "sighup" })
    assert.is_nil(p.returncode)
  end)

  spec("a status may have 32 bits", function()
    local p = lua "os.exit(-1073741819)"
    assert.equal(0xC0000005, await(p:wait_for_exit(false)))
  end)
end)
