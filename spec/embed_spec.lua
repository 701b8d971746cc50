-- SPDX-License-Identifier: MIT
-- The programs of examples/embed: what they print; the job server as its
-- clients see it.
local IOLoop = require "lunado.ioloop".IOLoop
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local uv = require "lunado.uv"
local loops = require "spec.support.loops"

local build = os.getenv("LUNADO_BUILD") or "build"
local folder = build .. "/examples/embed/"
local program = folder .. "jobserver"

-- Where there is no cmake build there is no program to test.
local function is_built(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

-- A spec that runs an example with its script, if it has one.
local function prints(name, script, expected)
  it(name .. " prints what it should", function()
    if not is_built(folder .. name) then return pending(name) end
    local pipe = io.popen(("'%s' %s"):format(folder .. name, script))
    local printed = pipe:read("a")
    assert.is_true(pipe:close())
    assert.equal(expected, printed)
  end)
end

describe("the embedding examples", function()
  prints("minimal", "examples/embed/minimal.lua", "a\t1\nb\t1\na\t2\nb\t2\n"
    .. "a\t3\na is done, b is done\n")
  prints("worker", "examples/embed/worker.lua", "60 = 2 * 2 * 3 * 5\n"
    .. "999999999989 = 999999999989\n4611686018427387904 = 2"
    .. (" * 2"):rep(61) .. "\n"
    .. "false\tbad argument #1 to 'factor' (a positive number expected)\n"
    .. "the host's timer went on: yes\n")
  prints("epoll", "", "script\t1\nscript\t2\nscript\t3\n"
    .. "the host's timer went on: yes\n")
end)

local function run(fn)
  return IOLoop.instance():run_sync(fn, loops.PATIENCE)
end

-- A Future of what the stream gives until it ends, or `enough` of it is there.
local function read(stream, enough)
  local future, text = concurrent.Future(), ""
  uv.read_start(stream, function(err, chunk)
    text = text .. (chunk or "")
    if future:done() then return end
    if err then
      future:set_exception(err)
    elseif not chunk or (enough and text:find(enough)) then
      future:set_result(text)
    end
  end)
  return future
end

local server

-- Starts a server whose jobs have so many seconds.
local function start(seconds)
  local out = uv.new_pipe()
  local process = uv.spawn(program, {
    args = { "examples/embed/jobserver.lua", "0", tostring(seconds) },
    stdio = { nil, out, 2 },
  })
  local line = coroutine.yield(read(out, "\n"))
  server = { process = process, out = out,
    port = tonumber(line:match("^listening on 127%.0%.0%.1:(%d+)\n$")) }
  assert.is_truthy(server.port, line)
end

-- Returns how it ended.
local function stop()
  server.process:kill("sigterm")
  local code, signal = coroutine.yield(server.process:wait())
  coroutine.yield(uv.close(server.out))
  return code, signal
end

local function connect()
  local tcp = uv.new_tcp()
  coroutine.yield(uv.tcp_connect(tcp, "127.0.0.1", server.port))
  return tcp
end

-- A Future of what the server answers to the script.
local job = gen.coroutine(function(script)
  local tcp = connect()
  local answer = read(tcp)
  coroutine.yield(uv.write(tcp, script))
  coroutine.yield(uv.shutdown(tcp))
  answer = coroutine.yield(answer)
  coroutine.yield(uv.close(tcp))
  return answer
end)

-- A spec with a server whose jobs have so many seconds, which ends well.
local function spec(name, seconds, fn)
  it(name, function()
    if not is_built(program) then return pending(program .. " is not built") end
    run(function()
      start(seconds)
      local ok, err = pcall(fn)
      local code = stop()
      if not ok then error(err, 0) end
      assert.equal(0, code)
    end)
  end)
end

local function answers(expected, script)
  assert.equal(expected, coroutine.yield(job(script)))
end

describe("the job server", function()
  before_each(function() IOLoop.clear_current() end)

  spec("runs scripts and tells what they print and return", 60, function()
    answers("1\ttwo\tnil\nok 42\n", "print(1, 'two', nil) return 6 * 7")
    answers("ok a nil true\n", "sleep(0.01) return 'a', nil, true")
    answers("ok\n", "")
  end)

  spec("tells of errors", 60, function()
    answers("error job:1: no\n", "error('no')")
    answers("error job:1: unexpected symbol near '='\n", "x = = 1")
    answers("error attempt to load a binary chunk (mode is 't')\n", "\27Lua")
    answers("error job:1: attempt to index a nil value (global 'io')\n",
      "io.open('/etc/passwd')")
  end)

  spec("runs jobs side by side", 60, function()
    local began
    repeat -- a busy machine may need a second try
      began = IOLoop.current():time()
      local jobs = {}
      for i = 1, 20 do jobs[i] = job("sleep(0.2) return " .. i) end
      for i, answer in ipairs(coroutine.yield(jobs)) do
        assert.equal("ok " .. i .. "\n", answer)
      end
    until IOLoop.current():time() - began < 20 * 0.2
  end)

  spec("has no function that takes long by itself", 60, function()
    answers("ok nil nil nil\n",
      "return string.gsub, ('x').gsub, ('x').match")
    answers("ok 2 nil\n",
      "return ('a.c'):find('.', 1), ('a.c'):find '[.]'")
    answers("error resulting string too large\n",
      "return ('').rep('', 1e18)")
    answers("ok a,b,c\n",
      "local t = { 'c', 'a', 'b' } table.sort(t)"
        .. " return table.concat(t, ',')")
  end)

  spec("does not let one hold the others", 1, function()
    local busy = { job("while true do end"), job("while true do end") }
    local began = IOLoop.current():time()
    local answer = coroutine.yield(job "sleep(0.05) return 1")
    if IOLoop.current():time() - began < 1 then
      assert.equal("ok 1\n", answer)
      assert.is_false(busy[1]:done() or busy[2]:done())
    end
    for _, text in ipairs(coroutine.yield(busy)) do
      assert.equal("timeout\n", text)
    end
  end)

  spec("has a job wait for a client that does not read", 1, function()
    local tcp = connect()
    coroutine.yield(uv.write(tcp, "while true do print(('x'):rep(1e5)) end"))
    coroutine.yield(uv.shutdown(tcp))
    for _ = 1, 2 do coroutine.yield(job "sleep(0.6)") end
    assert.is_true(#coroutine.yield(read(tcp)) < 12e6)
    coroutine.yield(uv.close(tcp))
  end)

  spec("parts from clients that do not send", 0.1, function()
    local tcp = connect()
    coroutine.yield(uv.write(tcp, "return 'half a"))
    assert.equal("", coroutine.yield(read(tcp)))
    coroutine.yield(uv.close(tcp))
  end)

  spec("ends jobs that take too long, whatever they do", 1, function()
    local answered = coroutine.yield {
      job("sleep(1000)"),
      job("pcall(sleep, 1000) return 'caught'"),
      job("while true do end"),
      job("while true do pcall(function() while true do end end) end"),
      job("table.sort({ 1, 2 }, function() while true do end end)"),
    }
    for _, answer in ipairs(answered) do assert.equal("timeout\n", answer) end
    answers("ok still here\n", "return 'still here'")
  end)

  spec("runs the <close> handlers of a job that it cancels", 1, function()
    local tidy = "local _ <close> = defer(function() print 'tidy' end) "
    local answered = coroutine.yield {
      job(tidy .. "sleep(1000)"),
      job(tidy .. "while true do end"),
      job(tidy .. "pcall(sleep, 1000) sleep(1000)"),
      job(tidy .. "pcall(function() while true do end end) sleep(1000)"),
      job(tidy .. "table.sort({ 1, 2 }, function() while true do end end)"),
    }
    for _, answer in ipairs(answered) do
      assert.equal("tidy\ntimeout\n", answer)
    end
  end)

  spec("lets no <close> handler outlive its job", 1, function()
    local answered = coroutine.yield {
      job("local _ <close> = defer(function() sleep(1000) end) sleep(1000)"),
      job("local _ <close> = defer(function() while true do end end) "
        .. "sleep(1000)"),
      job("local _ <close> = defer(function() "
        .. "while true do pcall(sleep, 1000) end end) while true do end"),
    }
    for _, answer in ipairs(answered) do assert.equal("timeout\n", answer) end
    answers("ok still here\n", "return 'still here'")
  end)

  spec("has a limit of memory", 60, function()
    answers("error job:1: resulting string too large\n",
      "local s = ('x'):rep(1e9)")
    answers("error not enough memory\n",
      "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e5) .. i end")
    answers("ok 10\n", "return #('x'):rep(10)")
  end)

  spec("does not mind clients that go away", 60, function()
    local early, late = connect(), connect()
    coroutine.yield(uv.close(early))
    coroutine.yield(uv.write(late, "sleep(0.05) print 'to nobody'"))
    coroutine.yield(uv.shutdown(late))
    coroutine.yield(uv.close(late))
    local long = connect()
    local answer = read(long)
    pcall(coroutine.yield, uv.write(long, ("-"):rep(100000)))
    pcall(coroutine.yield, answer)
    coroutine.yield(uv.close(long))
    answers("ok\n", "sleep(0.1)")
  end)

  spec("ends with jobs under way", 60, function()
    local waiting = connect()
    coroutine.yield(uv.write(waiting, "sleep(1000)"))
    coroutine.yield(uv.shutdown(waiting))
    answers("ok\n", "")
    coroutine.yield(uv.close(waiting))
  end)
end)
