-- SPDX-License-Identifier: MIT
-- Sends n messages of `size` bytes over a local socket to an echo of the same
-- process, and reads each again: two writes and two reads.
local lunado = require "lunado"

local await = lunado.await

-- Returns the echo's server, and the path where it listens.
local function start_echo(n, size)
  local server, path = lunado.tcpserver.TCPServer(), os.tmpname()
  function server:handle_stream(stream) -- luacheck: ignore self
    for _ = 1, n do await(stream:write(await(stream:read_bytes(size)))) end
  end
  os.remove(path)
  server:listen_unix(path)
  return server, path
end

return function(n, size)
  local server, path = start_echo(n, size)
  lunado.run(function()
    local stream, message = lunado.iostream.IOStream.pipe(), ("x"):rep(size)
    await(stream:connect(path))
    for _ = 1, n do
      await(stream:write(message))
      await(stream:read_bytes(size))
    end
    server:stop()
  end)
end
