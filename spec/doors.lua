-- SPDX-License-Identifier: MIT
-- Holds the rooms of src/binding to their rules:
--   each .c has a header of its own, and each header its .c;
--   what the header x.h declares, x.c defines, and it begins with lunado__x;
--   a room includes only headers of rooms that it may know.
--   lua5.4 spec/doors.lua
local ROOT = "src/binding/"

-- What a room may know beside itself.  future, coroutine and loop are the knot
-- of the subject: a Future wakes a coroutine through the queue of a loop.
local KNOT = { "state", "error", "future", "coroutine", "loop" }
local MAY_KNOW = {
  state = {},
  error = { "state" },
  future = KNOT, coroutine = KNOT, loop = KNOT,
  thread = KNOT, luv = KNOT, debug = KNOT, host = KNOT, stream = KNOT,
  process = KNOT,
}

-- The loop tells luv of its life; luv tells the loop when it runs.  A host's
-- call may be the first in its state, and then makes the realm.  A program gets
-- descriptors of streams.
local ALSO = {
  ["loop/ioloop.c"] = "luv/luv.h", ["loop/methods.c"] = "luv/luv.h",
  ["loop/drive.c"] = { "luv/attachment.h", "luv/shutdown.h" },
  ["process/process.c"] = "stream/descriptor.h",
  ["host/capi.c"] = "module.h", ["host/capierror.c"] = "module.h",
}

-- Generated, or inline alone; and what only lunado.h declares.
local NO_PAIR = { ["state/embedded.h"] = true, ["state/hook.h"] = true,
  ["host/capierror.c"] = true }

-- The words that every file uses have no prefix.
local VOCABULARY = {}
for name in ([[lunado__getslot lunado__setslot lunado__pushfunction
  lunado__pushclosure lunado__setfunctions lunado__toclass lunado__tofuture
  lunado__checkfuture lunado__checkcallable lunado__checkseconds]])
  :gmatch "%S+" do
  VOCABULARY[name] = true
end

local failed = false
local function complain(...)
  io.stderr:write(string.format(...), "\n")
  failed = true
end

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

-- The code without comments and without what is inside of functions.
local function outline(text)
  text = text:gsub("/%*.-%*/", ""):gsub("\ntypedef [^{;]*;", "\n")
  return (text:gsub("\n[%w_][^\n;]*%b()%s*%b{}", function(definition)
    return definition:gsub("%b{}$", "{}")
  end))
end

local function sources()
  local list = {}
  local find = assert(io.popen("cd " .. ROOT .. " && find . -name '*.[ch]'"))
  for name in find:lines() do list[#list + 1] = name:sub(3) end
  find:close()
  table.sort(list)
  assert(#list > 0, "no sources found: run this at the root of the tree")
  return list
end

local function contains(list, value)
  if type(list) ~= "table" then return list == value end
  for _, each in ipairs(list) do
    if each == value then return true end
  end
  return false
end

local function check_pair(name)
  local other = name:gsub("%.[ch]$", { [".c"] = ".h", [".h"] = ".c" })
  if not NO_PAIR[name] and not read(ROOT .. other) then
    complain("%s has no %s", name, other)
  end
end

local function check_includes(name, text)
  local room = name:match "^(%w+)/"
  for header in text:gmatch '#include "binding/([^"]+)"' do
    local other = header:match "^(%w+)/"
    if room and other ~= room and not contains(MAY_KNOW[room], other or "")
      and not contains(ALSO[name], header) then
      complain("%s includes %s, of a room that it may not know", name, header)
    end
  end
end

local function check_names(name, text)
  local base = name:match "([%w_]+)%.h$"
  local source = outline("\n" .. (read(ROOT .. name:gsub("%.h$", ".c")) or ""))
  local header = outline("\n" .. text)
  for fn in header:gmatch "\n[%a][^\n;(#]*[%s%*](lunado__[%w_]+)%(" do
    if not VOCABULARY[fn] and fn ~= "lunado__" .. base
      and fn:sub(1, #base + 9) ~= "lunado__" .. base .. "_" then
      complain("%s declares %s, which does not begin with its name", name, fn)
    end
    if not source:find("[%s%*]" .. fn .. "%b()%s*{}")
      and not header:find("static inline[^;{]-[%s%*]" .. fn .. "%(") then
      complain("%s declares %s, which its .c does not define", name, fn)
    end
  end
end

for _, name in ipairs(sources()) do
  local text = read(ROOT .. name)
  check_pair(name)
  check_includes(name, text)
  if name:find "%.h$" and not NO_PAIR[name] then check_names(name, text) end
end

os.exit(not failed, true)
