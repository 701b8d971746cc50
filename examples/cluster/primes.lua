-- SPDX-License-Identifier: MIT
--
-- Counts the primes below a number, on all workers of a cluster.
--
--   lua primes.lua redis://HOST[:PORT] [NUMBER]

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/../?.lua;" .. package.path

local lunado = require "lunado"
local RedisExecutor = require("cluster.executor").RedisExecutor

local url, limit = arg[1], math.tointeger(tonumber(arg[2] or 1000000))
if not url or not limit then
  io.stderr:write("usage: lua primes.lua redis://HOST[:PORT] [NUMBER]\n")
  os.exit(2)
end

local STEP <const> = 10000

-- Runs in a worker: the upvalue is sent along.
local function count_primes(from)
  local count = 0
  for n = math.max(from, 2), math.min(from + STEP, limit) - 1 do
    local prime = true
    for divisor = 2, math.floor(n ^ 0.5) do
      if n % divisor == 0 then
        prime = false
        break
      end
    end
    if prime then count = count + 1 end
  end
  return count
end

lunado.run(function()
  local executor <close> = coroutine.yield(RedisExecutor.connect(url))
  local starts, total = {}, 0
  for from = 0, limit - 1, STEP do starts[#starts + 1] = from end
  for _, count in ipairs(coroutine.yield(
    executor:map(count_primes, starts))) do total = total + count end
  print(("%d primes below %d"):format(total, limit))
end)
