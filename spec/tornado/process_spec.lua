-- SPDX-License-Identifier: MIT
-- Tornado's process_test, by the names of its functions.
local luv = require "luv"
local process = require "lunado.process"
local case = require "spec.tornado.case"
local child = require "spec.support.child"

local yield = coroutine.yield
local Subprocess = process.Subprocess
local STREAM, STDOUT = process.STREAM, process.STDOUT

describe("ProcessTest", function()
  -- Two workers serve: a line is a status to exit with, or asks for the pid.
  -- The third one is their client, which makes them exit one after another.
  it("test_multi_process", function()
    local result = child [[
      local lunado = require "lunado"
      local process = require "lunado.process"
      local TCPClient = require "lunado.tcpclient".TCPClient
      local server = require "lunado.tcpserver".TCPServer()
      local yield = coroutine.yield
      function server:handle_stream(stream)
        local line = yield(stream:read_line())
        if line ~= "pid" then os.exit(math.tointeger(line)) end
        yield(stream:write(require "luv".os_getpid() .. "\n"))
        stream:close()
      end
      local port = server:listen(0, "127.0.0.1")
      assert(process.task_id() == nil or math.type(process.task_id()))
      local id = process.spawn_workers(3, { max_restarts = 3 })
      assert(id == process.task_id())
      if id < 2 then lunado.IOLoop.current():start() end
      server:stop()

      local function fetch(line, may_fail)
        local stream = yield(TCPClient():connect("127.0.0.1", port))
        yield(stream:write(line .. "\n"))
        local ok, answer = pcall(yield, stream:read_line())
        stream:close()
        assert(ok or may_fail, answer)
        return answer
      end
      lunado.run(function()
        fetch("2", true)
        fetch("3", true)
        assert(math.tointeger(fetch "pid")) -- they were started again
        fetch("0", true) -- not this one
        local pid = fetch "pid"
        fetch("4", true)
        assert(fetch "pid" ~= pid)
        fetch("0", true)
        print "passed"
      end)
      os.exit(0)
    ]]
    assert.equal("passed\n", result.out, result.err)
    assert.equal(0, result.code)
    for _, status in ipairs { 2, 3, 4 } do
      assert.truthy(result.err:find("exited with status " .. status, 1, true))
    end
    assert.is_nil(result.err:find("status 0", 1, true))
  end)
end)

describe("SubprocessTest", function()
  local t
  before_each(function() t = case() end)
  after_each(function() t:close() end)

  local function python(...)
    return { "python3", "-u", ... }
  end

  -- The interactive interpreter, which writes its prompt to stderr.
  local function interactive()
    return Subprocess(python "-i",
      { stdin = STREAM, stdout = STREAM, stderr = STDOUT })
  end

  it("test_subprocess", function()
    t:run(function()
      local subproc <close> = interactive()
      yield(subproc.stdout:read_until ">>> ")
      yield(subproc.stdin:write "print('hello')\n")
      assert.equal("hello\n", yield(subproc.stdout:read_until "\n"))
      yield(subproc.stdout:read_until ">>> ")
      yield(subproc.stdin:write "raise SystemExit\n")
      assert.equal("", yield(subproc.stdout:read_until_close()))
    end)
  end)

  it("test_close_stdin", function()
    t:run(function()
      local subproc <close> = interactive()
      yield(subproc.stdout:read_until ">>> ")
      subproc.stdin:close()
      assert.equal("\n", yield(subproc.stdout:read_until_close()))
    end)
  end)

  it("test_stderr", function()
    t:run(function()
      local subproc <close> = Subprocess(
        python("-c", "import sys; sys.stderr.write('hello\\n')"),
        { stderr = STREAM })
      assert.equal("hello\n", yield(subproc.stderr:read_until "\n"))
    end)
  end)

  it("test_sigchild", function()
    local subproc
    local ret = t:wait(function()
      subproc = Subprocess(python("-c", "pass"))
      subproc:set_exit_callback(t.stop)
    end)
    assert.equal(0, ret)
    assert.equal(ret, subproc.returncode)
  end)

  it("test_sigchild_future", function()
    t:run(function()
      local subproc = Subprocess(python("-c", "pass"))
      local ret = yield(subproc:wait_for_exit())
      assert.equal(0, ret)
      assert.equal(ret, subproc.returncode)
    end)
  end)

  it("test_sigchild_signal", function()
    local subproc
    local ret = t:wait(function()
      subproc = Subprocess(python("-c", "import time; time.sleep(30)"),
        { stdout = STREAM })
      subproc:set_exit_callback(t.stop)
      luv.kill(subproc.pid, "sigterm")
    end)
    assert.equal(ret, subproc.returncode)
    assert.equal(-luv.constants.SIGTERM, ret)
  end)

  it("test_wait_for_exit_raise", function()
    t:run(function()
      local subproc = Subprocess(python("-c", "import sys; sys.exit(1)"))
      local ok, err = pcall(yield, subproc:wait_for_exit())
      assert.is_false(ok)
      assert.equal(1, err.returncode)
    end)
  end)

  it("test_wait_for_exit_raise_disabled", function()
    t:run(function()
      local subproc = Subprocess(python("-c", "import sys; sys.exit(1)"))
      assert.equal(1, yield(subproc:wait_for_exit(false)))
    end)
  end)
end)
