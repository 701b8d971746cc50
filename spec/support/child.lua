-- SPDX-License-Identifier: MIT
-- Runs a script in a separate interpreter, to check what is visible only from
-- outside, such as the exit status, stderr and the end of a Lua state.
local gc = require "spec.support.gc"

local function interpreter()
  local first = 0
  while arg and arg[first - 1] do
    first = first - 1
  end
  return first < 0 and arg[first] or "lua5.4"
end

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  os.remove(path)
  return text
end

-- Ends a child that hangs, if the system has the command timeout.
-- LUNADO_PATIENCE is the number of seconds after which it does so; a checker
-- like valgrind needs more.
local PATIENCE = tonumber(os.getenv("LUNADO_PATIENCE")) or 60
local watchdog = os.execute("command -v timeout >/dev/null 2>&1")
  and "timeout %g " or ""

--- child(source [, seconds [, line]]) -> { code =, out =, err = }.  The code is
--- 124 if the script took longer than `seconds`, and above 128 if a signal
--- ended it.  line(command) is the shell's line that runs the command, with
--- another input than /dev/null, say.
return function(source, seconds, line)
  local script, out, err = os.tmpname(), os.tmpname(), os.tmpname()
  local file = assert(io.open(script, "wb"))
  file:write(source)
  file:close()
  local run = quote(interpreter()) .. " " .. quote(script)
  if line then run = "sh -c " .. quote(line(run)) end
  local command = ("LUA_PATH=%s LUA_CPATH=%s LUA_INIT= LUA_INIT_5_4=%s "
    .. "%s%s >%s 2>%s </dev/null"):format(quote(package.path),
    quote(package.cpath), quote(gc.chosen),
    watchdog:format(seconds or PATIENCE),
    run, quote(out), quote(err))
  local _, how, code = os.execute(command)
  os.remove(script)
  local result = {
    code = how == "signal" and 128 + code or code,
    out = read(out),
    err = read(err):gsub(script:gsub("%p", "%%%0"), "script.lua"),
  }
  return result
end
