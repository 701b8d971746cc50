-- SPDX-License-Identifier: MIT
-- Tornado's tcpserver_test, by the names of its functions.
local gen = require "lunado.gen"
local IOStream = require "lunado.iostream".IOStream
local TCPServer = require "lunado.tcpserver".TCPServer
local case = require "spec.tornado.case"

local yield = coroutine.yield

describe("TCPServerTest", function()
  local t
  before_each(function() t = case() end)
  after_each(function() t:close() end)

  it("test_handle_stream_coroutine_logging", function()
    t:run(function()
      local TestServer = TCPServer:subclass "TestServer"
      function TestServer:handle_stream(stream) -- luacheck: ignore self
        yield(gen.moment)
        stream:close()
        error "division by zero"
      end
      local server = TestServer()
      local port = server:listen(0, "127.0.0.1")
      local client = IOStream.tcp()
      yield(client:connect("127.0.0.1", port))
      yield(client:read_until_close())
      yield(gen.moment)
      t.log:first "Exception in callback"
      t.log:first "division by zero"
      server:stop()
      client:close()
    end)
  end)

  -- Every handle_stream is one; this one is a coroutine function as well.
  it("test_handle_stream_native_coroutine", function()
    t:run(function()
      local TestServer = TCPServer:subclass "TestServer"
      TestServer.handle_stream = gen.coroutine(function(_, stream)
        stream:write "data"
        stream:close()
      end)
      local server = TestServer()
      local port = server:listen(0, "127.0.0.1")
      local client = IOStream.tcp()
      yield(client:connect("127.0.0.1", port))
      assert.equal("data", yield(client:read_until_close()))
      server:stop()
      client:close()
    end)
  end)

  it("test_stop_twice", function()
    local server = TCPServer()
    server:listen(0, "127.0.0.1")
    server:stop()
    server:stop()
  end)
end)
