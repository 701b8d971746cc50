-- SPDX-License-Identifier: MIT
-- Holds the lists of C files in the rockspecs against src/; with --write it
-- brings the lists up to date.
--   lua5.4 spec/rockspec.lua [--write]

-- Rockspec -> the folder that it is made in, and the folders with its sources.
local ROCKSPECS = {
  ["rockspec/lunado-dev-1.rockspec"] = { ".", "src/core src/binding" },
  ["rockspec/optional/lunado-tls-dev-1.rockspec"] = { "src", "tls" },
  ["rockspec/optional/lunado-curl-dev-1.rockspec"] = { "src", "curl" },
}

local function read_all(file)
  local text = file:read("a")
  file:close()
  return text
end

local function sources(base, folders)
  local found = {}
  local find = assert(io.popen(
    ("cd %s && find %s -name '*.c' | LC_ALL=C sort"):format(base, folders)))
  for name in read_all(find):gmatch("%S+") do found[#found + 1] = name end
  assert(#found > 0, "no sources found: run this at the root of the tree")
  return found
end

local function with_list(path, text, names)
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

local good = true
for path, where in pairs(ROCKSPECS) do
  local old = read_all(assert(io.open(path)))
  local new = with_list(path, old, sources(where[1], where[2]))
  if arg[1] == "--write" then
    assert(assert(io.open(path, "w")):write(new)):close()
  elseif old ~= new then
    good = false
    io.stderr:write(path, ": the list of sources is not that of src/; ",
      "`lua5.4 spec/rockspec.lua --write` renews it\n")
  end
end
if not good then os.exit(false, true) end
