-- SPDX-License-Identifier: MIT
--
-- The demonstration of fetch.lua: its own server, as a second process, and the
-- expected outcome of each page.

local IOStream = require("lunado.iostream").IOStream
local uv = require "lunado.uv"

local await = coroutine.yield

-- Returns the command that runs this script: the first of Lua's arguments.
local function interpreter()
  local i = -1
  while arg[i - 1] do i = i - 1 end
  return arg[i]
end

-- Returns a port of 127.0.0.1 on which no process listens.
local function closed_port()
  local probe = uv.new_tcp()
  assert(uv.tcp_bind(probe, "127.0.0.1", 0))
  local port = uv.tcp_getsockname(probe).port
  await(uv.close(probe))
  return port
end

-- Starts the server on the files below `root`; returns the process, the pipe
-- that keeps it alive, and its port.
local function start(here, root)
  local input, output = uv.new_pipe(false), uv.new_pipe(false)
  local process = uv.spawn(interpreter(), {
    args = { here .. "/support/server.lua", root },
    stdio = { input, output, 2 },
  })
  local first <close> = IOStream(output)
  local ok, port = pcall(await, first:read_line(16))
  if not ok then error("the demonstration's server did not start", 0) end
  return process, input, port
end

-- Returns the pages.  Each has a label, a url, and the expected outcome:
-- `status`, and `file`, the file that the body equals; or `failure`, a pattern
-- of the error.
local function pages(port, root)
  local list = {}
  local function add(label, url, expected)
    expected.label, expected.url = label, url
    list[#list + 1] = expected
  end
  local function serve(way, file, expected)
    local path = ("/%s/%s"):format(way, file)
    expected = expected or { status = 200, file = root .. "/" .. file }
    add(path, ("http://127.0.0.1:%s%s"):format(port, path), expected)
  end
  serve("slow", "README.md")
  serve("whole", "LICENSE")
  add("/never", ("http://127.0.0.1:%s/never"):format(port),
    { failure = "^TimeoutError" })
  serve("chunked", "src/lunado.h")
  serve("slow", "lua/lunado/uv.lua")
  serve("cut", "CMakeLists.txt", { failure = "^cut off" })
  add("(a closed port)", ("http://127.0.0.1:%d/"):format(closed_port()),
    { failure = "^ECONNREFUSED" })
  serve("whole", "no/such/file", { status = 404 })
  serve("slow", "examples/fetch.lua")
  serve("chunked", "examples/hash_tree.lua")
  serve("whole", "README.md")
  serve("slow", "CMakeLists.txt")
  return list
end

local function contents(path)
  local file = await(uv.fs_open(path, "r"))
  local size = await(uv.fs_fstat(file)).size
  local text = size > 0 and await(uv.fs_read(file, size, 0)) or ""
  await(uv.fs_close(file))
  return text
end

-- Whether the page ended as expected.
local function as_meant(page)
  if page.failure then
    return page.err ~= nil and page.err:find(page.failure) ~= nil
  end
  return not page.err and page.code == page.status
    and (not page.file or page.body == contents(page.file))
end

-- run(here, visit): starts the server, calls visit(pages), ends the server.
local function run(here, visit)
  local root = here .. "/.."
  local process, input, port = start(here, root)
  local ok, err = pcall(visit, pages(port, root), port, process.pid)
  await(uv.close(input))
  await(process:wait())
  if not ok then error(err, 0) end
end

return { run = run, as_meant = as_meant }
