-- SPDX-License-Identifier: MIT
-- lunado.httpclient: bodies in pieces, both ways, and callbacks.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local stack_context = require "lunado.stack_context"
local streams = require "spec.support.streams"
local web = require "spec.support.web"

local await, spec = coroutine.yield, web.specs(it, pending)
local http_error, error_of = web.http_error, web.error_of

--- Serves "a", "b" and "c" as chunks; the next one when the spec says so.
local function serve_chunks(go)
  return "http://127.0.0.1:" .. web.raw(function(stream)
    web.read_request(stream)
    await(stream:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _, letter in ipairs { "a", "b", "c" } do
      await(stream:write("1\r\n" .. letter .. "\r\n"))
      if go then await(go(letter)) end
    end
    await(stream:write "0\r\n\r\n")
  end)
end

describe("streaming_callback", function()
  spec("gets the body as it comes", function(client)
    local got, next_one = {}, concurrent.Future()
    local url = serve_chunks(function()
      next_one = concurrent.Future()
      return next_one
    end)
    local response = await(client:fetch(url, { streaming_callback = function(x)
      got[#got + 1] = x
      next_one:set_result()
    end }))
    assert.same({ "a", "b", "c" }, got)
    assert.equal("", response.body)
    assert.equal(200, response.code)
  end)

  spec("pauses the transfer until its Future is done", function(client)
    local piece, pieces = ("x"):rep(65536), 400
    local written = 0
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write("HTTP/1.1 200 OK\r\nContent-Length: "
        .. #piece * pieces .. "\r\n\r\n"))
      for _ = 1, pieces do
        await(stream:write(piece))
        written = written + #piece
      end
    end)
    local gate, got = concurrent.Future(), 0
    local future = client:fetch("http://127.0.0.1:" .. port, {
      streaming_callback = function(x)
        got = got + #x
        return gate
      end })
    streams.wait_until(function() return got > 0 end)
    local before
    repeat -- until the system's buffers are full
      before = written
      await(gen.sleep(0.05))
    until written == before
    local held = got
    assert.is_true(written < #piece * pieces / 2)
    await(gen.sleep(0.02))
    assert.equal(held, got)
    gate:set_result()
    await(future)
    assert.equal(#piece * pieces, got)
  end)

  spec("gets no piece, however small, before its Future is done", function(c)
    local gate, got, sent = concurrent.Future(), {}, 0
    local url = serve_chunks(function()
      sent = sent + 1
      return gen.sleep(0.002)
    end)
    local future = c:fetch(url, { streaming_callback = function(x)
      got[#got + 1] = x
      return gate
    end })
    streams.wait_until(function() return sent == 3 end)
    await(gen.sleep(0.01))
    assert.equal(1, #got)
    gate:set_result()
    await(future)
    assert.equal("abc", table.concat(got))
  end)

  spec("may be a coroutine function; the end waits for it", function(client)
    local got = {}
    await(client:fetch(serve_chunks(), { streaming_callback =
      gen.coroutine(function(x)
        await(gen.sleep(0.005))
        got[#got + 1] = x
      end) }))
    assert.equal("abc", table.concat(got))
  end)

  spec("fails its fetch by an error, unchanged", function(client)
    local err = {}
    local function fails() error(err, 0) end
    local function later() await(gen.sleep(0.001)) error(err, 0) end
    assert.equal(err,
      error_of(client:fetch(serve_chunks(), { streaming_callback = fails })))
    assert.equal(err, error_of(client:fetch(serve_chunks(),
      { streaming_callback = gen.coroutine(later) })))
    assert.is_truthy(tostring(client):find "0 active, 0 queued")
  end)

  spec("runs in the stack context of fetch", function(client)
    local caught = {}
    local future
    stack_context.ExceptionStackContext(function(err)
      caught[#caught + 1] = err
      return true
    end):run(function()
      future = client:fetch(serve_chunks(), { streaming_callback = function(x)
        if x:find "c" then error("lost", 0) end
      end })
    end)
    assert.equal(200, (await(future)).code)
    assert.same({ "lost" }, caught)
  end)

  spec("may do anything to the fetch and the client", function(client)
    local future
    future = client:fetch(serve_chunks(), { streaming_callback = function()
      client:close()
    end })
    assert.is_truthy(http_error(future):find "closed")
  end)

  spec("ends by request_timeout while it holds the transfer", function(client)
    local function never() return concurrent.Future() end
    local url = web.serve(function() return 200, "x" end)
    local message = http_error(client:fetch(url,
      { streaming_callback = never, request_timeout = 0.05 }))
    assert.is_truthy(message:find "timed out", message)
    local server_waits = concurrent.Future()
    message = http_error(client:fetch(serve_chunks(function()
      return server_waits
    end),
      { streaming_callback = never, request_timeout = 0.05 }))
    assert.is_truthy(message:find "timed out", message)
    server_waits:set_result()
    await()
  end)

  spec("has no limit of the body by default", function(client)
    local size, got = 120 << 20, 0
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write("HTTP/1.1 200 OK\r\nContent-Length: " .. size
        .. "\r\n\r\n"))
      local piece = ("x"):rep(1 << 20)
      for _ = 1, size // #piece do await(stream:write(piece)) end
    end)
    local before = collectgarbage "count"
    await(client:fetch("http://127.0.0.1:" .. port, {
      streaming_callback = function(x) got = got + #x end }))
    assert.equal(size, got)
    assert.is_true(collectgarbage "count" - before < 60000)
    assert.is_truthy(http_error(client:fetch("http://127.0.0.1:" .. port))
      :find "max_body_size")
  end)
end)

describe("header_callback", function()
  spec("sees the lines of the last answer, before the body", function(client)
    local seen = {}
    local url
    url = web.serve(function(request)
      if request.path == "/" then
        return 302, "moved", { "Location: /end" }
      end
      return "200 Fine", "body", { "X-A: 1" }
    end)
    local function note(x) seen[#seen + 1] = x end
    local response = await(client:fetch(url,
      { header_callback = note, streaming_callback = note }))
    assert.same({ "HTTP/1.1 200 Fine\r\n", "X-A: 1\r\n",
      "Content-Length: 4\r\n", "\r\n", "body" }, seen)
    assert.equal("1", response.headers["X-A"])
  end)

  spec("is called when the head has come, not at the end", function(client)
    local head, go = concurrent.Future(), concurrent.Future()
    local port = web.raw(function(stream)
      web.read_request(stream)
      await(stream:write "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
      await(go)
      await(stream:write "x")
    end)
    local future = client:fetch("http://127.0.0.1:" .. port, {
      header_callback = function(line)
        if line == "\r\n" then head:set_result() end
      end })
    await(head)
    assert.is_false(future:done())
    go:set_result()
    assert.equal("x", (await(future)).body)
  end)

  spec("gets a redirect that is not followed", function(client)
    local lines = {}
    local url = web.serve(function() return 302, "x", { "Location: /" } end)
    http_error(client:fetch(url, { follow_redirects = false,
      header_callback = function(line) lines[#lines + 1] = line end }), 302)
    assert.equal("HTTP/1.1 302 Reason\r\n", lines[1])
  end)

  spec("fails its fetch by an error, unchanged", function(client)
    local err = {}
    local url = web.serve(function() return 200, "x" end)
    local future = client:fetch(url, { header_callback = function()
      error(err, 0)
    end })
    assert.equal(err, error_of(future))
  end)
end)

describe("body_producer", function()
  local function echo()
    return web.serve(function(request)
      return 200, ("%s|%s|%s"):format(request.body,
        request.headers["Transfer-Encoding"] or "-",
        request.headers["Content-Length"] or "-")
    end)
  end

  local function send(client, url, producer, options)
    options = options or {}
    options.method = options.method or "POST"
    options.body_producer = producer
    return client:fetch(url, options)
  end

  spec("writes the body in pieces", function(client)
    local producer = gen.coroutine(function(write)
      for _, piece in ipairs { "one ", "", "two ", "three" } do
        await(write(piece))
        await(gen.sleep(0.001))
      end
    end)
    for _ = 1, 3 do
      local response = await(send(client, echo(), producer))
      assert.equal("one two three|chunked|-", response.body)
    end
    assert.equal("one two three|-|13", await(send(client, echo(), producer,
      { method = "PUT", headers = { ["Content-Length"] = "13" } })).body)
  end)

  spec("may write at once and return nothing", function(client)
    local response = await(send(client, echo(), function(write)
      write "a"
      write "b"
    end))
    assert.equal("ab|chunked|-", response.body)
    assert.equal("|chunked|-", await(send(client, echo(), print and function()
    end)).body)
  end)

  spec("goes no faster than the server reads", function(client)
    local go, total, written = concurrent.Future(), 32 << 20, 0
    local port = web.raw(function(stream)
      local request = web.read_request(stream, true)
      await(go)
      local left = tonumber(request.headers["Content-Length"])
      while left > 0 do
        left = left - #await(stream:read_bytes(left < 65536 and left or 65536,
          true))
      end
      await(web.answer(stream, 200, "got it"))
    end)
    local piece = ("x"):rep(65536)
    local future = send(client, "http://127.0.0.1:" .. port,
      gen.coroutine(function(write)
        while written < total do
          await(write(piece))
          written = written + #piece
        end
      end), { headers = { ["Content-Length"] = tostring(total) } })
    local before
    repeat
      before = written
      await(gen.sleep(0.05))
    until written == before and written > 0
    assert.is_true(written < total)
    go:set_result()
    assert.equal("got it", (await(future)).body)
    assert.equal(total, written)
  end)

  spec("fails its fetch by an error, unchanged", function(client)
    local err = {}
    assert.equal(err, error_of(send(client, echo(),
      function() error(err, 0) end)))
    assert.equal(err, error_of(send(client, echo(),
      gen.coroutine(function(write)
        await(write "x")
        error(err, 0)
      end))))
  end)

  spec("must write what Content-Length says", function(client)
    local options = function() return
      { headers = { ["Content-Length"] = "3" } } end
    local err = error_of(send(client, echo(), function(write) write "ab" end,
      options()))
    assert.is_truthy(tostring(err):find "2 of the 3 bytes", tostring(err))
    err = error_of(send(client, echo(), function(write) write "abcd" end,
      options()))
    assert.is_truthy(tostring(err):find "more than the 3 bytes")
    err = error_of(send(client, echo(), function(write) write(1) end))
    assert.is_truthy(tostring(err):find "bad argument #1 to 'write'")
  end)

  spec("is cancelled when its fetch ends before it", function(client)
    local port = web.raw(function(stream)
      web.read_request(stream, true)
      await(web.answer(stream, 413, ""))
    end)
    local ended
    local future = send(client, "http://127.0.0.1:" .. port,
      gen.coroutine(function(write)
        local _ <close> = setmetatable({}, { __close = function()
          ended = true
        end })
        while true do await(write(("x"):rep(65536))) end
      end))
    http_error(future, 413)
    streams.wait_until(function() return ended end)
  end)

  spec("cannot be asked again by a redirect", function(client)
    local url = web.serve(function(request)
      if request.path == "/" then return 307, "", { "Location: /x" } end
      return 200, request.method
    end)
    assert.is_truthy(http_error(send(client, url, function(w) w "x" end))
      :find "redirect")
    url = web.serve(function(request)
      if request.path == "/" then return 303, "", { "Location: /x" } end
      return 200, request.method
    end)
    assert.equal("GET", await(send(client, url, function(w) w "x" end)).body)
  end)
end)
