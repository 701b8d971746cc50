-- SPDX-License-Identifier: MIT
-- lunado.httpclient with nginx: https, HTTP/2, compressed bodies.
local lunado = require "lunado"
local certificates = require "spec.support.certificates"
local nginx = require "spec.support.nginx"
local web = require "spec.support.web"

local await = coroutine.yield
local http_error = web.http_error

local declare = web.specs(it, pending)
local function spec(name, fn)
  if nginx.missing then return pending(name .. ": no nginx or no openssl") end
  declare(name, fn)
end

local server
setup(function()
  if not web.missing and not nginx.missing then server = nginx.start() end
end)
teardown(function()
  if server then nginx.stop(server) end
end)

local function secure(options)
  options = options or {}
  options.ca_certs = server.ca
  return options
end

describe("https", function()
  spec("checks the certificate", function(client)
    local url = server.https .. "/protocol"
    local message = http_error(client:fetch(url))
    assert.is_truthy(message:find "certificate", message)
    assert.is_truthy(await(client:fetch(url, secure())).body:find "^HTTP/")
    assert.is_truthy(await(client:fetch(url, { validate_cert = false })).body)
    message = http_error(client:fetch(url))
    assert.is_truthy(message:find "certificate", message)
  end)

  spec("checks the host's name or address", function(client)
    local function url(host)
      return ("https://%s:%d/protocol"):format(host, server.secure)
    end
    await(client:fetch(url "127.0.0.1", secure()))
    local message = http_error(client:fetch(url "127.0.0.2", secure()))
    assert.is_truthy(message:find "127.0.0.2" or message:find "[Cc]onnect",
      message)
  end)

  spec("names files that cannot be used", function(client)
    local url = server.https .. "/protocol"
    local message = http_error(client:fetch(url, { ca_certs = "/no/such/ca" }))
    assert.is_truthy(message:find("/no/such/ca", 1, true), message)
    message = http_error(client:fetch(url, secure {
      client_cert = "/no/such/cert", client_key = "/no/such/key" }))
    assert.is_truthy(message:find("/no/such/cert", 1, true), message)
    message = http_error(client:fetch(url, secure {
      client_cert = certificates.path "client.crt",
      client_key = "/no/such/key" }))
    assert.is_truthy(message:find("/no/such/key", 1, true), message)
  end)

  spec("shows the client's certificate", function(client)
    local url = server.https .. "/client"
    assert.equal("NONE", await(client:fetch(url, secure())).body)
    assert.equal("SUCCESS", await(client:fetch(url, secure {
      client_cert = certificates.path "client.crt",
      client_key = certificates.path "client.key" })).body)
    assert.equal("NONE", await(client:fetch(url, secure())).body)
  end)

  spec("is where redirects may lead", function(client)
    local response = await(client:fetch(server.url .. "/to-https", secure()))
    assert.equal(server.https .. "/protocol", response.effective_url)
  end)

  spec("speaks HTTP/2 where libcurl has it", function(client)
    local response = await(client:fetch(server.https .. "/protocol", secure()))
    assert.is_truthy(response.body == "HTTP/2.0" or response.body == "HTTP/1.1")
    assert.equal("OK", response.reason)
    assert.equal("HTTP/1.1",
      await(client:fetch(server.url .. "/protocol")).body)
  end)

  spec("carries large bodies, many at once", function(client)
    nginx.put(server, "large", ("0123456789"):rep(100000))
    local futures = {}
    for i = 1, 30 do
      futures[i] = client:fetch(server.https .. "/large", secure())
    end
    for _, future in ipairs(futures) do
      assert.equal(1000000, #await(future).body)
    end
  end)

  spec("pauses and goes on", function(client)
    nginx.put(server, "large", ("0123456789"):rep(400000))
    local got = 0
    await(client:fetch(server.https .. "/large", secure {
      streaming_callback = lunado.coroutine(function(chunk)
        got = got + #chunk
        await(lunado.sleep(0.001))
      end) }))
    assert.equal(4000000, got)
  end)

  spec("gives up a paused fetch without harm to others", function(client)
    nginx.put(server, "large", ("0123456789"):rep(400000))
    local never = lunado.Future()
    local paused = lunado.coroutine(function()
      await(client:fetch(server.https .. "/large", secure {
        streaming_callback = function() return never end }))
    end)()
    for _ = 1, 5 do
      await(client:fetch(server.https .. "/protocol", secure()))
    end
    lunado.tasks.cancel(paused)
    assert.is_false(pcall(await, paused))
    await(client:fetch(server.https .. "/protocol", secure()))
  end)
end)

describe("nginx", function()
  spec("sends compressed bodies, which are decompressed", function(client)
    nginx.put(server, "text", ("text "):rep(10000))
    local response = await(client:fetch(server.url .. "/text"))
    assert.equal(("text "):rep(10000), response.body)
    assert.equal("gzip", response.headers["Content-Encoding"])
    response = await(client:fetch(server.url .. "/text",
      { decompress_response = false }))
    assert.equal(50000, #response.body)
    assert.is_nil(response.headers["Content-Encoding"])
    assert.is_truthy(http_error(client:fetch(server.url .. "/text",
      { max_body_size = 40000 })):find "max_body_size")
  end)

  spec("answers 404 and 304", function(client)
    http_error(client:fetch(server.url .. "/none"), 404)
    nginx.put(server, "text", "text")
    http_error(client:fetch(server.url .. "/text",
      { if_modified_since = os.time() + 10 }), 304)
  end)
end)
