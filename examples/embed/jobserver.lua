-- SPDX-License-Identifier: MIT
-- What a job of the job server may do, and what becomes of it.  The server
-- calls this file with its functions limited, say and done, and the seconds
-- that a job has; it gets back the function that runs one job.
local host, seconds = ...
local lunado = require "lunado"

--- What is left of the standard library: nothing that leaves the job, and
-- nothing that the limit does not see: coroutines, and message handlers, which
-- Lua runs without hooks.
local function copy(library, ...)
  local result = {}
  for _, name in ipairs { ... } do result[name] = library[name] end
  return result
end

local function safe_globals()
  local env = copy(_G, "_VERSION", "assert", "error", "ipairs", "next",
    "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset", "select",
    "tonumber", "tostring", "type")
  env.string = copy(string, "byte", "char", "find", "format", "gmatch", "gsub",
    "len", "lower", "match", "rep", "reverse", "sub", "upper")
  env.table = copy(table, "concat", "insert", "move", "pack", "remove", "sort",
    "unpack")
  env.math = copy(math, "abs", "ceil", "floor", "fmod", "huge", "max",
    "maxinteger", "min", "mininteger", "pi", "random", "sqrt", "tointeger",
    "type")
  env.os = copy(os, "clock", "date", "time")
  env._G = env
  return env
end

local function join(separator, ...)
  local texts = table.pack(...)
  for i = 1, texts.n do texts[i] = tostring(texts[i]) end
  return table.concat(texts, separator)
end

--- A wait ends when the job has to.
local function sleep_until(deadline, span)
  local left = deadline - lunado.IOLoop.current():time()
  coroutine.yield(lunado.sleep(math.min(span, left)))
  if span >= left then error("timeout", 0) end
end

local function globals_of_job(client, deadline)
  local env = safe_globals()
  function env.print(...)
    host.say(client, join("\t", ...) .. "\n")
  end
  function env.sleep(span)
    sleep_until(deadline, span)
  end
  return env
end

--- Runs the script, and returns what the client is told last.
local function outcome(client, source)
  local loop = lunado.IOLoop.current()
  local deadline = loop:time() + seconds
  local env = globals_of_job(client, deadline)
  local job, err = load(source, "=job", "t", env)
  if not job then return "error " .. err end
  local results = table.pack(host.limited(seconds, job))
  if loop:time() >= deadline then return "timeout" end
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
