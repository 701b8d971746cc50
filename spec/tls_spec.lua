-- SPDX-License-Identifier: MIT
-- lunado.tls with lunado on both sides: how TLS starts, certificates, ALPN and
-- sessions.
local IOLoop = require "lunado.ioloop".IOLoop
local IOStream = require "lunado.iostream".IOStream
local tasks = require "lunado.tasks"
local tls = require "lunado.tls"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local certificates = require "spec.support.certificates"
local frame = require "spec.support.frame"
local secure = require "spec.support.secure"
local streams = require "spec.support.streams"

local await = coroutine.yield
local close, pair, error_of = secure.close, secure.pair, secure.error_of

local spec = secure.specs(it)

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

describe("the module", function()
  it("is a field of lunado, the same after package.loaded was cleared",
    function()
      assert.equal(tls, require("lunado").tls)
      package.loaded["lunado.tls"] = nil
      assert.equal(tls, require "lunado.tls")
    end)

  it("names OpenSSL", function()
    assert.is_truthy(tls.library_version:find "SSL")
  end)
end)

describe("start_tls", function()
  for _, kind in ipairs { "tcp", "pipe" } do
    spec("gives both sides the stream, which is encrypted: " .. kind, function()
      local client, server = secure.plain(kind)
      local one, other = secure.start(client, server)
      assert.equal(client, await(one))
      assert.equal(server, await(other))
      client:write("to the server\n")
      server:write("to the client\n")
      assert.equal("to the server", await(server:read_line()))
      assert.equal("to the client", await(client:read_line()))
      local info = tls.connection_info(client)
      assert.equal("TLSv1.3", info.version)
      assert.is_truthy(info.cipher:find "^TLS_")
      assert.equal("localhost", tls.connection_info(server).server_name)
      close(client, server)
    end)
  end

  spec("lets reads and writes begin before the handshake has ended", function()
    local client, server = secure.plain()
    local one, other = secure.start(client, server)
    local read, written = server:read_line(), client:write("early\n")
    assert.is_false(written:done())
    assert.is_true(client:writing())
    assert.equal("early", await(read))
    await { written, one, other }
    close(client, server)
  end)

  spec("begins behind what was written before", function()
    local client, server = secure.plain()
    local text = ("x"):rep(3000000)
    server:write(text)
    local later = server:write("go ahead\n")
    assert.is_false(later:done())
    local other = server:start_tls(true, certificates.server())
    local secret = server:write("secret\n")
    assert.equal(text, await(client:read_bytes(#text)))
    assert.equal("go ahead", await(client:read_line()))
    local one = client:start_tls(false, certificates.client(), "localhost")
    await { one, other, later }
    assert.equal("secret", await(client:read_line()))
    await(secret)
    close(client, server)
  end)

  spec("raises if plain text has come that nobody asked for", function()
    for server_side = 0, 1 do
      local here, there = secure.plain()
      there:write("STARTTLS\nand more")
      assert.equal("STARTTLS", await(here:read_line()))
      streams.wait_until(function() return streams.buffered(here) == 8 end)
      local ok, err = pcall(here.start_tls, here, server_side == 1,
        server_side == 1 and certificates.server() or certificates.client(),
        server_side == 0 and "localhost" or nil)
      assert.is_false(ok)
      assert.is_truthy(err:find("cannot start TLS: the peer has sent 8 bytes "
        .. "of plain text that were not read", 1, true), err)
      assert.equal("and more", await(here:read_bytes(8))) -- nothing has changed
      close(here, there)
    end
  end)

  spec("does not take plain text that comes later for encrypted", function()
    local client, server = secure.plain()
    local future = client:start_tls(false, certificates.client(), "localhost")
    server:write("250 you are safe\n")
    local _, err = error_of(future)
    assert.equal("wrong version number", err.reason)
    close(client, server)
  end)

  spec("raises where it cannot be", function()
    local client, server = secure.plain()
    local function refused(stream, text)
      local ok, err = pcall(stream.start_tls, stream, true,
        certificates.server())
      assert.is_false(ok)
      assert.is_truthy(err:find("cannot start TLS: " .. text, 1, true), err)
    end
    local reading = client:read_bytes(1)
    refused(client, "the stream is being read")
    server:write "x"
    await(reading)
    await { secure.start(client, server) }
    refused(server, "the stream has TLS already")
    local path = os.tmpname()
    io.open(path, "w"):close() -- tmpname does not make it everywhere
    local file = await(require "lunado.iostream".open(path, "r+"))
    refused(file, "a file or terminal has no other side")
    await(file:close())
    os.remove(path)
    close(client, server)
    client, server = secure.plain()
    await(client:close_write())
    refused(client, "the stream is closed for writing")
    close(client, server)
  end)

  spec("fails on a closed stream, and on one whose peer has ended", function()
    local client, server = secure.plain()
    await(server:close())
    local err = streams.closed_error(client:start_tls(true,
      certificates.server()))
    assert.is_truthy(err)
    assert.is_true(client:closed())
    streams.closed_error(server:start_tls(true, certificates.server()))
    close(client)
  end)

  it("is refused when the stream's loop was closed meanwhile", function()
    for _, connects in ipairs { true, false } do
      local loop, ok, err = IOLoop(), nil, nil
      loop:add_callback(function()
        loop:make_current()
        local stream = IOStream.tcp()
        if connects then stream:connect("127.0.0.1", 1) end
        loop:close()
        ok, err = pcall(stream.start_tls, stream, false, {}, "localhost")
      end)
      loop:start()
      assert.is_false(ok)
      assert.equal("cannot start TLS: the IOLoop is closed", err)
    end
  end)

  spec("ends with its stream", function()
    local client, server = secure.plain()
    local future = client:start_tls(false, certificates.client(), "localhost")
    client:close()
    streams.closed_error(future)
    close(server)
  end)

  spec("that is cancelled closes the stream", function()
    local client, server = secure.plain()
    local future = client:start_tls(false, certificates.client(), "localhost")
    local task = require "lunado".coroutine(function() await(future) end)()
    tasks.cancel(task)
    local ok, err = pcall(await, task)
    assert.is_false(ok)
    assert.is_true(util.isinstance(err, tasks.CancelledError))
    assert.is_true(client:closed())
    assert.is_true(util.isinstance(future:exception(), tasks.CancelledError))
    close(client, server)
  end)

  it("keeps the loop running until the handshake has ended", function()
    local ends
    require "lunado".run(function()
      local client, server = secure.plain()
      local one, other = secure.start(client, server)
      ends = { client, server }
      one:add_done_callback(function() ends.one = true end)
      other:add_done_callback(function() ends.other = true end)
      ends.futures = { one, other }
    end)
    IOLoop.instance():run_sync(function()
      await(ends.futures)
      close(ends[1], ends[2])
    end)
    assert.is_true(ends.one and ends.other)
  end)
end)

describe("a certificate", function()
  --- The errors of a handshake: of the client, and of the server.
  local function errors(client_options, server_options, host)
    local client, server = secure.plain()
    local one = client:start_tls(false, client_options, host or "localhost")
    local other = server:start_tls(true, server_options)
    local err, cause = error_of(one)
    local _, theirs = error_of(other)
    assert.is_true(client:closed() and server:closed())
    close(client, server)
    return cause, theirs, err
  end

  spec("that was not signed by a trusted authority is refused", function()
    local err, theirs, closed = errors(certificates.client(),
      certificates.server("alone"))
    assert.equal("certificate verify failed", err.reason)
    assert.is_truthy(err.verify_message:find "^self.signed certificate")
    assert.equal("localhost", err.host)
    assert.is_truthy(tostring(closed):find("StreamClosedError: TLS handshake "
      .. "with \"localhost\" failed: SSLError: certificate verify failed: self",
      1, true), tostring(closed))
    assert.equal("tlsv1 alert unknown ca", theirs.reason)
  end)

  spec("that has expired is refused", function()
    local err, theirs = errors(certificates.client(),
      certificates.server("expired"))
    assert.equal("certificate has expired", err.verify_message)
    assert.is_truthy(theirs.reason:find "alert certificate expired")
  end)

  spec("of another host is refused", function()
    local err = errors(certificates.client(), certificates.server("other"))
    assert.equal("hostname mismatch", err.verify_message:lower())
    assert.equal("certificate verify failed: " .. err.verify_message
      .. " (host \"localhost\")", err.message)
    err = errors(certificates.client(), certificates.server(), "other.example")
    assert.equal("hostname mismatch", err.verify_message:lower())
    err = errors(certificates.client(), certificates.server(), "127.0.0.2")
    assert.equal("IP address mismatch", err.verify_message)
  end)

  spec("with the name in the old place is refused", function()
    local err = errors(certificates.client(), certificates.server("common"))
    assert.equal("hostname mismatch", err.verify_message:lower())
  end)

  spec("of the host is accepted", function()
    for host, certificate in pairs { localhost = "server", LOCALHOST = "server",
      ["localhost."] = "server", ["127.0.0.1"] = "server", ["::1"] = "server",
      ["a.wild.example"] = "other" } do
      local client, server = secure.plain()
      local one = client:start_tls(false, certificates.client(), host)
      local other = server:start_tls(true, certificates.server(certificate))
      await { one, other }
      close(client, server)
    end
  end)

  spec("is not asked for with cert_reqs = 'none'", function()
    local client, server = secure.plain()
    local one = client:start_tls(false, { cert_reqs = "none" })
    await { one, server:start_tls(true, certificates.server("alone")) }
    assert.equal("CN=localhost", client:peer_certificate().subject[1])
    close(client, server)
  end)

  spec("of a client is required, optional, or not asked for", function()
    local function with(reqs, certificate)
      local client, server = secure.plain()
      local one, other = secure.start(client, server,
        certificates.client { certfile = certificate
          and certificates.path(certificate .. ".pem") },
        certificates.server("server", { cert_reqs = reqs,
          ca_certs = certificates.path "ca.crt" }))
      local ok, err = pcall(await, other)
      if ok then
        await(one)
        local peer = server:peer_certificate()
        close(client, server)
        return peer and peer.subject.CN or "none"
      end
      -- with TLS 1.3 the client learns it only when it reads
      pcall(await, one)
      local _, mine = error_of(client:read_bytes(1))
      close(client, server)
      return err.real_error.reason, mine.reason
    end
    assert.equal("Ann", with("required", "client"))
    assert.equal("Ann", with("optional", "client"))
    assert.equal("none", with("optional"))
    assert.equal("none", with("none", "client"))
    local theirs, mine = with("required")
    assert.equal("peer did not return a certificate", theirs)
    assert.is_truthy(mine:find "alert certificate required")
    theirs, mine = with("optional", "alone")
    assert.equal("certificate verify failed", theirs)
    assert.is_truthy(mine:find "alert unknown ca")
  end)

  spec("is a table", function()
    local client, server = pair()
    local it = client:peer_certificate()
    assert.same({ "O=lunado", "CN=localhost", O = "lunado", CN = "localhost" },
      it.subject)
    assert.equal("Test authority", it.issuer.CN)
    assert.same({ "DNS:localhost", "IP:127.0.0.1", "IP:::1" },
      it.subject_alt_names)
    local now = os.time()
    assert.is_true(it.not_before <= now and now - it.not_before < 3600)
    assert.equal(30 * 24 * 3600, it.not_after - it.not_before)
    assert.is_truthy(it.serial:find "^%x+$")
    assert.is_truthy(it.fingerprint:find("^" .. ("%x"):rep(64) .. "$"))
    local file = io.open(certificates.path "server.crt")
    assert.equal(file:read("a"), it.pem)
    file:close()
    assert.is_nil(server:peer_certificate())
    close(client, server)
    local ok, err = pcall(client.peer_certificate, client)
    assert.is_false(ok)
    assert.is_truthy(err:find "the stream is closed")
    client:start_tls(false, certificates.client(), "localhost"):exception()
    assert.is_false(pcall(client.peer_certificate, client))
    assert.is_nil(tls.connection_info(client))
    local plain, other = secure.plain()
    assert.is_nil(plain:peer_certificate())
    assert.is_nil(tls.connection_info(plain))
    for _, wrong in ipairs { {}, { plain }, "x", { plain[1] }, IOStream } do
      bad(function() local _ = tls.connection_info(wrong) end, 1,
        "connection_info", "IOStream", type(wrong))
    end
    close(plain, other)
  end)
end)

describe("a handle whose stream has TLS", function()
  spec("cannot have another stream", function()
    local client, server = secure.plain()
    local start, accept = secure.start(client, server)
    for _ = 1, 2 do -- in the handshake, and after it
      local ok, err = pcall(function()
        local other = IOStream(server.handle)
        return other
      end)
      assert.is_false(ok)
      assert.is_truthy(err:find "_spec.lua:%d+: bad argument #1 to 'IOStream' "
        and err:find "has TLS", err)
      await { start, accept }
    end
    client:write "x"
    assert.equal("x", await(server:read_bytes(1)))
    close(client, server)
  end)
end)

describe("ALPN", function()
  local function agreed(mine, theirs)
    local client, server = pair(certificates.client { alpn = mine },
      certificates.server("server", { alpn = theirs }))
    local result = { client.alpn_protocol, server.alpn_protocol }
    close(client, server)
    return table.unpack(result)
  end

  spec("agrees upon the first of the server's that the client has", function()
    assert.same({ "h2", "h2" }, { agreed({ "http/1.1", "h2" },
      { "h3", "h2", "http/1.1" }) })
  end)

  spec("is nothing if one side has none", function()
    assert.is_nil(agreed({ "h2" }))
    assert.is_nil(agreed(nil, { "h2" }))
  end)

  spec("ends the handshake if there is none in common", function()
    local client, server = secure.plain()
    local one, other = secure.start(client, server,
      certificates.client { alpn = { "h2" } },
      certificates.server("server", { alpn = { "http/1.1" } }))
    local _, err = error_of(one)
    assert.is_truthy(err.reason:find "alert no application protocol")
    error_of(other)
    close(client, server)
  end)
end)

describe("sessions", function()
  --- Connects with the contexts; returns whether a session was resumed.
  local function resumed(client_context, server_context, host)
    local client, server = secure.plain()
    local one = client:start_tls(false, client_context, host or "localhost")
    await { one, server:start_tls(true, server_context) }
    server:write("x") -- behind the tickets of TLS 1.3
    await(client:read_bytes(1))
    local reused = tls.connection_info(client).session_reused
    assert.equal(reused, tls.connection_info(server).session_reused)
    close(client, server)
    return reused
  end

  --- Connects over TCP to one port, because sessions are kept for a port.
  local function connect(port, context)
    return await(require "lunado.tcpclient".TCPClient():connect("localhost",
      port, { ssl_options = context, family = "inet" }))
  end

  for _, version in ipairs { "TLSv1.3", "TLSv1.2" } do
    spec("are resumed: " .. version, function()
      local server = require "lunado.tcpserver".TCPServer {
        ssl_options = tls.create_default_context(true, certificates.server()),
        handle_stream = function(_, stream) await(stream:write "x") end,
      }
      local port = server:listen(0, "127.0.0.1")
      local context = tls.create_default_context(certificates.client {
        ciphers = version == "TLSv1.2" and "ECDHE+AESGCM" or nil,
        min_version = version })
      local stale = tls.create_default_context(certificates.client())
      for i = 1, 8 do
        local stream = connect(port, context)
        await(stream:read_bytes(1))
        assert.equal(i > 1, tls.connection_info(stream).session_reused)
        assert.equal("localhost", stream:peer_certificate().subject.CN)
        close(stream)
      end
      local stream = connect(port, stale)
      await(stream:read_bytes(1))
      assert.is_false(tls.connection_info(stream).session_reused)
      close(stream)
      server:stop()
    end)
  end

  spec("are kept for each host", function()
    local mine = tls.create_default_context(certificates.client())
    local theirs = tls.create_default_context(true, certificates.server())
    assert.is_false(resumed(mine, theirs))
    assert.is_false(resumed(mine, theirs, "127.0.0.1"))
  end)

  spec("of another server are not taken", function()
    local mine = tls.create_default_context(certificates.client())
    local server = require "lunado.tcpserver".TCPServer {
      ssl_options = tls.create_default_context(true, certificates.server()),
      handle_stream = function(_, stream) await(stream:write "x") end,
    }
    local port = server:listen(0, "127.0.0.1")
    for i = 1, 2 do
      local stream = connect(port, mine)
      await(stream:read_bytes(1))
      assert.is_false(tls.connection_info(stream).session_reused)
      close(stream)
      -- with fresh keys, as after a restart
      server.ssl_options = tls.create_default_context(true,
        certificates.server(i == 1 and "server" or "other"))
    end
    -- whose certificate is checked again
    error_of(require "lunado.tcpclient".TCPClient():connect("localhost", port,
      { ssl_options = mine, family = "inet" }))
    server:stop()
    streams.wait_until(function()
      return log:count "alert bad certificate" == 1
    end)
    log:clear()
  end)
end)

describe("the filter", function()
  it("of another version is refused", function()
    local source = [[
      local core = require "lunado.core"
      core.filter_interface = core.filter_interface + 1
      print(pcall(require, "lunado.tls"))
      print(require("lunado").gen ~= nil)
    ]]
    local result = require "spec.support.child"(source)
    assert.is_truthy(result.out:find(
      " is of another version of lunado", 1, true), result.out)
    assert.is_truthy(result.out:find("true\n$"))
  end)

  it("that is missing is named, and all else works", function()
    local source = [[
      package.cpath = package.cpath:gsub("%%?%.%%a+", "?.none")
      local lunado = require "lunado"
      print(pcall(require, "lunado.tls"))
      lunado.run(function()
        print(pcall(lunado.tcpclient.TCPClient().connect,
          lunado.tcpclient.TCPClient(), "127.0.0.1", 1, { ssl_options = {} }))
      end)
    ]]
    source = ('require "lunado.core" require "lunado" ') .. source
    local result = require "spec.support.child"((source:gsub("%%%%", "%%")))
    local _, count = result.out:gsub("false\tlunado.tls needs lunado/tls.so, "
      .. "which is built where OpenSSL is found %(Debian: libssl%-dev%):", "")
    assert.equal(2, count, result.out .. result.err)
  end)
end)

