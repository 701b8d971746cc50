-- SPDX-License-Identifier: MIT
-- Tornado's curl_httpclient_test, by the names of its functions.  The cases
-- that it shares with httpclient_test are in httpclient_spec.
local web = require "spec.support.web"
local webapp = require "spec.tornado.webapp"

local await = coroutine.yield
local declare = web.specs(it, pending)

local client, url
local function test(name, fn)
  declare(name, function(made)
    client, url = made, webapp()
    fn()
  end)
end

describe("CurlHTTPClientTestCase", function()
  test("test_digest_auth", function()
    assert.equal("ok", await(client:fetch(url .. "/digest",
      { auth_mode = "digest", auth_username = "foo",
        auth_password = "bar" })).body)
    web.http_error(client:fetch(url .. "/digest"), 401)
  end)

  test("test_custom_reason", function()
    assert.equal("Custom reason",
      await(client:fetch(url .. "/custom_reason")).reason)
  end)

  test("test_fail_custom_reason", function()
    local _, err = web.http_error(client:fetch(url .. "/custom_fail_reason"),
      400)
    assert.equal("HTTP 400: Custom reason", tostring(err))
  end)

  test("test_failed_setup", function()
    local own <close> = require "lunado.httpclient".AsyncHTTPClient {
      force_instance = true, max_clients = 1 }
    for _ = 1, 5 do
      web.http_error(own:fetch(url .. "/a b"))
    end
  end)
end)
