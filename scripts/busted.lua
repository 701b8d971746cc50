-- SPDX-License-Identifier: MIT
-- Runs busted in this very interpreter, whatever `busted` on PATH stands for:
--   lua5.4 scripts/busted.lua [options] [files]
-- LUNADO_SHUFFLE, a number, has the tests of a file run in an order of chance.
local seed = os.getenv "LUNADO_SHUFFLE"
if seed then
  table.insert(arg, 1, "--seed=" .. seed)
  table.insert(arg, 1, "--shuffle")
end
table.insert(arg, 1, "--ignore-lua")
require "busted.runner" { standalone = false }
