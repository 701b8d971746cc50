-- SPDX-License-Identifier: MIT
-- Proves that what Markdown pages and comments name is there:
--   files with their folders, such as core/loop.c, and C files without;
--   folders of the tree, such as spec/capi/;
--   functions of the core and the binding, lunado_… and lunado__…;
--   identifiers with an underscore in the pages about the source.
--   lua5.4 spec/mentions.lua
local TREES = "src lua spec docs bench cmake scripts examples rockspec"
local ROOT_FILES = { "README.md", "CONTRIBUTING.md", "CHANGELOG.md",
  "CMakeLists.txt", "CMakePresets.json", "Makefile" }

-- The folders in which a path may begin.
local ROOTS = { "", "src/", "src/binding/", "lua/", "lua/lunado/", "spec/",
  "examples/" }

local ABOUT_SOURCE = { "docs/design.md", "docs/hacking.md", "src/README.md",
  "src/binding/README.md" }

local EXTENSIONS = { c = true, h = true, lua = true, sh = true, md = true,
  cmake = true }

-- Others' files, and names that stand for any.
local ELSEWHERE = { ["lua.h"] = true, ["uv.h"] = true, ["lauxlib.h"] = true,
  ["x.c"] = true, ["x.h"] = true, ["lunado.c"] = true,
  ["workloads/NAME.lua"] = true }

local failed = false
local function complain(...)
  io.stderr:write(string.format(...), "\n")
  failed = true
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function tree()
  local list = { table.unpack(ROOT_FILES) }
  local find = assert(io.popen("find " .. TREES .. " -type f"))
  for path in find:lines() do list[#list + 1] = path end
  find:close()
  return list
end

-- The code without comments; the comments; the inline code of a page.
local function parts(path, text)
  if path:find "%.md$" then
    local spans = {}
    for span in text:gsub("\n```.-\n```", ""):gmatch "`([^`\n]+)`" do
      spans[#spans + 1] = span
    end
    return "", table.concat(spans, "\n")
  end
  local mark = path:find "%.[ch]$" and "/%*.-%*/"
    or path:find "%.lua$" and "%-%-[^\n]*" or "#[^\n]*"
  local comments = {}
  local code = text:gsub(mark, function(comment)
    comments[#comments + 1] = comment
    return " "
  end)
  return code, table.concat(comments, "\n")
end

local files = tree()
local there, words, mentions = {}, {}, {}
for _, path in ipairs(files) do
  there[path], there[path:match "[^/]+$"] = true, true
  for folder in path:gmatch "()/" do there[path:sub(1, folder)] = true end
  local code, mentioned = parts(path, read(path))
  mentions[path] = mentioned
  for word in code:gmatch "[%a_][%w_]*" do words[word] = true end
end

local function is_there(name, path)
  local beside = (path:match "^.*/" or "") .. name
  if there[name] or ELSEWHERE[name] or there[beside] then return true end
  for _, root in ipairs(ROOTS) do
    if there[root .. name] then return true end
  end
  return false
end

local function check_paths(path, text)
  for name in text:gmatch "%f[%w_./%-][%w_./%-]+" do
    local extension = name:match "^[%l_]+/.*%w%.(%l+)$"
    local folder = name:match "^(%l+)/.*/$" or name:match "^(%l+)/$"
    if (EXTENSIONS[extension] or there[(folder or "") .. "/"]
      or name:find "^[%l_]+%.[ch]$") and not is_there(name, path) then
      complain("%s names %s, which is not there", path, name)
    end
  end
end

local function check_functions(path, text)
  for word, behind in text:gmatch "%f[%w_](lunado_[%w_]+)(.?)" do
    if not words[word] and behind ~= "*" and not word:find "_$"
      and not there[word .. ".lua"] then
      complain("%s names %s, which is not there", path, word)
    end
  end
end

for _, path in ipairs(files) do
  local text = mentions[path]
  if path:find "%.md$" or path:find "^src/" or path:find "^lua/" then
    check_paths(path, text)
    check_functions(path, text)
  end
end
for _, path in ipairs(ABOUT_SOURCE) do
  for word in mentions[path]:gmatch "%f[%S]([%l%d]+_[%l%d_]+)%f[^%w_]" do
    if not words[word] and not there[word .. ".lua"] then
      complain("%s names %s, which is not there", path, word)
    end
  end
end

os.exit(not failed, true)
