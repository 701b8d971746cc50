-- SPDX-License-Identifier: MIT
-- The environment of a job of the job server, and the report of its outcome.
-- The server calls this file with its functions limited, methods, say and done.
-- The file returns the function that runs one job.
local host = ...
local lunado = require "lunado"

local LONGEST = 1 << 20

local function copy(library, ...)
  local result = {}
  for _, name in ipairs { ... } do result[name] = library[name] end
  return result
end

--- Like string.rep, with a bound: even the repetition of an empty string can
-- take years.
local function rep(s, n, separator)
  s, separator = tostring(s), separator or ""
  if n > LONGEST or n * (#s + #separator) > LONGEST then
    error("resulting string too large", 2)
  end
  return string.rep(s, n, separator)
end

--- Like string.find, but searches for plain text.
local function find(s, text, init)
  if #s * #text > 1e8 then error("strings too long", 2) end
  return string.find(s, text, init, true)
end

--- Like table.sort, but always compares in Lua, where the time limit applies.
local function sort(list, less)
  table.sort(list, less or function(a, b) return a < b end)
end

local function safe_strings()
  local strings = copy(string, "byte", "char", "format", "len", "lower",
    "reverse", "sub", "upper")
  strings.find, strings.rep = find, rep
  return strings
end

--- Returns the globals of a job: the part of the standard library that cannot
-- reach outside of the job and obeys the time limit.  It has no patterns, which
-- may take for ever, and no coroutines and message handlers, which Lua runs
-- without hooks.
local function safe_globals()
  local env = copy(_G, "_VERSION", "assert", "error", "ipairs", "next",
    "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset", "select",
    "tonumber", "tostring", "type")
  env.string = safe_strings()
  env.table = copy(table, "concat", "insert", "pack", "remove", "unpack")
  env.table.sort = sort
  env.math = copy(math, "abs", "ceil", "floor", "fmod", "huge", "max",
    "maxinteger", "min", "mininteger", "pi", "random", "sqrt", "tointeger",
    "type")
  env.os = copy(os, "clock", "time")
  env._G = env
  return env
end

host.methods(safe_strings())

local function join(separator, ...)
  local texts = table.pack(...)
  for i = 1, texts.n do texts[i] = tostring(texts[i]) end
  return table.concat(texts, separator)
end

--- Returns a value for `local _ <close>`: calls fn when the block ends, however
-- it ends.
local function defer(fn)
  return setmetatable({}, { __close = function() fn() end })
end

--- The functions that wait raise CancelledError when the job has to end.
local function globals_of_job(client)
  local env, unread = safe_globals(), nil
  env.defer = defer
  function env.print(...)
    if unread then coroutine.yield(unread) end
    unread = host.say(client, join("\t", ...) .. "\n")
  end
  function env.sleep(span)
    coroutine.yield(lunado.sleep(span))
  end
  return env
end

--- Runs the script; returns the last line for the client.
local function outcome(client, source)
  local env = globals_of_job(client)
  local job, err = load(source, "=job", "t", env)
  if not job then return "error " .. err end
  local results = table.pack(host.limited(client, job))
  if results[1] == nil then return "timeout" end
  if results[1] then
    return join(" ", "ok", table.unpack(results, 2, results.n))
  end
  return "error " .. tostring(results[2])
end

return function(client, source)
  local _, last = pcall(outcome, client, source)
  pcall(host.say, client, tostring(last) .. "\n")
  host.done(client)
end
