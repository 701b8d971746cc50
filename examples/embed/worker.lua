-- SPDX-License-Identifier: MIT
-- Requests prime factors from the host's thread.  The loop continues while the
-- thread computes them.
local lunado = require "lunado"

local function factors(n)
  local list = table.pack(coroutine.yield(factor(n)))
  return n .. " = " .. table.concat(list, " * ")
end
factors = lunado.coroutine(factors)

for _, line in ipairs(coroutine.yield {
  factors(60),
  factors(999999999989), -- a prime: takes a while
  factors(1 << 62),
}) do
  print(line)
end

-- An error of the arguments is raised in the script, which can catch it.
print(pcall(factor, -1))
