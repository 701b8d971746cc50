-- SPDX-License-Identifier: MIT
-- lunado.process: spawn_workers, with real parents and workers.
local gen = require "lunado.gen"
local luv = require "luv"
local process = require "lunado.process"
local tasks = require "lunado.tasks"
local TCPClient = require "lunado.tcpclient".TCPClient
local IOStream = require "lunado.iostream".IOStream
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local interpreter = require "spec.support.interpreter"
local loops = require "spec.support.loops"

local await = coroutine.yield
local STREAM = process.STREAM

-- What every script begins with.
local HEAD = [[
io.stdout:setvbuf "line"
local lunado = require "lunado"
local process = require "lunado.process"
local TCPServer = require "lunado.tcpserver".TCPServer
local await = coroutine.yield
require "lunado.log".set_level "info"
local server = TCPServer()
function server:handle_stream(stream)
  for line in stream:lines() do
    if line == "die" then os.exit(3) end
    if line == "end" then os.exit(0) end
    local more = ""
    if line == "slow" then
      await(stream:write "go on\n")
      more = await(stream:read_line())
    end
    await(stream:write(process.task_id() .. " " .. line .. more .. "\n"))
  end
end
]]

-- How a worker says that it is up, in the first turn of its loop.
local UP = [[
local loop = lunado.IOLoop.current()
loop:add_callback(function()
  print(("up %d %d %d"):format(process.task_id(), require "luv".os_getpid(),
    port or 0))
end)
]]

local SERVE = HEAD .. [[
local port = server:listen(0, "127.0.0.1")
process.spawn_workers(3, options)
]] .. UP .. [[
loop:start()
print("over " .. process.task_id())
]]

-- Workers ---------------------------------------------------------------------

-- A script that runs: `p`, its process; `up`, a list of { id, pid, port } of
-- the workers that have come up; `out` and `log`, the other lines that it and
-- they have written; `silent` and `logs_nothing`, Futures that are done when
-- all of them are gone.
local Script = {}
Script.__index = Script

local function exists(pid) return luv.kill(pid, 0) == 0 end

local function wait_until(holds)
  while not holds() do await(gen.sleep(0.005)) end
end

-- Calls fn with each line; returns a Future that is done at the end.
local collect = gen.coroutine(function(stream, fn)
  for line in stream:lines() do fn(line) end
end)

-- Starts a script, with the table of options for spawn_workers in words.
local function start(source, options)
  local self = setmetatable({ up = {}, out = {}, log = {},
    path = os.tmpname() }, Script)
  self:write(("local options = { %s }\n"):format(options or "") .. source)
  self.p = process.Subprocess({ "env", "LUA_PATH=" .. package.path,
    "LUA_CPATH=" .. package.cpath, interpreter, self.path, "an argument" },
    { stdout = STREAM, stderr = STREAM })
  self.silent = collect(self.p.stdout, function(line)
    local id, pid, port = line:match "^up (%d+) (%d+) (%d+)$"
    if id then
      self.up[#self.up + 1] = { id = math.tointeger(id),
        pid = math.tointeger(pid), port = math.tointeger(port) }
    else
      self.out[#self.out + 1] = line
    end
  end)
  self.logs_nothing = collect(self.p.stderr, function(line)
    self.log[#self.log + 1] = line
  end)
  return self
end

function Script:write(source)
  local file = assert(io.open(self.path, "w"))
  file:write(source)
  file:close()
end

-- Waits until so many workers have come up since the start.
function Script:wait_for(count)
  wait_until(function()
    return #self.up >= count or self.p.returncode
  end)
  if #self.up < count then error(table.concat(self.log, "\n"), 2) end
end

-- Whether a line of the log has the text.
function Script:logged(text)
  return table.concat(self.log, "\n"):find(text, 1, true) ~= nil
end

-- Whether each of the first three workers has logged that.
function Script:logged_by_all(text)
  for id = 0, 2 do
    if not self:logged(("worker %d %s"):format(id, text)) then return false end
  end
  return true
end

-- Waits for the end of the parent; returns its status.  No worker is left, and
-- all that they have written has come.
function Script:wait()
  local status = await(self.p:wait_for_exit(false))
  await { self.silent, self.logs_nothing }
  for _, worker in ipairs(self.up) do
    assert.is_false(exists(worker.pid), "worker " .. worker.id)
  end
  return status
end

-- Ends what may be left.
function Script:__close()
  self.p:kill "sigkill"
  for _, worker in ipairs(self.up) do luv.kill(worker.pid, "sigkill") end
  os.remove(self.path)
end

function Script:connect()
  return await(TCPClient():connect("127.0.0.1", self.up[1].port))
end

-- Sends a line over a connection of its own; returns the answer.
function Script:ask(line)
  local stream = self:connect()
  await(stream:write(line .. "\n"))
  local answer = await(stream:read_line())
  stream:close()
  return answer
end

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

-- A spec that runs inside a coroutine.
local spec = frame.specs(it, 2 * loops.PATIENCE)

-- -----------------------------------------------------------------------------

describe("spawn_workers", function()
  spec("starts the script again, so many times", function()
    local script <close> = start(HEAD .. [[
      print("task", process.task_id())
      local id = process.spawn_workers(3)
      assert(id == process.task_id() and math.type(id) == "integer")
      assert(arg[1] == "an argument")
    ]] .. UP .. "loop:start()")
    script:wait_for(3)
    local ids, pids = {}, {}
    for i, worker in ipairs(script.up) do
      ids[i], pids[worker.pid] = worker.id, true
    end
    table.sort(ids)
    assert.same({ 0, 1, 2 }, ids)
    assert.is_nil(pids[script.p.pid])
    table.sort(script.out)
    assert.same({ "task\t0", "task\t1", "task\t2", "task\tnil" }, script.out)
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("gives each the parent's sockets", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    for _, worker in ipairs(script.up) do
      assert.equal(script.up[1].port, worker.port)
    end
    local served = {}
    local held = {}
    repeat -- a busy worker leaves connections to the others
      local stream = script:connect()
      held[#held + 1] = stream
      await(stream:write "x\n")
      served[await(stream:read_line())] = true
    until served["0 x"] and served["1 x"] and served["2 x"]
    assert.is_nil(served["nil x"])
    for _, stream in ipairs(held) do stream:close() end
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("tells several sockets apart, local ones too", function()
    local path = os.tmpname()
    os.remove(path)
    local script <close> = start(HEAD .. ("local path = %q\n"):format(path)
      .. [[
      local other, named = TCPServer(), TCPServer()
      function other:handle_stream(stream) await(stream:write "other\n") end
      function named:handle_stream(stream) await(stream:write "named\n") end
      local port, second =
        server:listen(0, "127.0.0.1"), other:listen(0, "127.0.0.1")
      named:listen_unix(path)
      if process.task_id() then print(second) end
      process.spawn_workers(1)
    ]] .. UP .. "loop:start()")
    script:wait_for(1)
    assert.equal("0 first", script:ask "first")
    local port = math.tointeger(script.out[1])
    assert.not_equal(script.up[1].port, port)
    local stream = await(TCPClient():connect("127.0.0.1", port))
    assert.equal("other", await(stream:read_line()))
    stream:close()
    stream = IOStream.pipe()
    await(stream:connect(path))
    assert.equal("named", await(stream:read_line()))
    stream:close()
    script.p:kill()
    assert.equal(0, script:wait())
    assert.is_nil(luv.fs_stat(path))
  end)

  spec("gives them the sockets of all addresses", function()
    local script <close> = start((SERVE:gsub('0, "127.0.0.1"', "0")))
    script:wait_for(3)
    assert.truthy(script:ask "x":find " x$")
    for _, worker in ipairs(script.up) do
      assert.equal(script.up[1].port, worker.port)
    end
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("starts again those that are killed", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    local victim = script.up[2]
    luv.kill(victim.pid, "sigkill")
    script:wait_for(4)
    assert.equal(victim.id, script.up[4].id)
    assert.is_true(script:logged(("worker %d (pid %d) died with SIGKILL, "
      .. "starting it again"):format(victim.id, victim.pid)))
    script:ask "still there"
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("starts again those that end with an error", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    assert.is_false((pcall(script.ask, script, "die")))
    script:wait_for(4)
    assert.is_true(script:logged "exited with status 3, starting it again")
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("starts again those that others have told to end", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    luv.kill(script.up[1].pid, "sigterm")
    script:wait_for(4)
    assert.equal(script.up[1].id, script.up[4].id)
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("does not start again those that end well", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    for _ = 1, 3 do assert.is_false((pcall(script.ask, script, "end"))) end
    assert.equal(0, script:wait())
    assert.equal(3, #script.up)
    assert.is_true(script:logged "exited normally")
  end)

  spec("gives up on workers that die at once", function()
    local began = luv.hrtime()
    local script <close> = start(HEAD .. [[
      if process.task_id() then os.exit(7) end
      process.spawn_workers(1, { max_restarts = 3 })
    ]])
    assert.equal(1, script:wait())
    local seconds = (luv.hrtime() - began) / 1e9
    assert.is_true(seconds >= 0.1 + 0.2 + 0.4) -- later each time
    assert.is_true(script:logged(
      "error: worker 0 exited with status 7; too many restarts (3), giving up"))
    assert.same({}, script.out)
  end)

  spec("ends the others when it gives up", function()
    local script <close> = start(SERVE, "max_restarts = 0")
    script:wait_for(3)
    assert.is_false((pcall(script.ask, script, "die")))
    assert.equal(1, script:wait())
    table.sort(script.out)
    assert.equal(2, #script.out)
    assert.truthy(script.out[1]:find "^over")
  end)

  spec("counts workers that cannot be started", function()
    local script <close> = start(HEAD .. [[
      local core = require "lunado.core"
      core.exepath = function() return "/no/such/interpreter" end
      process.spawn_workers(1, { max_restarts = 1 })
    ]])
    assert.equal(1, script:wait())
    assert.is_true(script:logged 'worker 0 cannot be started: ENOENT: no such '
      and script:logged '"/no/such/interpreter"'
      and script:logged "worker 0 cannot be started; too many restarts (1)")
  end)
end)

describe("a stop", function()
  for _, signal in ipairs { "sigterm", "sigint" } do
    spec("by " .. signal .. " lets connections end", function()
      local script <close> = start(SERVE)
      script:wait_for(3)
      local stream = script:connect()
      await(stream:write "slow\n")
      assert.equal("go on", await(stream:read_line()))
      script.p:kill(signal)
      wait_until(function() return script:logged_by_all "is to end" end)
      wait_until(function() return #script.out >= 2 end) -- the idle workers
      assert.is_false((pcall(script.ask, script, "too late")))
      await(stream:write " but sure\n")
      assert.truthy((await(stream:read_line())):find "^%d slow but sure$")
      stream:close()
      assert.equal(0, script:wait())
      assert.equal(3, #script.out)
      assert.truthy(script.out[3]:find "^over")
    end)
  end

  spec("does not wait for ever for connections", function()
    local script <close> = start(SERVE, "stop_timeout = 0.1")
    script:wait_for(3)
    local stream = script:connect()
    await(stream:write "x\n")
    await(stream:read_line())
    script.p:kill()
    assert.equal(0, script:wait())
    assert.is_true(script:logged "ends with 1 connections open")
    assert.is_false((pcall(await, stream:read_line())))
  end)

  local DEAF = HEAD .. [[
    process.spawn_workers(2, options)
    lunado.IOLoop.current():add_signal_handler("sigterm", function()
      print "deaf"
    end)
  ]] .. UP .. "loop:start()"

  spec("kills workers at the second signal", function()
    local script <close> = start(DEAF)
    script:wait_for(2)
    script.p:kill()
    wait_until(function() return #script.out == 2 end)
    assert.is_nil(script.p.returncode)
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("kills workers that do not end", function()
    local script <close> = start(DEAF, "stop_timeout = 0")
    script:wait_for(2)
    script.p:kill()
    assert.equal(0, script:wait())
    assert.is_true(script:logged "has not ended in 5 s and is killed")
  end)

  -- A script whose workers run this function.
  local function running(main, after)
    return HEAD .. "server:listen(0, '127.0.0.1')\n"
      .. "process.spawn_workers(2, options)\n" .. UP
      .. "print(lunado.run(function()\n" .. main .. "\nend))\n"
      .. (after or "print 'after'")
  end

  -- The lines of both workers, in the order of the alphabet.
  local function twice(script, ...)
    local lines = {}
    for _, line in ipairs { ... } do
      table.insert(lines, line)
      table.insert(lines, line)
    end
    table.sort(lines)
    table.sort(script.out)
    assert.same(lines, script.out)
  end

  -- Whether nothing was written but the lines of the log about starts and ends.
  local function assert_quiet(script)
    for _, line in ipairs(script.log) do
      assert.truthy(line:find "^info: ", line)
    end
  end

  -- A spec: a lunado.run of this function returns once the worker is told to
  -- end, and each worker writes these lines.
  local function returns(name, main, signal, ...)
    local lines = table.pack(...)
    spec(name, function()
      local script <close> = start(running(main))
      script:wait_for(2)
      script.p:kill(signal)
      assert.equal(0, script:wait())
      twice(script, table.unpack(lines))
      assert_quiet(script)
    end)
  end

  returns("ends a lunado.run that waits, and its <close> handlers run", [[
    local _ <close> = setmetatable({}, { __close = function(_, err)
      print("closed", err.reason)
    end })
    await(lunado.locks.Event():wait())
    return "never"
  ]], "sigterm", "closed\tthe worker was told to end", "", "after")

  returns("ends a lunado.run of what returns a Future",
    "return lunado.Future()", "sigint", "", "after")

  returns("lets a lunado.run return what its function still does", [[
    pcall(await, lunado.locks.Event():wait())
    return "last words"
  ]], "sigterm", "last words", "after")

  spec("raises what a lunado.run's function raises then", function()
    local script <close> = start(running [[
      pcall(await, lunado.locks.Event():wait())
      error "cannot end"
    ]])
    script:wait_for(2)
    luv.kill(script.up[1].pid, "sigterm")
    script:wait_for(3) -- it was started again
    assert.is_true(script:logged "cannot end")
    assert.is_true(script:logged "exited with status 1, starting it again")
    script.p:kill()
    assert.equal(0, script:wait())
    assert.same({}, script.out)
  end)

  spec("says so where a lunado.run's function goes on", function()
    local script <close> = start(running [[
      while true do pcall(await, lunado.locks.Event():wait()) end
    ]])
    script:wait_for(2)
    script.p:kill()
    assert.equal(0, script:wait())
    twice(script, "", "after")
    assert.is_true(script:logged "the run has ended, but its function goes on "
      and script:logged(" waits at " .. script.path .. ":"))
  end)

  spec("leaves a later run alone, and an error of loop:stop", function()
    local script <close> = start(running("await(lunado.locks.Event():wait())",
      [[
      print(lunado.run(function()
        await(lunado.sleep(0.01))
        return "cleaned up"
      end))
      print(pcall(lunado.run, function()
        loop:add_callback(loop.stop, loop)
        await(lunado.locks.Event():wait())
      end))
    ]]))
    script:wait_for(2)
    script.p:kill()
    assert.equal(0, script:wait())
    twice(script, "", "cleaned up",
      "false\tException: the IOLoop was stopped before the function was done")
  end)

  spec("ends what runs behind a set-up, too, before it is killed", function()
    local script <close> = start((running("await(lunado.locks.Event():wait())",
      [[
      loop:start()
      print "started"
      print(lunado.run(function()
        local _ <close> = setmetatable({}, { __close = function()
          print "closed"
        end })
        await(lunado.locks.Event():wait())
      end))
    ]]):gsub("options", "{ stop_timeout = 0 }")))
    script:wait_for(2)
    script.p:kill()
    assert.equal(0, script:wait())
    twice(script, "", "started", "closed", "")
    assert.is_false(script:logged "killed")
    assert.is_true(script:logged "still runs its loop, which is ended again")
  end)

  spec("at a SIGHUP ends a lunado.run too", function()
    local script <close> = start(running "await(lunado.locks.Event():wait())")
    script:wait_for(2)
    script.p:kill "sighup"
    script:wait_for(4)
    wait_until(function() return #script.out >= 4 end)
    twice(script, "", "after")
    script.p:kill()
    assert.equal(0, script:wait())
    assert_quiet(script)
  end)

  spec("may be the program's own", function()
    local script <close> = start(HEAD .. [[
      process.spawn_workers(2)
      local loop = lunado.IOLoop.current()
      loop:add_signal_handler("sigterm", function()
        print "mine"
        loop:stop()
      end)
    ]] .. UP .. "loop:start()")
    script:wait_for(2)
    script.p:kill()
    assert.equal(0, script:wait())
    assert.same({ "mine", "mine" }, script.out)
  end)

  spec("comes while workers are being started again", function()
    local script <close> = start(HEAD .. [[
      if process.task_id() == 0 then os.exit(1) end
      process.spawn_workers(2)
    ]] .. UP .. "loop:start()")
    script:wait_for(1)
    wait_until(function() return script:logged "starting it again" end)
    script.p:kill()
    assert.equal(0, script:wait())
  end)
end)

describe("a SIGHUP", function()
  spec("replaces all workers and refuses nobody", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    local asked, over = 0, false
    tasks.group(function(group)
      for _ = 1, 4 do
        group:spawn(function()
          repeat
            assert.truthy((script:ask "load"):find "^%d load$")
            asked = asked + 1
          until over
        end)
      end
      for round = 1, 2 do
        script.p:kill "sighup"
        script:wait_for(3 + 3 * round)
        wait_until(function() return #script.out >= 3 * round end)
      end
      over = true
    end)
    assert.is_true(asked > 10)
    local ids = {}
    for i = 4, 9 do ids[i - 3] = script.up[i].id end
    assert.same({ 0, 1, 2, 0, 1, 2 }, ids)
    for i = 1, 6 do
      wait_until(function() return not exists(script.up[i].pid) end)
    end
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("replaces one only when the new one has come up", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    script:write "error 'broken'"
    script.p:kill "sighup"
    wait_until(function()
      return script:logged "the new one has not come up, the old ones stay"
    end)
    for i = 1, 3 do assert.is_true(exists(script.up[i].pid)) end
    script:ask "x"
    script.p:kill()
    assert.equal(0, script:wait())
    assert.equal(3, #script.up)
  end)

  spec("gives up on new ones that take too long", function()
    local script <close> = start(SERVE, "start_timeout = 0.2")
    script:wait_for(3)
    script:write "while os.clock() < 60 do end"
    script.p:kill "sighup"
    wait_until(function()
      return script:logged "the new one has not come up, the old ones stay"
    end)
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("during another one makes one more round", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    script.p:kill "sighup"
    script:wait_for(4)
    script.p:kill "sighup"
    script.p:kill "sighup"
    script:wait_for(9)
    script.p:kill()
    assert.equal(0, script:wait())
  end)

  spec("does nothing to a worker", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    for i = 1, 3 do luv.kill(script.up[i].pid, "sighup") end
    script:ask "x"
    script.p:kill()
    assert.equal(0, script:wait())
    assert.equal(3, #script.up)
  end)
end)

describe("workers without a parent", function()
  spec("end", function()
    local script <close> = start(SERVE)
    script:wait_for(3)
    local stream = script:connect()
    await(stream:write "slow\n")
    assert.equal("go on", await(stream:read_line()))
    script.p:kill "sigkill"
    wait_until(function() return #script.out >= 2 end)
    await(stream:write "last\n")
    assert.truthy((await(stream:read_line())):find "slowlast$")
    stream:close()
    await(script.silent)
    assert.is_true(script:logged "ends because its parent is gone")
  end)

  spec("end even where the program is deaf", function()
    local script <close> = start(HEAD .. [[
      process.spawn_workers(1, { stop_timeout = 0 })
      local function ignore() end
      lunado.IOLoop.current():add_signal_handler("sigterm", ignore)
    ]] .. UP .. "loop:start()")
    script:wait_for(1)
    script.p:kill "sigkill"
    await(script.silent)
  end)
end)

describe("a worker", function()
  spec("does not keep its loop running", function()
    local script <close> = start(HEAD .. [[
      process.spawn_workers(2)
      lunado.run(function() await(lunado.sleep(0.01)) end)
    ]])
    assert.equal(0, script:wait())
  end)

  spec("starts programs that are no workers", function()
    local script <close> = start(HEAD .. [[
      server:listen(0, "127.0.0.1")
      process.spawn_workers(1)
      lunado.run(function()
        local p = process.Subprocess({ arg[-1], "-e",
          "io.write(tostring(require('lunado.process').task_id()))" },
          { stdout = process.STREAM })
        print((await(p:communicate())))
        p = process.Subprocess({ "sh", "-c", "for fd in 3 4 5 6 7 8 9; do "
          .. "(: <&$fd) 2>/dev/null && echo $fd; done" },
          { stdout = process.STREAM })
        print("<" .. await(p:communicate()) .. ">")
        os.execute "(: <&3) 2>/dev/null && echo inherited; true"
      end)
    ]])
    assert.equal(0, script:wait())
    assert.same({ "nil", "<>" }, script.out)
  end)

  spec("keeps its sockets when a thread loads lunado", function()
    local script <close> = start(HEAD .. [[
      local executor = require "lunado.concurrent".ThreadPoolExecutor(1)
      local port = server:listen(0, "127.0.0.1")
      process.spawn_workers(1)
      lunado.run(function()
        print(await(executor:submit(function()
          require "lunado.tcpserver"
          local process = require "lunado.process"
          local _, err = pcall(process.spawn_workers, 1)
          return process.task_id(), err
        end)))
        executor:shutdown()
      end)
    ]] .. UP .. "loop:start()")
    script:wait_for(1)
    assert.same({ "0\tspawn_workers belongs into the first Lua state of a "
      .. "worker" }, script.out)
    assert.equal("0 x", script:ask "x")
    script.p:kill()
    assert.equal(0, script:wait())
  end)
end)

describe("a wrong call", function()
  local function refused(source, text)
    local result = child("local process = require 'lunado.process'\n" .. source)
    assert.equal(1, result.code)
    text = "script.lua:2: " .. text
    assert.truthy(result.err:find(text, 1, true), result.err)
  end

  it("of arguments is refused", function()
    refused("process.spawn_workers('x')", "bad argument #1 to 'spawn_workers' "
      .. "(number expected, got string)")
    refused("process.spawn_workers(-1)",
      "bad argument #1 to 'spawn_workers' (must not be negative)")
    refused("process.spawn_workers(1, 5)",
      "bad argument #2 to 'spawn_workers' (table expected, got number)")
    refused("process.spawn_workers(1, { restarts = 5 })",
      "bad argument #2 to 'spawn_workers' (unknown option \"restarts\")")
    refused("process.spawn_workers(1, { max_restarts = -5 })",
      "bad argument #2 to 'spawn_workers' (max_restarts: a count expected)")
    refused("process.spawn_workers(1, setmetatable({ restarts = 5 }, "
      .. "{ __pairs = function() return next, {} end, "
      .. "__index = { max_restarts = -5 } }))",
      "bad argument #2 to 'spawn_workers' (max_restarts: a count expected)")
    refused("process.spawn_workers(1, { stop_timeout = 0/0 })",
      "bad argument #2 to 'spawn_workers' (stop_timeout: seconds expected)")
    refused("process.spawn_workers(1, { start_timeout = math.huge })",
      "bad argument #2 to 'spawn_workers' (start_timeout: seconds expected)")
  end)

  it("of options that metamethods give or hide is refused", function()
    refused("process.spawn_workers(1, setmetatable({ none = 1 }, { "
      .. "__pairs = function() return next, {} end, "
      .. "__index = { max_restarts = -5 } }))",
      "bad argument #2 to 'spawn_workers' (max_restarts: a count expected)")
  end)

  it("on a running loop is refused", function()
    refused("require 'lunado'.run(function() process.spawn_workers(1) end)",
      "spawn_workers must be called before the IOLoop runs")
  end)

  it("without a script is refused", function()
    refused("arg = nil process.spawn_workers(1)", "spawn_workers: the global "
      .. "table 'arg' does not name this script")
    refused("arg = setmetatable({}, { __index = function() return 'x' end }) "
      .. "process.spawn_workers(1)", "spawn_workers: the global "
      .. "table 'arg' does not name this script")
    refused("arg[0] = '-' process.spawn_workers(1)", "spawn_workers: a script "
      .. "that is read from stdin cannot be started again")
  end)

  it("in a script on stdin, which Lua does not mention, is refused", function()
    local result = child("require 'lunado.process'.spawn_workers(1)", nil,
      function(command) return (command:gsub("^('.-') ", "%1 < ")) end)
    assert.truthy(result.err:find("stdin:1: spawn_workers: a script that is "
      .. "read from stdin cannot be started again", 1, true), result.err)
  end)
end)
