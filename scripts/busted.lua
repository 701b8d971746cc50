-- SPDX-License-Identifier: MIT
-- Runs busted in this very interpreter, whatever `busted` on PATH stands for:
--   lua5.4 scripts/busted.lua [options] [files]
table.insert(arg, 1, "--ignore-lua")
require "busted.runner" { standalone = false }
