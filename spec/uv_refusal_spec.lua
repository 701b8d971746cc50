-- SPDX-License-Identifier: MIT
-- lunado.uv: what would end the process, use freed memory or never call back in
-- luv or libuv is refused.  Whoever breaks this sees busted die.
local luv = require "luv"
local uv = require "lunado.uv"
local Future = require "lunado.concurrent".Future
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"

local await = coroutine.yield
local function nothing() end

-- A spec that runs inside a coroutine.
local spec = frame.specs(it)

-- Refused: by an error at this line, or by a Future that fails.
local function refuses(pattern, fn, ...)
  local ok, got = pcall(fn, ...)
  if ok then ok, got = pcall(await, got) end
  assert.is_false(ok)
  assert.is_truthy(tostring(got):find(pattern), got)
end

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

-- What makes a handle, and what may be called with it.  Each value is the
-- arguments behind the handle.
local FD = function() return luv.socketpair()[1] end
local makers = {
  async = { function() return luv.new_async(nothing) end, {
    async_send = {} } },
  check = { luv.new_check, { check_start = { nothing } } },
  fs_event = { luv.new_fs_event, {
    fs_event_start = { ".", {}, nothing }, fs_event_getpath = {} } },
  fs_poll = { luv.new_fs_poll, {
    fs_poll_start = { ".", 1000, nothing }, fs_poll_getpath = {} } },
  idle = { luv.new_idle, { idle_start = { nothing } } },
  pipe = { luv.new_pipe, {
    listen = { 1, nothing }, pipe_bind = { os.tmpname() .. ".socket" },
    pipe_chmod = { "r" }, pipe_connect = { "/nowhere" },
    pipe_getpeername = {}, pipe_getsockname = {}, pipe_open = { 0 },
    pipe_pending_count = {}, pipe_pending_instances = { 1 },
    pipe_pending_type = {}, read_start = { nothing }, shutdown = {},
    try_write = { "x" }, write = { "x" }, write2 = { "x", luv.new_tcp() },
    try_write2 = { "x", luv.new_tcp() }, stream_set_blocking = { true },
    accept = { luv.new_pipe() } } },
  poll = { function() return luv.new_poll(FD()) end, {
    poll_start = { "r", nothing }, poll_stop = {} } },
  prepare = { luv.new_prepare, { prepare_start = { nothing } } },
  process = { function()
    return (luv.spawn("sleep", { args = { "60" } }, nothing))
  end, { process_kill = { "sigterm" } } },
  signal = { luv.new_signal, {
    signal_start = { "sigusr1", nothing },
    signal_start_oneshot = { "sigusr1", nothing }, signal_stop = {} } },
  tcp = { luv.new_tcp, {
    listen = { 1, nothing }, read_start = { nothing }, shutdown = {},
    tcp_bind = { "127.0.0.1", 0 }, tcp_close_reset = {},
    tcp_connect = { "127.0.0.1", 1 }, tcp_getpeername = {},
    tcp_getsockname = {}, tcp_keepalive = { true, 1 },
    tcp_nodelay = { true }, tcp_open = { 0 },
    tcp_simultaneous_accepts = { true }, try_write = { "x" },
    write = { "x" }, accept = { luv.new_tcp() },
    send_buffer_size = { 4096 }, recv_buffer_size = { 4096 } } },
  timer = { luv.new_timer, {
    timer_start = { 1000, 0, nothing }, timer_again = {} } },
  udp = { luv.new_udp, {
    udp_bind = { "127.0.0.1", 0 }, udp_connect = { "127.0.0.1", 1 },
    udp_getpeername = {}, udp_getsockname = {}, udp_open = { 0 },
    udp_recv_start = { nothing }, udp_send = { "x", "127.0.0.1", 1 },
    udp_set_broadcast = { true }, udp_set_membership = {
      "239.1.1.1", nil, "join" },
    udp_set_multicast_interface = { "127.0.0.1" },
    udp_set_multicast_loop = { true }, udp_set_multicast_ttl = { 1 },
    udp_set_ttl = { 1 }, udp_try_send = { "x", "127.0.0.1", 1 } } },
}

local function sorted(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

describe("a handle", function()
  for _, kind in ipairs(sorted(makers)) do
    local make, functions = makers[kind][1], makers[kind][2]
    for _, name in ipairs(sorted(functions)) do
      local arguments = functions[name]
      spec("that is closing or closed is refused by " .. name, function()
        local handle = make()
        local closed = uv.close(handle)
        refuses("the handle is closing or closed", uv[name], handle,
          table.unpack(arguments, 1, 4))
        await(closed)
        refuses("the handle is closing or closed", uv[name], handle,
          table.unpack(arguments, 1, 4))
      end)
    end
  end

  spec("is still asked about when it is closed", function()
    local timer = uv.new_timer()
    await(uv.close(timer))
    assert.is_true(uv.is_closing(timer))
    assert.is_false(uv.is_active(timer))
    assert.equal("timer", (uv.handle_get_type(timer)))
    uv.ref(timer)
    uv.unref(timer)
    assert.equal(0, uv.timer_stop(timer))
    assert.is_nil((uv.fileno(uv.new_tcp())))
    refuses("already closing", uv.close, timer)
  end)

  spec("that is closing is not accepted into, sent or given away", function()
    local server, client = uv.new_tcp(), uv.new_tcp()
    uv.close(client)
    refuses("#2 to 'accept'", uv.accept, server, client)
    local pipe = uv.new_pipe(true)
    refuses("EBADF", uv.write2, pipe, "x", client)
    refuses("#3 to 'try_write2'", uv.try_write2, pipe, "x", client)
    refuses("stdio: the handle is closing", uv.spawn, "true",
      { stdio = { nil, client } })
    await(uv.close(server))
    await(uv.close(pipe))
  end)

  spec("is no other userdata", function()
    for _, value in ipairs { Future(), io.stdout } do
      for _, name in ipairs { "close", "is_closing", "is_active", "ref",
        "fileno", "write", "listen", "read_start", "shutdown", "accept",
        "send_buffer_size", "handle_get_type" } do
        refuses("bad argument #1 to '" .. name .. "' %(uv_handle expected",
          uv[name], value)
      end
      refuses("stdio: uv_handle expected", uv.spawn, "true",
        { stdio = { nil, value } })
    end
  end)

  spec("error has the caller's line", function()
    local timer = uv.new_timer()
    uv.close(timer)
    local ok, err = pcall(function() uv.timer_start(timer, 1, 1, nothing) end)
    assert.is_false(ok)
    assert.is_truthy(err:find("uv_refusal_spec.lua:%d+: bad argument #1"))
  end)

  spec("is luv's to refuse, at the caller's line and by its name", function()
    local timer, udp = uv.new_timer(), uv.new_udp()
    bad(function() uv.timer_start(timer, 1, 1) end, 4, "timer_start")
    bad(function() uv.tcp_nodelay(timer, true) end, 1, "tcp_nodelay")
    bad(function() uv.try_write(timer, "x") end, 1, "try_write")
    bad(function() uv.kill("x", "sigterm") end, 1, "kill")
    local ok, err = pcall(function() uv.udp_bind(udp, "no address", 1) end)
    assert.is_false(ok)
    assert.is_truthy(err:find("uv_refusal_spec.lua:%d+: Invalid IP"), err)
    await(uv.close(timer))
    await(uv.close(udp))
  end)
end)

describe("a stream", function()
  spec("connects once at a time", function()
    local path = os.tmpname()
    os.remove(path)
    local server, pipe = uv.new_pipe(), uv.new_pipe()
    assert(uv.pipe_bind(server, path))
    assert(uv.listen(server, 4, nothing))
    local first = uv.pipe_connect(pipe, path)
    refuses("EALREADY", uv.pipe_connect, pipe, path)
    refuses("is connecting", uv.listen, pipe, 1, nothing)
    await(first)
    refuses("EISCONN", uv.pipe_connect, pipe, path)
    await(uv.close(pipe))
    await(uv.close(server))
    os.remove(path)
  end)

  spec("that listens does not connect", function()
    local path = os.tmpname()
    os.remove(path)
    local pipe = uv.new_pipe()
    assert(uv.pipe_bind(pipe, path))
    assert(uv.listen(pipe, 4, nothing))
    refuses("EINVAL: the handle listens", uv.pipe_connect, pipe, path)
    await(uv.close(pipe))
    os.remove(path)
    local tcp = uv.new_tcp()
    assert(uv.tcp_bind(tcp, "127.0.0.1", 0))
    assert(uv.listen(tcp, 4, nothing))
    refuses("EINVAL: the handle listens", uv.tcp_connect, tcp, "127.0.0.1", 1)
    await(uv.close(tcp))
  end)

  spec("on a descriptor that cannot be polled is not read", function()
    for _, path in ipairs { "/dev/null", "README.md" } do
      local fd = assert(luv.fs_open(path, "r", 0))
      local pipe = uv.new_pipe()
      if uv.pipe_open(pipe, fd) then
        refuses("cannot be polled", uv.read_start, pipe, nothing)
      end
      await(uv.close(pipe))
    end
  end)

  spec("whose descriptor was closed is not read", function()
    local fds = luv.pipe()
    local pipe = uv.new_pipe()
    assert(uv.pipe_open(pipe, fds.read))
    luv.fs_close(fds.read)
    refuses("is closed", uv.read_start, pipe, nothing)
    await(uv.close(pipe))
    luv.fs_close(fds.write)
  end)

  spec("writes nothing from an empty list", function()
    local fds = luv.socketpair()
    local tcp, udp = uv.new_tcp(), uv.new_udp()
    assert(uv.tcp_open(tcp, fds[1]))
    assert.equal(0, uv.try_write(tcp, {}))
    await(uv.write(tcp, {}))
    assert.equal(0, uv.udp_try_send(udp, {}, "127.0.0.1", 9))
    await(uv.close(tcp))
    await(uv.close(udp))
    luv.fs_close(fds[2])
  end)
end)

describe("a poll handle", function()
  spec("whose descriptor was closed is not started", function()
    local fds = luv.socketpair()
    local poll = uv.new_poll(fds[1])
    luv.fs_close(fds[1])
    refuses("is closed", uv.poll_start, poll, "r", nothing)
    local file = assert(luv.fs_open("README.md", "r", 0))
    if file == fds[1] then
      refuses("cannot be polled", uv.poll_start, poll, "r", nothing)
    end
    luv.fs_close(file)
    luv.fs_close(fds[2])
    await(uv.close(poll))
  end)
end)

describe("a directory", function()
  spec("that is closed is neither read nor closed again", function()
    local directory = await(uv.fs_opendir("."))
    local closed = uv.fs_closedir(directory)
    refuses("EBADF: the directory", uv.fs_readdir, directory)
    refuses("EBADF: the directory", uv.fs_closedir, directory)
    assert.is_true(await(closed))
    refuses("EBADF: the directory", uv.fs_readdir, directory)
    refuses("EBADF: the directory", uv.fs_closedir, directory)
  end)

  spec("that is being read is neither read nor closed", function()
    local directory = await(uv.fs_opendir(".", 2))
    local entries = uv.fs_readdir(directory)
    refuses("EBUSY: the directory", uv.fs_readdir, directory)
    refuses("EBUSY: the directory", uv.fs_closedir, directory)
    assert.equal(2, #await(entries))
    assert.equal(2, #await(uv.fs_readdir(directory)))
    assert.is_true(await(uv.fs_closedir(directory)))
  end)

  spec("has a number of entries that there can be room for", function()
    for _, entries in ipairs { -1, 0, math.mininteger, 1 << 21, 1 << 31,
      math.maxinteger } do
      refuses("bad argument #2 to 'fs_opendir' %(between 1 and",
        uv.fs_opendir, ".", entries)
    end
    assert.is_true(await(uv.fs_closedir(await(uv.fs_opendir(".", 1 << 20)))))
  end)
end)

describe("a size", function()
  spec("is not negative", function()
    refuses("#2 to 'fs_read' %(must not be negative", uv.fs_read, 0, -1)
    refuses("#4 to 'fs_sendfile' %(must not be", uv.fs_sendfile, 1, 0, 0, -1)
    refuses("#1 to 'random' %(must not be negative", uv.random, -1)
  end)

  spec("of nothing to write to a file is nothing", function()
    local fd, path = luv.fs_mkstemp(luv.os_tmpdir() .. "/lunadoXXXXXX")
    assert.equal(0, await(uv.fs_write(fd, {})))
    luv.fs_close(fd)
    luv.fs_unlink(path)
  end)
end)

describe("a program", function()
  spec("is started with strings", function()
    refuses("args: string expected at 2, got table", uv.spawn, "true",
      { args = { "a", {} } })
    refuses("env: string expected at 1, got boolean", uv.spawn, "true",
      { env = { true } })
    local process = uv.spawn("true", { args = { 1 }, env = { 12345.5 } })
    assert.equal(0, (await(process:wait())))
  end)

  spec("has a pipe in one place", function()
    local pipe = uv.new_pipe()
    refuses("stands there twice", uv.spawn, "true",
      { stdio = { nil, pipe, pipe } })
    await(uv.close(pipe))
  end)

  spec("is not sent a signal that there is not", function()
    local process = uv.spawn("sleep", { args = { "60" } })
    refuses("signal expected, got sigfoo", uv.kill, process.pid, "sigfoo")
    refuses("signal expected, got sigfoo", uv.process_kill, process.handle,
      "sigfoo")
    assert.is_true(process:kill("sigkill"))
    await(process:wait())
  end)
end)

describe("an argument of the wrong type", function()
  it("is reported at the caller's line, by the function's name", function()
    local names = { "timer_start", "poll_start", "tcp_bind", "listen",
      "is_closing", "udp_bind", "kill", "accept", "idle_start", "pipe_open",
      "signal_start", "tcp_nodelay", "read_start", "close", "fs_stat" }
    for _, name in ipairs(names) do
      local ok, err = pcall(function()
        local _ = uv[name]({})
      end)
      assert.is_false(ok)
      assert.match("^" .. debug.getinfo(1, "S").short_src:gsub("%p", "%%%0")
        .. ":%d+: bad argument #1 to '" .. name .. "' %(", err)
    end
  end)
end)

describe("the loop", function()
  spec("is not run by a callback", function()
    refuses("loop already running", uv.run)
  end)
end)

describe("a thread", function()
  spec("is joined once", function()
    local thread = uv.new_thread(function() end)
    assert.is_true(uv.thread_join(thread))
    refuses("was joined already", uv.thread_join, thread)
  end)
end)

describe("a name with a zero in it", function()
  local ZERO <const> = "a\0b"
  local calls = {
    fs_open = { ZERO, "r" }, fs_stat = { ZERO }, fs_rename = { "a", ZERO },
    fs_scandir = { ZERO }, fs_opendir = { ZERO }, chdir = { ZERO },
    getaddrinfo = { ZERO }, spawn = { ZERO },
  }
  for name, arguments in pairs(calls) do
    spec("is refused by " .. name, function()
      refuses("string contains zeros", uv[name], table.unpack(arguments))
    end)
  end
  local of_handles = {
    pipe_bind = { luv.new_pipe, ZERO }, pipe_connect = { luv.new_pipe, ZERO },
    tcp_bind = { luv.new_tcp, ZERO, 0 }, tcp_connect = { luv.new_tcp, ZERO, 1 },
    udp_bind = { luv.new_udp, ZERO, 0 },
    udp_send = { luv.new_udp, "x", ZERO, 1 },
    fs_poll_start = { luv.new_fs_poll, ZERO, 1000, nothing },
  }
  for name, arguments in pairs(of_handles) do
    spec("is refused by " .. name, function()
      local handle = arguments[1]()
      refuses("string contains zeros", uv[name], handle,
        table.unpack(arguments, 2))
      await(uv.close(handle))
    end)
  end

  spec("is refused among the options of spawn", function()
    refuses("args: string contains zeros at 2", uv.spawn, "true",
      { args = { "a", ZERO } })
    refuses("cwd: string contains zeros", uv.spawn, "true", { cwd = ZERO })
  end)

  spec("is refused by streams", function()
    local iostream = require "lunado.iostream"
    local client = require "lunado.tcpclient".TCPClient()
    local server = require "lunado.tcpserver".TCPServer()
    refuses("#1 to 'open' %(string contains zeros", iostream.open, ZERO)
    refuses("#1 to 'connect' %(string contains zeros", client.connect, client,
      ZERO, 80)
    refuses("string contains zeros", server.listen, server, 0, ZERO)
    local stream = iostream.IOStream(uv.new_pipe(false))
    refuses("#1 to 'connect' %(string contains zeros", stream.connect, stream,
      ZERO)
    await(stream:close())
  end)

  spec("is data where it is sent", function()
    local udp = uv.new_udp()
    await(uv.udp_send(udp, ZERO, "127.0.0.1", 9))
    await(uv.close(udp))
  end)
end)
