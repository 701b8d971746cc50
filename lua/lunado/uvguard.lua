-- SPDX-License-Identifier: MIT
--- lunado.uvguard: the calls that lunado.uv refuses, because luv or libuv would
-- abort the process, use freed memory or never call back.
--
-- luv checks the types of its arguments, but not the states of its handles, and
-- libuv asserts what luv has not checked.  `checks[name]` is a function of the
-- arguments.  If they can be used, it returns nothing; otherwise it returns the
-- position of the wrong argument and a text that says what is wrong with it.
-- If only the state of the argument is wrong, not the call itself, it also
-- returns the name of libuv's error.
local core = require "lunado.core"
if core.loaded["lunado.uvguard"] then return core.loaded["lunado.uvguard"] end

local argument = require "lunado.argument"
local luv = require "luv"

-- Handles --------------------------------------------------------------------

-- luv's list of the metatables of its handles.
local metatables = debug.getregistry().uv_handle

local function is_handle(value)
  return type(value) == "userdata"
    and metatables[debug.getmetatable(value)] == true
end

-- luv dereferences the pointer in a userdata before it checks the type.
local function check_type(value, position)
  if type(value) ~= "userdata" or is_handle(value) then return end
  local metatable = debug.getmetatable(value)
  return position, ("uv_handle expected, got %s"):format(
    type(metatable) == "table" and metatable.__name or "userdata")
end

local CLOSED = "the handle is closing or closed"

local function check_open(value, position)
  if not is_handle(value) then return check_type(value, position) end
  if luv.is_closing(value) then return position, CLOSED, "EBADF" end
end

local function first_is_handle(handle) return check_type(handle, 1) end
local function first_is_open(handle) return check_open(handle, 1) end

-- Names whose first argument is a handle: ANY_STATE accept any handle, OPEN
-- need a handle that is not closing.
local ANY_STATE = { "close", "fileno", "handle_get_type", "has_ref",
  "is_active", "is_closing", "is_readable", "is_writable", "ref", "unref",
  "check_stop", "fs_event_stop", "fs_poll_stop", "idle_stop", "prepare_stop",
  "process_get_pid", "read_stop", "stream_get_write_queue_size",
  "tcp_write_queue_size", "timer_get_due_in", "timer_get_repeat",
  "timer_set_repeat", "timer_stop", "udp_get_send_queue_count",
  "udp_get_send_queue_size", "udp_recv_stop" }
local OPEN = { "accept", "listen", "read_start", "recv_buffer_size",
  "send_buffer_size", "shutdown", "stream_set_blocking", "try_write",
  "try_write2", "write", "write2" }
local PREFIXES = { "async_", "check_", "fs_event_", "fs_poll_", "idle_",
  "pipe_", "poll_", "prepare_", "process_", "signal_", "stream_", "tcp_",
  "timer_", "tty_", "udp_" }
local NO_HANDLE = { tty_reset_mode = true, tty_get_vterm_state = true,
  tty_set_vterm_state = true }

local checks = {}
local guard = { checks = checks }

--- Handle -> fn, for waits that have no request of libuv.  When any code closes
-- the handle, fn("ECANCELED", handle) is called.
guard.waits = core.watch_closing(luv)
for _, name in ipairs(ANY_STATE) do checks[name] = first_is_handle end
for _, name in ipairs(OPEN) do checks[name] = first_is_open end

local function check_of_prefix(name)
  if NO_HANDLE[name] then return nil end
  for _, prefix in ipairs(PREFIXES) do
    if name:sub(1, #prefix) == prefix then return first_is_open end
  end
end

-- Returns a check that runs two checks, one after the other.
local function both(first, second)
  return function(...)
    local position, what, code = first(...)
    if position then return position, what, code end
    return second(...)
  end
end

-- Adds a check to the checks of a name.
local function add(name, check)
  local first = checks[name] or check_of_prefix(name)
  checks[name] = first and both(first, check) or check
end
guard.add = add

-- Descriptors ----------------------------------------------------------------

-- libuv aborts the process when the system refuses to poll a descriptor that
-- libuv has accepted: a descriptor that was closed under the handle, a file, or
-- a device such as /dev/null.
local function check_pollable(handle)
  if not is_handle(handle) then return end
  local fd = luv.fileno(handle)
  if not fd then return end
  local code = core.check_descriptor(fd)
  if not code then return end
  return 1, ("descriptor %d %s"):format(fd,
    code == "EBADF" and "is closed" or "cannot be polled"), code
end

for _, name in ipairs { "listen", "poll_start", "read_start",
  "udp_recv_start" } do
  add(name, check_pollable)
end

-- Streams --------------------------------------------------------------------

local function weak_keys() return setmetatable({}, { __mode = "k" }) end

local connecting = weak_keys() -- handles, while a connect is under way

local streams = debug.getregistry().uv_stream

local function is_stream(value)
  return is_handle(value) and streams[debug.getmetatable(value)] == true
end

local function listens(handle)
  return luv.is_active(handle) and not luv.is_readable(handle)
    and not luv.is_writable(handle)
end

-- A second connect of a pipe replaces the first, which then never ends.  libuv
-- expects only connections on a handle that listens.
local function check_unconnected(handle)
  if connecting[handle] then
    return 1, "the handle is connecting already", "EALREADY"
  elseif is_stream(handle) and listens(handle) then
    return 1, "the handle listens", "EINVAL"
  end
end
add("pipe_connect", check_unconnected)
add("pipe_connect2", check_unconnected)
add("tcp_connect", check_unconnected)

add("listen", function(handle)
  if connecting[handle] then return 1, "the handle is connecting", "EBUSY" end
end)

local function client_is_open(_, client) return check_open(client, 2) end
add("accept", client_is_open)

local function sent_is_open(_, _, handle) return check_open(handle, 3) end
add("write2", sent_is_open)
add("try_write2", sent_is_open)

-- Files ----------------------------------------------------------------------

local MOST_ENTRIES = 1 << 20

local function count(value) return math.tointeger(value) end

local function not_negative(position)
  return function(...)
    local value = count((select(position, ...)))
    if value and value < 0 then return position, "must not be negative" end
  end
end
checks.fs_read = not_negative(2)
checks.fs_sendfile = not_negative(4)
checks.random = not_negative(1)

-- luv allocates the entries after it has opened the directory, in a callback of
-- libuv: an error that is raised there would jump out of libuv.
function checks.fs_opendir(_, entries)
  local n = count(entries)
  if n and (n < 1 or n > MOST_ENTRIES) then
    return 2, ("between 1 and %d entries expected"):format(MOST_ENTRIES)
  end
end

-- Directory -> "closed" or, while it is being read, "busy".  libuv has freed a
-- closed directory, and writes to the entries of a busy one.
local directories = weak_keys()

local function check_directory(directory)
  local state = directories[directory]
  if state == "closed" then
    return 1, "the directory is closing or closed", "EBADF"
  elseif state == "busy" then
    return 1, "the directory is being read", "EBUSY"
  end
end
checks.fs_readdir, checks.fs_closedir = check_directory, check_directory

-- Strings --------------------------------------------------------------------

local function has_zeros(value)
  return type(value) == "string" and value:find("\0", 1, true) ~= nil
end

-- luv cuts a name off at its first zero, and would open another file or ask
-- another host.  NAMES: function -> the position of the last argument that may
-- be a name.
local NAMES = {
  chdir = 1, fs_access = 1, fs_chmod = 1, fs_chown = 1, fs_copyfile = 2,
  fs_event_start = 2, fs_lchown = 1, fs_link = 2, fs_lstat = 1, fs_lutime = 1,
  fs_mkdir = 1, fs_mkdtemp = 1, fs_mkstemp = 1, fs_open = 1, fs_opendir = 1,
  fs_poll_start = 2, fs_readlink = 1, fs_realpath = 1, fs_rename = 2,
  fs_rmdir = 1, fs_scandir = 1, fs_stat = 1, fs_statfs = 1, fs_symlink = 2,
  fs_unlink = 1, fs_utime = 1, getaddrinfo = 2, pipe_bind = 2,
  pipe_connect = 2, spawn = 1, tcp_bind = 2, tcp_connect = 2, udp_bind = 2,
  udp_connect = 2, udp_send = 3, udp_try_send = 3,
}

-- Function -> the position of its data, which may contain zeros.
local DATA = { udp_send = 2, udp_try_send = 2 }

local function without_zeros(last, data)
  return function(...)
    for position = 1, last do
      if position ~= data and has_zeros((select(position, ...))) then
        return position, "string contains zeros"
      end
    end
  end
end

-- Processes and threads -------------------------------------------------------

local function check_strings(list, option)
  if type(list) ~= "table" then return end
  for i = 1, rawlen(list) do
    local value = rawget(list, i)
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" then
      return 2, ("%s: string expected at %d, got %s"):format(option, i, kind)
    elseif has_zeros(value) then
      return 2, ("%s: string contains zeros at %d"):format(option, i)
    end
  end
end

-- Checks the streams of stdio.  For each entry whose stream is not open, libuv
-- makes a pipe, which it can do only once for a stream.
local function check_stdio(list)
  if type(list) ~= "table" then return end
  local seen = {}
  for i, stream in pairs(list) do
    local position, what, code = check_open(stream, 2)
    if position then
      return 2, ("stdio: %s at %s"):format(what, tostring(i)), code
    end
    if is_handle(stream) and not luv.fileno(stream) then
      if seen[stream] then
        return 2, "stdio: a stream that is not open stands there twice"
      end
      seen[stream] = true
    end
  end
end

function checks.spawn(_, options)
  if type(options) ~= "table" then return end
  local position, what, code = check_strings(options.args, "args")
  if not position then
    position, what, code = check_strings(options.env, "env")
  end
  if not position and has_zeros(options.cwd) then
    return 2, "cwd: string contains zeros"
  end
  if not position then position, what, code = check_stdio(options.stdio) end
  return position, what, code
end

--- Returns the options, with all values of the environment as strings, because
-- luv does not hold the strings that it makes of numbers.
function guard.spawn_options(options)
  options = options or {}
  local env = type(options) == "table" and options.env
  if type(env) ~= "table" then return options end
  local strings = {}
  for i = 1, rawlen(env) do strings[i] = tostring(env[i]) end
  return setmetatable({ env = strings }, { __index = options })
end

-- luv takes an unknown name of a signal for 0, and the signal 0 only checks
-- whether the process exists.
local function check_signal(_, signal)
  if type(signal) == "string" and not luv.constants[signal:upper()] then
    return 2, ("signal expected, got %s"):format(signal)
  end
end
checks.kill = check_signal
add("process_kill", check_signal)

local joined = weak_keys()

function checks.thread_join(thread)
  if joined[thread] then return 1, "the thread was joined already" end
  if type(thread) == "userdata" then joined[thread] = true end
end

-- The loop --------------------------------------------------------------------

-- uv_run must not be called by one of its own callbacks.
function checks.run()
  if luv.loop_mode and luv.loop_mode() then return 0, "loop already running" end
end

-- Operations ------------------------------------------------------------------

-- Functions that record the progress of operations: name -> function(object,
-- state), where object is the first argument of the operation, and state is
-- "begun", then "over" or "refused".
local progress = {
  fs_readdir = function(directory, state)
    directories[directory] = state == "begun" and "busy" or nil
  end,
  fs_closedir = function(directory, state)
    directories[directory] = state ~= "refused" and "closed" or nil
  end,
  tcp_connect = function(handle, state)
    connecting[handle] = state == "begun" or nil
  end,
}
progress.pipe_connect = progress.tcp_connect
progress.pipe_connect2 = progress.tcp_connect
progress.write2 = function() end -- makes lunado.uv hold the sent handle

guard.progress = progress

for name, last in pairs(NAMES) do add(name, without_zeros(last, DATA[name])) end

setmetatable(checks, {
  __index = function(_, name) return check_of_prefix(name) end,
})

--- Returns the position and the complaint in a message of luv; nil if the
-- message is about something else.
function guard.argument_error(err)
  if type(err) ~= "string" then return nil end
  local position, what = err:match "^bad argument #(%d+) to '.-' %((.*)%)$"
  return tonumber(position), what
end

--- Name -> function(handle), which is called after luv's function of that name
-- has succeeded with the handle.
local after = {}
guard.after = after

-- Returns the results of luv's function, or raises its error at the user's
-- line, with the name of the function that the user called.  It must be called
-- as a tail call, so that level 2 is the user's line.
local function returned(name, handle, ok, ...)
  if ok then
    if after[name] and ... == 0 then after[name](handle) end
    return ...
  end
  local err = ...
  local position, what = guard.argument_error(err)
  if not position then error(err, 2) end
  argument.bad(position, name, what, 2)
end

--- Returns a function that checks its arguments and calls luv's function `fn`.
function guard.wrap(name, fn)
  local check = checks[name]
  if not check then return fn end
  return function(...)
    local position, what = check(...)
    if position == 0 then error(what, 2) end
    if position then
      argument.bad(position, name, what, 2)
    end
    if name == "run" then return fn(...) end
    return returned(name, (...), pcall(fn, ...))
  end
end

core.loaded["lunado.uvguard"] = guard
return guard
