-- SPDX-License-Identifier: MIT
-- Asks the host's thread for prime factors; the answers come when they are
-- found, and the loop does other things meanwhile.
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

-- Errors of the arguments are the script's, and it goes on.
print(pcall(factor, -1))
