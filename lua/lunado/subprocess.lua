-- SPDX-License-Identifier: MIT
--- lunado.subprocess: starts a program, and waits for its end.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.subprocess"] then return loaded["lunado.subprocess"] end

local argument = require "lunado.argument"
local iostream = require "lunado.iostream"
local signals = require "lunado.signals"
local tasks = require "lunado.tasks"
local waiters = require "lunado.waiters"

local IOLoop, await = core.IOLoop, core.await

-- The most that one read takes of a program's output.
local CHUNK <const> = 256 * 1024

-- No user and no group has it: it means "unchanged".
local MOST_ID <const> = 0xfffffffe

-- All that libuv refuses on Windows.
local NO_USERS <const> =
  "ENOTSUP: uid and gid are not supported on this system"

-- What stdin, stdout and stderr may be --------------------------------------

local function constant(name)
  local function show() return "process." .. name end
  return setmetatable({}, { __name = name, __tostring = show })
end

local STREAM, DEVNULL, STDOUT =
  constant "STREAM", constant "DEVNULL", constant "STDOUT"

-- Values are compared with these by rawequal: a metamethod might say of another
-- one that it is equal, and then that it is not.

-- Errors --------------------------------------------------------------------

--- The error of a program that has not ended with status 0.  Its fields are
-- `returncode` and `cmd`, the program's name.
local CalledProcessError = core.Exception:subclass("CalledProcessError")

local function called_process_error(program, status)
  local how = ("returned non-zero exit status %d"):format(status)
  if status < 0 then
    local signal = core.signal_name(-status)
    how = "died with " .. (signal and signal:upper() or "signal " .. -status)
  end
  local err = CalledProcessError(("Command %q %s"):format(program, how))
  err.returncode, err.cmd = status, program
  return err
end

-- Arguments -----------------------------------------------------------------

local OPTIONS = { stdin = true, stdout = true, stderr = true, env = true,
  cwd = true, uid = true, gid = true, detached = true }

--- Raises that an option is wrong, in a function that check_options calls.
local function bad_option(name, what)
  argument.bad(2, "Subprocess", name .. ": " .. what, 6)
end

--- Returns the value as a string for a program; or nil and what is wrong.
local function to_text(value)
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then
    return nil, "string expected, got " .. type(value)
  end
  if value:find("\0", 1, true) then return nil, "string contains zeros" end
  return value
end

local function bad_args(what) argument.bad(1, "Subprocess", what, 5) end

--- Returns the arguments, the program first, as a list of its own: metamethods
-- may give other ones the next time.
local function check_args(args)
  if type(args) == "string" then args = { args } end
  if type(args) ~= "table" then
    bad_args("list or string expected, got " .. type(args))
  end
  local list, length = {}, argument.length_of(args)
  if not length then bad_args "a list expected, its length is no count" end
  for i = 1, length do
    local text, wrong = to_text(args[i])
    if not text then bad_args(("[%d]: %s"):format(i, wrong)) end
    list[i] = text
  end
  for key in next, args do
    if math.type(key) ~= "integer" or key < 1 or key > #list then
      bad_args(("a list expected, it has the key %s"):format(tostring(key)))
    end
  end
  if not list[1] or list[1] == "" then bad_args("a program expected") end
  return list
end

--- Returns the environment as a list of texts "NAME=value"; nil for that of
-- this process.
local function check_env(env)
  if env == nil then return nil end
  if type(env) ~= "table" then
    bad_option("env", "table expected, got " .. type(env))
  end
  local list = {}
  for name, value in next, env do
    if type(name) ~= "string" or name == "" or name:find("[=\0]") then
      bad_option("env", ("%q is no name of a variable"):format(tostring(name)))
    end
    local text, wrong = to_text(value)
    if not text then bad_option("env", name .. ": " .. wrong) end
    list[#list + 1] = name .. "=" .. text
  end
  return list
end

local function check_cwd(cwd)
  if cwd == nil then return end
  if type(cwd) ~= "string" then
    bad_option("cwd", "string expected, got " .. type(cwd))
  elseif cwd:find("\0", 1, true) then
    bad_option("cwd", "string contains zeros")
  elseif cwd == "" then
    bad_option("cwd", "a folder expected")
  end
end

local function check_detached(value)
  if value == nil or type(value) == "boolean" then return end
  bad_option("detached", "boolean expected, got " .. type(value))
end

local function check_id(name, id)
  if id == nil then return end
  local number = math.type(id) and math.tointeger(id)
  if not number or number < 0 or number > MOST_ID then
    bad_option(name, "a number of a user or group expected")
  end
  return number
end

local function check_stdio(name, value)
  if value == nil or rawequal(value, STREAM) or rawequal(value, DEVNULL) then
    return
  end
  if rawequal(value, STDOUT) and name == "stderr" then return end
  local fd = math.type(value) and math.tointeger(value)
  if not fd then
    local also = name == "stderr" and ", STDOUT" or ""
    bad_option(name, "STREAM, DEVNULL" .. also .. " or a descriptor expected")
  end
  if fd < 0 or fd > 0x7fffffff or not pcall(core.guess_handle, fd) then
    bad_option(name, ("descriptor %d is not open"):format(fd))
  end
end

--- Checks the options; returns a copy of them, for user code may have the
-- table.
local function check_options(options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    argument.unexpected(2, "Subprocess", "table", options, 4)
  end
  local copy, wrong = argument.copy_options(options, OPTIONS)
  if not copy then argument.bad(2, "Subprocess", wrong, 4) end
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    check_stdio(name, copy[name])
  end
  check_cwd(copy.cwd)
  copy.env = check_env(copy.env)
  copy.uid, copy.gid = check_id("uid", copy.uid), check_id("gid", copy.gid)
  check_detached(copy.detached)
  return copy
end

-- Starting ------------------------------------------------------------------

--- Closes the ends of pipes that are the program's, and if it could not be
-- started, the streams as well.
local ENDS <const> = {
  __close = function(ends, err)
    for _, descriptor in ipairs(ends) do descriptor:close() end
    if err == nil then return end
    for _, stream in ipairs(ends.streams) do stream:close() end
  end,
}

--- Makes a pipe: self[name] becomes the stream of one end; returns the other
-- end, for the program, which is added to `ends`.
local function make_pipe(self, name, ends)
  local is_input = name == "stdin"
  local first, second = core.pipe(is_input and "write" or "read")
  if not first then error(("%s (%s)"):format(second, name), 0) end
  local theirs, ours = second, first
  if is_input then theirs, ours = first, second end
  ends[#ends + 1] = theirs
  self[name] = iostream._of_descriptor(ours)
  ends.streams[#ends.streams + 1] = self[name]
  return theirs
end

--- What the program gets as descriptor `fd`, for core.process_spawn.
local function stdio_of(self, name, value, fd, ends)
  if rawequal(value, STREAM) then return make_pipe(self, name, ends) end
  if rawequal(value, DEVNULL) then return false end
  if value ~= nil then return math.tointeger(value) end
  -- One that this process has not got is not handed on.
  return pcall(core.guess_handle, fd) and fd
end

--- Starts the program; raises if that is not possible.  Once it is started
-- nothing is raised any more.
local function start(self, program, args, options)
  local ends <close> = setmetatable({ streams = {} }, ENDS)
  local input = stdio_of(self, "stdin", options.stdin, 0, ends)
  local output = stdio_of(self, "stdout", options.stdout, 1, ends)
  local errors = output
  if not rawequal(options.stderr, STDOUT) then
    errors = stdio_of(self, "stderr", options.stderr, 2, ends)
  end
  local stdio = { input, output, errors }
  for _, descriptor in ipairs(options.descriptors or {}) do
    stdio[#stdio + 1] = descriptor
  end
  local process, pid, code = core.process_spawn(program, args, options.env,
    options.cwd, stdio, options.detached, options.uid, options.gid)
  if not process then
    local where = options.cwd and (" in folder %q"):format(options.cwd) or ""
    if code == "ENOTSUP" then pid = NO_USERS end
    error(("%s (program %q%s)"):format(pid, program, where), 0)
  end
  self[1], self.pid = process, pid
end

-- Subprocess ----------------------------------------------------------------

--- A program that was started.  Its field [1] is the userdata behind it.
-- Tornado: process.Subprocess.
local Subprocess = waiters.class("Subprocess")

--- `returncode` is computed, so that it is right whatever the loop has done.
function Subprocess.__index(self, name)
  if name == "returncode" then return self[1]:status() end
  return Subprocess[name]
end

function Subprocess:_state()
  local status = self.returncode
  if not status then return ("%s, pid %d"):format(self._program, self.pid) end
  return ("%s, ended with %d"):format(self._program, status)
end

--- Starts a program, which is found as the shell finds it.  Raises the system's
-- error, with the program's name, if that fails.
-- @param args a list of the program and its arguments, or the program alone;
--   no shell sees them
-- @param options `stdin`, `stdout`, `stderr`: STREAM makes the field of that
--   name an IOStream, DEVNULL is nothing, a number is a descriptor that stays
--   the caller's, nil is that of this process; `stderr` may be STDOUT as well.
--   `env`: a table of names and values that replaces the environment.  `cwd`:
--   the folder it starts in.  `uid`, `gid`: numbers.  `detached`: whether it
--   leads a session of its own.
function Subprocess:_init(args, options)
  local list = check_args(args)
  options = check_options(options)
  self[1], self.pid = false, false
  self._program, self._talk = list[1], false
  self._exit_callback, self._exit_loop, self._has_callback =
    false, false, false
  start(self, list[1], list, options)
end

--- Starts a program for lunado itself, with more descriptors behind the first
-- three.
function Subprocess._start(program, args, options)
  local self = setmetatable({ false, pid = false, _program = args[1],
    _talk = false, _exit_callback = false, _exit_loop = false,
    _has_callback = false }, Subprocess)
  start(self, program, args, options)
  return self
end

--- Checks the object of a method, at the line of its caller.
local function check_self(self, name)
  argument.check_self(self, "_program", "Subprocess", name, 3)
end

-- Waiting -------------------------------------------------------------------

--- Of a process that keeps the loop's run alive until the end of the block.
local HELD <const> = {
  __close = function(held) held[1]:hold(false) end,
}

local function hold(self)
  local held = setmetatable({ self[1] }, HELD)
  self[1]:hold(true)
  return held
end

--- Raises that something cannot be done with the program any more.
local function raise_closed(self, what, whose, level)
  error(("cannot %s program %q: the IOLoop %s is closed"):format(what,
    self._program, whose), level)
end

local STARTER <const> = "that has started it"

--- Raises if the program still runs, and nobody will notice its end.
local function check_watched(self, level)
  if self.returncode or not core.is_closed(self[1]:loop()) then return end
  raise_closed(self, "wait for", STARTER, level > 0 and level + 1 or 0)
end

--- Returns the status.
local function wait(self)
  check_watched(self, 0)
  local status = self.returncode
  if status then return status end
  local _ <close> = hold(self)
  return await(self[1]:future())
end

local wait_for_exit = core.coroutine(function(self, raise_error)
  local status = wait(self)
  if status ~= 0 and raise_error ~= false then
    error(called_process_error(self._program, status), 0)
  end
  return status
end)

--- Returns a Future of the status: that of the exit, or the negative number of
-- the signal that ended the program.  A cancellation of the wait lets the
-- program go on.
-- @param raise_error false: otherwise any status but 0 is a CalledProcessError
function Subprocess:wait_for_exit(raise_error)
  check_self(self, "wait_for_exit")
  if raise_error ~= nil then
    argument.check_type(raise_error, "boolean", 1, "wait_for_exit", 2)
  end
  local future = wait_for_exit(self, raise_error)
  return future
end

local function call_exit_callback(self, status)
  local callback = self._exit_callback
  self._exit_callback = false
  if callback then self._exit_loop:add_callback(callback, status) end
end

--- Calls fn(status), in a turn of the current loop, when the program has ended;
-- replaces an earlier function.  Nil removes it.
function Subprocess:set_exit_callback(fn)
  check_self(self, "set_exit_callback")
  if fn ~= nil then
    argument.check_callable(fn, 1, "set_exit_callback", 2)
  end
  if fn and core.get_context() then
    fn = require("lunado.stack_context").wrap(fn)
  end
  if fn then check_watched(self, 3) end
  self._exit_callback = fn or false
  if not fn then return end
  self._exit_loop = IOLoop.current()
  local process = self[1]
  local ended, status = process:future(), process:status()
  if status then return call_exit_callback(self, status) end
  if self._has_callback then return end
  ended:add_done_callback(function()
    process:hold(false)
    self._has_callback = false
    call_exit_callback(self, ended:result())
  end)
  process:hold(true)
  self._has_callback = true
end

-- Ending --------------------------------------------------------------------

--- Sends a signal, "sigterm" by default.  Returns true; or nil, the error's
-- text and its name: ESRCH once the program has ended.  Never reaches a later
-- process with the same id.
function Subprocess:kill(signal)
  check_self(self, "kill")
  if signal == nil then signal = "sigterm" end
  local number, got = signals.number_of(signal)
  if not number then
    argument.bad(1, "kill", "signal expected, got " .. got, 2)
  end
  if number < 0 or number > 0x7fffffff then
    argument.bad(1, "kill", ("no signal has the number %d"):format(number), 2)
  end
  return self[1]:kill(number)
end

--- The end of a block: kills the program, waits until it is gone, and closes
-- its streams.
function Subprocess:__close()
  local process = self[1]
  if not process:status() then
    process:kill(signals.number_of "sigkill")
    -- Another loop than the current one may not run.
    if core.can_await() and process:loop() == IOLoop.current() then
      core.shield(wait, self)
    end
    process:reap()
  end
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if self[name] then self[name]:close() end
  end
end

-- communicate ---------------------------------------------------------------

--- Whether the error says that the stream has ended, or was closed here.
local function is_end(err)
  return core.isinstance(err, iostream.StreamClosedError)
    and err.real_error == nil
end

local function read(stream) return await(stream:read_bytes(CHUNK, true)) end

--- Adds what the stream has still to give to the list.
local function gather(stream, list)
  while true do
    local ok, result = core.try(read, stream)
    if ok then
      list[#list + 1] = result
    elseif is_end(core.exc_info(result)) then
      return
    else
      core.raise(result)
    end
  end
end

--- Writes the input and closes the stream.  A program need not read it all.
local feed = core.coroutine(function(stream, input)
  if input and input ~= "" then
    local ok, failure = core.try(await, stream:write(input))
    if not ok and not core.isinstance(core.exc_info(failure),
      iostream.StreamClosedError) then
      stream:close()
      core.raise(failure)
    end
  end
  stream:close()
end)

--- Reads and writes all at once, so that neither side waits for the other in
-- vain.  What has come stays in `talk` when this is cancelled.
local function exchange(self, talk)
  tasks.group(function(group)
    if self.stdout then group:spawn(gather, self.stdout, talk.stdout) end
    if self.stderr then group:spawn(gather, self.stderr, talk.stderr) end
    if talk.fed then await(tasks.keep(talk.fed)) end
  end)
end

local function joined(stream, list)
  return stream and table.concat(list) or nil
end

-- What the calls of communicate have in common.  Its fields:
-- `stdout`, `stderr`: lists of what has come;
-- `fed`: the Future of the coroutine that writes the input, or false;
-- `loop`: the loop of that coroutine;
-- `busy`: the loop of the call that is under way, or false;
-- `complete`: whether all has come.
local TALK <const> = { __close = function(talk) talk.busy = false end }

--- Begins the first call.
local function begin(self, input)
  local talk = setmetatable({ busy = false, stdout = {}, stderr = {},
    fed = false, loop = IOLoop.current(), complete = false }, TALK)
  if self.stdin then talk.fed = feed(self.stdin, input) end
  self._talk = talk
  return talk
end

--- Whether an earlier call, or the writing of its input, will never end: its
-- loop was closed.
local function is_broken_off(talk)
  local loop = talk.busy or talk.fed and not talk.fed:done() and talk.loop
  return loop and core.is_closed(loop)
end

--- Raises if streams were closed with their loop before all has come, or are
-- still read by an earlier call whose loop was closed.
local function check_streams(self, talk)
  if not (self.stdin or self.stdout or self.stderr)
    or talk and talk.complete then
    return
  end
  if core.is_closed(self[1]:loop()) then
    raise_closed(self, "communicate with", STARTER, 0)
  elseif talk and is_broken_off(talk) then
    raise_closed(self, "communicate with", "of an earlier call", 0)
  end
end

local communicate = core.coroutine(function(self, input)
  check_streams(self, self._talk)
  local talk <close> = self._talk or begin(self, input)
  talk.busy = IOLoop.current()
  exchange(self, talk)
  talk.complete = true
  wait(self)
  return joined(self.stdout, talk.stdout), joined(self.stderr, talk.stderr)
end)

--- Writes the input to the program, closes its stdin, reads all of its output
-- and waits for its end.  Returns a Future of what came on stdout and on
-- stderr; nil for one that is not a STREAM.  A program that does not read its
-- input is no error.  A call that was cancelled can be made again, without the
-- input, and loses nothing; the program goes on meanwhile.
function Subprocess:communicate(input)
  check_self(self, "communicate")
  if input ~= nil then
    argument.check_type(input, "string", 1, "communicate", 2)
    if not self.stdin then
      argument.bad(1, "communicate", "stdin is not a STREAM", 2)
    end
  end
  local talk = self._talk
  if talk and talk.busy and not core.is_closed(talk.busy) then
    error("communicate is under way already", 2)
  end
  if talk and input ~= nil then
    argument.bad(1, "communicate", "an earlier call had the input", 2)
  end
  local future = communicate(self, input)
  return future
end

local subprocess = {
  STREAM = STREAM,
  DEVNULL = DEVNULL,
  STDOUT = STDOUT,
  CalledProcessError = CalledProcessError,
  Subprocess = Subprocess,
}

loaded["lunado.subprocess"] = subprocess
return subprocess
