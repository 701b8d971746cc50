-- SPDX-License-Identifier: MIT
-- Holds the list of C files in the rockspec against src/; with --write it
-- brings the list up to date.
--   lua5.4 spec/rockspec.lua [--write]
local path = "rockspec/lunado-dev-1.rockspec"

local function read_all(file)
  local text = file:read("a")
  file:close()
  return text
end

local function sources()
  local found = {}
  local find = assert(io.popen(
    "find src/core src/binding -name '*.c' | LC_ALL=C sort"))
  for name in read_all(find):gmatch("%S+") do found[#found + 1] = name end
  assert(#found > 0, "no sources found: run this at the root of the tree")
  return found
end

local function with_list(text, names)
  local list = "sources = {\n"
  for _, name in ipairs(names) do
    list = list .. ('            "%s",\n'):format(name)
  end
  local count
  text, count = text:gsub("sources = {.-}", function()
    return list .. "         }"
  end)
  assert(count == 1, "one list of sources expected in " .. path)
  return text
end

local old = read_all(assert(io.open(path)))
local new = with_list(old, sources())
if arg[1] == "--write" then
  assert(assert(io.open(path, "w")):write(new)):close()
elseif old ~= new then
  io.stderr:write(path, ": the list of sources is not that of src/; ",
    "`lua5.4 spec/rockspec.lua --write` renews it\n")
  os.exit(false, true)
end
