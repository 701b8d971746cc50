-- SPDX-License-Identifier: MIT
-- A message of 4 MB goes to an echo on a stream, and comes back.
local lunado = require "lunado"
local uv = require "luv"
local n = math.tointeger(...)

local IOStream, await = lunado.iostream.IOStream, lunado.await
local ends = uv.socketpair(nil, nil, { nonblock = true }, { nonblock = true })
local here, there = IOStream.open(ends[1]), IOStream.open(ends[2])
local size <const> = 4 << 20
local message = ("x"):rep(size)

local echo = lunado.coroutine(function()
  for _ = 1, n do await(there:write(await(there:read_bytes(size)))) end
end)
lunado.run(function()
  local echoed = echo()
  for _ = 1, n do
    await(here:write(message))
    await(here:read_bytes(size))
  end
  await(echoed)
end)
