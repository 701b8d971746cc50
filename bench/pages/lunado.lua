-- SPDX-License-Identifier: MIT
-- pages.lua's peer: lunado.httpclient.
local lunado = require "lunado"
local httpclient = require "lunado.httpclient"

local url, pages, at_once = arg[1], tonumber(arg[2]), tonumber(arg[3])
local client = httpclient.AsyncHTTPClient { max_clients = at_once }

lunado.run(function()
  local start, bytes, futures = os.clock(), 0, {}
  for i = 1, pages do futures[i] = client:fetch(url) end
  for i = 1, pages do bytes = bytes + #coroutine.yield(futures[i]).body end
  assert(bytes == pages * 10000)
  print(os.clock() - start)
end)
