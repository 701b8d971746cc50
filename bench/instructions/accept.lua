-- SPDX-License-Identifier: MIT
-- A server accepts a connection and closes it.  The client is a stream of the
-- same process: its connect, its read of the end and its close count as well.
local lunado = require "lunado"
local n = math.tointeger(...)

local IOStream, await = lunado.iostream.IOStream, lunado.await
local server = lunado.tcpserver.TCPServer()
function server:handle_stream(stream) -- luacheck: ignore self
  stream:close()
end
local port = server:listen(0, "127.0.0.1")
lunado.run(function()
  for _ = 1, n do
    local stream = IOStream.tcp()
    await(stream:connect("127.0.0.1", port))
    await(stream:read_until_close())
    await(stream:close())
  end
  server:stop()
end)
