-- SPDX-License-Identifier: MIT
-- Both ends of a connection: here an IOStream, there a handle of luv's.
local Future = require "lunado.concurrent".Future
local iostream = require "lunado.iostream"
local isinstance = require "lunado.util".isinstance
local uv = require "lunado.uv"

local await = coroutine.yield
local IOStream, StreamClosedError =
  iostream.IOStream, iostream.StreamClosedError

local streams = {}

--- Two of luv's handles that are connected by TCP.
function streams.handles()
  local server, accepted = uv.new_tcp(), Future()
  assert(uv.tcp_bind(server, "127.0.0.1", 0))
  assert(uv.listen(server, 1, function(err)
    assert(not err, err)
    local there = uv.new_tcp()
    assert(uv.accept(server, there))
    accepted:set_result(there)
  end))
  local here = uv.new_tcp()
  await(uv.tcp_connect(here, "127.0.0.1", uv.tcp_getsockname(server).port))
  local there = await(accepted)
  await(uv.close(server))
  assert(uv.tcp_nodelay(there, true))
  return here, there
end

--- An IOStream and luv's handle at the other end, connected by TCP.
function streams.tcp(options)
  local here, there = streams.handles()
  return IOStream(here, options), there
end

--- The same, by a local socket.
function streams.pipe(options)
  local ends = assert(uv.socketpair())
  local here, there = uv.new_pipe(false), uv.new_pipe(false)
  assert(here:open(ends[1]))
  assert(there:open(ends[2]))
  return IOStream(here, options), there
end

--- A Future of all that comes to luv's handle until the other side ends.
function streams.read_all(handle)
  local future, pieces = Future(), {}
  assert(uv.read_start(handle, function(err, data)
    if err then
      future:set_exception(err)
    elseif data then
      pieces[#pieces + 1] = data
    else
      future:set_result(table.concat(pieces))
    end
  end))
  return future
end

--- The StreamClosedError of a Future, which must have failed with one.
function streams.closed_error(future)
  local ok, err = pcall(await, future)
  assert(not ok, "no error was raised")
  assert(isinstance(err, StreamClosedError), tostring(err))
  return err
end

local taken = {}

--- A port on which nobody listens, and nobody will: it stays bound.
function streams.closed_port()
  local probe = uv.new_tcp()
  assert(uv.tcp_bind(probe, "127.0.0.1", 0))
  taken[#taken + 1] = probe
  return uv.tcp_getsockname(probe).port
end

--- Lets the loop see, n times, what has happened to its handles.
function streams.turn(n)
  for _ = 1, n or 1 do await(uv.fs_stat(".")) end
end

--- Turns the loop until holds() does; the spec's patience ends it.
function streams.wait_until(holds)
  while not holds() do await() end
end

return streams
