-- SPDX-License-Identifier: MIT
-- A message of 64 bytes goes over a local socket to an echo, and comes back:
-- two writes and two reads.
local lunado = require "lunado"
local n = math.tointeger(...)

local await, size <const> = lunado.await, 64
local server, path = lunado.tcpserver.TCPServer(), os.tmpname()
function server:handle_stream(stream) -- luacheck: ignore self
  for _ = 1, n do await(stream:write(await(stream:read_bytes(size)))) end
end
os.remove(path)
server:listen_unix(path)

lunado.run(function()
  local stream, message = lunado.iostream.IOStream.pipe(), ("x"):rep(size)
  await(stream:connect(path))
  for _ = 1, n do
    await(stream:write(message))
    await(stream:read_bytes(size))
  end
  server:stop()
end)
