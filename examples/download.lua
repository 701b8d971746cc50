-- SPDX-License-Identifier: MIT
--
-- Downloads pages into files, several at once, as the disk keeps up.
--
--   lua download.lua [-j COUNT] URL FILE [URL FILE ...]
--
--   -j COUNT   at most COUNT pages at once (default 4)
--
-- Shows each page when it is complete: its code, its size, its seconds, its
-- URL.  A page that fails leaves no file.  The exit status is 0 if all pages
-- have arrived, 1 if one has not, 2 for wrong arguments.
--
-- A body is never in memory as a whole: each piece is written to the file, and
-- the transfer waits until that is done.

local lunado = require "lunado"
local httpclient = require "lunado.httpclient"
local iostream = require "lunado.iostream"

local await = coroutine.yield

local function usage()
  io.stderr:write "usage: lua download.lua [-j COUNT] URL FILE [...]\n"
  os.exit(2)
end

local function parse_arguments()
  local limit, first = 4, 1
  if arg[1] == "-j" then
    limit, first = math.tointeger(tonumber(arg[2])), 3
  end
  if not limit or limit < 1 or #arg < first + 1 or (#arg - first) % 2 == 0 then
    usage()
  end
  return limit, first
end

--- Downloads one page; returns whether it has arrived.
local download = lunado.coroutine(function(client, url, path)
  local size = 0
  local ok, result = pcall(function()
    local file <close> = await(iostream.open(path, "w"))
    return await(client:fetch(url, {
      request_timeout = 0,
      streaming_callback = function(piece)
        size = size + #piece
        return file:write(piece)
      end,
    }))
  end)
  if not ok then
    os.remove(path)
    print(("%s  %s"):format(result, url))
    return false
  end
  print(("%d  %d bytes  %.1f s  %s"):format(result.code, size,
    result.request_time, url))
  return true
end)

local limit, first = parse_arguments()
local complete = true

lunado.run(function()
  local client <close> = httpclient.AsyncHTTPClient {
    force_instance = true, max_clients = limit,
    defaults = { connect_timeout = 0 } }
  local pages = {}
  for i = first, #arg, 2 do
    pages[#pages + 1] = download(client, arg[i], arg[i + 1])
  end
  for _, page in ipairs(pages) do complete = await(page) and complete end
end)

os.exit(complete and 0 or 1, true)
