-- SPDX-License-Identifier: MIT
-- examples/cluster/: jobs on other processes, by a real Redis server.  Workers
-- and servers are killed; that they are known to be dead takes real time.
local luv = require "luv"
local IOLoop = require "lunado.ioloop".IOLoop
local gen = require "lunado.gen"
local tasks = require "lunado.tasks"
local uv = require "lunado.uv"
local util = require "lunado.util"
local frame = require "spec.support.frame"
local free_port = require "spec.support.freeport"
local loops = require "spec.support.loops"

package.path = "./examples/?.lua;" .. package.path
local redis = require "cluster.redis"
local RedisExecutor = require "cluster.executor".RedisExecutor

local await = coroutine.yield
local dumps = require "lunado.concurrent".dumps

local function has(text, plain)
  assert.is_truthy(tostring(text):find(plain, 1, true), tostring(text))
end

local function fails(plain, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  has(err, plain)
  return err
end

-- Peers ----------------------------------------------------------------------

local folder, port, url, running

local function spawn(path, args, stdio)
  local process = uv.spawn(path, { args = args, stdio = stdio })
  running[process] = true
  return process
end

local function kill(process, signal)
  luv.kill(process.pid, signal or "sigkill")
  local code, by = await(process:wait())
  running[process] = nil
  return code, by
end

-- Starts a server with its data in `folder` and waits until it serves; returns
-- the process, or nil if it has ended.
local function try_server()
  local ended = false
  local process = spawn("redis-server", { "--port", tostring(port), "--bind",
    "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes",
    "--logfile", folder .. "/log" })
  process:wait():add_done_callback(function() ended = true end)
  repeat
    local ok, client = pcall(await, redis.connect(url))
    if ok then
      client:close()
      return process
    end
    await(gen.sleep(0.01))
  until ended
  running[process] = nil
end

local function start_server()
  for _ = 1, 10 do
    port = port or free_port()
    url = "redis://127.0.0.1:" .. port
    local process = try_server()
    if process then return process end
    port = nil
  end
  error("redis-server does not start")
end

-- The same port again; others may have it for a moment.
local function restart_server()
  for _ = 1, 50 do
    local process = try_server()
    if process then return process end
    await(gen.sleep(0.05))
  end
  error("redis-server does not start again")
end

local function interpreter()
  local i = 0
  while arg[i - 1] do i = i - 1 end
  return arg[i]
end

-- Starts examples/cluster/<name>.lua; returns the process and the streams of
-- its output.
local function start_script(name, ...)
  local output, errors = uv.new_pipe(false), uv.new_pipe(false)
  local process = spawn("env", { "LUA_PATH=" .. package.path,
    "LUA_CPATH=" .. package.cpath, interpreter(),
    "examples/cluster/" .. name .. ".lua", ... }, { nil, output, errors })
  local IOStream = require("lunado.iostream").IOStream
  return process, IOStream(output), IOStream(errors)
end

-- `lease`: seconds after which it is known to be dead.
local function start_worker(lease, ...)
  local process, output, errors = start_script("worker", "-l",
    tostring(lease or 30), url, ...)
  has(await(output:read_line()), "ready ")
  return process, output, errors
end

local function run_script(name, ...)
  local process, output, errors = start_script(name, ...)
  local out, err = output:read_until_close(), errors:read_until_close()
  local code = await(process:wait())
  running[process] = nil
  return { code = code, out = await(out), err = await(err) }
end

before_each(function()
  frame.begin_default()
  folder = assert(luv.fs_mkdtemp(luv.os_tmpdir() .. "/lunado-XXXXXX"))
  running = {}
end)
after_each(function()
  for process in pairs(running) do luv.kill(process.pid, "sigkill") end
  IOLoop.instance():run_sync(function()
    for process in pairs(running) do await(process:wait()) end
  end, loops.PATIENCE)
  os.execute("rm -rf '" .. folder .. "'")
  frame.finish()
end)

-- The version of Redis, such as 6.2; 0 if it is not found.
local function redis_version()
  local output <close> = io.popen("redis-server --version 2>/dev/null")
  return tonumber(output:read "a":match " v=(%d+%.%d+)") or 0
end

local too_old = redis_version() > 0 and redis_version() < 6.2

-- Calls fn(server) in a coroutine while a server runs.
local function spec(name, fn)
  it(name, function()
    if too_old then return pending "Redis is older than 6.2" end
    IOLoop.instance():run_sync(function()
      port = nil
      fn(start_server())
    end, 2 * loops.PATIENCE)
  end)
end

-- The client -----------------------------------------------------------------

describe("the client", function()
  spec("gives replies of all kinds", function()
    local client <close> = await(redis.connect(url))
    local function call(...) return await(client:call(...)) end
    assert.equal("OK", call("SET", "key", "a\r\nb\0c"))
    assert.equal("a\r\nb\0c", call("GET", "key"))
    assert.is_nil(call("GET", "none"))
    assert.equal(3, call("INCRBY", "count", 3))
    assert.equal("", call("ECHO", ""))
    call("RPUSH", "list", 1, 2.5, "x")
    assert.same({ "1", "2.5", "x", n = 3 }, call("LRANGE", "list", 0, -1))
    assert.same({ n = 0 }, call("LRANGE", "none", 0, -1))
    local page = call("SCAN", 0)
    assert.equal("0", page[1])
    assert.equal(3, page[2].n)
    local long = ("0123456789"):rep(200000)
    assert.is_true(call("ECHO", long) == long)
    assert.is_nil(call("BLPOP", "none", 0.01))
  end)

  spec("sends calls without waiting for replies", function()
    local client <close> = await(redis.connect(url))
    local futures = {}
    for i = 1, 2000 do futures[i] = client:call("INCR", "count") end
    for i, count in ipairs(await(futures)) do assert.equal(i, count) end
  end)

  spec("raises Redis' errors, and goes on", function()
    local client <close> = await(redis.connect(url))
    await(client:call("SET", "key", "text"))
    local bad, good = client:call("LPUSH", "key", 1), client:call("GET", "key")
    local err = fails("WRONGTYPE", await, bad)
    assert.is_true(util.isinstance(err, redis.ReplyError))
    assert.equal("text", await(good))
    local list = await(client:call("EVAL",
      "return {1, redis.error_reply('inner'), 'x'}", 0))
    assert.is_true(util.isinstance(list[2], redis.ReplyError))
    fails("bad argument #2 to 'call' (string or number expected, got nil)",
      client.call, client, "GET", nil)
  end)

  spec("connects with a password and to a database", function()
    local first <close> = await(redis.connect(url))
    await(first:call("CONFIG", "SET", "requirepass", "secret"))
    fails("NOAUTH", await, redis.connect(url))
    fails("WRONGPASS", await,
      redis.connect(("redis://:wrong@127.0.0.1:%d"):format(port)))
    local second <close> = await(redis.connect(
      ("redis://:secret@127.0.0.1:%d/3"):format(port)))
    await(second:call("SET", "key", "three"))
    assert.is_nil(await(first:call("GET", "key")))
    assert.equal("three", await(second:call("GET", "key")))
  end)

  it("names what cannot be reached", function()
    IOLoop.instance():run_sync(function()
      port = free_port()
      local err = fails(("cannot connect to Redis at 127.0.0.1:%d: "
        .. "ECONNREFUSED"):format(port), await,
        redis.connect("redis://127.0.0.1:" .. port))
      assert.is_true(util.isinstance(err, redis.ConnectionError))
    end, loops.PATIENCE)
  end)

  it("refuses other URLs", function()
    for _, wrong in ipairs { "", "http://x", "redis://", "redis://h:0",
      "redis://h:65536", "redis://h:1/x", 5 } do
      fails("bad argument #1 to 'connect' (redis://", redis.connect, wrong)
    end
  end)

  it("refuses other servers", function()
    IOLoop.instance():run_sync(function()
      local server = require "lunado.tcpserver".TCPServer()
      function server.handle_stream(_, stream)
        await(stream:write("HTTP/1.1 400 Bad Request\r\n"))
        stream:close()
      end
      local number = server:listen(0, "127.0.0.1")
      fails("this is not Redis", await,
        redis.connect("redis://127.0.0.1:" .. number))
      server:stop()
    end, loops.PATIENCE)
  end)

  spec("connects again; what was sent has failed", function(server)
    local client <close> = await(redis.connect(url))
    await(client:call("SET", "key", "kept"))
    local sent = client:call("BLPOP", "none", 0)
    kill(server)
    local err = fails("the connection to Redis was lost", await, sent)
    assert.is_true(util.isinstance(err, redis.ConnectionError))
    local waiting, insisted = client:call("GET", "key"),
      client:insist("GET", "key")
    await(gen.sleep(0.02))
    assert.is_false(waiting:done())
    restart_server()
    assert.equal("kept", await(waiting))
    assert.equal("kept", await(insisted))
  end)

  spec("gives up after its patience", function(server)
    local client <close> = await(redis.connect(url, 0.1))
    kill(server)
    fails("cannot connect to Redis at ", await, client:insist("GET", "key"))
    fails("cannot connect to Redis at ", await, client:call("GET", "key"))
  end)

  spec("fails calls when it is closed", function()
    local client = await(redis.connect(url))
    local pending = client:call("BLPOP", "none", 0)
    client:close()
    fails("the client of Redis is closed", await, pending)
    fails("the client of Redis is closed", await, client:call("PING"))
  end)
end)

-- The executor ---------------------------------------------------------------

local function double(n) return 2 * n end

describe("the executor", function()
  spec("gets the results of many jobs", function()
    start_worker()
    start_worker(30, "-j", "2")
    local executor <close> = await(RedisExecutor.connect(url))
    local list, factor = {}, 3
    for i = 1, 300 do list[i] = i end
    local results = await(executor:map(function(n) return n * factor end, list))
    for i = 1, 300 do assert.equal(3 * i, results[i]) end
    assert.same(table.pack(1, nil, { x = 1 }, nil), table.pack(await(
      executor:submit(function(...) return ... end, 1, nil, { x = 1 }, nil))))
    local client <close> = await(redis.connect(url))
    assert.equal(0, await(client:call("LLEN", "lunado:jobs")))
    for _, key in ipairs(await(client:call("KEYS", "*"))) do
      has(key, "lunado:alive:") -- nothing else is left
    end
  end)

  spec("gets errors with their messages and places", function()
    start_worker()
    local executor <close> = await(RedisExecutor.connect(url))
    local function fail() error "broken" end
    local future = executor:submit(fail)
    local place = ("cluster_spec.lua:%d: "):format(
      debug.getinfo(fail, "S").linedefined)
    fails(place .. "broken", await, future)
    has(select(2, future:exc_info()), place .. "in ")
    local ok, err = pcall(await, executor:submit(function()
      error(require "lunado.util".TimeoutError "too late", 0)
    end))
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, util.TimeoutError))
    fails("cannot be sent: cannot send a userdata in a string", await,
      executor:submit(function() return io.stdout end))
    fails("cannot be sent: cannot send a userdata in a string", await,
      executor:submit(function() error(io.stdout, 0) end))
    assert.equal(4, await(executor:submit(double, 2)))
  end)

  spec("refuses what cannot be sent", function()
    local executor <close> = await(RedisExecutor.connect(url))
    fails("cannot send a userdata in a string: argument #2", executor.submit,
      executor, double, io.stdout)
    fails("bad argument #1 to 'submit' (function expected, got nil)",
      executor.submit, executor)
  end)

  spec("refuses wrong options", function()
    fails("unknown option 'x'", RedisExecutor.connect, url, { x = 1 })
    fails("bad option 'name': a b", RedisExecutor.connect, url,
      { name = "a b" })
    for _, wrong in ipairs { 0, -1, "1", 0 / 0 } do
      fails("bad option 'timeout'", RedisExecutor.connect, url,
        { timeout = wrong })
    end
  end)

  spec("fails a job whose result does not come in time", function()
    local executor <close> = await(RedisExecutor.connect(url,
      { timeout = 0.05 }))
    local err = fails("no result within 0.05 seconds", await,
      executor:submit(double, 1))
    assert.is_true(util.isinstance(err, util.TimeoutError))
  end)

  spec("does not run a job that was cancelled before", function()
    local executor <close> = await(RedisExecutor.connect(url))
    local path = folder .. "/ran"
    local function mark() io.open(path, "w"):close() end
    local future = gen.coroutine(function()
      await(executor:submit(mark))
    end)()
    local client <close> = await(redis.connect(url))
    repeat
      await(gen.moment)
    until await(client:call("LLEN", "lunado:jobs")) == 1
    tasks.cancel(future)
    fails("CancelledError", await, future)
    start_worker()
    assert.equal(4, await(executor:submit(double, 2)))
    assert.is_nil(luv.fs_stat(path))
  end)

  spec("keeps clusters of other names apart", function()
    start_worker(30, "-n", "other")
    local executor <close> = await(RedisExecutor.connect(url,
      { timeout = 0.2 }))
    local other <close> = await(RedisExecutor.connect(url, { name = "other" }))
    local lost = executor:submit(double, 1)
    assert.equal(4, await(other:submit(double, 2)))
    fails("no result", await, lost)
  end)

  spec("fails what is pending when it is closed", function()
    local executor = await(RedisExecutor.connect(url))
    local future = executor:submit(double, 1)
    executor:close()
    fails("the executor was closed", await, future)
    fails("the executor was closed", executor.submit, executor, double, 1)
  end)

  spec("fails what is pending when Redis stays away", function(server)
    local executor <close> = await(RedisExecutor.connect(url,
      { patience = 0.1 }))
    local future = executor:submit(double, 1)
    kill(server)
    fails("cannot connect to Redis at ", await, future)
  end)

  it("names what cannot be reached", function()
    IOLoop.instance():run_sync(function()
      fails("cannot connect to Redis at 127.0.0.1:", await,
        RedisExecutor.connect("redis://127.0.0.1:" .. free_port()))
    end, loops.PATIENCE)
  end)
end)

-- What may end at any time ---------------------------------------------------

-- A job: appends a line to the file; the first run of it does not end before
-- the file `flag` is there.
local function tell_and_wait(path, flag, result)
  local file = assert(io.open(path, "a+"))
  local first = file:read "a" == ""
  file:write "x\n"
  file:close()
  while first and not io.open(flag) do os.execute "sleep 0.02" end
  return result
end

local function lines_of(path)
  local file = io.open(path)
  return file and select(2, file:read "a":gsub("\n", "")) or 0
end

local function wait_for(fn)
  while not fn() do await(gen.sleep(0.005)) end
end

local function touch(path) assert(io.open(path, "w")):close() end

describe("a worker that is killed", function()
  spec("has its job run again by another one", function()
    local path, flag = folder .. "/runs", folder .. "/flag"
    local executor <close> = await(RedisExecutor.connect(url))
    local first = start_worker(0.5)
    local future = executor:submit(tell_and_wait, path, flag, "done")
    wait_for(function() return lines_of(path) == 1 end)
    kill(first)
    start_worker(0.5)
    assert.equal("done", await(future))
    assert.equal(2, lines_of(path))
    touch(flag)
  end)

  spec("loses no job, whenever it is", function()
    local executor <close> = await(RedisExecutor.connect(url))
    local futures = {}
    for i = 1, 200 do
      futures[i] = executor:submit(function(n)
        local sum = 0
        for k = 1, 20000 do sum = sum + k % n end
        return n, sum
      end, i)
    end
    start_worker(0.5)
    for i = 1, 3 do
      local worker = start_worker(0.5, "-j", "2")
      wait_for(function() return futures[i * 30]:done() end)
      kill(worker)
    end
    for i = 1, 200 do assert.equal(i, (await(futures[i]))) end
  end)
end)

describe("a move by a connection that was lost", function()
  -- Redis may notice the loss later, and move an element for nobody.
  spec("loses neither a job nor a result", function()
    local executor <close> = await(RedisExecutor.connect(url))
    local client <close> = await(redis.connect(url))
    local function call(...) return await(client:call(...)) end
    local futures = {}
    for i = 1, 2 do
      futures[i] = executor:submit(double, i)
      assert.is_truthy(call("BLMOVE", "lunado:jobs", "away", "RIGHT", "LEFT",
        10))
    end
    start_worker()
    local id = call("KEYS", "lunado:alive:*")[1]:match "%x+$"
    call("LMOVE", "away", "lunado:running:" .. id .. ":1", "RIGHT", "LEFT")
    call("LPUSH", executor.received, "2 +\n" .. dumps "moved")
    assert.same({ 2, "moved" }, await(futures))
  end)
end)

describe("Redis that is killed and restarted", function()
  spec("loses nothing", function(server)
    local executor <close> = await(RedisExecutor.connect(url))
    start_worker(2)
    start_worker(2, "-j", "2")
    local futures = {}
    local function submit(from, to)
      for i = from, to do
        futures[i] = executor:submit(function(n)
          local sum = 0
          for k = 1, 50000 do sum = sum + k % n end
          return n, sum
        end, i)
      end
    end
    submit(1, 300)
    for round = 1, 2 do
      wait_for(function() return futures[round * 50]:done() end)
      kill(server)
      submit(300 + round, 300 + round) -- while it is away
      server = restart_server()
    end
    for i = 1, 302 do assert.equal(i, (await(futures[i]))) end
  end)
end)

-- The commands ---------------------------------------------------------------

describe("worker.lua", function()
  it("says how it is used", function()
    IOLoop.instance():run_sync(function()
      for _, wrong in ipairs { {}, { "x" }, { "-j", "0", "redis://h" },
        { "-l", "0", "redis://h" }, { "-n", "a b", "redis://h" },
        { "redis://h", "redis://h" }, { "-x", "1", "redis://h" } } do
        local result = run_script("worker", table.unpack(wrong))
        assert.equal(2, result.code)
        has(result.err, "usage: lua worker.lua")
      end
    end, loops.PATIENCE)
  end)

  it("says what cannot be reached", function()
    IOLoop.instance():run_sync(function()
      port = free_port()
      local result = run_script("worker", "redis://127.0.0.1:" .. port)
      assert.equal(1, result.code)
      assert.equal(("worker: cannot connect to Redis at 127.0.0.1:%d: "
        .. "ECONNREFUSED\n"):format(port), result.err)
    end, loops.PATIENCE)
  end)

  spec("ends at SIGTERM, after its job", function()
    local path, flag = folder .. "/runs", folder .. "/flag"
    local executor <close> = await(RedisExecutor.connect(url))
    local worker = start_worker(30, "-j", "2")
    local future = executor:submit(tell_and_wait, path, flag, "done")
    wait_for(function() return lines_of(path) == 1 end)
    luv.kill(worker.pid, "sigterm")
    await(gen.sleep(0.05))
    assert.is_false(future:done())
    touch(flag)
    assert.equal("done", await(future))
    local code = await(worker:wait())
    running[worker] = nil
    assert.equal(0, code)
    assert.equal(1, lines_of(path))
  end)
end)

describe("primes.lua", function()
  spec("counts on all workers", function()
    start_worker(30, "-j", "2")
    local result = run_script("primes", url, "100000")
    assert.equal("9592 primes below 100000\n", result.out, result.err)
    assert.equal(2, run_script("primes").code)
  end)
end)
