-- SPDX-License-Identifier: MIT
-- Fetches 2,000 pages of 10 kB from nginx, 100 at once, with each HTTP client
-- that is installed, and prints the CPU seconds of each.
--   lua5.4 bench/pages.lua [runs]
-- Run it from the root of the tree, with LUA_PATH and LUA_CPATH set to the
-- lunado to be measured.  Each number is the median of `runs` processes (5 by
-- default), interleaved.  Starting a process does not count, except for curl,
-- which is a program; its start takes about 10 ms.
package.path = "bench/support/?.lua;" .. package.path
local luv = require "luv"
local nginx = require "nginx"
local median = require "report".median

local RUNS <const> = tonumber(arg[1]) or 5
local PAGES <const>, AT_ONCE <const>, SIZE <const> = 2000, 100, 10000

local CONFIG <const> = [[
  keepalive_requests 10000000;
  server { listen 127.0.0.1:PORT; }
]]

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

--- Returns what a command prints, or nil if it fails.
local function output(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local text = pipe:read "a"
  return pipe:close() and text or nil
end

--- The sum of the times of the children that sh's `times` prints.
local function curl_seconds(text)
  local sum = 0
  for minutes, seconds in (text or ""):match "([^\n]*)\n*$"
    :gmatch "(%d+)m([%d.]+)s" do
    sum = sum + tonumber(minutes) * 60 + tonumber(seconds)
  end
  return sum > 0 and sum or nil
end

local function main()
  local folder = assert(luv.fs_mkdtemp(luv.os_tmpdir() .. "/bench_XXXXXX"))
  write(folder .. "/page", ("x"):rep(SIZE))
  local server, port = nginx.start(folder, CONFIG)
  luv.sleep(500) -- until it listens
  local url = ("http://127.0.0.1:%d/page"):format(port)
  write(folder .. "/curl.txt",
    (("url = %q\noutput = \"/dev/null\"\n"):format(url)):rep(PAGES))
  local arguments = (" %s %d %d"):format(url, PAGES, AT_ONCE)
  local lua = arg[-1] or "lua5.4"
  local peers = {
    { "curl --parallel", "sh -c 'curl -s --parallel --parallel-max " .. AT_ONCE
      .. " -K " .. folder .. "/curl.txt; times'", curl_seconds },
    { "lunado", lua .. " bench/pages/lunado.lua" .. arguments },
    { "Tornado's curl client",
      "/usr/bin/python3 bench/pages/tornado.py" .. arguments },
    { "aiohttp", "/usr/bin/python3 bench/pages/aio.py" .. arguments },
    { "Node's fetch", "node bench/pages/node.js" .. arguments },
  }
  for _ = 1, RUNS do
    for _, peer in ipairs(peers) do
      local seconds = (peer[3] or tonumber)(output(peer[2]) or "")
      peer.times = peer.times or {}
      table.insert(peer.times, seconds)
    end
  end
  print(("%d pages of %d bytes, %d at once: CPU seconds"):format(PAGES, SIZE,
    AT_ONCE))
  for _, peer in ipairs(peers) do
    local seconds = peer.times[1] and median(peer.times)
    print(("  %-24s %s"):format(peer[1],
      seconds and ("%.3f"):format(seconds) or "not installed"))
  end
  server:kill "sigterm"
  luv.run()
  os.execute(("rm -rf '%s'"):format(folder))
end

main()
