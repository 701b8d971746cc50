-- SPDX-License-Identifier: MIT
-- lunado.uv: luv's asynchronous functions as functions that return Futures.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local luv = require "luv"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local streams = require "spec.support.streams"

local await = coroutine.yield

-- luv has one loop in each Lua state: the default one.
local run = frame.run

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

local function fails(pattern, future)
  local ok, err = pcall(await, future)
  assert.is_false(ok)
  assert.is_string(err)
  assert.is_truthy(err:find(pattern), err)
end

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

describe("the module", function()
  it("gives luv's synchronous names unchanged", function()
    for _, name in ipairs { "new_tcp", "new_timer", "fs_scandir_next",
      "hrtime", "os_getenv", "cwd" } do
      assert.equal(luv[name], uv[name])
    end
    assert.same(luv.constants, uv.constants)
  end)

  it("makes each function once", function()
    assert.equal(uv.fs_stat, uv.fs_stat)
    assert.not_equal(luv.fs_stat, uv.fs_stat)
  end)

  it("has no names of its own invention", function()
    assert.is_nil(uv.fly)
    assert.is_nil(uv[1])
  end)

  it("is the same after package.loaded was cleared", function()
    package.loaded["lunado.uv"] = nil
    assert.equal(uv, require "lunado.uv")
  end)

  it("is a field of lunado", function()
    assert.equal(uv, require("lunado").uv)
  end)

  it("has a Future for every file function of luv with a callback", function()
    for name, fn in pairs(luv) do
      if name:find("^fs_") and name ~= "fs_scandir_next"
        and not name:find("^fs_event_") and not name:find("^fs_poll_") then
        assert.not_equal(fn, uv[name], name)
      end
    end
  end)

  it("names luv if luv is missing", function()
    local result = child [[
      for i, searcher in ipairs(package.searchers) do
        package.searchers[i] = function(name)
          if name == "luv" then return "\n\tnowhere" end
          return searcher(name)
        end
      end
      print(pcall(require, "lunado.uv"))
    ]]
    assert.equal(0, result.code)
    assert.is_truthy(result.out:find("lunado.uv needs luv", 1, true))
    assert.is_truthy(result.out:find("module 'luv' not found", 1, true))
  end)
end)

describe("files", function()
  local folder
  before_each(function()
    folder = assert(luv.fs_mkdtemp(luv.os_tmpdir() .. "/lunado-XXXXXX"))
  end)
  after_each(function()
    local entries = luv.fs_scandir(folder)
    for name in luv.fs_scandir_next, entries do
      luv.fs_unlink(folder .. "/" .. name)
    end
    luv.fs_rmdir(folder)
  end)

  local function write(name, text)
    local fd = await(uv.fs_open(folder .. "/" .. name, "w", 384))
    assert.equal(#text, await(uv.fs_write(fd, text)))
    assert.is_true(await(uv.fs_close(fd)))
    return folder .. "/" .. name
  end

  local function read(path)
    local fd = await(uv.fs_open(path, "r"))
    local text = await(uv.fs_read(fd, 1000))
    await(uv.fs_close(fd))
    return text
  end

  spec("are written, described and read", function()
    local path = write("a", "eins\0zwei")
    assert.equal(9, await(uv.fs_stat(path)).size)
    assert.equal("eins\0zwei", read(path))
    assert.is_true(await(uv.fs_access(path, "r")))
    assert.is_false(await(uv.fs_access(path .. "x", "r")))
  end)

  spec("are read and written at an offset, or where the last call ended",
    function()
      local path = write("a", "abcdef")
      local fd = await(uv.fs_open(path, "r+"))
      assert.equal("ab", await(uv.fs_read(fd, 2)))
      assert.equal("cd", await(uv.fs_read(fd, 2, nil)))
      assert.equal("f", await(uv.fs_read(fd, 2, 5)))
      assert.equal("", await(uv.fs_read(fd, 2, 6)))
      assert.equal(1, await(uv.fs_write(fd, "X", 0)))
      await(uv.fs_close(fd))
      assert.equal("Xbcdef", read(path))
    end)

  spec("are renamed, copied, linked and removed", function()
    local path = write("a", "text")
    await(uv.fs_rename(path, folder .. "/b"))
    await(uv.fs_copyfile(folder .. "/b", folder .. "/c"))
    await(uv.fs_symlink("c", folder .. "/d"))
    assert.equal("c", await(uv.fs_readlink(folder .. "/d")))
    assert.equal("link", await(uv.fs_lstat(folder .. "/d")).type)
    assert.equal("text", read(folder .. "/d"))
    await(uv.fs_unlink(folder .. "/d"))
    fails("^ENOENT", uv.fs_stat(folder .. "/d"))
  end)

  spec("are made with the umask's mode unless one is given", function()
    local path = folder .. "/new"
    await(uv.fs_close(await(uv.fs_open(path, "w"))))
    local file = assert(io.open(folder .. "/usual", "w"))
    file:close()
    assert.equal(await(uv.fs_stat(folder .. "/usual")).mode,
      await(uv.fs_stat(path)).mode)
    await(uv.fs_close(await(uv.fs_open(folder .. "/own", "w", 256))))
    assert.equal(256, await(uv.fs_stat(folder .. "/own")).mode & 511)
  end)

  local function sorted(list)
    table.sort(list)
    return list
  end

  spec("are listed by scandir", function()
    write("a", "")
    write("b", "")
    local found = {}
    for name, kind in uv.fs_scandir_next, await(uv.fs_scandir(folder)) do
      assert.equal("file", kind)
      found[#found + 1] = name
    end
    assert.same({ "a", "b" }, sorted(found))
  end)

  spec("are listed by opendir, in portions", function()
    for _, name in ipairs { "a", "b", "c" } do write(name, "") end
    local dir, found, portions = await(uv.fs_opendir(folder, 2)), {}, 0
    while true do
      local entries = await(uv.fs_readdir(dir))
      if not entries then break end
      portions = portions + 1
      for _, entry in ipairs(entries) do found[#found + 1] = entry.name end
    end
    assert.is_true(await(uv.fs_closedir(dir)))
    assert.same({ "a", "b", "c" }, sorted(found))
    assert.equal(2, portions)
    await(uv.fs_closedir(await(uv.fs_opendir(folder))))
  end)

  spec("may be many at once", function()
    local path, stats = write("a", "x"), {}
    for i = 1, 200 do stats[i] = uv.fs_stat(path) end
    assert.equal(200, #await(stats))
  end)

  spec("fail with luv's words, at the yield", function()
    local path = folder .. "/none"
    local ok, err = pcall(await, uv.fs_open(path, "r"))
    assert.is_false(ok)
    assert.equal("ENOENT: no such file or directory: " .. path, err)
  end)
end)

describe("an argument that is wrong", function()
  it("is named at the caller's line", function()
    bad(function() uv.fs_stat() end, 1, "fs_stat", "string", "nil")
    bad(function() local _ = uv.fs_stat(true) end, 1, "fs_stat", "string",
      "boolean")
    bad(function() uv.fs_open("x", {}) end, 2, "fs_open")
    bad(function() uv.fs_opendir(".", "x") end, 2, "fs_opendir", "number",
      "string")
    bad(function() uv.tcp_connect(1, "127.0.0.1", 1) end, 1, "tcp_connect",
      "uv_tcp", "number")
    bad(function() uv.write({}, "x") end, 1, "write")
    bad(function() uv.close(5) end, 1, "close")
    bad(function() uv.signal("sigsad") end, 1, "signal", "signal", "sigsad")
    bad(function() uv.signal() end, 1, "signal", "signal", "nil")
    bad(function() uv.spawn(5.5 .. "", 5) end, 2, "spawn")
  end)

  it("is a callback: there is a Future for that", function()
    bad(function() uv.fs_stat(".", print) end, 2, "fs_stat", "no value")
    bad(function() uv.fs_open(".", "r", 0, print) end, 4, "fs_open")
  end)

  spec("fails the Future where luv finds it too late", function()
    local tcp = uv.new_tcp()
    fails("nowhere", uv.tcp_connect(tcp, "nowhere", 1))
    fails("^EINVAL", uv.getaddrinfo())
    await(uv.close(tcp))
  end)
end)

describe("names and addresses", function()
  spec("are looked up both ways", function()
    local list = await(uv.getaddrinfo("127.0.0.1", nil,
      { socktype = "stream", family = "inet" }))
    assert.equal("127.0.0.1", list[1].addr)
    local ok, host, service =
      pcall(await, uv.getnameinfo { ip = "127.0.0.1", port = 65000 })
    assert.is_string(host)
    if ok then
      assert.equal("65000", service)
    else -- without /etc/hosts and a name server
      assert.is_truthy(host:find("^EAI_AGAIN"), host)
    end
  end)

  spec("that do not exist fail", function()
    fails("^EAI_", uv.getaddrinfo("256.256.256.256", nil,
      { numerichost = true }))
  end)
end)

describe("random", function()
  spec("gives bytes", function()
    assert.equal(16, #await(uv.random(16)))
    fails("^EINVAL", uv.random(16, 7))
  end)
end)

describe("streams", function()
  -- Sends back what comes; ends when the other side does.
  local function echo(client)
    uv.read_start(client, function(err, data)
      if data and not err then
        uv.write(client, data)
      else
        uv.close(client)
      end
    end)
  end

  local function serve(server, new)
    assert(uv.listen(server, 8, function(err)
      assert(not err, err)
      local client = new()
      assert(uv.accept(server, client))
      echo(client)
    end))
  end

  spec("of TCP connect, write, shut down and close", function()
    local server = uv.new_tcp()
    assert(uv.tcp_bind(server, "127.0.0.1", 0))
    serve(server, uv.new_tcp)
    local client = uv.new_tcp()
    await(uv.tcp_connect(client, "127.0.0.1",
      uv.tcp_getsockname(server).port))
    local answer = streams.read_all(client)
    await(uv.write(client, "one "))
    await(uv.write(client, { "two ", "three" }))
    await(uv.shutdown(client))
    assert.equal("one two three", await(answer))
    await { uv.close(client), uv.close(server) }
    assert.is_true(uv.is_closing(client))
  end)

  spec("of local sockets do, too", function()
    local path = os.tmpname()
    os.remove(path)
    local server, client = uv.new_pipe(false), uv.new_pipe(false)
    assert(uv.pipe_bind(server, path))
    serve(server, function() return uv.new_pipe(false) end)
    await(uv.pipe_connect(client, path))
    local answer = streams.read_all(client)
    await(uv.write(client, "text"))
    await(uv.shutdown(client))
    assert.equal("text", await(answer))
    await { uv.close(client), uv.close(server) }
    fails("^ENOENT", uv.pipe_connect(uv.new_pipe(false), path))
  end)

  -- A port on which nobody listens.
  local function closed_port()
    local probe = uv.new_tcp()
    assert(uv.tcp_bind(probe, "127.0.0.1", 0))
    local port = uv.tcp_getsockname(probe).port
    await(uv.close(probe))
    return port
  end

  spec("fail with what went wrong", function()
    local client = uv.new_tcp()
    fails("^ECONNREFUSED", uv.tcp_connect(client, "127.0.0.1", closed_port()))
    await(uv.close(client))
    local other = uv.new_tcp()
    fails("^EBADF", uv.write(other, "text"))
    fails("^ENOTCONN", uv.shutdown(other))
    await(uv.close(other))
  end)

  spec("that are closed fail what is under way", function()
    local server, client = uv.new_tcp(), uv.new_tcp()
    assert(uv.tcp_bind(server, "127.0.0.1", 0))
    assert(uv.listen(server, 1, function() end))
    local connected = uv.tcp_connect(client, "127.0.0.1",
      uv.tcp_getsockname(server).port)
    local closed = uv.close(client)
    fails("^ECANCELED", connected)
    await(closed)
    fails("closing", uv.close(client))
    await(uv.close(server))
  end)

  spec("write at once what the system takes, and all of it in order", function()
    local to, from = streams.one_way()
    local sent, writes, pending = {}, {}, 0
    assert.is_true(uv.write(to, "first"):done())
    sent[1] = "first"
    for i = 1, 200 do
      local text = ("%d "):format(i):rep(i * 7)
      sent[#sent + 1] = text
      writes[i] = uv.write(to, text)
      if not writes[i]:done() then pending = pending + 1 end
    end
    assert.is_true(pending > 0 and pending < 200, pending)
    local got, size, all = {}, 0, #table.concat(sent)
    local read = concurrent.Future()
    from:read_start(function(err, data)
      assert(not err, err)
      got[#got + 1] = data
      size = size + #data
      if size == all then read:set_result() end
    end)
    await(writes)
    await(read)
    assert.equal(table.concat(sent), table.concat(got))
    await { uv.close(to), uv.close(from) }
  end)

  it("write nothing from an empty list", function()
    local result = child [[
      local lunado = require "lunado"
      local uv = lunado.uv
      lunado.run(function()
        local ends = uv.socketpair()
        local here = uv.new_pipe(false)
        assert(here:open(ends[1]))
        coroutine.yield(uv.write(here, {}), uv.write(here, { "text" }),
          uv.write(here, { name = "nothing" }))
        print(coroutine.yield(uv.fs_read(ends[2], 10)))
        local udp = uv.new_udp()
        coroutine.yield(uv.udp_send(udp, {}, "127.0.0.1", 9))
        coroutine.yield { uv.close(here), uv.close(udp) }
      end)
    ]]
    assert.same({ code = 0, out = "text\n", err = "" }, result)
  end)

  it("fail a write by their own methods, too", function()
    for _, write in ipairs { "here:write('text', print)",
      "print(here:try_write('text'))" } do
      local result = child(([[
        local lunado = require "lunado"
        local uv = require "lunado.uv"
        lunado.run(function()
          local ends = uv.socketpair()
          local here = uv.new_pipe(false)
          assert(here:open(ends[1]))
          coroutine.yield(uv.fs_close(ends[2]))
          %s
          coroutine.yield(lunado.sleep(0.001))
          coroutine.yield(uv.close(here))
        end)
      ]]):format(write))
      assert.equal(0, result.code)
      assert.is_truthy(result.out:find("EPIPE", 1, true), result.out)
    end
  end)

  it("fail a write to a peer that is gone, and nothing else", function()
    local result = child [[
      local lunado = require "lunado"
      local uv = require "lunado.uv"
      lunado.run(function()
        local ends = uv.socketpair()
        local here = uv.new_pipe(false)
        assert(uv.pipe_open(here, ends[1]))
        coroutine.yield(uv.fs_close(ends[2]))
        print(pcall(coroutine.yield, uv.write(here, "text")))
        coroutine.yield(uv.close(here))
      end)
    ]]
    assert.equal("", result.err)
    assert.is_truthy(result.out:find("^false\tEPIPE"), result.out)
    assert.equal(0, result.code)
  end)

  spec("of datagrams send", function()
    local receiver, sender = uv.new_udp(), uv.new_udp()
    local got = concurrent.Future()
    assert(uv.udp_bind(receiver, "127.0.0.1", 0))
    assert(uv.udp_recv_start(receiver, function(err, data)
      if data and not got:done() then got:set_result(err or data) end
    end))
    await(uv.udp_send(sender, "text", "127.0.0.1",
      uv.udp_getsockname(receiver).port))
    assert.equal("text", await(got))
    await { uv.close(receiver), uv.close(sender) }
  end)
end)

describe("a process", function()
  local function shell(command)
    return uv.spawn("/bin/sh", { args = { "-c", command } })
  end

  spec("is waited for, by any number", function()
    local process = shell("exit 7")
    assert.is_number(process.pid)
    assert.equal("lunado.uv.Process: " .. process.pid, tostring(process))
    local code, signal = await(process:wait())
    assert.equal(7, code)
    assert.equal(0, signal)
    assert.equal(7, (await(process:wait())))
    assert.is_true(uv.is_closing(process.handle))
  end)

  spec("is ended by a signal", function()
    local process = shell("exec sleep 60")
    assert.is_true(process:kill("sigkill"))
    local code, signal = await(process:wait())
    assert.equal(0, code)
    assert.equal(9, signal)
    local done, err = process:kill()
    assert.is_nil(done)
    assert.is_truthy(err:find("^ESRCH"))
  end)

  spec("may be killed with a name that is known only", function()
    local process = shell("exec sleep 60")
    bad(function() process:kill("sigsad") end, 1, "kill", "signal", "sigsad")
    bad(function() process:kill({}) end, 1, "kill", "signal", "table")
    assert.is_truthy(select(2, process:kill(99)):find("^EINVAL"))
    assert.is_true(process:kill())
    assert.equal(15, select(2, await(process:wait())))
  end)

  spec("writes to a pipe", function()
    local output, all = uv.new_pipe(false), {}
    local process = uv.spawn("/bin/sh",
      { args = { "-c", "echo one; echo two" }, stdio = { nil, output } })
    local ended = concurrent.Future()
    uv.read_start(output, function(err, data)
      assert(not err, err)
      all[#all + 1] = data
      if not data then ended:set_result() end
    end)
    await { process:wait(), ended }
    assert.equal("one\ntwo\n", table.concat(all))
    await(uv.close(output))
  end)

  spec("that cannot be started raises luv's error", function()
    local ok, err = pcall(uv.spawn, "/no/such/program", {})
    assert.is_false(ok)
    assert.is_truthy(err:find("^ENOENT"), err)
    assert.is_truthy(err:find("/no/such/program", 1, true), err)
  end)

  spec("needs no options", function()
    assert.equal(0, (await(uv.spawn("true"):wait())))
  end)
end)

describe("a signal", function()
  spec("is waited for once", function()
    for _ = 1, 3 do
      local future = uv.signal("sigusr1")
      assert.is_false(future:done())
      luv.kill(luv.os_getpid(), "sigusr1")
      assert.equal("sigusr1", await(future))
    end
  end)

  spec("reaches all who wait for it", function()
    local futures = { uv.signal("sigusr2"), uv.signal("sigusr2") }
    luv.kill(luv.os_getpid(), "sigusr2")
    assert.same({ "sigusr2", "sigusr2" }, await(futures))
  end)

  spec("that no process can catch fails", function()
    fails("^EINVAL", uv.signal("sigkill"))
  end)
end)

describe("work on libuv's threads", function()
  spec("takes and returns plain values as they are", function()
    local results = table.pack(await(uv.queue_work(function(...)
      return select("#", ...), ...
    end, 1, 1.0, nil, true, false, "a\0b", math.mininteger, 0.1, nil)))
    assert.same({ 9, 1, 1.0, nil, true, false, "a\0b", math.mininteger, 0.1,
      nil, n = 10 }, results)
    assert.equal("integer", math.type(results[2]))
    assert.equal("float", math.type(results[3]))
  end)

  spec("takes any number of them", function()
    local numbers = {}
    for i = 1, 100 do numbers[i] = i end
    assert.same(numbers, { await(uv.queue_work(function(...)
      return ...
    end, table.unpack(numbers))) })
  end)

  spec("has Lua's standard library", function()
    assert.equal("ABC", await(uv.queue_work(function(text)
      return string.upper(text)
    end, "abc")))
  end)

  spec("answers each call with its own result", function()
    local futures = {}
    for i = 1, 50 do
      futures[i] = uv.queue_work(function(n) return n * n end, i)
    end
    for i, square in ipairs(await(futures)) do
      assert.equal(i * i, square)
    end
  end)

  spec("fails with the error", function()
    fails("uv_spec.lua:%d+: broken$", uv.queue_work(function()
      error("broken")
    end))
    local ok, err = pcall(await, uv.queue_work(function() error(42) end))
    assert.is_false(ok)
    assert.equal(42, err)
    fails("^table: ", uv.queue_work(function() error({}) end))
    fails("without a text", uv.queue_work(function()
      error(setmetatable({}, { __tostring = error }))
    end))
  end)

  spec("fails when a result cannot be sent", function()
    fails("cannot send a table from a thread: result #2",
      uv.queue_work(function() return 1, {} end))
  end)

  it("refuses values that cannot be sent", function()
    local upvalue = 1
    bad(function() uv.queue_work() end, 1, "queue_work", "function", "nil")
    bad(function() uv.queue_work(print) end, 1, "queue_work",
      "Lua function", "a C function")
    bad(function() uv.queue_work(function() return upvalue end) end, 1,
      "queue_work")
    bad(function() uv.queue_work(function() end, 1, {}) end, 3, "queue_work",
      "cannot send a table")
  end)
end)

describe("a job under way at the end of the state", function()
  local BUSY <const> = [[
    local start = os.clock()
    while os.clock() - start < 0.05 do end
  ]]
  local scripts = {
    ["of lunado.uv"] = [[
      require "lunado.uv".queue_work(function() %s end)
    ]],
    ["of luv's, required later"] = [[
      local lunado = require "lunado"
      lunado.run(function() end)
      local luv = require "luv"
      luv.new_work(function() %s end, print):queue()
    ]],
    ["of luv's, required before"] = [[
      local luv = require "luv"
      local work = luv.new_work(function() %s end, print)
      local lunado = require "lunado"
      lunado.run(function() end)
      work:queue()
    ]],
  }

  -- The script ends with this code and says nothing, except that the job takes
  -- long where the machine is loaded.
  local function harmless(code, script)
    local result = child(script)
    result.err = result.err:gsub("^warning: the end of the Lua state waits "
      .. "for a job [^\n]*\n$", "")
    assert.same({ code = code, out = "", err = "" }, result)
  end

  for whose, script in pairs(scripts) do
    it("does no harm: one " .. whose, function()
      harmless(0, script:format(BUSY))
    end)
  end

  local orders = {
    ["luv first"] = [[
      local luv = require "luv"
      local loop = require "lunado".IOLoop.current()
    ]],
    ["lunado first"] = [[
      local loop = require "lunado".IOLoop.current()
      local luv = require "luv"
    ]],
  }
  local ends = {
    ["of a callback of the loop"] = [[
      for _ = 1, 8 do luv.new_work(function() %s end, print):queue() end
      loop:add_callback(os.exit, 3, true)
      loop:start()
    ]],
    ["of its own callback"] = [[
      luv.new_work(function() %s end, function() os.exit(3, true) end):queue()
      loop:start()
    ]],
    ["where the registry holds work that has no job"] = [[
      local function busy() %s end
      debug.getregistry().mine = luv.new_work(busy, print)
      os.exit(3, true)
    ]],
  }
  for order, first in pairs(orders) do
    for whence, script in pairs(ends) do
      it(("does no harm %s (%s)"):format(whence, order), function()
        harmless(3, first .. script:format(BUSY))
      end)
    end

    it(("is reported when it takes long (%s)"):format(order), function()
      local path = os.tmpname()
      os.remove(path)
      local r = child(first .. ([[
        require "lunado.log".set_handler(function(level, message)
          print(level, message)
          io.open(%q, "w"):close() -- ends the job
        end)
        luv.new_work(function(name)
          while not io.open(name) do end
        end, print):queue(%q)
      ]]):format(path, path))
      os.remove(path)
      assert.same({ code = 0, err = "", out = "warning\tthe end of the Lua "
        .. "state waits for a job of luv's (queue_work), which cannot be "
        .. "stopped\n" }, r)
    end)
  end
end)

describe("a Future of luv's", function()
  spec("that somebody else settled stays as it is", function()
    local stat, none = uv.fs_stat("."), uv.fs_stat("/no/such/file")
    stat:set_result("mine")
    none:set_result("mine, too")
    await(uv.fs_stat("."))
    await(gen.sleep(0.01))
    assert.same({ "mine", "mine, too" }, await { stat, none })
    gc.collect()
    assert.equal(1, log:count("never retrieved: ENOENT"), log:text())
    log:clear()
  end)

  spec("can time out", function()
    local pipe = uv.new_pipe(false)
    local ok, err = pcall(await, gen.with_timeout({ seconds = 0.01 },
      uv.signal("sigwinch")))
    assert.is_false(ok)
    assert.equal("TimeoutError: Timeout", tostring(err))
    luv.kill(luv.os_getpid(), "sigwinch")
    await(uv.close(pipe))
  end)

  it("whose error is never retrieved is logged", function()
    run(function()
      local stat = uv.fs_stat("/no/such/file")
      while not stat:done() do await() end
    end)
    gc.collect()
    assert.equal(1, log:count("ENOENT: no such file or directory"))
    log:clear()
  end)
end)

describe("a function that luv may get later", function()
  -- Runs the source in a state of its own, whose luv it may change.
  local function later(source)
    local result = child(([[
      local lunado = require "lunado"
      local luv, uv = require "luv", require "lunado.uv"
      local await = coroutine.yield
      %s]]):format(source))
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return result.out
  end

  it("has its callback behind the arguments given", function()
    assert.equal("1\t2\nfalse\tEIO\n", later [[
      function luv.fs_later(a, b, callback)
        return luv.fs_stat(".", function() callback(nil, a, b) end)
      end
      function luv.fs_fails(callback)
        return luv.fs_stat(".", function() callback("EIO") end)
      end
      lunado.run(function()
        print(await(uv.fs_later(1, 2)))
        print(pcall(await, uv.fs_fails()))
      end)
    ]])
  end)

  it("may have no callback", function()
    assert.equal("1\tnow\nfalse\tEIO: i/o error\n", later [[
      function luv.fs_now(a) return a, "now" end
      function luv.fs_fails() return nil, "EIO: i/o error", "EIO" end
      lunado.run(function()
        print(await(uv.fs_now(1)))
        print(pcall(await, uv.fs_fails()))
      end)
    ]])
  end)
end)
