-- SPDX-License-Identifier: MIT
-- What TLS costs a client, beside programs of OpenSSL and on the same server,
-- an nginx that this script starts: a download beside s_client, and handshakes
-- beside s_time.  Rates refer to wall time, so the machine should be idle
-- otherwise; other load affects the processor time less.  Each figure is the
-- median of interleaved runs.
--   lua5.4 bench/tls.lua [megabytes [handshakes [runs]]]
package.path = "bench/support/?.lua;./?.lua;" .. package.path
local lunado = require "lunado"
local uv = require "luv"
local certificates = require "spec.support.certificates"
local nginx = require "nginx"
local median = require "report".median

local await = coroutine.yield
local MEGABYTES = tonumber(arg[1]) or 1024
local HANDSHAKES = tonumber(arg[2]) or 10000
local RUNS = tonumber(arg[3]) or 3
local ca = certificates.path "ca.crt"
local folder = ca:gsub("/ca.crt$", "")

local CONFIG <const> = [[
  client_max_body_size 0;
  ssl_protocols TLSv1.3;
  server {
    listen 127.0.0.1:PORT ssl;
    ssl_certificate FOLDER/server.crt;
    ssl_certificate_key FOLDER/server.key;
  }
]]

assert(os.execute(("head -c %d </dev/zero >%s/file"):format(MEGABYTES << 20,
  folder)))
local server, PORT = nginx.start(folder, CONFIG)

local function connect(context)
  return await(lunado.tcpclient.TCPClient():connect("127.0.0.1", PORT,
    { ssl_options = context }))
end

local function used(usage)
  return usage.utime.sec + usage.stime.sec
    + (usage.utime.usec + usage.stime.usec) * 1e-6
end

-- Calls fn; returns the seconds of wall time and of processor time.
local function lunado_seconds(fn)
  local context = lunado.tls.create_default_context { ca_certs = ca }
  local from, before = uv.hrtime(), used(uv.getrusage())
  lunado.run(fn, context)
  return (uv.hrtime() - from) * 1e-9, used(uv.getrusage()) - before
end

-- Runs a command of the shell; returns the same, and what it prints.
local function shell_seconds(command)
  local file = assert(io.popen(("bash -c 'TIMEFORMAT=\"%%R %%U %%S\"; "
    .. "time %s' 2>&1"):format(command)))
  local text = file:read "a"
  file:close()
  local wall, user, system = text:match "([%d.]+) ([%d.]+) ([%d.]+)\n$"
  return tonumber(wall), user + system, text
end

local workloads = {}

workloads[1] = { name = "download, s for a GiB", per = MEGABYTES / 1024,
  lunado = function(context)
    local stream = connect(context)
    await(stream:write "GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
    await(stream:read_until "\r\n\r\n")
    local got = 0
    while got < MEGABYTES << 20 do
      got = got + #await(stream:read_bytes(1 << 18, true))
    end
    await(stream:close())
  end,
  openssl = function()
    return shell_seconds(("printf \"GET /file HTTP/1.0\\r\\n\\r\\n\" | openssl "
      .. "s_client -quiet -CAfile %s -connect 127.0.0.1:%d 2>/dev/null "
      .. ">/dev/null"):format(ca, PORT))
  end }

workloads[2] = { name = "handshake, us", per = HANDSHAKES * 1e-6,
  lunado = function(context)
    for _ = 1, HANDSHAKES do await(connect(context):close()) end
  end,
  openssl = function()
    local _, cpu, text = shell_seconds(("openssl s_time -new -time 5 -verify 2 "
      .. "-CAfile %s -connect 127.0.0.1:%d"):format(ca, PORT))
    local count, wall = text:match "(%d+) connections in (%d+) real seconds"
    return wall / count * HANDSHAKES, cpu / count * HANDSHAKES
  end }

local function report(workload)
  local walls, cpus = { {}, {} }, { {}, {} }
  for run = 1, RUNS do
    walls[1][run], cpus[1][run] = lunado_seconds(workload.lunado)
    walls[2][run], cpus[2][run] = workload.openssl()
  end
  for i, name in ipairs { "lunado", "openssl" } do
    print(("%-24s %-8s wall %8.3f   CPU %8.3f"):format(workload.name, name,
      median(walls[i]) / workload.per, median(cpus[i]) / workload.per))
  end
  print(("%-24s %-8s wall %8.2f   CPU %8.2f"):format("", "ratio",
    median(walls[1]) / median(walls[2]), median(cpus[1]) / median(cpus[2])))
end

local ok, err = pcall(function()
  lunado.run(function() -- until it listens
    for _ = 1, 100 do
      local connected, stream = pcall(connect, { cert_reqs = "none" })
      if connected then return stream:close() end
      await(lunado.sleep(0.05))
    end
    error "nginx does not listen"
  end)
  for _, workload in ipairs(workloads) do report(workload) end
  print(("memory %36.1f MB"):format(uv.resident_set_memory() / 2^20))
end)
server:kill "sigterm"
if not ok then error(err, 0) end
