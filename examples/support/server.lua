-- SPDX-License-Identifier: MIT
--
-- The server of fetch.lua's demonstration: the files below a folder over
-- HTTP/1.1, in several ways, good and bad.
--
--   lua server.lua FOLDER
--
-- Listens on a free port of 127.0.0.1, writes that port as its first line, and
-- ends when its standard input does, so that it never outlives who started it.
--
--   /whole/FILE    with its Content-Length
--   /chunked/FILE  in chunks
--   /slow/FILE     in some pieces, with pauses between them
--   /cut/FILE      only half of what the Content-Length says
--   /never         takes the request and does not answer

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/../?.lua;" .. package.path

local lunado = require "lunado"
local uv = require "lunado.uv"
local stream = require "support.stream"

local ROOT = arg[1] or "."
local PIECES, PAUSE = 8, 0.05

local await = coroutine.yield

local function read_file(path)
  local file = await(uv.fs_open(path, "r"))
  local size = await(uv.fs_fstat(file)).size
  local text = await(uv.fs_read(file, size, 0))
  await(uv.fs_close(file))
  return text
end

local function head(status, ...)
  return table.concat({ "HTTP/1.1 " .. status, "Connection: close", ... },
    "\r\n") .. "\r\n\r\n"
end

local function length(text)
  return "Content-Length: " .. #text
end

-- The text in at most PIECES pieces.
local function pieces(text)
  local size, from = math.max(1, math.ceil(#text / PIECES)), 1
  return function()
    if from > #text then return nil end
    local piece = text:sub(from, from + size - 1)
    from = from + size
    return piece
  end
end

local ways = {}

function ways.whole(client, text)
  client:write(head("200 OK", length(text)) .. text)
end

function ways.chunked(client, text)
  client:write(head("200 OK", "Transfer-Encoding: chunked"))
  for piece in pieces(text) do
    client:write(("%x\r\n%s\r\n"):format(#piece, piece))
  end
  client:write("0\r\n\r\n")
end

function ways.slow(client, text)
  await(lunado.sleep(PAUSE))
  client:write(head("200 OK", length(text)))
  for piece in pieces(text) do
    client:write(piece)
    await(lunado.sleep(PAUSE))
  end
end

function ways.cut(client, text)
  client:write(head("200 OK", length(text)) .. text:sub(1, #text // 2))
end

local function refuse(client, status)
  local text = status .. "\n"
  client:write(head(status, length(text)) .. text)
end

local function answer(client)
  local request = client:read_until("\r\n\r\n", 16 * 1024)
  local path = request and request:match("^GET (/%S*) HTTP/1%.1")
  if not path then return refuse(client, "400 Bad Request") end
  if path == "/never" then
    repeat until not client:read_some()
    return
  end
  local way, file = path:match("^/(%l+)/(.+)$")
  if not ways[way] or file:find("..", 1, true) then
    return refuse(client, "404 Not Found")
  end
  local found, text = pcall(read_file, ROOT .. "/" .. file)
  if not found then return refuse(client, "404 Not Found") end
  ways[way](client, text)
end

-- A client that goes away in the middle is no matter to the others.
local serve = lunado.coroutine(function(handle)
  local client <close> = stream.new(handle)
  pcall(answer, client)
end)

local function listen()
  local server = uv.new_tcp()
  assert(uv.tcp_bind(server, "127.0.0.1", 0))
  assert(uv.listen(server, 128, function(err)
    if err then return end
    local client = uv.new_tcp()
    uv.accept(server, client)
    serve(client)
  end))
  return uv.tcp_getsockname(server).port
end

lunado.run(function()
  uv.signal("sigint") -- meant for whoever started the server
  io.stdout:write(listen(), "\n"):flush()
  local input = stream.new(uv.new_pipe(false))
  assert(uv.pipe_open(input.handle, 0))
  repeat until not input:read_some()
end)
os.exit(true)
