-- SPDX-License-Identifier: MIT
-- Tornado's httpclient_test, by the names of its functions.
local ioloop = require "lunado.ioloop"
local httputil = require "lunado.httputil"
local isinstance = require "lunado.util".isinstance
local stack_context = require "lunado.stack_context"
local web = require "spec.support.web"
local webapp = require "spec.tornado.webapp"

local await, HTTPHeaders = coroutine.yield, httputil.HTTPHeaders
local declare = web.specs(it, pending)
local httpclient = not web.missing and require "lunado.httpclient" or {}
local HTTPError, HTTPRequest, HTTPResponse =
  httpclient.HTTPError, httpclient.HTTPRequest, httpclient.HTTPResponse

-- As Tornado's cases have it: fetch waits, and gives the answer whatever its
-- code is.
local client, url
local function fetch(path, options)
  options = options or {}
  options.raise_error = false
  return await(client:fetch(url .. path, options))
end

local function test(name, fn)
  declare(name, function(made)
    client, url = made, webapp()
    fn()
  end)
end

--- Answers each request with the text, and closes the connection.
local function serve_text(text)
  return "http://127.0.0.1:" .. web.raw(function(stream)
    web.read_request(stream)
    await(stream:write((text:gsub("\n", "\r\n"))))
  end)
end

describe("HTTPClientCommonTestCase", function()
  test("test_patch_receives_payload", function()
    local response = fetch("/patch", { method = "PATCH",
      body = "some patch data" })
    assert.equal(200, response.code)
    assert.equal("some patch data", response.body)
  end)

  test("test_hello_world", function()
    local response = fetch "/hello"
    assert.equal(200, response.code)
    assert.equal("text/plain", response.headers["Content-Type"])
    assert.equal("Hello world!", response.body)
    assert.equal(0, response.request_time // 10)
    assert.equal("Hello Ben!", fetch("/hello?name=Ben").body)
  end)

  test("test_streaming_callback", function()
    local chunks = {}
    local response = fetch("/hello", { streaming_callback = function(chunk)
      chunks[#chunks + 1] = chunk
    end })
    assert.same({ "Hello world!" }, chunks)
    assert.equal("", response.body)
  end)

  test("test_post", function()
    local response = fetch("/post", { method = "POST",
      body = "arg1=foo&arg2=bar" })
    assert.equal(200, response.code)
    assert.equal("Post arg1: foo, arg2: bar", response.body)
  end)

  test("test_chunked", function()
    assert.equal("asdfqwer", fetch("/chunk").body)
    local chunks = {}
    local response = fetch("/chunk", { streaming_callback = function(chunk)
      chunks[#chunks + 1] = chunk
    end })
    assert.equal("asdfqwer", table.concat(chunks))
    assert.equal("", response.body)
  end)

  test("test_chunked_close", function()
    local address = serve_text
      "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\n1\n1\n2\n0\n\n"
    assert.equal("12", await(client:fetch(address)).body)
  end)

  test("test_streaming_stack_context", function()
    local chunks, errors = {}, {}
    local future
    stack_context.ExceptionStackContext(function(err)
      errors[#errors + 1] = err
      return true
    end):run(function()
      future = client:fetch(url .. "/chunk", {
        streaming_callback = function(chunk)
          chunks[#chunks + 1] = chunk
          if chunk:find "qwer" then error("zero", 0) end
        end })
    end)
    await(future)
    assert.equal("asdfqwer", table.concat(chunks))
    assert.same({ "zero" }, errors)
  end)

  test("test_basic_auth", function()
    assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", fetch("/auth", {
      auth_username = "Aladdin", auth_password = "open sesame" }).body)
  end)

  test("test_basic_auth_explicit_mode", function()
    assert.equal("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", fetch("/auth", {
      auth_username = "Aladdin", auth_password = "open sesame",
      auth_mode = "basic" }).body)
  end)

  test("test_unsupported_auth_mode", function()
    local ok, err = pcall(fetch, "/auth", { auth_username = "Aladdin",
      auth_password = "open sesame", auth_mode = "asdf" })
    assert.is_false(ok)
    assert.is_truthy(err:find "auth_mode")
  end)

  test("test_follow_redirect", function()
    local response = fetch("/countdown/2", { follow_redirects = false })
    assert.equal(302, response.code)
    assert.is_truthy(response.headers.Location:find "/countdown/1$")
    response = fetch "/countdown/2"
    assert.equal(200, response.code)
    assert.is_truthy(response.effective_url:find "/countdown/0$")
    assert.equal("Zero", response.body)
  end)

  test("test_credentials_in_url", function()
    local address = url:gsub("http://", "http://me:secret@")
    assert.equal("Basic bWU6c2VjcmV0",
      await(client:fetch(address .. "/auth")).body)
  end)

  test("test_body_encoding", function()
    for _, body in ipairs { "\xc3\xa9", "\xe9" } do
      local response = fetch("/echopost", { method = "POST", body = body,
        headers = { ["Content-Type"] = "application/blah" },
        user_agent = "foo" })
      assert.equal(tostring(#body), response.headers["Content-Length"])
      assert.equal(body, response.body)
    end
  end)

  test("test_types", function()
    local response = fetch "/hello"
    assert.equal("string", type(response.body))
    assert.equal("string", type(response.headers["Content-Type"]))
    assert.equal("integer", math.type(response.code))
    assert.equal("string", type(response.effective_url))
  end)

  test("test_header_callback", function()
    local first_line, headers, chunks = {}, {}, {}
    fetch("/chunk", {
      header_callback = function(line)
        if line:find "^HTTP/" then
          first_line[#first_line + 1] = line
        elseif line ~= "\r\n" then
          local name, value = line:match "^(.-):%s*(.-)\r\n$"
          headers[name:lower()] = value
        end
      end,
      streaming_callback = function(chunk)
        assert.equal("text/html; charset=UTF-8", headers["content-type"])
        chunks[#chunks + 1] = chunk
      end })
    assert.equal(1, #first_line)
    assert.is_truthy(first_line[1]:find "^HTTP/%d%.%d 200.*\r\n$")
    assert.equal("asdfqwer", table.concat(chunks))
  end)

  test("test_header_callback_stack_context", function()
    local errors, future = {}, nil
    stack_context.ExceptionStackContext(function(err)
      errors[#errors + 1] = err
      return true
    end):run(function()
      future = client:fetch(url .. "/chunk", { header_callback = function(line)
        if line:lower():find "^content%-type:" then error("zero", 0) end
      end })
    end)
    await(future)
    assert.same({ "zero" }, errors)
  end)

  test("test_configure_defaults", function()
    local own <close> = httpclient.AsyncHTTPClient { force_instance = true,
      defaults = { user_agent = "TestDefaultUserAgent" } }
    assert.equal("TestDefaultUserAgent",
      await(own:fetch(url .. "/user_agent")).body)
  end)

  test("test_header_types", function()
    for _, container in ipairs { {}, HTTPHeaders() } do
      container["User-Agent"] = "MyUserAgent"
      assert.equal("MyUserAgent",
        fetch("/user_agent", { headers = container }).body)
    end
  end)

  test("test_multi_line_headers", function()
    local address = serve_text
      "HTTP/1.1 200 OK\nX-XSS-Protection: 1;\n\tmode=block\n\n"
    local response = await(client:fetch(address))
    assert.equal("1; mode=block", response.headers["X-XSS-Protection"])
  end)

  test("test_304_with_content_length", function()
    local response = fetch "/304_with_content_length"
    assert.equal(304, response.code)
    assert.equal("42", response.headers["Content-Length"])
  end)

  test("test_final_callback_stack_context", function()
    local loop, seen = ioloop.IOLoop.current(), {}
    function loop.handle_callback_exception(_, _, err) seen[#seen + 1] = err end
    stack_context.NullContext():run(function()
      loop:add_future(client:fetch(url .. "/hello"), function()
        error("zero", 0)
      end)
    end)
    while #seen == 0 do await() end
    assert.same({ "zero" }, seen)
    loop.handle_callback_exception = nil
  end)

  test("test_future_interface", function()
    assert.equal("Hello world!", await(client:fetch(url .. "/hello")).body)
  end)

  test("test_future_http_error", function()
    local ok, err = pcall(await, client:fetch(url .. "/notfound"))
    assert.is_false(ok)
    assert.is_true(isinstance(err, HTTPError))
    assert.equal(404, err.code)
    assert.equal(404, err.response.code)
  end)

  test("test_future_http_error_no_raise", function()
    assert.equal(404, await(client:fetch(url .. "/notfound",
      { raise_error = false })).code)
  end)

  test("test_reuse_request_from_response", function()
    local response = await(client:fetch(url .. "/hello"))
    assert.equal(url .. "/hello", response.request.url)
    assert.equal(HTTPRequest, getmetatable(response.request))
    assert.equal("Hello world!", await(client:fetch(response.request)).body)
  end)

  test("test_all_methods", function()
    for _, method in ipairs { "GET", "DELETE", "OPTIONS" } do
      assert.equal(method, fetch("/all_methods", { method = method }).body)
    end
    for _, method in ipairs { "POST", "PUT", "PATCH" } do
      assert.equal(method,
        fetch("/all_methods", { method = method, body = "" }).body)
    end
    assert.equal("", fetch("/all_methods", { method = "HEAD" }).body)
    assert.equal("OTHER", fetch("/all_methods", { method = "OTHER",
      allow_nonstandard_methods = true }).body)
  end)

  test("test_body_sanity_checks", function()
    for _, method in ipairs { "POST", "PUT", "PATCH" } do
      local ok, err = pcall(fetch, "/all_methods", { method = method })
      assert.is_false(ok)
      assert.is_truthy(err:find "must not be nil")
      assert.equal(200, fetch("/all_methods", { method = method,
        allow_nonstandard_methods = true }).code)
    end
    for _, method in ipairs { "GET", "DELETE", "OPTIONS" } do
      local ok, err = pcall(fetch, "/all_methods",
        { method = method, body = "asdf" })
      assert.is_false(ok)
      assert.is_truthy(err:find "must be nil")
      if method ~= "GET" then
        assert.equal(200, fetch("/all_methods", { method = method,
          body = "asdf", allow_nonstandard_methods = true }).code)
      end
    end
  end)

  test("test_put_307", function()
    local response = fetch("/redirect?status=307&url=/put",
      { method = "PUT", body = "hello" })
    response:rethrow()
    assert.equal("Put body: hello", response.body)
  end)

  test("test_non_ascii_header", function()
    local response = fetch "/set_header?k=foo&v=%E9"
    response:rethrow()
    assert.equal("\xe9", response.headers.Foo)
  end)
end)

describe("RequestProxyTest", function()
  local function agent(options, defaults)
    local own <close> = httpclient.AsyncHTTPClient { force_instance = true,
      defaults = defaults }
    return await(own:fetch(url .. "/user_agent", options)).body
  end

  test("test_request_set", function()
    assert.equal("foo", agent({ user_agent = "foo" }))
  end)

  test("test_default_set", function()
    assert.equal("foo", agent({}, { user_agent = "foo" }))
  end)

  test("test_both_set", function()
    assert.equal("foo", agent({ user_agent = "foo" }, { user_agent = "bar" }))
  end)

  test("test_neither_set", function()
    assert.is_nil(HTTPRequest("http://example.com/").auth_username)
  end)

  test("test_bad_attribute", function()
    assert.is_false(pcall(HTTPRequest, "http://example.com/", { foo = 1 }))
  end)

  test("test_defaults_none", function()
    assert.equal("lunado", agent())
  end)
end)

describe("HTTPResponseTestCase", function()
  test("test_str", function()
    local text = tostring(HTTPResponse(HTTPRequest "http://example.com", 200))
    assert.is_truthy(text:find "^HTTPResponse")
    assert.is_truthy(text:find "code=200")
  end)
end)

describe("HTTPRequestTestCase", function()
  test("test_headers", function()
    local request = HTTPRequest("http://example.com",
      { headers = { foo = "bar" } })
    assert.equal(HTTPHeaders { foo = "bar" }, request.headers)
  end)

  test("test_headers_setter", function()
    local request = HTTPRequest "http://example.com"
    request.headers = { bar = "baz" }
    assert.same({ bar = "baz" }, request.headers)
  end)

  test("test_null_headers_setter", function()
    local request = HTTPRequest(url .. "/hello")
    request.headers = nil
    assert.equal(200, await(client:fetch(request)).code)
  end)

  test("test_body", function()
    assert.equal("foo", HTTPRequest("http://example.com",
      { body = "foo" }).body)
  end)

  test("test_body_setter", function()
    local request = HTTPRequest "http://example.com"
    request.body = "foo"
    assert.equal("foo", request.body)
  end)

  test("test_if_modified_since", function()
    local now = os.time()
    local request = HTTPRequest("http://example.com",
      { if_modified_since = now })
    assert.equal(httputil.format_timestamp(now),
      request.headers["If-Modified-Since"])
  end)
end)

describe("HTTPErrorTestCase", function()
  test("test_plain_error", function()
    assert.equal("HTTP 403: Forbidden", tostring(HTTPError(403)))
  end)

  test("test_error_with_response", function()
    local response = HTTPResponse(HTTPRequest "http://example.com/", 403)
    local ok, err = pcall(response.rethrow, response)
    assert.is_false(ok)
    assert.is_true(isinstance(err, HTTPError))
    assert.equal("HTTP 403: Forbidden", tostring(err))
  end)
end)
