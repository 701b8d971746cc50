-- SPDX-License-Identifier: MIT
-- Runs one workload on one Lua peer; prints lines `name value`:
--   lua5.4 peer.lua WORKLOAD VARIANT N [stop|incremental|generational]
-- A variant is a peer's name, followed by words if the peer has several ways to
-- do the work.
local here = arg[0]:match "^(.*)support/[^/]*$"
package.path = here .. "support/?.lua;" .. here .. "workloads/?.lua;"
  .. package.path

package.cpath = "build/bench/?.so;" .. package.cpath -- for floor.so

local measure = require "measure"
local name, variant, n, gc = arg[1], arg[2], math.tointeger(arg[3]), arg[4]
local workload = require(name)

if variant == "copas" then -- Debian's copas is plain Lua, in the folder of 5.2
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
