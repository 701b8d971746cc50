-- SPDX-License-Identifier: MIT
-- lunado.httpclient: requests, answers and errors.
local httputil = require "lunado.httputil"
local lunado = require "lunado"
local bad = require "spec.support.bad"
local child = require "spec.support.child"
local selves = require "spec.support.selves"
local streams = require "spec.support.streams"
local web = require "spec.support.web"

local await, spec = coroutine.yield, web.specs(it, pending)
local http_error = web.http_error
local httpclient = not web.missing and require "lunado.httpclient" or {}
local HTTPRequest = httpclient.HTTPRequest

describe("fetch", function()
  spec("gives the answer", function(client)
    local seen
    local url = web.serve(function(request)
      seen = request
      return "200 Fine", "hello", { "X-A: 1", "x-a: 2", "X-B:  padded \t" }
    end)
    local response = await(client:fetch(url .. "/path?a=b"))
    assert.equal(200, response.code)
    assert.equal("Fine", response.reason)
    assert.equal("hello", response.body)
    assert.equal("1,2", response.headers["x-A"])
    assert.equal("padded", response.headers["X-B"])
    assert.equal(url .. "/path?a=b", response.effective_url)
    assert.equal(url .. "/path?a=b", response.request.url)
    assert.is_nil(response.error)
    response:rethrow()
    assert.equal("GET", seen.method)
    assert.equal("/path?a=b", seen.path)
    assert.is_true(response.request_time >= 0)
    for _, name in ipairs { "queue", "namelookup", "connect", "pretransfer",
      "starttransfer", "total", "redirect" } do
      assert.equal("number", type(response.time_info[name]), name)
    end
    assert.is_truthy(tostring(response):find "code=200")
  end)

  spec("has a name in the tree of what is waited for", function()
    local client <close> = httpclient.AsyncHTTPClient { max_clients = 1,
      force_instance = true }
    local port = web.raw(function(stream) web.read_request(stream) end)
    local urls = {}
    for i, at in ipairs { "user:password@127.0.0.1", "127.0.0.1" } do
      urls[i] = ("http://%s:%d/%d"):format(at, port, i)
    end
    local waiting = lunado.coroutine(function()
      await { client:fetch(urls[1]), client:fetch(urls[2]) }
    end)()
    local text = ""
    lunado.debug.dump { write = function(_, ...)
      text = text .. table.concat { ... }
    end }
    local name = ("fetch of http://127.0.0.1:%d/"):format(port)
    assert.is_truthy(text:find(" " .. name .. "1\n", 1, true), text)
    assert.is_truthy(text:find(" " .. name .. "2, in the queue\n", 1, true))
    lunado.tasks.cancel(waiting)
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
  end)

  spec("reuses connections", function(client)
    local connections = 0
    local port = web.raw(function(stream)
      connections = connections + 1
      while true do
        web.read_request(stream)
        await(web.answer(stream, 200, "x"))
      end
    end)
    for _ = 1, 20 do
      assert.equal("x",
        (await(client:fetch("http://127.0.0.1:" .. port))).body)
    end
    assert.equal(1, connections)
  end)

  spec("collects bodies of any size and content", function(client)
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local body = table.concat(bytes):rep(4001)
    local url = web.serve(function() return 200, body end)
    local response = await(client:fetch(url))
    assert.is_true(response.body == body)
    url = web.serve(function() return 200, "" end)
    assert.equal("", (await(client:fetch(url))).body)
  end)

  spec("sends methods and bodies", function(client)
    local url = web.serve(function(request)
      return 200, ("%s %s %s"):format(request.method, request.body or "-",
        request.headers["Content-Type"] or "-")
    end)
    local function send(method, options)
      options.method = method
      return (await(client:fetch(url, options))).body
    end
    local form = "application/x-www-form-urlencoded"
    assert.equal("POST a=b " .. form, send("POST", { body = "a=b" }))
    assert.equal("POST - " .. form, send("POST", { body = "" }))
    assert.equal("PUT x\0y -", send("PUT", { body = "x\0y" }))
    assert.equal("PATCH x -", send("PATCH", { body = "x" }))
    assert.equal("PATCH x text/x",
      send("PATCH", { body = "x", headers = { ["content-type"] = "text/x" } }))
    assert.equal("DELETE - -", send("DELETE", {}))
    assert.equal("OPTIONS - -", send("OPTIONS", {}))
    assert.equal("", send("HEAD", {}))
    local odd = { allow_nonstandard_methods = true }
    assert.equal("BREW - -", send("BREW", odd))
    odd.body = "x"
    assert.equal("DELETE x -", send("DELETE", odd))
    local large = ("x"):rep(3 << 20)
    assert.equal(#("POST  ") + #large + #form,
      #send("POST", { body = large }))
  end)

  spec("sends headers as they are given", function(client)
    local head
    local url = web.serve(function(request)
      head = request.head
      return 200
    end)
    local headers = httputil.HTTPHeaders {
      ["X-One"] = "1", ["x-empty"] = "", Accept = "text/x", ["X-N"] = 7 }
    headers:add("X-One", "2")
    await(client:fetch(url, { headers = headers, user_agent = "agent/1",
      decompress_response = false }))
    local function has(line)
      assert.is_truthy(head:find("\r\n" .. line .. "\r\n", 1, true),
        line .. " is not in\n" .. head)
    end
    has "X-One: 1"
    has "X-One: 2"
    has "X-Empty:"
    has "Accept: text/x"
    has "X-N: 7"
    has "User-Agent: agent/1"
    assert.is_nil(head:find "Expect")
    assert.is_nil(head:find "Encoding")
    await(client:fetch(url, { if_modified_since = 1359312200 }))
    has "If-Modified-Since: Sun, 27 Jan 2013 18:43:20 GMT"
    has "User-Agent: lunado"
    has "Accept-Encoding: gzip, deflate"
    assert.is_nil(rawget(headers, "If-Modified-Since"))
  end)

  spec("keeps no cookies", function(client)
    local cookie
    local url = web.serve(function(request)
      cookie = request.headers.Cookie
      return 200, "", { "Set-Cookie: a=b" }
    end)
    assert.equal("a=b", (await(client:fetch(url))).headers["Set-Cookie"])
    await(client:fetch(url))
    assert.is_nil(cookie)
  end)

  spec("takes HTTPRequest, which can be used again", function(client)
    local url = web.serve(function(request)
      return 200, request.method .. (request.headers["X-A"] or "")
    end)
    local request = HTTPRequest(url, { method = "DELETE",
      headers = { ["x-a"] = "1" } })
    for _ = 1, 2 do
      local response = await(client:fetch(request))
      assert.equal("DELETE1", response.body)
      assert.equal(request, response.request)
    end
    request.headers["X-A"], request.method = "2", "OPTIONS"
    assert.equal("OPTIONS2", (await(client:fetch(request))).body)
    assert.is_false(pcall(function() request.methods = "GET" end))
  end)

  spec("waits 100-continue only if asked to", function(client)
    local port = web.raw(function(stream)
      local request = web.read_request(stream, true)
      assert.equal("100-continue", request.headers.Expect)
      await(stream:write "HTTP/1.1 100 Continue\r\n\r\n")
      local body = await(stream:read_bytes(3))
      await(web.answer(stream, 200, body))
    end)
    local response = await(client:fetch("http://127.0.0.1:" .. port,
      { method = "POST", body = "abc", expect_100_continue = true }))
    assert.equal("abc", response.body)
    assert.equal(200, response.code)
  end)

  spec("is not repeated after 417", function(client)
    local count, lines = 0, {}
    local url = "http://127.0.0.1:" .. web.raw(function(stream)
      while true do
        local request = web.read_request(stream, true)
        count = count + 1
        if request.headers["Content-Length"] ~= "3" then -- asks for digest
          await(web.answer(stream, 401, "", {
            'WWW-Authenticate: Digest realm="r", nonce="n"' }))
        else
          await(web.answer(stream, 417, "", { "X: " .. count }))
        end
      end
    end)
    local fields = { method = "POST", body = "abc", raise_error = false,
      expect_100_continue = true,
      header_callback = function(line) table.insert(lines, line) end }
    local response = await(client:fetch(url, fields))
    assert.equal(417, response.code)
    assert.equal("1", response.headers.X)
    assert.equal(1, count)
    assert.equal(4, #lines)
    fields.auth_username, fields.auth_password = "a", "b"
    fields.auth_mode = "digest"
    assert.equal(417, (await(client:fetch(url, fields))).code)
    assert.is_true(count <= 8)
  end)
end)

describe("an answer with an error's code", function()
  spec("fails the fetch", function(client)
    local url = web.serve(function() return "404 Nothing here", "body" end)
    local message, err = http_error(client:fetch(url), 404)
    assert.equal("Nothing here", message)
    assert.equal("HTTP 404: Nothing here", tostring(err))
    assert.equal("body", err.response.body)
    assert.equal(err, err.response.error)
    assert.equal(err, select(2, pcall(err.response.rethrow, err.response)))
  end)

  spec("is a result without raise_error", function(client)
    local url = web.serve(function() return "500 ", "body" end)
    local response = await(client:fetch(url, { raise_error = false }))
    assert.equal(500, response.code)
    assert.equal("Internal Server Error", response.reason)
    assert.equal(500, response.error.code)
  end)
end)

describe("what is no answer", function()
  spec("fails with 599 and libcurl's words, whatever raise_error", function(c)
    local port = streams.closed_port()
    local message = http_error(c:fetch("http://127.0.0.1:" .. port,
      { raise_error = false }))
    assert.is_truthy(message:find "[Cc]onnect", message)
    message = http_error(c:fetch("http://127.0.0.1:" .. port))
    assert.is_truthy(message:find "[Cc]onnect", message)
  end)

  -- What a server sends before it closes, and what the error says.
  local CUT <const> = {
    ["nothing"] = { "", "[Ee]mpty reply" },
    ["a part of the first line"] = { "HTTP/1.1 2", "" },
    ["a part of the headers"] = {
      "HTTP/1.1 200 OK\r\nX-A: b", "within the headers" },
    ["a part of the headers with a length"] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b", "" },
    ["whole lines of the headers"] = {
      "HTTP/1.1 200 OK\r\nX-A: b\r\n", "within the headers" },
    ["a part of the body"] = {
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "2 bytes" },
    ["a part of a chunk"] = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
      .. "\r\n\r\n5\r\nab", "" },
    ["no last chunk"] = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
      .. "\r\n\r\n2\r\nab\r\n", "" },
    ["only a preliminary answer"] = { "HTTP/1.1 100 Continue\r\n\r\n", "" },
    ["garbage"] = { "SSH-2.0-OpenSSH\r\n\r\n", "" },
    ["a chunk without a size"] = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
      .. "chunked\r\n\r\nzz\r\nab\r\n", "" },
    ["too long a line"] = { "HTTP/1.1 200 OK\r\nX-A: " .. ("a"):rep(200000)
      .. "\r\n\r\n", "long" },
  }
  for name, case in pairs(CUT) do
    spec("is " .. name, function(client)
      local port = web.raw(function(stream)
        web.read_request(stream)
        if case[1] ~= "" then await(stream:write(case[1])) end
      end)
      local message = http_error(client:fetch("http://127.0.0.1:" .. port))
      assert.is_truthy(message:find(case[2]), message)
    end)
  end

  spec("is an answer within limits too large", function(client)
    local url = web.serve(function(request)
      if request.path == "/head" then
        return 200, "", { "X-A: " .. ("a"):rep(3000) }
      end
      return 200, ("a"):rep(3000)
    end)
    local function fetch(path, options)
      return client:fetch(url .. path, options)
    end
    assert.is_truthy(http_error(fetch("/", { max_body_size = 2999 }))
      :find "max_body_size")
    assert.is_truthy(http_error(fetch("/head", { max_header_size = 2999 }))
      :find "max_header_size")
    assert.equal(3000, #await(fetch("/", { max_body_size = 3000 })).body)
    await(fetch("/head", { max_header_size = 4000 }))
  end)

  spec("does not end other fetches", function(client)
    local url = web.serve(function() return 200, "fine" end)
    local port = web.raw(function(stream) web.read_request(stream) end)
    local futures = {}
    for i = 1, 20 do
      futures[i] = client:fetch(i % 2 == 0 and url
        or "http://127.0.0.1:" .. port)
    end
    for i, future in ipairs(futures) do
      if i % 2 == 0 then
        assert.equal("fine", await(future).body)
      else
        http_error(future)
      end
    end
  end)
end)

describe("answers", function()
  spec("without a length end with the connection", function(client)
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write "HTTP/1.0 200 OK\r\n\r\nold ")
      await(stream:write "style")
    end)
    local response = await(client:fetch("http://127.0.0.1:" .. port))
    assert.equal("old style", response.body)
  end)

  spec("may come one byte at a time, in chunks, with trailers", function(client)
    local text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1;\r\n"
      .. "\tfolded\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\nX-T: t\r\n\r\n"
    local port = web.raw(function(stream)
      web.read_request(stream)
      for i = 1, #text do
        await(stream:write(text:sub(i, i)))
        await()
      end
    end)
    local response = await(client:fetch("http://127.0.0.1:" .. port))
    assert.equal("abcde", response.body)
    assert.equal("1; folded", response.headers["X-A"])
    assert.equal("t", response.headers["X-T"])
  end)

  spec("may have lines of many forms", function(client)
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write("HTTP/1.1 299  A reason \r\nX-A:1\r\n"
        .. "x-b: \t two  words\t \r\n\t \r\n   and \n\tmore\r\nX-Empty:\r\n"
        .. "X-A:  http://a:1 \nX C: 3\r\n: none\r\nConnection: close\r\n"
        .. "\r\n"))
    end)
    local lines, headers = {}, {}
    local response = await(client:fetch("http://127.0.0.1:" .. port,
      { header_callback = function(line) lines[#lines + 1] = line end }))
    for name, value in pairs(response.headers) do
      -- How many blanks a continued line leaves is libcurl's in later versions.
      headers[#headers + 1] = name .. "=" .. value:gsub("%s+", " ")
    end
    assert.equal(299, response.code)
    assert.equal(" A reason ", response.reason)
    assert.same({ "X-A=1,http://a:1", "X-B=two words and more",
      "X-Empty=", "X c=3", "Connection=close" }, headers)
    assert.equal("X-A:1\r\n", lines[2])
    assert.equal("\r\n", lines[#lines])
  end)

  spec("may have lines that look like status lines", function(client)
    local head = "1 100 Continue\r\nHTTP/1.1: 404\r\n\r\nhttp/1.1 201 Made\r\n"
      .. "HTTP/1: 404 no\r\nhttp/x: y\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "1\r\na\r\n0\r\nHTTP/2: 500 z\r\n\r\n"
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write("HTTP/1." .. head))
    end)
    local pieces = {}
    for _, callback in ipairs { false, function(data)
      table.insert(pieces, data)
    end } do
      local response = await(client:fetch("http://127.0.0.1:" .. port,
        { streaming_callback = callback or nil }))
      assert.equal(201, response.code)
      assert.equal("Made", response.reason)
      assert.equal(callback and "" or "a", response.body)
      assert.equal("404 no", response.headers["HTTP/1"])
      assert.equal("y", response.headers["HTTP/X"])
      assert.equal("500 z", response.headers["HTTP/2"])
      assert.is_nil(response.headers["HTTP/1.1"])
    end
    assert.same({ "a" }, pieces)
  end)

  spec("may follow preliminary ones", function(client)
    local lines = {}
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        .. "HTTP/1.1 204 None\r\nX-A: 1\r\n\r\n"))
    end)
    local response = await(client:fetch("http://127.0.0.1:" .. port, {
      header_callback = function(line) lines[#lines + 1] = line end }))
    assert.equal(204, response.code)
    assert.is_nil(response.headers.Link)
    assert.same({ "HTTP/1.1 204 None\r\n", "X-A: 1\r\n", "\r\n" }, lines)
  end)
end)

describe("authentication", function()
  spec("is basic by fields or by the URL", function(client)
    local url, port = web.serve(function(request)
      return 200, request.headers.Authorization or "none"
    end)
    local function fetch(address, options)
      return await(client:fetch(address, options)).body
    end
    local basic = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert.equal("none", fetch(url))
    assert.equal(basic, fetch(url, { auth_username = "Aladdin",
      auth_password = "open sesame" }))
    assert.equal(basic,
      fetch("http://Aladdin:open%20sesame@127.0.0.1:" .. port))
    assert.equal(basic, fetch("http://Aladdin@127.0.0.1:" .. port,
      { auth_password = "open sesame" }))
    assert.equal(basic, fetch("http://Aladdin:x@127.0.0.1:" .. port,
      { auth_password = "open sesame" }))
    assert.equal("none", fetch(url))
    assert.equal("Bearer x", fetch(url, { headers = {
      Authorization = "Bearer x" } }))
  end)
end)

describe("arguments", function()
  local WRONG <const> = {
    method = { 1, "GET x", "GE\r\nT", "", "get\0" },
    headers = { "x", { [1] = "x" }, { ["X y"] = "1" }, { X = "a\nb" },
      { X = "a\r" }, { X = "a\0" }, { ["X:"] = "1" }, { [""] = "1" },
      { X = true }, { ["X\r\nY"] = "1" }, { X = 0 / 0 }, { X = math.huge },
      { X = { "a", y = "b" } }, { X = { [2] = "b" } }, { X = { 0 / 0 } } },
    body = { 1, {} }, body_producer = { 1, "x" },
    auth_username = { 1, "a\0b", "a\r\nX: y" },
    auth_password = { 1, "a\0b", "a\nb" },
    auth_mode = { "ntlm", 1 },
    connect_timeout = { -1, "1", 0 / 0 }, request_timeout = { -1, {}, 0 / 0 },
    if_modified_since = { "yesterday", 0 / 0, {} },
    follow_redirects = { 1 }, max_redirects = { -1, 1.5, "5" },
    user_agent = { 1, "a\r\nb" }, decompress_response = { 1 },
    network_interface = { 1 }, streaming_callback = { 1 },
    header_callback = { {} }, proxy_host = { 1, "a\nb", "",
      "socks5://", "socks6://a", "a:80", "a/b", "a b", "u:p@a", "::1", "a?b",
      "http://a/" },
    proxy_port = { -1, 0, 65536, "80" }, proxy_username = { 1, "a\rb" },
    proxy_password = { 1, "a\nb" }, allow_nonstandard_methods = { 1 },
    validate_cert = { "no" }, ca_certs = { 1, "a\0" }, client_key = { 1 },
    client_cert = { 1 }, expect_100_continue = { 1 },
    max_body_size = { -1, 1.5 }, max_header_size = { "x" },
  }

  spec("are checked before anything starts", function(client)
    for name, values in pairs(WRONG) do
      for _, value in ipairs(values) do
        bad(function()
          local f = client:fetch("http://127.0.0.1:1/", { [name] = value })
          return f
        end, 2, "fetch", "^" .. name .. ": ")
        bad(function()
          local r = HTTPRequest("http://127.0.0.1:1/", { [name] = value })
          return r
        end, 2, "HTTPRequest", "^" .. name .. ": ")
        bad(function()
          local c = httpclient.AsyncHTTPClient { force_instance = true,
            defaults = { [name] = value } }
          return c
        end, 1, "AsyncHTTPClient", "^defaults: " .. name .. ": ")
      end
    end
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
  end)

  spec("begin with the object", function(client)
    selves(client, "AsyncHTTPClient", "fetch", "close")
    selves(httpclient.HTTPResponse, "HTTPResponse", "rethrow")
  end)

  spec("have the names of the contract only", function(client)
    for _, name in ipairs { "prepare_curl_callback", "use_gzip", "allow_ipv6",
      "ssl_options", "foo", "url" } do
      bad(function()
        local f = client:fetch("http://127.0.0.1:1/", { [name] = "x" })
        return f
      end, 2, "fetch")
    end
    bad(function()
      local c = httpclient.AsyncHTTPClient { max_client = 1 }
      return c
    end, 1, "AsyncHTTPClient", 'unknown option "max_client"')
    local count = 0
    local other = httpclient.AsyncHTTPClient(setmetatable({}, {
      __index = function(_, name)
        if name == "force_instance" then return true end
        if name ~= "max_clients" then return nil end
        count = count + 1
        return count == 1 and 3 or "x"
      end }))
    assert.equal(3, other.max_clients)
    other:close()
    bad(function()
      local c = httpclient.AsyncHTTPClient { max_clients = 0 }
      return c
    end, 1, "AsyncHTTPClient", "max_clients")
  end)

  spec("are URLs of http and https", function(client)
    for _, url in ipairs { "ftp://x/", "file:///etc/passwd", "127.0.0.1", "",
      "http:/x", "gopher://x", "http://x/\r\nX: y", "http://x/\0",
      "javascript:1", "http://a%00b:c@x/", "http://a%0D%0aX%3a:c@x/",
      "http://a:%0a@x/" } do
      bad(function()
        local f = client:fetch(url)
        return f
      end, 1, "fetch", "^url: ")
    end
    bad(function()
      local f = client:fetch()
      return f
    end, 1, "fetch", "string or HTTPRequest", "nil")
    http_error(client:fetch "http://")
    http_error(client:fetch "http://a b/")
  end)

  spec("are checked together", function(client)
    local function refuses(options, what)
      bad(function()
        local f = client:fetch("http://127.0.0.1:1/", options)
        return f
      end, 2, "fetch", what)
    end
    refuses({ method = "POST" }, "body: must not be nil for method POST")
    refuses({ method = "DELETE", body = "x" }, "must be nil for method DELETE")
    refuses({ body = "x" }, "must be nil for method GET")
    refuses({ body = "x", allow_nonstandard_methods = true }, "GET")
    refuses({ method = "HEAD", body = "x", allow_nonstandard_methods = true },
      "HEAD")
    refuses({ method = "BREW" }, 'unknown method "BREW"')
    refuses({ method = "POST", body = "x", body_producer = print }, "exclude")
    refuses({ proxy_host = "x" }, "proxy_port")
    refuses({ proxy_port = 1 }, "proxy_host")
    refuses({ proxy_username = "x" }, "proxy_username: there is no proxy_host")
    refuses({ proxy_host = "x", proxy_port = 1, proxy_password = "y" },
      "proxy_password: there is no proxy_username")
    refuses({ auth_password = "x" }, "auth_password: there is no auth_username")
    refuses({ client_key = "x" }, "client_key: there is no client_cert")
    refuses({ method = "POST", body = "x",
      headers = { ["Content-Length"] = "2" } }, "Content%-Length")
    refuses({ headers = { ["Content-Length"] = "2" } }, "need a body")
    refuses({ method = "DELETE", headers = { ["Transfer-Encoding"] =
      "chunked" } }, "need a body")
    bad(function()
      local f = client:fetch(HTTPRequest("http://x/"), { method = "GET" })
      return f
    end, 2, "fetch", "method")
    bad(function()
      local f = client:fetch("http://x/", { raise_error = 1 })
      return f
    end, 2, "fetch", "raise_error")
  end)
end)

describe("AsyncHTTPClient", function()
  spec("is one for each loop, unless force_instance", function(client)
    assert.equal(client, httpclient.AsyncHTTPClient())
    assert.equal(client, httpclient.AsyncHTTPClient { max_clients = 10 })
    local own = httpclient.AsyncHTTPClient { force_instance = true }
    assert.not_equal(client, own)
    bad(function()
      local c = httpclient.AsyncHTTPClient { max_clients = 5 }
      return c
    end, 1, "AsyncHTTPClient", "force_instance")
    own:close()
    client:close()
    client:close()
    assert.not_equal(client, httpclient.AsyncHTTPClient())
    assert.is_false(pcall(client.fetch, client, "http://127.0.0.1:1/"))
  end)

  spec("has defaults for requests", function()
    local url = web.serve(function(request)
      return 200, request.headers["User-Agent"]
    end)
    local client <close> = httpclient.AsyncHTTPClient { force_instance = true,
      defaults = { user_agent = "mine" } }
    assert.equal("mine", (await(client:fetch(url))).body)
    assert.equal("other",
      (await(client:fetch(url, { user_agent = "other" }))).body)
  end)

  spec("has default headers and a default method", function()
    local url = web.serve(function(request)
      local headers = request.headers
      return 200, ("%s %s %s"):format(request.method, headers["X-One"],
        headers["X-Two"])
    end)
    local client <close> = httpclient.AsyncHTTPClient { force_instance = true,
      defaults = { headers = { ["x-one"] = { "1", "2" }, ["x-two"] = "3" },
        method = "OPTIONS" } }
    local function get(options)
      return await(client:fetch(url, options)).body
    end
    assert.equal("OPTIONS 1,2 3", get())
    assert.equal("GET 1,2 4",
      get { method = "GET", headers = { ["X-Two"] = "4" } })
    assert.equal("OPTIONS 1,2 3",
      (await(client:fetch(HTTPRequest(url))).body))
    assert.equal("GET", HTTPRequest(url).method)
  end)

  spec("is checked again when it was changed", function()
    local url = web.serve(function() return 200, "" end)
    local client <close> = httpclient.AsyncHTTPClient { force_instance = true }
    local function refused(name, value, message)
      local former = client[name]
      client[name] = value
      local ok, err = pcall(function()
        local f = client:fetch(url)
        return f
      end)
      client[name] = former
      assert.is_false(ok)
      assert.is_truthy(err:find("spec.lua:%d+: AsyncHTTPClient: " .. message),
        err)
    end
    refused("defaults", { user_agent = "a\r\nX: y" },
      "defaults: user_agent: string contains CR, LF or NUL")
    refused("defaults", { request_timeout = "1" }, "defaults: request_timeout")
    refused("defaults", { foo = 1 }, 'defaults: unknown field "foo"')
    refused("defaults", nil, "defaults: table expected, got nil")
    for _, most in ipairs { 0, "1", 1.5, false } do
      refused("max_clients", most, "max_clients: a positive number expected")
    end
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
    client.defaults = {}
    await(client:fetch(url))
  end)

  spec("ignores the proxies of the environment", function()
    local result = child([[
      local lunado = require "lunado"
      local luv = require "luv"
      for _, name in ipairs { "http_proxy", "HTTP_PROXY", "ALL_PROXY",
        "all_proxy" } do luv.os_setenv(name, "http://127.0.0.1:1") end
      local server = lunado.tcpserver.TCPServer()
      function server:handle_stream(stream)
        coroutine.yield(stream:read_until "\r\n\r\n")
        coroutine.yield(stream:write "HTTP/1.0 200 OK\r\n\r\nfine")
        stream:close()
      end
      local port = server:listen(0, "127.0.0.1")
      lunado.run(function()
        local client = lunado.httpclient.AsyncHTTPClient()
        print(coroutine.yield(client:fetch("http://127.0.0.1:" .. port)).body)
        server:stop()
      end)
    ]])
    assert.equal("fine\n", result.out .. result.err)
  end)

  spec("goes through the proxy of the request", function(client)
    local seen
    local _, port = web.serve(function(request)
      seen = request
      return 200, "from the proxy"
    end)
    local response = await(client:fetch("http://nowhere.invalid/x", {
      proxy_host = "127.0.0.1", proxy_port = port, proxy_username = "me",
      proxy_password = "pw" }))
    assert.equal("from the proxy", response.body)
    assert.equal("http://nowhere.invalid/x", seen.path)
    assert.equal("Basic bWU6cHc=", seen.headers["Proxy-Authorization"])
  end)

  spec("goes through a SOCKS proxy, which finds the host", function(client)
    local host
    local port = web.raw(function(stream)
      local methods = (await(stream:read_bytes(2))):byte(2)
      await(stream:read_bytes(methods))
      await(stream:write "\5\0") -- no password
      assert.equal("\5\1\0\3", await(stream:read_bytes(4)))
      host = await(stream:read_bytes((await(stream:read_bytes(1))):byte()))
      assert.equal("\0\80", await(stream:read_bytes(2)))
      await(stream:write "\5\0\0\1\0\0\0\0\0\0")
      web.read_request(stream)
      await(web.answer(stream, 200, "by SOCKS"))
    end)
    local response = await(client:fetch("http://nowhere.invalid/x", {
      proxy_host = "socks5h://127.0.0.1", proxy_port = port }))
    assert.equal("by SOCKS", response.body)
    assert.equal("nowhere.invalid", host)
  end)

  spec("binds to a network interface", function(client)
    local url = web.serve(function() return 200, "ok" end)
    assert.equal("ok", (await(client:fetch(url,
      { network_interface = "127.0.0.1" }))).body)
    http_error(client:fetch(url, { network_interface = "no such interface" }))
  end)

  spec("is found as lunado.httpclient", function()
    assert.equal(httpclient, lunado.httpclient)
    assert.equal(httputil, lunado.httputil)
  end)
end)

describe("requiring lunado.httpclient", function()
  it("says what is missing", function()
    local result = child [[
      package.cpath = package.cpath:gsub("[^;]+", "%0")
      local searchpath = package.searchpath
      function package.searchpath(name, ...)
        if name == "lunado.curl" then return nil, "none" end
        return searchpath(name, ...)
      end
      require "lunado"
      print(require "lunado.httputil" ~= nil)
      print(pcall(require, "lunado.httpclient"))
    ]]
    assert.is_truthy(result.out:find "^true\nfalse\t.*curl.so.*libcurl",
      result.out)
  end)
end)
