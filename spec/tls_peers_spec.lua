-- SPDX-License-Identifier: MIT
-- lunado.tls with other programs on the other side: openssl's s_server and
-- s_client, nginx, curl, and Python's ssl.
local TCPClient = require "lunado.tcpclient".TCPClient
local TCPServer = require "lunado.tcpserver".TCPServer
local tls = require "lunado.tls"
local certificates = require "spec.support.certificates"
local frame = require "spec.support.frame"
local peers = require "spec.support.peers"
local secure = require "spec.support.secure"
local streams = require "spec.support.streams"

local await = coroutine.yield
local path = certificates.path

local spec = secure.specs(it)

local log
before_each(function() log = frame.begin_default() end)
after_each(function() frame.finish() end)

local function connect(port, options)
  return TCPClient():connect("127.0.0.1", port,
    { ssl_options = options or certificates.client() })
end

describe("openssl s_server", function()
  --- Its port, and it, with the certificate and these arguments.
  local function start(...)
    local args = { "-cert", path "server.crt", "-key", path "server.key", ... }
    local peer, port = peers.s_server(args)
    return port, peer
  end

  for option, version in pairs { ["-tls1_2"] = "TLSv1.2",
    ["-tls1_3"] = "TLSv1.3" } do
    spec("talks " .. version, function()
      local stream = await(connect((start(option, "-rev"))))
      assert.equal(version, tls.connection_info(stream).version)
      stream:write("drawkcab\n")
      assert.equal("backward", await(stream:read_line()))
      await(stream:close())
    end)
  end

  spec("of an old version is refused", function()
    local port = start("-tls1_2")
    local _, err = secure.error_of(connect(port,
      certificates.client { min_version = "TLSv1.3" }))
    assert.is_truthy(err.reason:find "alert protocol version")
  end)

  spec("with another cipher is refused", function()
    local port = start("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384")
    local _, err = secure.error_of(connect(port,
      certificates.client { ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }))
    assert.is_truthy(err.reason:find "alert handshake failure")
    local stream = await(connect(port,
      certificates.client { ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" }))
    assert.equal("ECDHE-ECDSA-AES256-GCM-SHA384",
      tls.connection_info(stream).cipher)
    await(stream:close())
  end)

  spec("gets the suite of TLS 1.3 that was chosen", function()
    local port = start()
    local stream = await(connect(port, certificates.client {
      ciphers = "TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM" }))
    assert.equal("TLS_CHACHA20_POLY1305_SHA256",
      tls.connection_info(stream).cipher)
    await(stream:close())
  end)

  spec("sees the protocol and the client's certificate", function()
    local port, peer = start("-alpn", "http/1.1,h2", "-Verify", "1", "-CAfile",
      path "ca.crt", "-verify_return_error", "-naccept", "1")
    local stream = await(TCPClient():connect("localhost", port, {
      family = "inet",
      ssl_options = certificates.client { alpn = { "h2" },
        certfile = path "client.crt", keyfile = path "client.key" } }))
    assert.equal("h2", stream.alpn_protocol)
    await(stream:close())
    local text = peer:finish()
    assert.is_truthy(text:find "subject=O ?= ?lunado, CN ?= ?Ann\n", text)
    assert.is_truthy(text:find "ALPN protocols selected: h2\n", text)
  end)

  spec("that requires a certificate says so", function()
    local port = start("-Verify", "1", "-CAfile", path "ca.crt",
      "-verify_return_error")
    local stream = await(connect(port))
    local _, err = secure.error_of(stream:read_bytes(1))
    assert.is_truthy(err.reason:find "alert certificate required")
    await(stream:close())
  end)

  spec("updates its keys, and asks for new ones", function()
    local port, peer = start("-tls1_3", "-msg")
    local stream = await(connect(port))
    for i = 1, 3 do
      peer.stdin:write(i == 2 and "k\n" or "K\n")
      peer:expect ">>> [^\n]* KeyUpdate"
      peer.stdin:write("line " .. i .. "\n")
      assert.equal("line " .. i, await(stream:read_line()))
      await(stream:write("answer " .. i .. "\n"))
      peer:expect("answer " .. i .. "\n")
    end
    await(stream:close())
  end)

  spec("cannot negotiate anew", function()
    local port, peer = start("-tls1_2")
    local stream = await(connect(port))
    await(stream:write("before\n"))
    peer:expect "before\n"
    peer.stdin:write("r\n")
    local _, err = secure.error_of(stream:read_bytes(1))
    assert.is_truthy(err)
    await(stream:close())
  end)

  spec("that sends plain text is not believed", function()
    local port, peer = start("-tls1_2")
    local stream = await(connect(port))
    await(stream:write("before\n"))
    peer:expect "before\n"
    peer.stdin:write("P\n")
    local _, err = secure.error_of(stream:read_until_close())
    assert.equal("wrong version number", err.reason)
    await(stream:close())
  end)

  spec("that is killed has not ended", function()
    local port, peer = start()
    local stream = await(connect(port))
    peer.stdin:write("last words\n")
    assert.equal("last words", await(stream:read_line()))
    local rest = stream:read_until_close()
    peer.process:kill("sigkill")
    local _, err = secure.error_of(rest)
    assert.equal("unexpected eof while reading", err.reason)
    await(stream:close())
  end)

  spec("resumes sessions", function()
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local port = start("-www", version)
      local context = tls.create_default_context(certificates.client())
      for i = 1, 4 do
        local stream = await(connect(port, context))
        await(stream:write "GET / HTTP/1.0\r\n\r\n")
        -- Before OpenSSL 3, it ends without a farewell.
        local page = await(stream:read_until "</HTML>")
        assert.is_truthy(page:find(i == 1 and "\nNew, TLS" or "\nReused, TLS"))
        await(stream:close())
      end
    end
  end)
end)

describe("openssl s_client", function()
  --- Starts an echo server; returns its port.
  local function serve(options, handle)
    local server = TCPServer { ssl_options = options,
      handle_stream = handle or function(_, stream)
        for line in stream:lines() do
          await(stream:write(line:upper() .. "\n"))
        end
      end }
    local port = server:listen(0, "127.0.0.1")
    return port, server
  end

  local function client(port, ...)
    return peers.s_client(port, { "-CAfile", path "ca.crt",
      "-verify_return_error", "-servername", "localhost", ... })
  end

  for option, version in pairs { ["-tls1_2"] = "TLSv1.2",
    ["-tls1_3"] = "TLSv1.3" } do
    spec("talks " .. version, function()
      local port, server = serve(certificates.server("server",
        { alpn = { "h2" } }))
      local peer = client(port, option, "-alpn", "http/1.1,h2")
      peer.stdin:write("hello\n")
      peer:expect "HELLO\n"
      peer.stdin:write(option == "-tls1_2" and "R\n" or "K\n")
      if option == "-tls1_3" then
        peer:expect "KEYUPDATE"
        peer.stdin:write("again\n")
        peer:expect "AGAIN\n"
        peer.stdin:write("Q\n")
      end -- else the client does not like the answer
      local text = peer:finish()
      assert.is_truthy(text:find "ALPN protocol: h2\n", text)
      assert.is_truthy(text:find "Verify return code: 0 %(ok%)", text)
      assert.is_truthy(text:find(option == "-tls1_2" and "no renegotiation"
        or "KEYUPDATE"), text)
      server:stop()
      streams.turn(2)
      log:clear()
    end)
  end

  spec("resumes sessions", function()
    local port, server = serve(tls.create_default_context(true,
      certificates.server()), function(_, stream)
      await(stream:write "hi\n")
      await(stream:read_until_close())
    end)
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local file = path "session"
      local peer = client(port, version, "-sess_out", file)
      peer:expect "New, TLS"
      peer:expect "hi\n"
      peer.stdin:write "Q\n"
      peer:finish()
      peer = client(port, version, "-sess_in", file)
      peer:expect "Reused, TLS"
      peer:expect "hi\n"
      peer.stdin:write "Q\n"
      peer:finish()
    end
    server:stop()
  end)

  spec("without a common version, cipher or trust is told to the log",
    function()
      local port, server = serve(certificates.server("server",
        { min_version = "TLSv1.3" }))
      client(port, "-tls1_2"):finish()
      streams.wait_until(function()
        return log:count "unsupported protocol (client 127.0.0.1)" == 1
      end)
      server.ssl_options = certificates.server("alone")
      assert.is_truthy(client(port):finish():find "self.signed certificate")
      streams.wait_until(function()
        return log:count "alert unknown ca" == 1
      end)
      log:clear()
      server:stop()
    end)

  spec("begins with STARTTLS", function()
    local server, got = TCPServer(), require "lunado".Future()
    function server.handle_stream(_, stream)
      stream:write "220 here\r\n"
      assert(await(stream:read_line()):find "^EHLO")
      stream:write "250-here\r\n250 STARTTLS\r\n"
      assert.equal("STARTTLS", await(stream:read_line()))
      stream:write "220 go ahead\r\n"
      await(stream:start_tls(true, certificates.server()))
      got:set_result(await(stream:read_line()))
    end
    local peer = client(server:listen(0, "127.0.0.1"), "-starttls", "smtp",
      "-crlf")
    peer.stdin:write "NOOP\n"
    assert.equal("NOOP", await(got))
    server:stop()
  end)
end)

describe("curl", function()
  spec("fetches a page, with and without a common name", function()
    local server = TCPServer { ssl_options = certificates.server() }
    local body = ("line\n"):rep(200000)
    function server.handle_stream(_, stream)
      await(stream:read_until "\r\n\r\n")
      await(stream:write { "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n",
        "Connection: close\r\n\r\n", body })
    end
    local port = server:listen(0, "127.0.0.1")
    local function fetch(...)
      return peers.start("curl", { "-sS", "--noproxy", "*", "--cacert",
        path "ca.crt", ... }):finish()
    end
    local text, code = fetch("--resolve", ("localhost:%d:127.0.0.1"):format(
      port), ("https://localhost:%d/"):format(port))
    assert.equal(0, code)
    assert.is_true(text == body)
    text, code = fetch("--resolve", ("wrong.example:%d:127.0.0.1"):format(port),
      ("https://wrong.example:%d/"):format(port))
    assert.equal(60, code, text)
    streams.wait_until(function() return log:count "TLS handshake failed" <= 1
    end)
    server:stop()
    streams.turn(2)
    log:clear()
  end)
end)

describe("nginx", function()
  local CONFIG = [[
    daemon off; master_process off; worker_processes 1;
    error_log stderr; pid FOLDER/nginx.pid;
    events {}
    http {
      access_log off; client_body_temp_path FOLDER/b;
      proxy_temp_path FOLDER/p; fastcgi_temp_path FOLDER/f;
      uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
      ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate FOLDER/server.crt;
      ssl_certificate_key FOLDER/server.key;
      server {
        listen 127.0.0.1:PORT ssl http2; root FOLDER;
        ssl_client_certificate FOLDER/ca.crt; ssl_verify_client optional;
        location /who { return 200 "$ssl_client_s_dn $ssl_server_name
$ssl_session_reused $ssl_protocol"; }
      }
    }
  ]]

  --- Starts nginx on a port that is free now; returns the port.
  local function start()
    local folder = path "server.crt":gsub("/server.crt$", "")
    for _ = 1, 5 do
      local port = streams.closed_port() + math.random(0, 50)
      local file = assert(io.open(folder .. "/nginx.conf", "w"))
      file:write((CONFIG:gsub("FOLDER", folder):gsub("PORT", tostring(port))))
      file:close()
      local peer = peers.start("nginx", { "-p", folder, "-c",
        folder .. "/nginx.conf" })
      for _ = 1, 500 do
        local ok, stream = pcall(await, TCPClient():connect("127.0.0.1", port))
        if ok then
          await(stream:close())
          return port, peer
        end
        if peer.out:closed() then break end
        await(require "lunado".sleep(0.01))
      end
      peer:stop()
    end
    error "nginx does not listen"
  end

  spec("serves pages, small and large, on one connection", function()
    local port = start()
    local large = assert(io.open(path "large", "w"))
    local text = ("0123456789abcdef"):rep(1 << 18)
    large:write(text)
    large:close()
    local context = tls.create_default_context(certificates.client {
      alpn = { "http/1.1" }, certfile = path "client.pem" })
    for i = 1, 3 do
      local stream = await(TCPClient():connect("localhost", port,
        { ssl_options = context, family = "inet" }))
      assert.equal("http/1.1", stream.alpn_protocol)
      local function get(what)
        stream:write(("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(what))
        local head = await(stream:read_until "\r\n\r\n")
        return await(stream:read_bytes(
          math.tointeger(head:match "Content%-Length: (%d+)")))
      end
      assert.is_true(text == get "/large")
      local who = get "/who"
      assert.is_truthy(who:find "^CN=Ann,O=lunado localhost\n", who)
      assert.is_truthy(who:find "TLSv1.3$")
      assert.equal(i > 1, tls.connection_info(stream).session_reused)
      await(stream:close())
    end
  end)

  spec("has ended when it says farewell", function()
    local stream = await(connect((start())))
    stream:write "GET /who HTTP/1.0\r\n\r\n"
    assert.is_truthy(await(stream:read_until_close()):find "TLSv1.3$")
    assert.is_nil(stream.error)
    await(stream:close())
  end)
end)

describe("Python's ssl", function()
  local function python(source, ...)
    local file = assert(io.open(path "script.py", "w"))
    file:write(source)
    file:close()
    return peers.start("python3", { "-u", path "script.py",
      path "server.crt":gsub("/server.crt$", ""), ... })
  end

  spec("serves with STARTTLS", function()
    local peer = python [[
import socket, ssl, sys
folder = sys.argv[1] + "/"
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(folder + "server.crt", folder + "server.key")
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1])
connection = listener.accept()[0]
assert connection.recv(100) == b"STARTTLS\n"
connection.sendall(b"OK\n")
secured = context.wrap_socket(connection, server_side=True)
got = 0
while got < 3000000: got += len(secured.recv(65536))
secured.sendall(b"got it\n")
secured.unwrap()
print("done")
]]
    local port = tonumber((peer:expect "port (%d+)\n"))
    local stream = await(TCPClient():connect("127.0.0.1", port))
    stream:write "STARTTLS\n"
    assert.equal("OK", await(stream:read_line()))
    await(stream:start_tls(false, certificates.client(), "localhost"))
    stream:write(("x"):rep(3000000))
    assert.equal("got it", await(stream:read_line()))
    assert.equal("", await(stream:read_until_close()))
    assert.is_nil(stream.error)
    await(stream:close())
    peer:expect "done\n"
  end)

  spec("is a client", function()
    local server = TCPServer {
      ssl_options = certificates.server("server", { cert_reqs = "required",
        ca_certs = path "ca.crt", alpn = { "echo" } }),
      handle_stream = function(_, stream)
        await(stream:write(stream:peer_certificate().subject.CN .. "\n"))
        await(stream:write(await(stream:read_bytes(2000000))))
        stream:close()
      end }
    local port = server:listen(0, "127.0.0.1")
    local peer = python([[
import socket, ssl, sys
folder = sys.argv[1] + "/"
context = ssl.create_default_context(cafile=folder + "ca.crt")
context.load_cert_chain(folder + "client.crt", folder + "client.key")
context.set_alpn_protocols(["other", "echo"])
raw = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
secured = context.wrap_socket(raw, server_hostname="localhost")
file = secured.makefile("rwb")
print(file.readline().decode().strip(), secured.selected_alpn_protocol())
data = b"0123456789" * 200000
file.write(data)
file.flush()
assert file.read() == data
print("the end") # told by close_notify, or read had raised
]], tostring(port))
    peer:expect "Ann echo\n"
    peer:expect "the end\n"
    server:stop()
  end)
end)
