-- SPDX-License-Identifier: MIT
-- Compiles C files to build/bench, on their first use.  The paths are relative
-- to the root of the tree.
local compile = {}

local out <const> = "build/bench/"
local cc <const> = os.getenv "CC" or "cc"
local paths = {} -- by name; false after a failure

-- Returns the path of what the compiler makes, or nil if it fails.
local function once(name, options)
  if paths[name] == nil then
    local ok = os.execute(("mkdir -p %s && %s -O2 -o %s%s %s"):format(out, cc,
      out, name, options))
    paths[name] = ok and out .. name or false
  end
  return paths[name] or nil
end

function compile.program(name, source)
  return once(name, ("-D_GNU_SOURCE %s %s"):format(source,
    "$(pkg-config --cflags --libs libuv 2>/dev/null || echo -luv)"))
end

-- Compiles support/NAME.c to a module of Lua, or to a library to preload.
function compile.library(name)
  return once(name .. ".so", ("-shared -fPIC bench/support/%s.c %s"):format(
    name, "$(pkg-config --cflags lua5.4 2>/dev/null"
    .. " || pkg-config --cflags lua 2>/dev/null)"))
end

return compile
