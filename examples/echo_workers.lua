-- SPDX-License-Identifier: MIT
--
-- An echo server on all cores: each line comes back, behind the number of the
-- worker that has read it.
--
--   lua echo_workers.lua [-n WORKERS] [PORT]
--
--   -n WORKERS   how many processes serve (default: one for each processor)
--
-- Listens on the port of 127.0.0.1 (default 4000; 0: any that is free).  Each
-- worker writes the port when it is ready.  Talk to it with `nc 127.0.0.1
-- 4000`.  A worker that is killed is started again.  SIGHUP replaces the
-- workers one by one, and SIGTERM or Ctrl-C ends them when their connections
-- are closed.

local lunado = require "lunado"
local process = require "lunado.process"

local MAX_LINE = 64 * 1024

local await = coroutine.yield

local function usage()
  io.stderr:write("usage: lua echo_workers.lua [-n WORKERS] [PORT]\n")
  os.exit(2)
end

local function parse_arguments()
  local workers, port, i = process.cpu_count(), nil, 1
  while arg[i] do
    if arg[i] == "-n" and arg[i + 1] then
      i = i + 1
      workers = math.tointeger(tonumber(arg[i]) or 0)
      if not workers or workers < 1 then usage() end
    else
      if port then usage() end
      port = math.tointeger(tonumber(arg[i]) or -1)
      if not port or port < 0 or port > 65535 then usage() end
    end
    i = i + 1
  end
  return workers, port or 4000
end

local workers, port = parse_arguments()
local server = lunado.tcpserver.TCPServer()

function server:handle_stream(stream) -- luacheck: ignore self
  for line in stream:lines(MAX_LINE) do
    await(stream:write(("%d: %s\n"):format(process.task_id(), line)))
  end
  stream:close()
end

port = server:listen(port, "127.0.0.1")
local number = process.spawn_workers(workers)

-- From here on this is a worker.
local loop = lunado.IOLoop.current()
loop:add_callback(function()
  io.stdout:write(("worker %d serves port %d\n"):format(number, port))
  io.stdout:flush()
end)
loop:start()
