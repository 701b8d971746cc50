-- SPDX-License-Identifier: MIT
--- lunado.waitgraph: suspended coroutines and what they wait for, as a tree.
-- Used by lunado.debug and by the reports of lunado.testing.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.waitgraph"] then return loaded["lunado.waitgraph"] end

local waitgraph = {
  --- Function of lunado's own inside a coroutine function -> its name.
  names = setmetatable({}, { __mode = "k" }),
  --- Future -> function() that returns a text that describes the Future, and a
  -- list of the Futures that it waits for.
  describers = setmetatable({}, { __mode = "k" }),
}

--- Returns a table of names by function.  As in Lua's tracebacks, the name is
-- the field of a loaded module that contains the function.  The function inside
-- a coroutine function has the name of the coroutine function.
local function known_names()
  local names = {}
  for fn, name in next, waitgraph.names do names[fn] = name end
  local function add(fn, name)
    local old = names[fn]
    if not old or #name < #old or #name == #old and name < old then
      names[fn] = name
    end
  end
  for module, fields in next, package.loaded do
    local prefix = module == "_G" and "" or tostring(module) .. "."
    for key, fn in next, type(fields) == "table" and fields or {} do
      if type(key) == "string" and type(fn) == "function" then
        add(fn, prefix .. key)
        if core.is_coroutine_function(fn) then
          local _, body = debug.getupvalue(fn, 3)
          if type(body) == "function" then add(body, prefix .. key) end
        end
      end
    end
  end
  return names
end

local function name_of(fn, names)
  if type(fn) ~= "function" then return type(fn) end
  if names[fn] then return names[fn] end
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then return "C function" end
  if info.what == "main" then return "main chunk" end
  return ("function <%s:%d>"):format(info.short_src, info.linedefined)
end

-- The place of a coroutine that has not started is the beginning of its
-- function.
local function place_of(how, fn, where)
  if how ~= "starting" or type(fn) ~= "function" then return where end
  local info = debug.getinfo(fn, "S")
  if info.linedefined < 0 then return info.short_src end
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

--- Returns the description of a task; nil if it is not suspended.  `since` is
-- the time when the task was first suspended, or nil if that is unknown.
local function describe(task, since, names)
  local how, thread, future, awaited, fn, where, now = core.task(task)
  if not how then return nil end
  return {
    how = how,
    coroutine = thread,
    future = future,
    waiting_for = awaited,
    name = name_of(fn, names),
    where = place_of(how, fn, where),
    age = since and math.max(0, now - since),
    scopes = core.scopes(task),
  }
end

--- Returns a list of the descriptions of the suspended tasks in `tracked` (task
-- -> the time when it was first suspended), the oldest first, and a table task
-- -> description.
function waitgraph.coroutines(tracked)
  local names = known_names()
  local list, by_task = {}, {}
  for task, since in next, tracked do
    local entry = describe(task, since, names)
    list[#list + 1], by_task[task] = entry, entry
  end
  table.sort(list, function(a, b)
    if a.age ~= b.age then return a.age > b.age end
    return a.where < b.where
  end)
  return list, by_task
end

-- The tree -------------------------------------------------------------------

local DEEPEST = 30 -- levels that are indented

local function indented(depth, text)
  if depth <= DEEPEST then return ("  "):rep(depth) .. text end
  return ("%s[%d] %s"):format(("  "):rep(DEEPEST), depth, text)
end

local function seconds(number)
  return ("%.3f"):format(number):gsub("%.?0+$", "") .. " s"
end

local HOW = { ready = ", about to go on", starting = ", about to start" }

local function title_of(entry)
  local text = ("%s at %s"):format(entry.name, entry.where)
  if entry.age then text = text .. " (" .. seconds(entry.age) .. ")" end
  return text .. (HOW[entry.how] or "")
end

local function title_of_scope(scope)
  local text = scope.kind
  if scope.kind == "group" then
    text = ("TaskGroup at %s, %d of %d running"):format(scope.place,
      scope.running, scope.spawned)
  elseif scope.left then
    text = text .. ", " .. seconds(scope.left) .. " left"
  end
  return text .. (scope.cancelled and ", cancelled" or "")
end

-- Returns the pending children of a multi, integer keys first, and the number
-- of all its children.
local function pending_of(children)
  local keys, pending = {}, {}
  for key in next, children do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local x, y = math.type(a) == "integer", math.type(b) == "integer"
    if x and y then return a < b end
    if x ~= y then return x end
    return tostring(a) < tostring(b)
  end)
  for _, key in ipairs(keys) do
    if not children[key]:done() then pending[#pending + 1] = children[key] end
  end
  return pending, #keys
end

--- Returns a list of what is below a coroutine in the tree: its scopes, the
-- outermost first, the children of its groups, and last the Future for which
-- it is suspended.  Each is a table with `depth`, relative to the coroutine,
-- and `text` or `future`.
local function branches_of(entry)
  local branches, depth, awaited = {}, 1, entry.waiting_for
  for i = #entry.scopes, 1, -1 do
    local scope = entry.scopes[i]
    branches[#branches + 1] = { depth = depth, text = title_of_scope(scope) }
    depth = depth + 1
    for _, child in ipairs((pending_of(scope.children or {}))) do
      branches[#branches + 1] = { depth = depth, future = child }
    end
    if scope.join == awaited then awaited = nil end
  end
  if awaited then
    branches[#branches + 1] = { depth = depth, future = awaited }
  end
  return branches
end

local WHAT = {
  next = ", next of a WaitIterator",
  promise = ", which another thread is to set",
  job = ", of an executor's job",
}

--- Returns what the metamethod __describe of a Future's canceller says, or nil.
local function said_by(canceller)
  local metatable = debug.getmetatable(canceller)
  local say = metatable and rawget(metatable, "__describe")
  return say and say(canceller)
end

--- Returns a text that describes a Future, and a list of the Futures that it
-- waits for.  For the Future of a coroutine, returns nil, nil and the task
-- instead.
local function parts_of(future, sources)
  local kind, part, left = core.parts(future)
  if kind and waitgraph.describers[future] then
    return waitgraph.describers[future]()
  end
  if kind == "coroutine" and part then return nil, nil, part end
  if kind == "multi" then
    local pending, n = pending_of(part)
    return ("multi of %d, %d pending"):format(n, #pending), pending
  end
  if kind == "timeout" then
    return "with_timeout" .. (left and ", " .. seconds(left) .. " left" or ""),
      { part }
  end
  if kind == "sleep" then
    return "sleep" .. (part and ", " .. seconds(part) .. " left" or ""), {}
  end
  local text = kind == "plain" and said_by(part)
    or tostring(future) .. (WHAT[kind] or "")
  return text, sources[future] or {}
end

--- Returns a table: Future -> the list of the Futures of coroutines whose
-- outcome it gets through chain_future or a WaitIterator.
local function find_sources(list)
  local sources = {}
  for _, entry in ipairs(list) do
    for _, dependent in ipairs(core.dependents(entry.future)) do
      sources[dependent] = sources[dependent] or {}
      table.insert(sources[dependent], entry.future)
    end
  end
  return sources
end

--- Walks from a Future to everything that it waits for, in order, and calls
-- visit(depth, text) for each line.  The walk is not recursive, because a chain
-- of coroutines may be longer than Lua's stack.
local function walk(future, state, visit)
  local stack = { { future = future, depth = 0 } }
  local function push(futures, depth)
    for i = #futures, 1, -1 do
      stack[#stack + 1] = { future = futures[i], depth = depth }
    end
  end
  local function push_branches(branches, depth)
    for i = #branches, 1, -1 do
      branches[i].depth = branches[i].depth + depth
      stack[#stack + 1] = branches[i]
    end
  end
  local function visit_task(task, depth)
    local entry = state.entry_of(task)
    if not entry then return end
    if state.open[task] then
      return visit(depth, title_of(entry) .. ", which waits for itself")
    elseif state.seen[task] then
      return visit(depth, title_of(entry) .. ", see above")
    end
    visit(depth, title_of(entry))
    state.seen[task], state.open[task] = true, true
    stack[#stack + 1] = { leave = task }
    push_branches(branches_of(entry), depth)
  end
  while #stack > 0 do
    local item = table.remove(stack)
    if item.leave then
      state.open[item.leave] = nil
    elseif item.text then
      visit(item.depth, item.text)
    else
      local text, futures, task = parts_of(item.future, state.sources)
      if task then
        visit_task(task, item.depth)
      else
        visit(item.depth, text)
        push(futures, item.depth + 1)
      end
    end
  end
end

local function new_state(list, entry_of)
  return { seen = {}, open = {}, sources = find_sources(list),
    entry_of = entry_of }
end

--- Returns the set of the tasks that a listed coroutine waits for, through any
-- number of Futures.
local function find_awaited(list, state)
  local awaited, visited = {}, {}
  for _, entry in ipairs(list) do
    local stack = {}
    for _, branch in ipairs(branches_of(entry)) do
      stack[#stack + 1] = branch.future
    end
    while #stack > 0 do
      local future = table.remove(stack)
      if not visited[future] then
        visited[future] = true
        local _, futures, task = parts_of(future, state.sources)
        if task then
          awaited[task] = true
        else
          table.move(futures, 1, #futures, #stack + 1, stack)
        end
      end
    end
  end
  return awaited
end

--- Calls write(line) for each line of the tree of all coroutines.  A coroutine
-- that no other coroutine waits for is at the left margin.
function waitgraph.write_all(tracked, write)
  local list, by_task = waitgraph.coroutines(tracked)
  local state = new_state(list, function(task) return by_task[task] end)
  local awaited = find_awaited(list, state)
  local task_of = {}
  for task, entry in next, by_task do task_of[entry] = task end
  local function visit(depth, text) write(indented(depth, text)) end
  write(("%d suspended coroutine%s"):format(#list, #list == 1 and "" or "s"))
  for _, left in ipairs { false, true } do
    for _, entry in ipairs(list) do
      local task = task_of[entry]
      -- The second round finds the coroutines that wait for each other in a
      -- cycle.
      if not state.seen[task] and (left or not awaited[task]) then
        walk(entry.future, state, visit)
      end
    end
  end
end

--- Returns the tree of all that the Future waits for, as a text.
function waitgraph.text(future)
  local names, lines = known_names(), {}
  local state = new_state({}, function(task)
    return describe(task, nil, names)
  end)
  walk(future, state, function(depth, text)
    lines[#lines + 1] = indented(depth, text)
  end)
  return table.concat(lines, "\n")
end

loaded["lunado.waitgraph"] = waitgraph
return waitgraph
