-- SPDX-License-Identifier: MIT
-- The handlers of Tornado's httpclient_test, on lunado's own server.
local gen = require "lunado.gen"
local web = require "spec.support.web"

local await = coroutine.yield

local handlers = {}

local function decode(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- Returns the arguments of a query or form.
local function arguments_of(query)
  local arguments = {}
  for name, value in query:gmatch "([^&=]+)=([^&]*)" do
    arguments[decode(name)] = decode(value)
  end
  return arguments
end

handlers["/hello"] = function(request)
  return 200, ("Hello %s!"):format(request.arguments.name or "world"),
    { "Content-Type: text/plain" }
end

handlers["/post"] = function(request)
  local form = arguments_of(request.body)
  return 200, ("Post arg1: %s, arg2: %s"):format(form.arg1, form.arg2)
end

handlers["/put"] = function(request)
  return 200, "Put body: " .. (request.body or "")
end

handlers["/redirect"] = function(request)
  return math.tointeger(tonumber(request.arguments.status or 302)),
    "redirects can have bodies too", { "Location: " .. request.arguments.url }
end

handlers["/chunk"] = function(request)
  local stream = request.stream
  await(stream:write("HTTP/1.1 200 OK\r\nContent-Type: text/html; "
    .. "charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nasdf\r\n"))
  await(gen.sleep(0.02))
  await(stream:write "4\r\nqwer\r\n0\r\n\r\n")
end

handlers["/auth"] = function(request)
  return 200, request.headers.Authorization or ""
end

handlers["/echopost"] = function(request)
  return 200, request.body or ""
end
handlers["/patch"] = handlers["/echopost"]

handlers["/user_agent"] = function(request)
  return 200, request.headers["User-Agent"] or "User agent not set"
end

handlers["/304_with_content_length"] = function(request)
  await(request.stream:write "HTTP/1.1 304 X\r\nContent-Length: 42\r\n\r\n")
end

handlers["/all_methods"] = function(request) return 200, request.method end

handlers["/set_header"] = function(request)
  return 200, "", { request.arguments.k .. ": " .. request.arguments.v }
end

handlers["/custom_reason"] = function() return "200 Custom reason", "" end
handlers["/custom_fail_reason"] = function() return "400 Custom reason", "" end

-- Answers the one request that has the right digest; RFC 2617 without qop.
handlers["/digest"] = function(request)
  local given = request.headers.Authorization
  if not given then
    return 401, "", { 'WWW-Authenticate: Digest realm="test", nonce="1234", '
      .. 'opaque="asdf"' }
  end
  local fields = {}
  for name, value in given:gmatch '(%w+)="?([^",]*)' do fields[name] = value end
  local right = fields.username == "foo" and fields.realm == "test"
    and fields.nonce == "1234" and fields.opaque == "asdf"
    -- The MD5 of MD5("foo:test:bar"):1234:MD5("GET:/digest").
    and fields.response == "409d6b5aef447dbb0d8f2c0e12b42855"
  return 200, right and "ok" or "fail"
end

--- Serves the handlers; returns "http://127.0.0.1:<port>".
return function()
  local url = web.serve(function(request)
    local path, query = request.path:match "^([^?]*)%??(.*)$"
    request.arguments = arguments_of(query)
    local count = path:match "^/countdown/(%d+)$"
    if count == "0" then return 200, "Zero" end
    if count then
      return 302, "", { ("Location: /countdown/%d"):format(count - 1) }
    end
    if not handlers[path] then return 404, "" end
    return handlers[path](request)
  end)
  return url
end
