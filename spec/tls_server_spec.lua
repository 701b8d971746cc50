-- SPDX-License-Identifier: MIT
-- TLS by TCPClient and TCPServer; the options of contexts, and wrong ones.
local luv = require "luv"
local Future = require "lunado.concurrent".Future
local IOStream = require "lunado.iostream".IOStream
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local tasks = require "lunado.tasks"
local testing = require "lunado.testing"
local tls = require "lunado.tls"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local certificates = require "spec.support.certificates"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local secure = require "spec.support.secure"
local streams = require "spec.support.streams"

local await = coroutine.yield
local path, error_of = certificates.path, secure.error_of

local spec = secure.specs(it)

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

local function connect(port, options, more)
  local all = { ssl_options = options or certificates.client() }
  for key, value in pairs(more or {}) do all[key] = value end
  return TCPClient():connect("127.0.0.1", port, all)
end

--- A server that sends a greeting to each client; and its port.
local function greeter(options)
  options.handle_stream = function(_, stream)
    await(stream:write "hello\n")
    await(stream:read_until_close())
  end
  local server = TCPServer(options)
  return server, server:listen(0, "127.0.0.1")
end

local function greets(stream)
  assert.equal("hello", await(stream:read_line()))
  await(stream:close())
end

describe("TCPServer", function()
  spec("calls handle_stream after the handshake, with the address", function()
    local came = Future()
    local server = TCPServer {
      ssl_options = certificates.server("server", { alpn = { "x" } }),
      handle_stream = function(_, stream, address)
        came:set_result(stream.alpn_protocol, address)
        await(stream:read_until_close())
      end }
    local port = server:listen(0, "127.0.0.1")
    local plain = await(TCPClient():connect("127.0.0.1", port))
    await(plain:close())
    assert.is_false(came:done())
    local stream = await(connect(port, certificates.client { alpn = { "x" } }))
    local protocol, address = await(came)
    assert.equal("x", protocol)
    assert.equal("127.0.0.1", address.ip)
    await(stream:close())
    server:stop()
  end)

  spec("takes ssl_options from a class, or later", function()
    local Class = TCPServer:subclass("Secure")
    Class.ssl_options = tls.create_default_context(true, certificates.server())
    function Class.handle_stream(_, stream) await(stream:write "hello\n") end
    local server = Class()
    local port = server:listen(0, "127.0.0.1")
    greets(await(connect(port)))
    server.ssl_options = certificates.server("alone")
    error_of(connect(port))
    streams.wait_until(function() return log:count "alert unknown ca" == 1 end)
    server.ssl_options = certificates.server()
    greets(await(connect(port)))
    server:stop()
    log:clear()
  end)

  spec("serves local sockets", function()
    local server = TCPServer { ssl_options = certificates.server(),
      handle_stream = function(_, stream) await(stream:write "hello\n") end }
    local name = path "socket"
    server:listen_unix(name)
    local stream = await(IOStream.pipe():connect(name))
    await(stream:start_tls(false, certificates.client(), "localhost"))
    greets(stream)
    server:stop()
  end)

  spec("drops clients that take too long, and serves others meanwhile",
    function()
      local limit = loops.PATIENCE / 2
      local server, port = greeter { ssl_options = certificates.server(),
        handshake_timeout = limit }
      local idle = {}
      for i = 1, 200 do
        idle[i] = TCPClient():connect("127.0.0.1", port)
      end
      idle = await(idle)
      idle[1]:write("\22\3\1\2\0") -- the beginning of a record
      for _ = 1, 5 do greets(await(connect(port))) end
      local clock <close> = testing.virtual_clock()
      clock:advance(limit)
      for _, stream in ipairs(idle) do
        streams.closed_error(stream:read_bytes(1))
      end
      assert.equal(200, log:count(
        "TLS handshake failed: TimeoutError: Timeout (client 127.0.0.1)"))
      log:clear()
      greets(await(connect(port)))
      server:stop()
    end)

  spec("says in one line why a handshake has failed", function()
    local server, port = greeter { ssl_options = certificates.server() }
    local stream = await(TCPClient():connect("127.0.0.1", port))
    stream:write("GET / HTTP/1.1\r\n\r\n")
    assert.is_true(pcall(await, stream:read_until_close()))
    assert.equal("warning: TLS handshake failed: SSLError: http request "
      .. "(client 127.0.0.1)", log:text())
    log:clear()
    greets(await(connect(port)))
    server:stop()
  end)

  spec("keeps silent about clients that go away", function()
    local server, port = greeter { ssl_options = certificates.server() }
    for i = 1, 3 do
      local stream = await(TCPClient():connect("127.0.0.1", port))
      if i == 2 then stream:write("\22\3\1\2\0") end
      if i == 3 then stream.handle:close_reset() end
      await(stream:close())
    end
    for _ = 1, 3 do greets(await(connect(port))) end
    server:stop()
  end)

  spec("can require certificates of its clients", function()
    local server, port = greeter { ssl_options = certificates.server("server",
      { cert_reqs = "required", ca_certs = path "ca.crt" }) }
    local _, err = error_of(await(connect(port)):read_line())
    assert.is_truthy(err.reason:find "certificate required")
    greets(await(connect(port,
      certificates.client { certfile = path "client.pem" })))
    server:stop()
    log:first "peer did not return a certificate"
    log:clear()
  end)
end)

describe("TCPClient", function()
  spec("checks the host that it was asked to connect to", function()
    local server, port = greeter { ssl_options = certificates.server() }
    for _, host in ipairs { "localhost", "127.0.0.1" } do
      greets(await(TCPClient():connect(host, port,
        { ssl_options = certificates.client(), family = "inet" })))
    end
    server.ssl_options = certificates.server("other")
    local err, cause = error_of(connect(port))
    assert.equal('StreamClosedError: TLS handshake with "127.0.0.1" failed: '
      .. 'SSLError: certificate verify failed: IP address mismatch '
      .. '(host "127.0.0.1")', tostring(err))
    assert.equal("127.0.0.1", cause.host)
    greets(await(connect(port, { cert_reqs = "none" })))
    server:stop()
    streams.wait_until(function() return log:count "bad certificate" == 1 end)
    log:clear()
  end)

  spec("trusts the authorities of the system by default", function()
    local server, port = greeter { ssl_options = certificates.server() }
    local _, err = error_of(connect(port, {}))
    assert.equal("certificate verify failed", err.reason)
    streams.wait_until(function() return log:count "unknown ca" == 1 end)
    log:clear()
    server:stop()
  end)

  spec("gives up when the time is over", function()
    local listener = TCPServer { handle_stream = function(_, stream)
      await(stream:read_until_close())
    end }
    local port = listener:listen(0, "127.0.0.1")
    local ok, err = pcall(await, connect(port, nil,
      { timeout = { seconds = 0.05 } }))
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, util.TimeoutError))
    listener:stop()
  end)

  spec("closes the connection when it is cancelled in the handshake",
    function()
      local begun, ended = Future(), Future()
      local listener = TCPServer { handle_stream = function(_, stream)
        await(stream:read_bytes(5))
        begun:set_result()
        ended:set_result(await(stream:read_until_close()))
      end }
      local future = connect(listener:listen(0, "127.0.0.1"))
      local task = require "lunado".coroutine(function() await(future) end)()
      await(begun)
      tasks.cancel(task)
      assert.is_false(pcall(await, task))
      await(ended)
      listener:stop()
    end)

  spec("shares what it reads of the system's authorities", function()
    local a = tls._to_context(false, {})
    assert.equal(a, tls._to_context(false, {}))
    assert.not_equal(a, tls._to_context(false, { alpn = { "x" } }))
    assert.not_equal(a, tls._to_context(false, certificates.client()))
  end)
end)

describe("a stream on luv's handle", function()
  spec("has TLS as any other", function()
    local server, port = greeter { ssl_options = certificates.server() }
    local handle = luv.new_tcp()
    await(require "lunado.uv".tcp_connect(handle, "127.0.0.1", port))
    local stream = IOStream(handle)
    await(stream:start_tls(false, certificates.client(), "localhost"))
    greets(stream)
    assert.is_true(handle:is_closing())
    server:stop()
  end)
end)

describe("a stream that is being connected", function()
  spec("starts TLS when it is", function()
    local server, port = greeter { ssl_options = certificates.server() }
    local stream = IOStream.tcp()
    local connected = stream:connect("127.0.0.1", port)
    local started = stream:start_tls(false, certificates.client(), "localhost")
    assert.is_false(connected:done())
    await(started)
    assert.is_true(connected:done())
    greets(stream)
    server:stop()
  end)

  spec("fails both if it cannot be", function()
    local stream = IOStream.tcp()
    local connected = stream:connect("127.0.0.1", streams.closed_port())
    local started = stream:start_tls(false, certificates.client(), "localhost")
    assert.equal("ECONNREFUSED", streams.closed_error(connected).real_error)
    assert.equal("ECONNREFUSED", streams.closed_error(started).real_error)
    await(stream:close())
  end)
end)

describe("options", function()
  local create = tls.create_default_context

  local function refused(options, text, server_side)
    bad(function()
      local context = create(server_side or false, options)
      return context
    end, 2, "create_default_context", "^" .. text)
    bad(function()
      local future = TCPClient():connect("localhost", 1,
        { ssl_options = options })
      return future
    end, 3, "connect", "^ssl_options: " .. text)
  end

  it("that are wrong are named", function()
    refused({ certfil = "x" }, 'unknown option "certfil"')
    refused({ "x" }, "unknown option 1")
    refused({ certfile = 1 }, "certfile: string")
    refused({ ca_certs = "" }, "ca_certs: the string is empty")
    refused({ ca_certs = "a\0b" }, "ca_certs: the string is empty or contains")
    refused({ keyfile = "x" }, "keyfile: there is no certfile")
    refused({ cert_reqs = "maybe" }, "cert_reqs: 'required', 'optional' or")
    refused({ cert_reqs = true }, "cert_reqs: ")
    refused({ min_version = "SSLv3" }, "min_version: 'TLSv1', ")
    refused({ alpn = "h2" }, "alpn: a list of protocols expected")
    refused({ alpn = {} }, "alpn: a list of protocols expected")
    refused({ alpn = setmetatable({ "h2" }, { __len = function()
      return "x"
    end }) }, "alpn: a list of protocols expected")
    refused({ alpn = { 1 } }, "alpn: strings of 1 to 255 bytes expected")
    refused({ alpn = { "" } }, "alpn: strings of 1 to 255 bytes expected")
    refused({ alpn = { ("x"):rep(256) } }, "alpn: strings of 1 to 255 bytes")
    refused({ ciphers = ":" }, "ciphers: the list is empty")
  end)

  it("are read once, whatever their metamethods do", function()
    for _, name in ipairs { "cert_reqs", "min_version" } do
      local count = 0
      local options = setmetatable({}, {
        __index = function(_, key)
          if key ~= name then return nil end
          count = count + 1
          if count > 1 then return {} end
          return name == "cert_reqs" and "none" or "TLSv1.2"
        end,
      })
      create(options)
      assert.equal(1, count)
    end
  end)

  it("of servers that are wrong are named", function()
    local function refused_by_server(options, text)
      bad(function()
        local server = TCPServer { ssl_options = options }
        return server
      end, 1, "TCPServer", "^ssl_options: " .. text)
      bad(function()
        local context = create(true, options)
        return context
      end, 2, "create_default_context", "^" .. text)
    end
    refused_by_server({}, "certfile: a server needs one")
    refused_by_server(certificates.server("server", { cert_reqs = "optional" }),
      "ca_certs: a server that asks for certificates needs it")
    bad(function()
      local server = TCPServer { ssl_options = create(false) }
      return server
    end, 1, "TCPServer", "ssl_options: the context is for clients")
    for _, limit in ipairs { 0, -1, 0 / 0, "x" } do
      bad(function()
        local server = TCPServer { handshake_timeout = limit }
        return server
      end, 1, "TCPServer", "handshake_timeout: a positive number of seconds")
    end
  end)

  --- Checks that the options raise an SSLError with the text.
  local function fails(server_side, options, text, file)
    local ok, err = pcall(create, server_side, options)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, tls.SSLError), tostring(err))
    assert.is_truthy(err.message:find(text, 1, true), err.message)
    assert.equal(file, err.file)
  end

  it("name the file that cannot be used", function()
    local none, crt = path "none", path "server.crt"
    local missing = ("%q: No such file or directory"):format(none)
    fails(true, { certfile = none }, "certfile " .. missing, none)
    fails(true, { certfile = crt, keyfile = none }, "keyfile " .. missing, none)
    fails(false, { ca_certs = none }, "ca_certs " .. missing, none)
    local folder = crt:gsub("/server.crt$", "")
    fails(true, { certfile = folder }, "Is a directory", folder)
    local other, locked = path "other.key", path "locked.key"
    fails(true, { certfile = crt, keyfile = other }, "key values mismatch",
      other)
    fails(true, { certfile = crt, keyfile = locked },
      "the key is encrypted with a passphrase", locked)
    fails(true, { certfile = other }, "no start line", other)
    fails(true, { certfile = crt }, 'certfile "', crt) -- has no key
    fails(false, { ca_certs = other }, 'ca_certs "', other)
    create { ca_certs = folder }
  end)

  it("may name no ciphers that OpenSSL does not have", function()
    fails(false, { ciphers = "NOTHING" }, "ciphers: no cipher match")
    fails(false, { ciphers = "TLS_NOTHING" }, "ciphers: no cipher match")
  end)

  it("that SSL_CERT_FILE stands for are read, or named", function()
    local source = [[
      local tls = require "lunado.tls"
      print(pcall(tls.create_default_context))
      print(pcall(tls.create_default_context, { cert_reqs = "none" }))
    ]]
    local function under(file)
      return child(source, nil, function(command)
        return ("SSL_CERT_FILE=%s exec %s"):format(file, command)
      end).out
    end
    assert.is_truthy(under(path "none"):find(
      'false\tSSLError: SSL_CERT_FILE "[^\n]*none": No such file or directory\n'
      .. "true\tSSLContext: "))
    assert.is_truthy(under(path "ca.crt"):find "^true\tSSLContext: ")
  end)

  it("may be left out", function()
    assert.is_truthy(tostring(create()):find "^SSLContext: .* %(client%)$")
    assert.is_truthy(tostring(create {}):find "%(client%)$")
    assert.is_truthy(tostring(create(true, certificates.server()))
      :find "%(server%)$")
  end)
end)

describe("wrong arguments", function()
  local stream
  local function start(...)
    local args = table.pack(...)
    return function()
      local future = stream:start_tls(table.unpack(args, 1, args.n))
      return future
    end
  end

  spec("of start_tls change nothing", function()
    local there
    stream, there = secure.plain()
    bad(start(), 1, "start_tls", "boolean", "nil")
    bad(start(1), 1, "start_tls", "boolean", "number")
    bad(start(true, 1), 2, "start_tls", "table or context",
      "number")
    bad(start(true, {}), 2, "start_tls",
      "^certfile: a server needs one")
    bad(start(false, { x = 1 }), 2, "start_tls",
      '^unknown option "x"')
    bad(start(true, tls.create_default_context()), 2,
      "start_tls", "the context is for clients")
    bad(start(false, tls.create_default_context(true, certificates.server())),
      2, "start_tls", "the context is for servers")
    bad(start(false), 3, "start_tls",
      "the name of the server is needed, unless cert_reqs is 'none'")
    bad(start(true, certificates.server(), "localhost"), 3,
      "start_tls", "a server expects no host")
    for _, host in ipairs { "", ".", ".example.org", "a b", "a\0b", "ä.de",
      "%eth0" } do
      bad(start(false, {}, host), 3, "start_tls",
        "not the name of a host")
    end
    for _, address in ipairs { "999.1.1.1", "1:2:3", "::1.2.3", "fe80:::%x" } do
      bad(start(false, {}, address), 3, "start_tls", "not an IP address")
    end
    bad(start(false, {}, 1), 3, "start_tls", "string", "number")
    there:write("x")
    assert.equal("x", await(stream:read_bytes(1)))
    await { stream:close(), there:close() }
  end)

  it("of contexts are named", function()
    bad(function()
      local context = tls.create_default_context(1)
      return context
    end, 1, "create_default_context", "boolean", "number")
    bad(function()
      local context = tls.create_default_context(true, 1)
      return context
    end, 2, "create_default_context", "table", "number")
    bad(function()
      local context = tls.create_default_context { x = 1 }
      return context
    end, 1, "create_default_context", 'unknown option "x"')
  end)
end)

describe("the end of the state", function()
  it("is clean, whatever is under way", function()
    local result = child(([[
      local lunado = require "lunado"
      local ssl = { certfile = %q }
      local server = lunado.tcpserver.TCPServer { ssl_options = ssl,
        handle_stream = function(_, s) coroutine.yield(s:read_bytes(1)) end }
      local port = server:listen(0, "127.0.0.1")
      local client = lunado.tcpclient.TCPClient()
      local options = { ssl_options = { cert_reqs = "none" } }
      local function start()
        local stream = lunado.iostream.IOStream.tcp()
        stream:connect("127.0.0.1", port)
        stream:start_tls(false, options.ssl_options)
        return stream
      end
      -- None of them is collected before the end: a handler would log an error.
      kept = { start(), start(), start() }
      lunado.run(function()
        for i = 4, 5 do
          kept[i] = coroutine.yield(client:connect("127.0.0.1", port, options))
        end
        kept[4]:write(("x"):rep(1 << 24))
        kept[5]:read_bytes(1)
        kept[6] = start()
      end)
      print "end"
    ]]):format(path "server.pem"))
    assert.equal("end\n", result.out)
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)
end)
