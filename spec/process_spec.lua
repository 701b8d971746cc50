-- SPDX-License-Identifier: MIT
-- lunado.process: Subprocess, with real programs.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local ioloop = require "lunado.ioloop"
local luv = require "luv"
local process = require "lunado.process"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local cancelled = require "spec.support.cancelled"
local child = require "spec.support.child"
local contexts = require "spec.support.contexts"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local interpreter = require "spec.support.interpreter"
local loops = require "spec.support.loops"
local pipes = require "spec.support.pipes"
local selves = require "spec.support.selves"

local await = coroutine.yield
local IOLoop = ioloop.IOLoop
local Subprocess = process.Subprocess
local STREAM, DEVNULL, STDOUT = process.STREAM, process.DEVNULL, process.STDOUT

local SIGNALS = luv.constants

local run = frame.run
local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

local function sh(command, options)
  return Subprocess({ "sh", "-c", command }, options)
end

-- What a program writes to its stdout.
local function output_of(args, options)
  options = options or {}
  options.stdout = STREAM
  local out = await(Subprocess(args, options):communicate())
  return out
end

-- Whether the system has the process still, as a zombie if not else.
local function exists(pid)
  local ok, _, name = luv.kill(pid, 0)
  return ok == 0 or name ~= "ESRCH"
end

-- Waits until holds() is true; the time limit of the spec ends the wait.
local function wait_until(holds)
  while not holds() do await(gen.sleep(0.002)) end
end

-- The numbers of the descriptors that this process has open.
local function descriptors()
  gc.collect()
  local open = {}
  for fd = 0, 255 do
    if pipes.is_open(fd) then open[#open + 1] = fd end
  end
  return table.concat(open, " ")
end

describe("a program", function()
  spec("is started with a list of arguments", function()
    assert.equal("<a b>\n<$HOME>\n<>\n<7>\n<'\"*>\n", output_of {
      "printf", "<%s>\n", "a b", "$HOME", "", 7, "'\"*" })
  end)

  spec("may be given by its name alone, which no shell sees", function()
    assert.equal(0, await(Subprocess("true"):wait_for_exit()))
    local ok, err = pcall(Subprocess, "true --version")
    assert.is_false(ok)
    -- EACCES: the user may not search a folder of the PATH.
    assert.truthy(err:find '^ENOENT: ' or err:find '^EACCES: ', err)
    assert.truthy(err:find('(program "true --version")', 1, true), err)
  end)

  spec("takes a list that is changed behind its back", function()
    local args = { "sh", "-c", "exit 4" }
    local p = Subprocess(args)
    args[3] = nil
    assert.equal(4, await(p:wait_for_exit(false)))
  end)

  spec("has a pid, and a status once it has ended", function()
    local p = Subprocess({ "cat" }, { stdin = STREAM })
    assert.is_true(exists(p.pid))
    assert.is_nil(p.returncode)
    assert.equal(("(cat, pid %d)"):format(p.pid), tostring(p):match "%(.*%)")
    p.stdin:close()
    assert.equal(0, await(p:wait_for_exit()))
    assert.equal(0, p.returncode)
    assert.equal("(cat, ended with 0)", tostring(p):match "%(.*%)")
    assert.is_false(exists(p.pid))
  end)

  spec("that ends by a signal has its negative number as status", function()
    local p = sh "kill -USR1 $$"
    assert.equal(-SIGNALS.SIGUSR1, await(p:wait_for_exit(false)))
    assert.equal(-SIGNALS.SIGUSR1, p.returncode)
  end)

  spec("has the streams that it is asked to have", function()
    local p = sh("read line; echo \"<$line>\"; echo err >&2",
      { stdin = STREAM, stdout = STREAM, stderr = STREAM })
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
      assert.truthy(tostring(p[name]):find "^IOStream", name)
    end
    await(p.stdin:write "line\n")
    assert.equal("<line>", await(p.stdout:read_line()))
    assert.equal("err\n", await(p.stderr:read_until_close()))
    assert.equal(0, await(p:wait_for_exit()))
  end)

  spec("has this process's own ones where it is not asked to", function()
    local p = Subprocess "true"
    assert.is_nil(p.stdin)
    assert.is_nil(p.stdout)
    assert.is_nil(p.stderr)
    await(p:wait_for_exit())
  end)

  spec("sees pipes, which can be opened by their names", function()
    local p = sh("cat /dev/stdin", { stdin = STREAM, stdout = STREAM })
    assert.equal("by name", (await(p:communicate "by name")))
  end)

  spec("may have its stderr where its stdout is", function()
    assert.equal("a\nb\nc\n", output_of(
      { "sh", "-c", "echo a; echo b >&2; echo c" }, { stderr = STDOUT }))
    local p = sh("echo nowhere >&2", { stdout = DEVNULL, stderr = STDOUT })
    assert.equal(0, await(p:wait_for_exit()))
  end)

  spec("may have nothing", function()
    local p = sh("cat; echo lost; echo lost >&2",
      { stdin = DEVNULL, stdout = DEVNULL, stderr = DEVNULL })
    assert.equal(0, await(p:wait_for_exit()))
  end)

  spec("may have descriptors, which stay the caller's", function()
    local pipe = pipes.pipe()
    local p = sh("echo one; echo two >&2",
      { stdout = pipe.write, stderr = pipe.write })
    await(p:wait_for_exit())
    assert.equal("one\ntwo\n", pipes.read(pipe.read))
    pipes.write(pipe.write, "three")
    assert.equal("three", pipes.read(pipe.read))
    pipes.close(pipe.read)
    pipes.close(pipe.write)
  end)

  spec("may have stdout and stderr the other way round", function()
    local script = os.tmpname()
    local file <close> = assert(io.open(script, "w"))
    file:write [[
      local process = require "lunado.process"
      require "lunado".run(function()
        coroutine.yield(process.Subprocess({ "sh", "-c", "echo 1; echo 2 >&2" },
          { stdout = 2, stderr = 1 }):wait_for_exit())
      end)]]
    file:flush()
    local p = Subprocess({ interpreter, script }, { stdout = STREAM,
      stderr = STREAM, env = { PATH = os.getenv "PATH", LUA_PATH = package.path,
      LUA_CPATH = package.cpath } })
    local out, err = await(p:communicate())
    os.remove(script)
    assert.equal("2\n", out)
    assert.equal("1\n", err)
  end)

  spec("has an environment of its own", function()
    local path = os.getenv "PATH"
    local out = output_of({ "env" }, { env = { PATH = path, A = "b=c", N = 5,
      EMPTY = "" } })
    local lines = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({ "A=b=c", "EMPTY=", "N=5", "PATH=" .. path }, lines)
    assert.equal("", output_of({ "/usr/bin/env" }, { env = {} }))
  end)

  spec("is started in a folder", function()
    assert.equal("/\n", output_of({ "pwd" }, { cwd = "/" }))
  end)

  spec("may lead a session of its own", function()
    local script = "import os; print(os.getsid(0) == os.getpid())"
    assert.equal("False\n", output_of { "python3", "-c", script })
    assert.equal("True\n",
      output_of({ "python3", "-c", script }, { detached = true }))
  end)

  spec("may belong to another user, if this process may do that", function()
    local ids = { uid = 65534, gid = 65533 }
    if luv.getuid() == 0 then
      assert.equal("65534 65533\n", output_of(
        { "sh", "-c", "echo $(id -u) $(id -g)" }, ids))
    else
      assert.has_error(function() Subprocess("true", ids) end,
        'EPERM: operation not permitted (program "true")')
    end
  end)

  spec("that cannot be started raises with its name", function()
    local folder = os.tmpname()
    local before = descriptors()
    local all = { stdin = STREAM, stdout = STREAM, stderr = STREAM }
    assert.has_error(function() Subprocess({ "/no/such" }, all) end,
      'ENOENT: no such file or directory (program "/no/such")')
    assert.has_error(function() Subprocess({ "/" }, all) end,
      'EACCES: permission denied (program "/")')
    all.cwd = folder
    assert.has_error(function() Subprocess({ "true" }, all) end,
      ("ENOTDIR: not a directory (program \"true\" in folder %q)")
        :format(folder))
    os.remove(folder)
    await(gen.sleep(0))
    await(gen.sleep(0))
    assert.equal(before, descriptors())
  end)
end)

describe("what a program inherits", function()
  -- Prints the descriptors that it has, but for the one of the listing itself.
  local LIST = { "sh", "-c", "for fd in 3 4 5 6 7 8 9; do "
    .. "(: <&$fd) 2>/dev/null && echo $fd; done; echo end" }

  spec("are no files that this process has opened", function()
    local files = {}
    for i = 1, 5 do files[i] = assert(io.open("/dev/null")) end
    assert.equal("end\n", output_of(LIST))
    for _, file in ipairs(files) do file:close() end
  end)

  spec("are no ends of other programs' pipes", function()
    local first = Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
    local second = Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
    assert.equal("end\n", output_of(LIST))
    first.stdin:close() -- `second` does not keep it open
    assert.equal("", await(first.stdout:read_until_close()))
    second.stdin:close()
    await { first:wait_for_exit(), second:wait_for_exit() }
  end)

  spec("are no signals that this process ignores or handles", function()
    -- lunado ignores SIGPIPE for its own streams.
    local p = Subprocess({ "sh", "-c", "yes | true; kill -PIPE $$" },
      { stdout = DEVNULL })
    assert.equal(-SIGNALS.SIGPIPE, await(p:wait_for_exit(false)))
  end)
end)

describe("wait_for_exit", function()
  spec("fails for any other status than 0", function()
    local ok, err = pcall(await, sh "exit 3":wait_for_exit())
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, process.CalledProcessError))
    assert.is_true(util.isinstance(err, util.Exception))
    assert.equal(3, err.returncode)
    assert.equal("sh", err.cmd)
    assert.equal('CalledProcessError: Command "sh" returned non-zero exit '
      .. "status 3", tostring(err))
    ok, err = pcall(await, sh "kill -KILL $$":wait_for_exit(true))
    assert.is_false(ok)
    assert.equal(-SIGNALS.SIGKILL, err.returncode)
    assert.truthy(tostring(err):find('Command "sh" died with SIGKILL', 1, true))
  end)

  spec("may be called by many, and after the end", function()
    local p = sh "exit 5"
    local all = {}
    for i = 1, 10 do all[i] = p:wait_for_exit(false) end
    assert.same({ 5, 5, 5, 5, 5, 5, 5, 5, 5, 5 }, await(all))
    assert.equal(5, await(p:wait_for_exit(false)))
    assert.is_false((pcall(await, p:wait_for_exit())))
  end)

  spec("lets the program go on when it is cancelled", function()
    local p <close> = Subprocess { "sleep", "60" }
    local one = cancelled.start(function() await(p:wait_for_exit()) end)
    local other = p:wait_for_exit(false)
    await()
    assert.is_true(tasks.cancel(one))
    cancelled.check(one)
    assert.is_nil(p.returncode)
    assert.is_false(other:done())
    p:kill "sigkill"
    assert.equal(-9, await(other))
  end)

  spec("can be given up and called again", function()
    local p <close> = Subprocess { "sleep", "60" }
    local ok, err = pcall(tasks.timeout, { seconds = 0.01 }, function()
      await(p:wait_for_exit())
    end)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, util.TimeoutError))
    p:kill()
    assert.equal(-SIGNALS.SIGTERM, await(p:wait_for_exit(false)))
  end)

  it("keeps a run of the loop from ending", function()
    local loop = loops.open()
    local status
    local p = sh "sleep 0.05; exit 6"
    gen.coroutine(function() status = await(p:wait_for_exit(false)) end)()
    -- Nothing else is left that could wake this one.
    loops.run(loop, function()
      local over = concurrent.Future()
      p:set_exit_callback(function() over:set_result() end)
      await(over)
    end)
    assert.equal(6, status)
    loops.close(loop)
  end)
end)

describe("set_exit_callback", function()
  spec("calls the function with the status", function()
    local over = concurrent.Future()
    local p = sh "exit 2"
    p:set_exit_callback(function(...) over:set_result(...) end)
    assert.equal(2, await(over))
    assert.equal(2, p.returncode)
  end)

  spec("calls the last one alone", function()
    local calls = {}
    local p = Subprocess "true"
    for i = 1, 3 do
      p:set_exit_callback(function() calls[#calls + 1] = i end)
    end
    await(p:wait_for_exit())
    await(gen.sleep(0))
    assert.same({ 3 }, calls)
  end)

  spec("takes it back with nil", function()
    local called
    local p = Subprocess "true"
    p:set_exit_callback(function() called = true end)
    p:set_exit_callback(nil)
    await(p:wait_for_exit())
    await(gen.sleep(0))
    assert.is_nil(called)
  end)

  spec("calls it in a later turn when the program has ended", function()
    local p = Subprocess "true"
    await(p:wait_for_exit())
    local over = concurrent.Future()
    p:set_exit_callback(function(status) over:set_result(status) end)
    assert.is_false(over:done())
    assert.equal(0, await(over))
  end)

  spec("calls it within the stack context", function()
    local active, context = contexts()
    local over = concurrent.Future()
    local p = Subprocess "true"
    context("mine"):run(function()
      p:set_exit_callback(function()
        over:set_result(table.concat(active, " "))
      end)
    end)
    assert.equal("mine", await(over))
  end)

  spec("reports an error as one of the function", function()
    local p = Subprocess "true"
    p:set_exit_callback(function() error "in the callback" end)
    await(p:wait_for_exit())
    await(gen.sleep(0))
    log:first "in the callback"
  end)
end)

describe("kill", function()
  spec("sends a signal by name, by number, SIGTERM by default", function()
    for signal, number in pairs { sigkill = 9, sigint = SIGNALS.SIGINT,
      [SIGNALS.SIGHUP] = SIGNALS.SIGHUP, [false] = SIGNALS.SIGTERM } do
      local p = Subprocess { "sleep", "60" }
      assert.is_true(p:kill(signal or nil))
      assert.equal(-number, await(p:wait_for_exit(false)))
    end
  end)

  spec("does nothing to a program that has ended", function()
    local p = Subprocess "true"
    await(p:wait_for_exit())
    local ok, err, name = p:kill()
    assert.is_nil(ok)
    assert.equal("ESRCH: no such process", err)
    assert.equal("ESRCH", name)
  end)

  spec("says what the system says", function()
    local p <close> = Subprocess { "sleep", "60" }
    local ok, err = p:kill(12345)
    assert.is_nil(ok)
    assert.equal("EINVAL: invalid argument", err)
  end)
end)

describe("communicate", function()
  local BIG = ("0123456789abcdef"):rep(10 * 1024 * 1024 // 16)

  spec("passes 10 MB in both directions", function()
    local p = Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
    local out, err = await(p:communicate(BIG))
    assert.is_true(out == BIG)
    assert.is_nil(err)
    assert.equal(0, p.returncode)
  end)

  spec("passes more than a pipe holds on all three at once", function()
    local p = sh("tee /dev/stderr",
      { stdin = STREAM, stdout = STREAM, stderr = STREAM })
    local out, err = await(p:communicate(BIG))
    assert.is_true(out == BIG)
    assert.is_true(err == BIG)
  end)

  spec("takes more than a stream's buffer may hold", function()
    local p = Subprocess({ "head", "-c", "3000000", "/dev/zero" },
      { stdout = STREAM })
    p.stdout.max_buffer_size = 1000000
    assert.equal(3000000, #(await(p:communicate())))
  end)

  spec("closes the input that nothing is written to", function()
    local p = Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
    assert.equal("", (await(p:communicate())))
    p = Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
    assert.equal("", (await(p:communicate "")))
  end)

  spec("does not mind a program that does not read its input", function()
    for _, command in ipairs { "exec 0<&-; sleep 0.02; echo done", "echo done",
      "head -c 1 >/dev/null; echo done" } do
      local p = sh(command, { stdin = STREAM, stdout = STREAM })
      assert.equal("done\n", (await(p:communicate(BIG))))
      assert.equal(0, p.returncode)
    end
  end)

  spec("gives nil for what is no stream", function()
    local results = table.pack(await(Subprocess "true":communicate()))
    assert.same({ n = 2 }, results)
    results = table.pack(await(sh("echo e >&2", { stderr = STREAM })
      :communicate()))
    assert.same({ nil, "e\n", n = 2 }, results)
  end)

  spec("leaves the status to the caller", function()
    local p = sh("echo out; exit 9", { stdout = STREAM })
    assert.equal("out\n", (await(p:communicate())))
    assert.equal(9, p.returncode)
  end)

  spec("loses nothing when it is cancelled and called again", function()
    local p = sh("trap 'echo two; exit' USR1; echo one; cat; "
      .. "while :; do sleep 0.01; done", { stdin = STREAM, stdout = STREAM })
    local first = cancelled.start(function()
      await(p:communicate "input\n")
    end)
    wait_until(function()
      return table.concat(p._talk.stdout) == "one\ninput\n"
    end)
    tasks.cancel(first)
    cancelled.check(first)
    p:kill "sigusr1"
    assert.equal("one\ninput\ntwo\n", (await(p:communicate())))
    assert.equal("one\ninput\ntwo\n", (await(p:communicate())))
  end)

  spec("writes the input on when it is cancelled", function()
    local p = sh("sleep 0.05; wc -c", { stdin = STREAM, stdout = STREAM })
    local first = cancelled.start(function() await(p:communicate(BIG)) end)
    await(gen.sleep(0.01))
    tasks.cancel(first)
    cancelled.check(first)
    assert.equal(#BIG, tonumber((await(p:communicate()))))
  end)

  spec("refuses a second call meanwhile", function()
    local p = Subprocess({ "cat" }, { stdin = STREAM, stdout = STREAM })
    local first = p:communicate "a"
    local ok, err = pcall(function() p:communicate() end)
    assert.is_false(ok)
    assert.truthy(err:find "_spec.lua:%d+: communicate is under way already$")
    assert.equal("a", (await(first)))
    bad(function() p:communicate "b" end, 1, "communicate",
      "an earlier call had the input")
  end)

  spec("raises what a stream that is read already says", function()
    local p <close> = Subprocess({ "sleep", "60" }, { stdout = STREAM })
    local reading = p.stdout:read_line()
    local ok, err = pcall(await, p:communicate())
    assert.is_false(ok)
    assert.truthy(tostring(err):find "being read already", err)
    assert.is_nil(p.returncode)
    p:kill()
    assert.is_false((pcall(await, reading)))
  end)

  describe("whose loop was closed", function()
    -- Calls fn on a loop that is closed then; returns what fn returns.
    local function on_closed_loop(fn)
      local loop = loops.open()
      local result = fn(loop)
      loops.close(loop)
      return result
    end

    local function refuses(p, name, whose)
      local ok, err = pcall(await, p:communicate())
      assert.same({ false, ("cannot communicate with program %q: the IOLoop %s "
        .. "is closed"):format(name, whose) }, { ok, err })
    end

    it("is not under way for ever", function()
      for _, stream in ipairs { "stdout", "stderr" } do
        local p <close> = on_closed_loop(function()
          local p = Subprocess({ "sleep", "60" }, { [stream] = STREAM })
          p:communicate()
          return p
        end)
        run(function()
          refuses(p, "sleep", "that has started it")
          refuses(p, "sleep", "that has started it")
        end)
      end
    end)

    it("does not give less than all for all", function()
      local called = { true, false }
      for _, before in ipairs(called) do
        local p = on_closed_loop(function()
          local p = Subprocess({ "echo", "text" }, { stdout = STREAM })
          if before then p:communicate() end
          return p
        end)
        run(function()
          wait_until(function() return p.returncode end)
          refuses(p, "echo", "that has started it")
        end)
      end
    end)

    it("gives what it has given before", function()
      local p = on_closed_loop(function(loop)
        local p = Subprocess({ "echo", "text" }, { stdout = STREAM })
        loops.run(loop, function() await(p:communicate()) end)
        return p
      end)
      run(function()
        assert.equal("text\n", (await(p:communicate())))
      end)
    end)

    it("waits on for a program without streams", function()
      local program = loops.open()
      local p = Subprocess { "sleep", "60" }
      on_closed_loop(function() p:communicate() end)
      loops.run(program, function()
        local over = p:communicate()
        p:kill()
        await(over)
        assert.equal(-SIGNALS.SIGTERM, p.returncode)
      end)
      loops.close(program)
    end)

    it("does not read along with it", function()
      local program = loops.open()
      local p <close> = Subprocess("cat", { stdin = STREAM, stdout = STREAM })
      on_closed_loop(function(loop)
        loops.run(loop, function()
          p:communicate(("x"):rep(1000000))
          await(gen.moment)
        end)
      end)
      loops.run(program, function()
        refuses(p, "cat", "of an earlier call")
      end)
      loops.close(program)
    end)
  end)
end)

describe("<close>", function()
  spec("kills the program and lets others run until it is gone", function()
    local turns = 0
    local pid, p
    do
      local inner <close> = Subprocess({ "sh", "-c", "trap '' TERM; sleep 60" },
        { stdin = STREAM, stdout = STREAM, stderr = STREAM })
      p, pid = inner, inner.pid
      IOLoop.current():add_callback(function() turns = turns + 1 end)
    end
    assert.is_false(exists(pid))
    assert.equal(-9, p.returncode)
    assert.is_true(turns > 0)
    for _, name in ipairs { "stdin", "stdout", "stderr" } do
      assert.is_true(p[name]:closed())
    end
  end)

  it("works where nothing can wait", function()
    local p
    local function block()
      local inner <close> = Subprocess { "sleep", "60" }
      p = inner
      assert.is_true(exists(p.pid))
      coroutine.yield()
    end
    local function is_gone()
      assert.equal(-9, p.returncode)
      assert.is_false(exists(p.pid))
    end
    IOLoop.instance()
    local wrapped = coroutine.wrap(block)
    wrapped()
    wrapped()
    is_gone()
    run(function()
      wrapped = coroutine.wrap(block)
      wrapped()
      wrapped()
      is_gone()
      local thread = coroutine.create(block)
      assert(coroutine.resume(thread))
      assert.is_true(coroutine.close(thread))
      is_gone()
      table.sort({ 1, 2 }, function()
        local inner <close> = Subprocess { "sleep", "60" }
        p = inner
        return false
      end)
      is_gone()
    end)
    do
      local inner <close> = Subprocess { "sleep", "60" }
      p = inner
    end
    is_gone()
  end)

  spec("waits although its coroutine is cancelled", function()
    local p
    local future = cancelled.start(function()
      local inner <close> = Subprocess { "sleep", "60" }
      p = inner
      await(inner:wait_for_exit())
    end)
    tasks.cancel(future)
    cancelled.check(future)
    assert.equal(-9, p.returncode)
    assert.is_false(exists(p.pid))
  end)

  spec("does nothing to a program that has ended", function()
    local p
    do
      local inner <close> = sh "exit 3"
      p = inner
      await(p:wait_for_exit(false))
    end
    assert.equal(3, p.returncode)
  end)

  spec("lets an error pass", function()
    local ok, err = pcall(function()
      local _ <close> = Subprocess { "sleep", "60" }
      error("of the block", 0)
    end)
    assert.is_false(ok)
    assert.equal("of the block", err)
  end)

  it("works in a coroutine of another loop", function()
    local one, other = loops.open(), loops.open()
    local open = one:run_sync(function()
      return Subprocess { "sleep", "60" }
    end)
    local orphan = other:run_sync(function()
      return Subprocess { "sleep", "60" }
    end)
    loops.close(other)
    run(function()
      for _, program in ipairs { open, orphan } do
        do local _ <close> = program end
        assert.is_false(exists(program.pid))
        assert.equal(-9, await(program:wait_for_exit(false)))
      end
    end)
    loops.close(one)
  end)

  it("works after the loop is closed", function()
    local loop = loops.open()
    local pid
    do
      local p <close> = Subprocess { "sleep", "60" }
      pid = p.pid
      loops.close(loop)
      assert.is_nil(p.returncode)
    end
    assert.is_false(exists(pid))
  end)
end)

describe("no zombie is left of", function()
  spec("many programs at once", function()
    local all, pids = {}, {}
    for i = 1, 50 do
      local p = sh("exit " .. i % 7)
      pids[i], all[i] = p.pid, p:wait_for_exit(false)
    end
    for i, status in ipairs(await(all)) do assert.equal(i % 7, status) end
    for _, pid in ipairs(pids) do assert.is_false(exists(pid)) end
  end)

  spec("a program that is forgotten", function()
    local pid
    assert.is_true(gc.collects(function()
      local p = Subprocess "true"
      pid = p.pid
      return p
    end))
    wait_until(function() return not exists(pid) end)
  end)

  it("one whose loop was closed, whose status can still be asked for",
    function()
      local loop = loops.open()
      local p = Subprocess { "sh", "-c", "exit 7" }
      local statuses = {}
      loops.close(loop)
      run(function()
        wait_until(function() return p.returncode end)
        assert.equal(7, await(p:wait_for_exit(false)))
        p:set_exit_callback(function(status) statuses[1] = status end)
        wait_until(function() return statuses[1] end)
      end)
      assert.same({ 7 }, statuses)
    end)

  it("one whose loop was closed, for which nobody can wait", function()
    local loop = loops.open()
    local p <close> = Subprocess { "sleep", "60" }
    loops.close(loop)
    local refused = 'cannot wait for program "sleep": the IOLoop that has '
      .. "started it is closed"
    run(function()
      local ok, err = pcall(await, p:wait_for_exit())
      assert.same({ false, refused }, { ok, err })
      ok, err = pcall(await, p:communicate())
      assert.same({ false, refused }, { ok, err })
      ok, err = pcall(function() p:set_exit_callback(print) end)
      assert.is_false(ok)
      assert.truthy(err:find("process_spec%.lua:%d+: " .. refused), err)
    end)
  end)

  it("one whose loop was closed, which calls a new function all the same",
    function()
      local loop = loops.open()
      local p = Subprocess "true"
      p:set_exit_callback(error)
      loops.close(loop)
      run(function()
        wait_until(function() return p.returncode end)
        local status
        p:set_exit_callback(function(result) status = result end)
        wait_until(function() return status end)
        assert.equal(0, status)
      end)
    end)

  it("one whose function's loop was closed", function()
    local loop = loops.open()
    local other = IOLoop(false)
    local p = Subprocess { "sleep", "60" }
    other:run_sync(function() p:set_exit_callback(error) end)
    other:close()
    loops.run(loop, function()
      local status
      p:set_exit_callback(function(result) status = result end)
      p:kill()
      wait_until(function() return status end)
      assert.equal(-SIGNALS.SIGTERM, status)
    end)
    loops.close(loop)
  end)

  it("one whose loop was closed, at the next one's start", function()
    local loop = loops.open()
    local pid = Subprocess { "true" }.pid
    loops.close(loop)
    run(function()
      wait_until(function()
        await(Subprocess "true":wait_for_exit())
        return not exists(pid)
      end)
    end)
  end)
end)

describe("a state that ends", function()
  local function ends_well(source)
    local result = child(source)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return result.out
  end

  it("leaves the program running", function()
    local pid = tonumber(ends_well [[
      local process = require "lunado.process"
      local p = process.Subprocess({ "sleep", "60" },
        { stdout = process.DEVNULL, stderr = process.DEVNULL })
      print(p.pid)
    ]])
    assert.is_true(exists(pid))
    luv.kill(pid, "sigkill")
  end)

  it("may have finalizers that use it", function()
    ends_well [[
      local process = require "lunado.process"
      local options = { stdin = process.STREAM }
      first = process.Subprocess({ "cat" }, options)
      local function use()
        for _, p in ipairs { first, second } do
          local _ = p.returncode, tostring(p)
          p:kill()
        end
      end
      last = setmetatable({}, { __gc = use })
      second = process.Subprocess({ "cat" }, options)
      beyond = setmetatable({}, { __gc = use })
    ]]
  end)

  it("may have waits that never end", function()
    local out = ends_well [[
      local process = require "lunado.process"
      local lunado = require "lunado"
      p = process.Subprocess({ "sleep", "60" }, { stdout = process.STREAM,
        stderr = process.DEVNULL })
      p:set_exit_callback(print)
      local waiting = lunado.coroutine(function()
        coroutine.yield(p:communicate())
      end)()
      lunado.run(function() coroutine.yield(lunado.sleep(0.01)) end)
      print(p.pid)
      os.exit(0, true)
    ]]
    luv.kill(tonumber(out), "sigkill")
  end)

  it("needs no luv", function()
    assert.equal("hello\n", ends_well [[
      package.preload.luv = function() error "no luv" end
      local process = require "lunado.process"
      require "lunado".run(function()
        local p <close> = process.Subprocess({ "cat" },
          { stdin = process.STREAM, stdout = process.STREAM })
        io.write((coroutine.yield(p:communicate "hello\n")))
      end)
    ]])
  end)
end)

describe("a process without standard descriptors", function()
  it("starts programs, and has none of its own instead", function()
    local path = os.tmpname()
    local result = child(([[
      local process = require "lunado.process"
      require "lunado".run(function()
        local p = process.Subprocess({ "cat" },
          { stdin = process.STREAM, stdout = process.STREAM })
        local file <close> = assert(io.open(%q, "w"))
        file:write((coroutine.yield(p:communicate "text")))
      end)
    ]]):format(path), nil, function(command)
      return command .. " <&- >&- 2>&-"
    end)
    local file <close> = assert(io.open(path))
    assert.equal("text", file:read "a")
    assert.same({ code = 0, out = "", err = "" }, result)
    os.remove(path)
  end)
end)

describe("a process without stdin", function()
  it("neither reads nor hands on a descriptor of luv's", function()
    local result = child([[
      local lunado = require "lunado"
      require "lunado.uv"
      local process = require "lunado.process"
      local IOStream = require "lunado.iostream".IOStream
      lunado.run(function()
        local p = process.Subprocess({ "cat" }, { stdout = process.STREAM })
        print("<" .. coroutine.yield(p:communicate()) .. ">", p.returncode)
        local stream = IOStream.open(0)
        print("<" .. coroutine.yield(stream:read_until_close()) .. ">")
      end)
    ]], nil, function(command) return command .. " <&-" end)
    assert.same({ code = 0, out = "<>\t0\n<>\n", err = "" }, result)
  end)
end)

describe("beside uv.spawn", function()
  spec("each gets its own", function()
    local mine, theirs = {}, {}
    for i = 1, 10 do
      mine[i] = sh("exit " .. i):wait_for_exit(false)
      theirs[i] = uv.spawn("sh", { args = { "-c", "exit " .. i + 20 } }):wait()
    end
    mine, theirs = await(mine), await(theirs)
    for i = 1, 10 do
      assert.equal(i, mine[i])
      assert.equal(i + 20, theirs[i])
    end
  end)
end)

describe("a wrong argument", function()
  local function refuses(args, options, n, what, got)
    bad(function() Subprocess(args, options) end, n, "Subprocess", what, got)
  end

  it("of the command is refused", function()
    refuses(nil, nil, 1, "list or string", "nil")
    refuses({}, nil, 1, "a program expected")
    refuses("", nil, 1, "a program expected")
    refuses({ "a\0b" }, nil, 1, "%[1%]: string contains zeros")
    refuses({ "a", {} }, nil, 1, "%[2%]: string", "table")
    refuses({ "a", x = 1 }, nil, 1, "it has the key x")
  end)

  -- A table with these metamethods.
  local function odd(metamethods, fields)
    return setmetatable(fields or {}, metamethods)
  end

  it("of a list with an odd length is refused", function()
    for _, length in ipairs { "x", 1.5, -1, {}, 0 / 0, math.huge, false } do
      refuses(odd({ __len = function() return length end }, { "true" }), nil, 1,
        "a list expected, its length is no count")
    end
    refuses(odd({ __len = function() return 3 end }, { "true" }), nil, 1,
      "%[2%]: string", "nil")
    local ok, err = pcall(Subprocess, odd { __len = function() return 1 end,
      __index = function() error("no element", 0) end })
    assert.same({ false, "no element" }, { ok, err })
  end)

  spec("is no list whose elements a metamethod gives, once", function()
    local count = 0
    local args = odd { __len = function() return 2 end,
      __index = function(_, i)
        count = count + 1
        return count == i and (i == 1 and "echo" or "text") or 5
      end }
    assert.equal("text\n", output_of(args))
  end)

  it("is a value that says that it is a constant", function()
    local value = odd { __eq = function() return true end }
    refuses("true", { stdout = value }, 2, "stdout: STREAM, DEVNULL or")
    refuses("true", { stderr = value }, 2, "stderr: STREAM, DEVNULL, STDOUT or")
  end)

  it("of the options is refused before anything starts", function()
    local before = descriptors()
    refuses("true", 5, 2, "table", "number")
    refuses("true", { shell = true }, 2, 'unknown option "shell"')
    refuses("true", { [1] = 1 }, 2, 'unknown option 1')
    for _, options in ipairs { { stdin = STDOUT },
      odd { __index = { stdin = STDOUT } } } do
      refuses("true", options, 2,
        "stdin: STREAM, DEVNULL or a descriptor expected")
    end
    refuses("true", { stderr = true }, 2,
      "stderr: STREAM, DEVNULL, STDOUT or a descriptor expected")
    refuses("true", { stdout = 1.5 }, 2, "stdout: ")
    refuses("true", { stdin = STREAM, stdout = 250 }, 2,
      "stdout: descriptor 250 is not open")
    refuses("true", { stdout = -1 }, 2, "stdout: descriptor %-1 is not open")
    refuses("true", { cwd = 5 }, 2, "cwd: string", "number")
    refuses("true", setmetatable({}, { __index = { cwd = "" } }), 2,
      "cwd: a folder expected")
    refuses("true", { cwd = "" }, 2, "cwd: a folder expected")
    refuses("true", { cwd = "\0" }, 2, "cwd: string contains zeros")
    refuses("true", { env = 5 }, 2, "env: table", "number")
    refuses("true", { env = { "A=b" } }, 2, 'env: "1" is no name')
    refuses("true", { env = { ["A=b"] = "" } }, 2, 'env: "A=b" is no name')
    refuses("true", { env = { A = true } }, 2, "env: A: string",
      "boolean")
    refuses("true", { env = { A = "\0" } }, 2, "env: A: string contains zeros")
    refuses("true", { uid = -1 }, 2, "uid: a number of a user or group")
    refuses("true", { gid = "x" }, 2, "gid: a number of a user or group")
    refuses("true", { uid = 0xffffffff }, 2, "uid: a number")
    refuses("true", { detached = 1 }, 2, "detached: boolean", "number")
    assert.equal(before, descriptors())
  end)

  spec("of a method is refused, the object as well", function()
    selves(Subprocess "true", "Subprocess", "wait_for_exit",
      "set_exit_callback", "kill", "communicate")
    local p <close> = Subprocess { "sleep", "60" }
    bad(function() p:kill "nosuch" end, 1, "kill", "signal", "nosuch")
    bad(function() p:kill(-1) end, 1, "kill", "no signal has the number %-1")
    bad(function() p:kill {} end, 1, "kill", "signal", "table")
    bad(function() p:set_exit_callback(5) end, 1, "set_exit_callback",
      "function", "number")
    bad(function() p:wait_for_exit(0) end, 1, "wait_for_exit", "boolean",
      "number")
    bad(function() p:communicate(5) end, 1, "communicate", "string", "number")
    bad(function() p:communicate "x" end, 1, "communicate",
      "stdin is not a STREAM")
  end)
end)

describe("the module", function()
  it("counts processors", function()
    local count = process.cpu_count()
    assert.equal("integer", math.type(count))
    assert.is_true(count >= 1)
  end)

  it("names its constants", function()
    assert.equal("process.STREAM", tostring(STREAM))
    assert.equal("process.DEVNULL", tostring(DEVNULL))
    assert.equal("process.STDOUT", tostring(STDOUT))
  end)

  it("gives streams of lunado.iostream", function()
    run(function()
      local p <close> = Subprocess({ "cat" }, { stdin = STREAM })
      assert.equal(iostream.IOStream, getmetatable(p.stdin))
    end)
  end)
end)
