-- SPDX-License-Identifier: MIT
-- Tornado's tcpclient_test, by the names of its functions.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local tcpclient = require "lunado.tcpclient"
local tcpserver = require "lunado.tcpserver"
local testing = require "lunado.testing"
local case = require "spec.tornado.case"
local streams = require "spec.support.streams"

local Future, IOStream = concurrent.Future, iostream.IOStream
local await = coroutine.yield

local t, client
before_each(function()
  t = case()
  client = tcpclient.TCPClient()
end)
after_each(function() t:close() end)

-- A spec whose body runs as a coroutine on the loop.
local function test(name, fn)
  it(name, function() t:run(fn) end)
end

describe("TCPClientTest", function()
  -- Sends five bytes to a server that listens on the address.
  local function connects(address, host, options)
    local server, received = tcpserver.TCPServer(), Future()
    function server.handle_stream(_, stream)
      received:set_result(await(stream:read_bytes(5)),
        stream.handle:getpeername().ip)
      stream:close()
    end
    local port = server:listen(0, address)
    local ok, stream = pcall(await, client:connect(host, port, options))
    server:stop()
    if not ok then error(stream, 0) end
    stream:write "hello"
    local data, ip = await(received)
    assert.equal("hello", data)
    stream:close()
    return ip
  end

  -- Whether a name or an address can be used on this machine.
  local function can(address, host)
    local server = tcpserver.TCPServer()
    local ok = pcall(server.listen, server, 0, address)
      and pcall(await, core.resolve(host, "80"))
    server:stop()
    return ok
  end

  local CASES = {
    { "ipv4_ipv4", "127.0.0.1", "127.0.0.1", "inet" },
    { "ipv4_dual", "127.0.0.1", "localhost", "inet" },
    { "ipv6_ipv6", "::1", "::1", "inet6" },
    { "ipv6_dual", "::1", "localhost", "inet6" },
    { "unspec_ipv4", "", "127.0.0.1" },
    { "unspec_ipv6", "", "::1", nil, "::1" },
    { "unspec_dual", "localhost", "localhost" },
  }
  for _, row in ipairs(CASES) do
    local name, address, host, family = table.unpack(row, 1, 4)
    it("test_connect_" .. name, function()
      local missing
      t:run(function()
        missing = not can(row[5] or address, host)
          or family and not pcall(await, core.resolve(host, "80", family))
        if not missing then
          connects(address, host, { family = family })
        end
      end)
      if missing then pending(host .. " has no such address here") end
    end)
  end

  test("test_refused_ipv4", function()
    local err = streams.closed_error(
      client:connect("127.0.0.1", streams.closed_port()))
    assert.equal("ECONNREFUSED", err.real_error)
  end)

  test("test_source_ip_fail", function()
    local ok, err = pcall(connects, "127.0.0.1", "127.0.0.1",
      { source_ip = "8.8.8.8" })
    assert.is_false(ok)
    assert.equal("cannot connect from 8.8.8.8:0: "
      .. "EADDRNOTAVAIL: address not available", err)
  end)

  test("test_source_ip_success", function()
    assert.equal("127.0.0.1", connects("127.0.0.1", "127.0.0.1",
      { source_ip = "127.0.0.1" }))
  end)

  test("test_source_port_fail", function()
    -- Port 1 is reserved for some users only; a port in use is for nobody.
    local server = tcpserver.TCPServer()
    local port = server:listen(0, "127.0.0.1")
    local ok, err = pcall(connects, "127.0.0.1", "127.0.0.1",
      { source_ip = "127.0.0.1", source_port = port })
    server:stop()
    assert.is_false(ok)
    assert.truthy(tostring(err):find "EADDRINUSE", tostring(err))
  end)
end)

describe("ConnectorTest", function()
  local A, B = { addr = "a", family = "inet" }, { addr = "b", family = "inet" }
  local C = { addr = "c", family = "inet6" }
  local D = { addr = "d", family = "inet6" }

  local made, restore
  before_each(function()
    local resolve, connect_to = core.resolve, IOStream._connect_to
    made = {}
    function IOStream:_connect_to(address)
      made[address] = { future = Future(), stream = self }
      return made[address].future
    end
    function restore()
      core.resolve, IOStream._connect_to = resolve, connect_to
    end
    testing.virtual_clock(t.loop)
  end)
  after_each(function()
    restore()
  end)

  -- Begins to connect to the addresses.
  local function start(...)
    local addresses = { ... }
    for _, address in ipairs(addresses) do address.port = 80 end
    function core.resolve()
      local future = Future()
      future:set_result(addresses)
      return future
    end
    local future = client:connect("host", 80)
    await()
    return future
  end

  local function pending_are(...)
    local names = {}
    for name, attempt in pairs(made) do
      if not attempt.future:done() then names[#names + 1] = name end
    end
    table.sort(names)
    assert.same({ ... }, names)
  end

  -- The attempt at the address ends.
  local function resolve_connect(name, success)
    local attempt = made[name]
    if success then
      attempt.future:set_result(attempt.stream)
    else
      attempt.stream:close() -- as a connect that fails does
      attempt.future:set_exception("no route to " .. name)
    end
    await()
  end

  -- The first family has had its head start.
  local function head_start_is_over() await(gen.sleep(0.31)) end

  local function wins(future, name)
    assert.equal(made[name].stream, future:result())
    for other, attempt in pairs(made) do
      assert.equal(other ~= name, attempt.stream:closed())
    end
    made[name].stream:close()
  end

  local function fails(future, name)
    assert.equal("no route to " .. name, future:exception())
  end

  test("test_immediate_success", function()
    local future = start(A, B, C, D)
    pending_are "a"
    resolve_connect("a", true)
    wins(future, "a")
  end)

  test("test_immediate_failure", function()
    local future = start(A)
    pending_are "a"
    resolve_connect("a", false)
    fails(future, "a")
  end)

  test("test_one_family_second_try", function()
    local future = start(A, B)
    pending_are "a"
    resolve_connect("a", false)
    pending_are "b"
    resolve_connect("b", true)
    wins(future, "b")
  end)

  test("test_one_family_second_try_failure", function()
    local future = start(A, B)
    resolve_connect("a", false)
    pending_are "b"
    resolve_connect("b", false)
    fails(future, "b")
  end)

  test("test_one_family_second_try_timeout", function()
    local future = start(A, B)
    head_start_is_over()
    pending_are "a"
    resolve_connect("a", false)
    pending_are "b"
    resolve_connect("b", true)
    wins(future, "b")
  end)

  test("test_two_families_immediate_failure", function()
    local future = start(A, B, C, D)
    resolve_connect("a", false)
    pending_are("b", "c")
    resolve_connect("b", false)
    resolve_connect("c", true)
    wins(future, "c")
  end)

  test("test_two_families_timeout", function()
    local future = start(A, B, C, D)
    head_start_is_over()
    pending_are("a", "c")
    resolve_connect("c", true)
    resolve_connect("a", false) -- begins no other attempt
    pending_are()
    wins(future, "c")
  end)

  test("test_success_after_timeout", function()
    local future = start(A, B, C, D)
    head_start_is_over()
    resolve_connect("a", true)
    resolve_connect("c", true)
    wins(future, "a")
  end)

  test("test_all_fail", function()
    local future = start(A, B, C, D)
    head_start_is_over()
    resolve_connect("c", false)
    pending_are("a", "d")
    resolve_connect("d", false)
    pending_are "a"
    resolve_connect("a", false)
    pending_are "b"
    assert.is_false(future:done())
    resolve_connect("b", false)
    fails(future, "b")
  end)

  test("TestConnectorSplit", function()
    -- The addresses of the first one's family are the primary ones; the
    -- others keep their order.
    local future = start(A, C, B, D)
    resolve_connect("a", false)
    pending_are("b", "c")
    resolve_connect("c", false)
    pending_are("b", "d")
    resolve_connect("d", true)
    wins(future, "d")
  end)
end)

describe("a bad source", function()
  test("is refused", function()
    for what, options in pairs {
      ["source_ip: IP address expected"] = { source_ip = "localhost" },
      ["source_port: port expected"] = { source_port = 65536 },
      ["source_ip: not of the family"] = { source_ip = "::1",
        family = "inet" },
    } do
      local ok, err = pcall(client.connect, client, "localhost", 80, options)
      assert.is_false(ok)
      assert.truthy(err:find("bad argument #3 to 'connect' (" .. what .. ")",
        1, true), err)
    end
  end)
end)
