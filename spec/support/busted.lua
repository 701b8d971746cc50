-- SPDX-License-Identifier: MIT
-- Runs spec files in a separate busted, to check how it reports failures.
local child = require "spec.support.child"

local function save(source)
  local name = os.tmpname()
  local path = name .. ".lua"
  os.rename(name, path)
  local file = assert(io.open(path, "wb"))
  file:write(source)
  file:close()
  return path
end

--- busted(source, ...) -> the result of child(); in its `out` and `err` the
--- files are called spec1.lua, spec2.lua and so on.
return function(...)
  local paths = {}
  for i, source in ipairs { ... } do paths[i] = save(source) end
  local result = child(([[
    arg = { [0] = arg[0], "--ignore-lua", "--output=plainTerminal",
      "--pattern=.", table.unpack(%s) }
    require "busted.runner" { standalone = false }
  ]]):format("{ '" .. table.concat(paths, "', '") .. "' }"))
  for i, path in ipairs(paths) do
    os.remove(path)
    local pattern, name = path:gsub("%p", "%%%0"), ("spec%d.lua"):format(i)
    result.out = result.out:gsub(pattern, name)
    result.err = result.err:gsub(pattern, name)
  end
  return result
end
