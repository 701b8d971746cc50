-- SPDX-License-Identifier: MIT
--- lunado.debug: shows which coroutines are suspended, where, and what they
-- wait for.
--
-- Coroutines are tracked from the time when this module is loaded.  Coroutines
-- that are already suspended then are found by one walk over all objects of the
-- Lua state.  Before the module is loaded, there is no cost.  Tracking does not
-- keep coroutines alive.
-- @module lunado.debug
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.debug"] then return loaded["lunado.debug"] end

local argument = require "lunado.argument"
local waitgraph = require "lunado.waitgraph"

local tracked = core.track()

-- Already suspended coroutines -----------------------------------------------

--- Calls found(u) for each userdata that can be reached from the registry.
local function walk_userdata(found)
  local queue, first, last = { debug.getregistry() }, 1, 1
  local seen = { [queue] = true, [queue[1]] = true }
  seen[seen] = true
  local function add(value)
    local kind = type(value)
    if seen[value] or kind ~= "table" and kind ~= "userdata"
      and kind ~= "thread" and kind ~= "function" then return end
    seen[value] = true
    last = last + 1
    queue[last] = value
  end

  local visit = {}

  function visit.table(value)
    local mode = debug.getmetatable(value)
    mode = mode and rawget(mode, "__mode")
    mode = type(mode) == "string" and mode or ""
    for key, field in next, value do
      if not mode:find "k" then add(key) end
      if not mode:find "v" then add(field) end
    end
  end

  function visit.userdata(value)
    found(value)
    for i = 1, math.huge do
      local field, there = debug.getuservalue(value, i)
      if not there then break end
      add(field)
    end
  end

  visit["function"] = function(value)
    for i = 1, math.huge do
      local name, upvalue = debug.getupvalue(value, i)
      if not name then break end
      add(upvalue)
    end
  end

  local function visit_locals(thread, level, step)
    for i = step, step * math.huge, step do
      local name, value = debug.getlocal(thread, level, i)
      if not name then break end
      add(value)
    end
  end

  function visit.thread(value)
    for _, held in ipairs(core.stack(value) or {}) do add(held) end
    for level = 0, math.huge do
      local info = debug.getinfo(value, level, "f")
      if not info then break end
      add(info.func)
      visit_locals(value, level, 1)
      visit_locals(value, level, -1)
    end
  end

  while first <= last do
    local value = queue[first]
    queue[first] = nil
    first = first + 1
    add(debug.getmetatable(value))
    visit[type(value)](value)
  end
end

walk_userdata(core.track_task)

-- The module ------------------------------------------------------------------

local lunado_debug = {}

--- Returns a list of the suspended coroutines, the oldest first.  Each entry is
-- a table with these fields: `coroutine`, the thread; `future`, the Future of
-- the coroutine's outcome; `name`, the name of its function; `where`, its place
-- as "file:line"; `waiting_for`, the Future that it waits for, or nil if the
-- loop will resume it without one; `age`, the seconds since it was first
-- suspended.
function lunado_debug.tasks()
  local list = waitgraph.coroutines(tracked)
  for _, entry in ipairs(list) do entry.how, entry.scopes = nil, nil end
  return list
end

--- set_thread_hook(fn): calls fn(thread) before each coroutine begins, so that
-- a tool can set its debug hook in the thread.  (A tool that replaces
-- coroutine.create does not get these threads, because lunado does not call
-- it.)  nil removes fn.  Returns the previous function.  An error of fn is
-- logged; fn is not called for coroutines that it starts itself.
lunado_debug.set_thread_hook = core.set_thread_hook

local function check_file(file)
  local kind = type(file)
  if (kind == "userdata" or kind == "table") and file.write then return end
  argument.unexpected(1, "dump", "file", file, 3)
end

--- Writes the tree of coroutines and what they wait for to the file, by default
-- stderr.
function lunado_debug.dump(file)
  if file ~= nil then check_file(file) end
  file = file or io.stderr
  waitgraph.write_all(tracked, function(line) file:write(line, "\n") end)
end

loaded["lunado.debug"] = lunado_debug
return lunado_debug
