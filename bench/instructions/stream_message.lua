-- SPDX-License-Identifier: MIT
-- A message of 64 bytes goes to an echo on a stream, and comes back.
local lunado = require "lunado"
local uv = require "luv"
local n = math.tointeger(...)

local IOStream, await = lunado.iostream.IOStream, lunado.await
local ends = uv.socketpair(nil, nil, { nonblock = true }, { nonblock = true })
local here, there = IOStream.open(ends[1]), IOStream.open(ends[2])
local message = ("x"):rep(64)

local echo = lunado.coroutine(function()
  for _ = 1, n do await(there:write(await(there:read_bytes(64)))) end
end)
lunado.run(function()
  local echoed = echo()
  for _ = 1, n do
    await(here:write(message))
    await(here:read_bytes(64))
  end
  await(echoed)
end)
