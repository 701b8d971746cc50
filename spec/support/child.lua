-- SPDX-License-Identifier: MIT
-- Runs a script in a separate interpreter, to check what is visible only from
-- outside, such as the exit status, stderr and the end of a Lua state.
local gc = require "spec.support.gc"
local system = require "spec.support.system"

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
  local file = assert(io.open(path, system.is_windows and "r" or "rb"))
  local text = file:read("a")
  file:close()
  os.remove(path)
  return text
end

-- Ends a child that hangs, if the system has the command timeout.
-- LUNADO_PATIENCE is the number of seconds after which it does so; a checker
-- like valgrind needs more.
local PATIENCE = tonumber(os.getenv("LUNADO_PATIENCE")) or 60
local watchdog = not system.is_windows
  and os.execute("command -v timeout >/dev/null 2>&1") and "timeout %g " or ""

-- Runs the script by a file of commands for Windows' shell.  Nothing ends a
-- child that hangs.
local function run_on_windows(script, out, err)
  local commands = os.tmpname() .. ".bat"
  local file = assert(io.open(commands, "w"))
  for name, value in pairs {
    LUA_PATH = package.path, LUA_CPATH = package.cpath, LUA_INIT = "",
    LUA_INIT_5_4 = gc.chosen,
  } do
    file:write("@set ", name, "=", value, "\n")
  end
  file:write(('@"%s" "%s" >"%s" 2>"%s" <NUL\n' ..
    '@>"%s.code" echo %%ERRORLEVEL%%\n'):format(interpreter(), script, out, err,
    commands))
  file:close()
  os.execute(commands) -- which confuses the code with C's errno
  os.remove(commands)
  return tonumber(read(commands .. ".code"))
end

-- The same by a POSIX shell, which says the code as well.
local function run(script, out, err, seconds, line)
  local program = quote(interpreter()) .. " " .. quote(script)
  if line then program = "sh -c " .. quote(line(program)) end
  local command = ("LUA_PATH=%s LUA_CPATH=%s LUA_INIT= LUA_INIT_5_4=%s "
    .. "%s%s >%s 2>%s </dev/null"):format(quote(package.path),
    quote(package.cpath), quote(gc.chosen),
    watchdog:format(seconds or PATIENCE),
    program, quote(out), quote(err))
  local code = script .. ".code"
  os.execute(("{ %s; echo $? >%s; } 2>/dev/null"):format(command, quote(code)))
  return tonumber(read(code))
end

--- child(source [, seconds [, line]]) -> { code =, out =, err = }.  The code is
--- 124 if the script took longer than `seconds`, and above 128 if a signal
--- ended it.  line(command) is the shell's line that runs the command, with
--- another input than /dev/null, say.
return function(source, seconds, line)
  local script, out, err = os.tmpname(), os.tmpname(), os.tmpname()
  local file = assert(io.open(script, "wb"))
  file:write(source)
  file:close()
  local code
  if system.is_windows then
    assert(not line, "the line needs a POSIX shell")
    assert(not seconds or seconds >= 10, "nothing would end the child")
    code = run_on_windows(script, out, err)
  else
    code = run(script, out, err, seconds, line)
  end
  os.remove(script)
  local result = {
    code = code,
    out = read(out),
    err = read(err):gsub((script:gsub("%p", "%%%0")), "script.lua"),
  }
  return result
end
