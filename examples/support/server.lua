-- SPDX-License-Identifier: MIT
--
-- The server of fetch.lua's demonstration: the files below a folder over
-- HTTP/1.1, in correct and in faulty ways.
--
--   lua server.lua FOLDER
--
-- Listens on a free port of 127.0.0.1, writes that port as its first line, and
-- ends when its standard input ends, so that it never outlives its parent
-- process.
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
local IOStream = require("lunado.iostream").IOStream
local TCPServer = require("lunado.tcpserver").TCPServer

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

-- Returns the text in at most PIECES pieces.
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
  await(client:write(head("200 OK", length(text)) .. text))
end

function ways.chunked(client, text)
  await(client:write(head("200 OK", "Transfer-Encoding: chunked")))
  for piece in pieces(text) do
    await(client:write(("%x\r\n%s\r\n"):format(#piece, piece)))
  end
  await(client:write("0\r\n\r\n"))
end

function ways.slow(client, text)
  await(lunado.sleep(PAUSE))
  await(client:write(head("200 OK", length(text))))
  for piece in pieces(text) do
    await(client:write(piece))
    await(lunado.sleep(PAUSE))
  end
end

function ways.cut(client, text)
  await(client:write(head("200 OK", length(text)) .. text:sub(1, #text // 2)))
end

local function refuse(client, status)
  local text = status .. "\n"
  await(client:write(head(status, length(text)) .. text))
end

local function answer(client)
  local request = await(client:read_until("\r\n\r\n", 16 * 1024))
  local path = request:match("^GET (/%S*) HTTP/1%.1")
  if not path then return refuse(client, "400 Bad Request") end
  if path == "/never" then return await(client:read_until_close()) end
  local way, file = path:match("^/(%l+)/(.+)$")
  if not ways[way] or file:find("..", 1, true) then
    return refuse(client, "404 Not Found")
  end
  local found, text = pcall(read_file, ROOT .. "/" .. file)
  if not found then return refuse(client, "404 Not Found") end
  ways[way](client, text)
end

local server = TCPServer()

-- Serves one client.  If the client disconnects early, others are not affected.
function server.handle_stream(_, stream)
  local client <close> = stream
  pcall(answer, client)
end

lunado.run(function()
  uv.signal("sigint") -- meant for the program that has started the server
  io.stdout:write(server:listen(0, "127.0.0.1"), "\n"):flush()
  local input = uv.new_pipe(false)
  assert(uv.pipe_open(input, 0))
  await(IOStream(input):read_until_close())
end)
os.exit(true)
