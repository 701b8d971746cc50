-- SPDX-License-Identifier: MIT
-- lunado.httpclient: redirects, and what is not sent on.
local web = require "spec.support.web"

local await, spec = coroutine.yield, web.specs(it, pending)
local http_error = web.http_error

--- A server that redirects "/" with the code and the place, and else says what
--- it was asked.
local function redirecting(code, location)
  local url = web.serve(function(request)
    if request.path == "/" then
      return code, ("redirects have bodies"):rep(1000),
        { "Location: " .. location }
    end
    return 200, ("%s %s %s %s"):format(request.method, request.path,
      request.body or "-", request.headers["Content-Type"] or "-")
  end)
  return url
end

describe("redirects", function()
  spec("are followed", function(client)
    for _, code in ipairs { 301, 302, 303, 307, 308 } do
      local url = redirecting(code, "/end?x")
      local response = await(client:fetch(url))
      assert.equal("GET /end?x - -", response.body)
      assert.equal(url .. "/end?x", response.effective_url)
      assert.is_true(response.time_info.redirect > 0)
      assert.is_true(response.time_info.total
        >= response.time_info.redirect)
    end
  end)

  spec("are answers without follow_redirects", function(client)
    local url = redirecting(302, "/end")
    local _, err = http_error(client:fetch(url, { follow_redirects = false }),
      302)
    assert.equal("/end", err.response.headers.Location)
    assert.is_truthy(err.response.body:find "bodies")
  end)

  spec("of other codes, or without a place, are answers", function(client)
    for _, code in ipairs { 300, 304, 305 } do
      http_error(client:fetch(redirecting(code, "/end")), code)
    end
    local url = web.serve(function() return 302, "x" end)
    http_error(client:fetch(url), 302)
  end)

  spec("are at most max_redirects", function(client)
    local url = web.serve(function(request)
      local n = tonumber(request.path:sub(2))
      if n == 0 then return 200, "zero" end
      return 302, "", { "Location: /" .. n - 1 }
    end)
    assert.equal("zero", await(client:fetch(url .. "/5")).body)
    assert.is_truthy(http_error(client:fetch(url .. "/6"))
      :find "Maximum %(5%) redirects followed")
    assert.equal("zero",
      await(client:fetch(url .. "/7", { max_redirects = 7 })).body)
    http_error(client:fetch(url .. "/1", { max_redirects = 0 }))
  end)

  spec("change POST to GET, and 303 all methods but HEAD", function(client)
    local function after(code, method)
      local body = method ~= "DELETE" and method ~= "HEAD" and "x" or nil
      local response = await(client:fetch(redirecting(code, "/end"), {
        method = method, body = body,
        headers = body and { ["Content-Type"] = "text/x" } }))
      return response.body:match "^(%S+) %S+ (.*)$"
    end
    local function check(expected, code, method)
      assert.equal(expected, table.concat({ after(code, method) }, " "))
    end
    for _, code in ipairs { 301, 302, 303 } do
      check("GET - -", code, "POST")
    end
    check("POST x text/x", 307, "POST")
    check("POST x text/x", 308, "POST")
    check("PUT x text/x", 302, "PUT")
    check("PATCH x text/x", 301, "PATCH")
    check("GET - -", 303, "PUT")
    check("GET - -", 303, "DELETE")
    check("DELETE - -", 302, "DELETE")
    assert.equal("", await(client:fetch(redirecting(303, "/end"),
      { method = "HEAD" })).body)
  end)

  spec("lead to http and https only", function(client)
    for _, location in ipairs { "ftp://127.0.0.1/x", "file:///etc/passwd",
      "gopher://127.0.0.1:1/x" } do
      local message = http_error(client:fetch(redirecting(302, location)))
      assert.is_truthy(message:find "[Pp]rotocol", message)
    end
  end)

  spec("count for request_timeout", function(client)
    local url
    url = web.serve(function() return 302, "", { "Location: /" } end)
    local message = http_error(client:fetch(url, { request_timeout = 0.1,
      max_redirects = 1000000 }))
    assert.is_truthy(message:find "timed out", message)
  end)
end)

describe("another host", function()
  local secret = {
    headers = { Authorization = "Bearer x", Cookie = "a=b", ["X-Mine"] = "1" },
  }

  --- Returns the headers that come to the end of a redirect.
  local function headers_after(client, same, options, credentials)
    local seen
    local other, port = web.serve(function(request)
      if request.path == "/" then
        return 302, "", { "Location: http://127.0.0.1:"
          .. request.headers.Host:match ":(%d+)" .. "/end" }
      end
      seen = request.headers
      return 200, "end"
    end)
    local first = other
    if not same then
      first, port = web.serve(function()
        return 302, "", { "Location: " .. other .. "/end" }
      end)
    end
    await(client:fetch(credentials
      and ("http://%s@127.0.0.1:%d/"):format(credentials, port)
      or first .. "/", options))
    return seen
  end

  spec("gets no credentials and no cookies", function(client)
    local seen = headers_after(client, false, secret)
    assert.is_nil(seen.Authorization)
    assert.is_nil(seen.Cookie)
    assert.equal("1", seen["X-Mine"])
    local user = { auth_username = "me", auth_password = "pw" }
    assert.is_nil(headers_after(client, false, user).Authorization)
    assert.is_nil(headers_after(client, false, nil, "me:pw").Authorization)
  end)

  spec("is one that differs; the same one gets them", function(client)
    local seen = headers_after(client, true, secret)
    assert.equal("Bearer x", seen.Authorization)
    assert.equal("a=b", seen.Cookie)
    local user = { auth_username = "me", auth_password = "pw" }
    local basic = "Basic bWU6cHc="
    assert.equal(basic, headers_after(client, true, user).Authorization)
    assert.equal(basic, headers_after(client, true, nil, "me:pw")
      .Authorization)
  end)

  spec("has no wrong credentials in its URL", function(client)
    local url
    url = web.serve(function(request)
      assert.is_nil(request.headers.X)
      if request.path == "/end" then return 200, "end" end
      return 302, "", { "Location: http://a%0d%0aX%3a:b@"
        .. url:match "//(.*)$" .. "/end" }
    end)
    local ok, err = pcall(await, client:fetch(url, { auth_mode = "digest" }))
    -- Later versions of libcurl leave the credentials out.
    assert.is_truthy(ok or err.message:find "a redirect to a wrong URL")
  end)

  spec("does not take the user's headers from the next fetch", function(client)
    local headers = { Authorization = "Bearer x" }
    headers_after(client, false, { headers = headers })
    assert.same({ Authorization = "Bearer x" }, headers)
  end)
end)
