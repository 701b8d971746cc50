-- SPDX-License-Identifier: MIT
-- The host runs this script as a coroutine: it may wait anywhere.
local lunado = require "lunado"

local function count(name, n)
  for i = 1, n do
    coroutine.yield(lunado.sleep(0.002))
    print(name, i)
  end
  return name .. " is done"
end
count = lunado.coroutine(count)

local results = coroutine.yield { count("a", 3), count("b", 2) }
print(table.concat(results, ", "))
