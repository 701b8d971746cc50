-- SPDX-License-Identifier: MIT
-- Makes descriptors to poll: pipes and socket pairs of luv, without handles.
-- On Windows, only sockets can be polled, and they stand for pipes, too.
require "lunado.ioloop".IOLoop.current()
local uv = require "luv"
local system = require "spec.support.system"

local pipes = {}

if system.is_windows then
  local sockets = require "lunado.sockets"

  function pipes.pipe()
    local read, write = assert(sockets.pair())
    return { read = read, write = write }
  end

  function pipes.pair()
    return assert(sockets.pair())
  end

  function pipes.write(fd, data)
    return assert(sockets.write(fd, data))
  end

  function pipes.read(fd, n)
    return assert(sockets.read(fd, n or 4096))
  end

  function pipes.close(fd)
    -- A file's descriptor is no socket.
    return sockets.is_open(fd) and assert(sockets.close(fd))
      or assert(uv.fs_close(fd))
  end

  pipes.is_open = sockets.is_open

  function pipes.file(path)
    return assert(uv.fs_open(path, "r", 0))
  end

  return pipes
end

--- Returns a pipe: { read = fd, write = fd }.
function pipes.pipe()
  return assert(uv.pipe())
end

--- Returns both ends of a socket pair.
function pipes.pair()
  local fds = assert(uv.socketpair())
  return fds[1], fds[2]
end

function pipes.write(fd, data)
  return assert(uv.fs_write(fd, data))
end

function pipes.read(fd, n)
  return assert(uv.fs_read(fd, n or 4096))
end

function pipes.close(fd)
  assert(uv.fs_close(fd))
end

function pipes.is_open(fd)
  return uv.fs_fstat(fd) ~= nil
end

--- Returns a descriptor of a regular file, which cannot be polled.
function pipes.file(path)
  return assert(uv.fs_open(path, "r", 0))
end

return pipes
