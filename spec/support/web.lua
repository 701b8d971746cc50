-- SPDX-License-Identifier: MIT
-- Peers of the HTTP client that do as the spec says: servers of lunado's own,
-- on the loop of the spec.
local assert = require "luassert"
local gen = require "lunado.gen"
local httputil = require "lunado.httputil"
local TCPServer = require "lunado.tcpserver".TCPServer
local StreamClosedError = require "lunado.iostream".StreamClosedError
local frame = require "spec.support.frame"
local isinstance = require "lunado.util".isinstance

local await = coroutine.yield

local web = {}

--- Whether lunado/curl.so was built.
web.missing = not package.searchpath("lunado.curl", package.cpath)

local servers, log

local function run(fn, seconds)
  local httpclient = require "lunado.httpclient"
  local loop
  loop, log = frame.begin()
  servers = {}
  local ok, err = pcall(frame.run, function()
    fn(httpclient.AsyncHTTPClient(), loop)
  end, seconds)
  for _, server in ipairs(servers) do pcall(server.stop, server) end
  local clean, complaint = pcall(frame.finish)
  if not ok then error(err, 0) end
  if not clean then error(complaint, 0) end
end

--- Returns spec(name, fn), which declares a spec by busted's `it`.  It runs
--- fn(client, loop) on a loop of its own, and checks that nothing is logged.
--- Without lunado/curl.so the spec is pending.
function web.specs(it, pending)
  return function(name, fn, seconds)
    if web.missing then return pending(name .. ": no lunado/curl.so") end
    it(name, function() run(fn, seconds) end)
  end
end

--- The log of the spec that runs.
function web.log() return log end

--- Serves each connection by serve(stream), on a free port, which it returns.
--- A client that goes away ends its connection.
function web.raw(serve)
  local server = TCPServer()
  server.handle_stream = gen.coroutine(function(_, stream)
    local ok, err = pcall(serve, stream)
    if not ok and not isinstance(err, StreamClosedError) then error(err, 0) end
    stream:close()
  end)
  servers[#servers + 1] = server
  return server:listen(0, "127.0.0.1")
end

local function read_chunks(stream)
  local parts = {}
  while true do
    local size = tonumber(await(stream:read_line()), 16)
    if size == 0 then
      await(stream:read_line())
      return table.concat(parts)
    end
    parts[#parts + 1] = await(stream:read_bytes(size))
    await(stream:read_line())
  end
end

--- Reads a request: { method =, path =, version =, headers =, body =, head = }.
--- The body is not read if `without_body`.
function web.read_request(stream, without_body)
  local head = await(stream:read_until "\r\n\r\n")
  local first, rest = head:match "^(.-)\r\n(.*)$"
  local request = httputil.parse_request_start_line(first)
  request.head, request.stream = head, stream
  request.headers = httputil.HTTPHeaders.parse(rest)
  local length = tonumber(request.headers["Content-Length"])
  if without_body then return request end
  if request.headers["Transfer-Encoding"] == "chunked" then
    request.body = read_chunks(stream)
  elseif length and length > 0 then
    request.body = await(stream:read_bytes(length))
  end
  return request
end

--- Writes an answer.  `headers` is a list of lines.
function web.answer(stream, code, body, headers)
  local lines = { ("HTTP/1.1 %s"):format(
    type(code) == "number" and code .. " Reason" or code) }
  for _, line in ipairs(headers or {}) do lines[#lines + 1] = line end
  lines[#lines + 1] = "Content-Length: " .. #body
  return stream:write(table.concat(lines, "\r\n") .. "\r\n\r\n" .. body)
end

--- Serves requests: serve(request) returns code, body, headers; or nil if it
--- has answered itself.  Returns "http://127.0.0.1:<port>".
function web.serve(serve)
  local port = web.raw(function(stream)
    while true do
      local request = web.read_request(stream)
      local code, body, headers = serve(request)
      if code then
        await(web.answer(stream, code,
          request.method == "HEAD" and "" or body or "", headers))
      end
    end
  end)
  return "http://127.0.0.1:" .. port, port
end

--- Returns the error of a Future, which must fail.
function web.error_of(future)
  local ok, err = pcall(await, future)
  assert(not ok, "no error was raised")
  return err
end

--- Returns the message of a Future that fails with an HTTPError of that code.
function web.http_error(future, code)
  local err = web.error_of(future)
  local HTTPError = require "lunado.httpclient".HTTPError
  assert(isinstance(err, HTTPError), tostring(err))
  assert.equal(code or 599, err.code, tostring(err))
  return err.message, err
end

return web
