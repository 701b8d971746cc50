-- SPDX-License-Identifier: MIT
-- One workload for one Lua peer; prints `name value` lines:
--   lua5.4 peer.lua WORKLOAD VARIANT N [stop|incremental|generational]
-- A variant is a peer's name, and words that tell two of its ways apart.
local here = arg[0]:match "^(.*)support/[^/]*$"
package.path = here .. "support/?.lua;" .. here .. "workloads/?.lua;"
  .. package.path

package.cpath = "build/bench/?.so;" .. package.cpath -- floor

local measure = require "measure"
local name, variant, n, gc = arg[1], arg[2], math.tointeger(arg[3]), arg[4]
local workload = require(name)

if variant == "copas" then -- Debian's copas is plain Lua, filed under 5.2
  package.path = package.path .. ";/usr/share/lua/5.2/?.lua"
end
if gc then collectgarbage(gc) end

local run = workload[variant](n)
local found
if workload.measures_itself then
  found = run()
else
  found = { ns = measure.time(run, 0.2, gc == "stop") / n * 1e9 }
end
found.peak_kb = measure.peak()
for key, value in pairs(found) do print(key, value) end
