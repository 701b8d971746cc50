-- SPDX-License-Identifier: MIT
-- Makes connections: one end is an IOStream, the other a handle of luv; and
-- tests that use them.
local core = require "lunado.core"
local Future = require "lunado.concurrent".Future
local iostream = require "lunado.iostream"
local isinstance = require "lunado.util".isinstance
local uv = require "lunado.uv"
local system = require "spec.support.system"

local await = coroutine.yield
local IOStream, StreamClosedError =
  iostream.IOStream, iostream.StreamClosedError

local streams = {}

--- Lets the system keep little of what the handle sends or is sent: else some
-- machines take many megabytes that nobody reads.
local function keep_little(handle)
  assert(uv.send_buffer_size(handle, 1 << 18))
  assert(uv.recv_buffer_size(handle, 1 << 18))
end

--- Returns two handles of luv that are connected by TCP.
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
  keep_little(here)
  keep_little(there)
  return here, there
end

--- Returns an IOStream and the handle of luv that it is connected to by TCP.
function streams.tcp(options)
  local here, there = streams.handles()
  return IOStream(here, options), there
end

-- Returns two handles of luv that are connected by a named pipe.
local function named_pipe()
  local server, accepted = uv.new_pipe(false), Future()
  local path = system.socket_path()
  assert(uv.pipe_bind(server, path))
  assert(uv.listen(server, 1, function(err)
    assert(not err, err)
    local there = uv.new_pipe(false)
    assert(uv.accept(server, there))
    accepted:set_result(there)
  end))
  local here = uv.new_pipe(false)
  await(uv.pipe_connect(here, path))
  local there = await(accepted)
  await(uv.close(server))
  return here, there
end

--- Returns an IOStream and the handle of luv that it is connected to by a local
--- socket, or by a named pipe of Windows.
function streams.pipe(options)
  if system.is_windows then
    local here, there = named_pipe()
    return IOStream(here, options), there
  end
  local ends = assert(uv.socketpair())
  local here, there = uv.new_pipe(false), uv.new_pipe(false)
  assert(here:open(ends[1]))
  assert(there:open(ends[2]))
  return IOStream(here, options), there
end

--- Returns with_stream(name, fn, options), which declares two tests by `spec`:
--- by TCP and by a local socket.  Each calls fn(stream, peer, kind), where peer
--- is luv's handle at the other end, and closes both behind it.
function streams.specs(spec)
  return function(name, fn, options)
    for _, kind in ipairs { "tcp", "pipe" } do
      spec(name .. " (" .. kind .. ")", function()
        local stream, peer = streams[kind](options)
        fn(stream, peer, kind)
        if not uv.is_closing(peer) then await(uv.close(peer)) end
        await(stream:close())
      end)
    end
  end
end

--- Returns both ends of a pipe that goes one way, as handles of luv: what is
--- written to the first is read from the second.
function streams.one_way()
  local fds = assert(uv.pipe({ nonblock = true }, { nonblock = true }))
  local to, from = uv.new_pipe(false), uv.new_pipe(false)
  assert(to:open(fds.write))
  assert(from:open(fds.read))
  return to, from
end

--- Returns a Future of all data that arrives at luv's handle until the other
--- side ends.
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

--- Returns the StreamClosedError of a Future, which must fail with one.
function streams.closed_error(future)
  local ok, err = pcall(await, future)
  assert(not ok, "no error was raised")
  assert(isinstance(err, StreamClosedError), tostring(err))
  return err
end

--- How many bytes have arrived that no read has taken.
function streams.buffered(stream) return (core.stream_state(stream)) end

--- Whether the other side is known to have ended.
function streams.ended(stream) return (select(2, core.stream_state(stream))) end

local taken = {}

--- Returns a port on which no process listens.  It stays bound, so no other
--- process can listen on it.
function streams.closed_port()
  local probe = uv.new_tcp()
  assert(uv.tcp_bind(probe, "127.0.0.1", 0))
  taken[#taken + 1] = probe
  return uv.tcp_getsockname(probe).port
end

--- Lets the loop check its handles for events n times (once by default).
function streams.turn(n)
  for _ = 1, n or 1 do await(uv.fs_stat(".")) end
end

--- Waits until holds() returns true; the timeout of the spec ends the wait.
function streams.wait_until(holds)
  while not holds() do await() end
end

return streams
