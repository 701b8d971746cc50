-- SPDX-License-Identifier: MIT
-- Runs busted in this interpreter, whichever interpreter `busted` on PATH uses:
--   lua5.4 scripts/busted.lua [options] [files]
-- If LUNADO_SHUFFLE is set, the tests of a file run in a random order; its
-- value, a number, is the seed.
local seed = os.getenv "LUNADO_SHUFFLE"
if seed then
  table.insert(arg, 1, "--seed=" .. seed)
  table.insert(arg, 1, "--shuffle")
end
table.insert(arg, 1, "--ignore-lua")
require "busted.runner" { standalone = false }
