-- SPDX-License-Identifier: MIT
--- lunado.uv: luv's asynchronous functions as functions that return Futures.
--
-- A luv function with a callback is called here without it, and returns a
-- Future: the callback's `err` fails the Future, unchanged, and the arguments
-- after `err` are its result.  Every other name is luv's own, so that a program
-- needs only one of the two modules.
--
-- A wrong argument raises an error at the caller's line, and nothing is
-- started.  Any other refusal, of luv or of libuv, fails the Future.
-- @module lunado.uv
local core = require "lunado.core"
if core.loaded["lunado.uv"] then return core.loaded["lunado.uv"] end

local argument = require "lunado.argument"
local waiters = require "lunado.waiters"

local Future = core.Future
local deliver, fail = waiters.deliver, waiters.deliver_error

local found, luv = pcall(require, "luv")
if not found then
  error("lunado.uv needs luv, the binding of libuv to Lua (lua-luv on Debian, "
    .. "or: luarocks install luv WITH_SHARED_LIBUV=ON):\n" .. tostring(luv), 0)
end

local guard = require "lunado.uvguard"
local signals = require "lunado.signals"

-- The checks of udp_recv_start, except for pending calls of udp_recv.
local check_receive = guard.checks.udp_recv_start
local udp = require "lunado.udp"

-- The number of arguments before the callback, whose position is fixed.
local ARITY = {
  fs_access = 2, fs_chmod = 2, fs_chown = 3, fs_close = 1, fs_closedir = 1,
  fs_copyfile = 3, fs_fchmod = 2, fs_fchown = 3, fs_fdatasync = 1,
  fs_fstat = 1, fs_fsync = 1, fs_ftruncate = 2, fs_futime = 3,
  fs_lchown = 3, fs_link = 2, fs_lstat = 1, fs_lutime = 3, fs_mkdir = 2,
  fs_mkdtemp = 1, fs_mkstemp = 1, fs_open = 3, fs_opendir = 2, fs_read = 3,
  fs_readdir = 1, fs_readlink = 1, fs_realpath = 1, fs_rename = 2,
  fs_rmdir = 1, fs_scandir = 1, fs_sendfile = 4, fs_stat = 1, fs_statfs = 1,
  fs_symlink = 3, fs_unlink = 1, fs_utime = 3, fs_write = 3,
  getaddrinfo = 3, getnameinfo = 1, random = 2,
  pipe_connect = 2, pipe_connect2 = 3, tcp_connect = 3, udp_send = 4,
  shutdown = 1, write = 2, write2 = 3,
}

-- Names that begin with fs_ and take no callback, or take one that is called
-- repeatedly.
local SYNCHRONOUS = { fs_scandir_next = true }
local REPEATING = { "^fs_event_", "^fs_poll_" }

-- By arity: pcall(fn, <arity arguments>, callback), without a table of
-- arguments.
local CALL = {
  function(fn, cb, a) return pcall(fn, a, cb) end,
  function(fn, cb, a, b) return pcall(fn, a, b, cb) end,
  function(fn, cb, a, b, c) return pcall(fn, a, b, c, cb) end,
  function(fn, cb, a, b, c, d) return pcall(fn, a, b, c, d, cb) end,
}

-- Returns a copy of a list of data, because older versions of luv read the list
-- again later.  An empty list becomes "", because libuv would abort the
-- process.
local function chunks(data)
  if type(data) ~= "table" then return data end
  local pieces = {}
  for i = 1, #data do pieces[i] = data[i] end
  return #pieces > 0 and pieces or ""
end

local OPEN_MODE = 438 -- 0666 minus the umask: the mode of files of io.open

-- Functions whose callback does not simply follow the arguments.
local SPECIAL_CALL = {
  fs_open = function(fn, cb, path, flags, mode)
    return pcall(fn, path, flags, mode == nil and OPEN_MODE or mode, cb)
  end,
  fs_opendir = function(fn, cb, path, entries)
    return pcall(fn, path, cb, entries)
  end,
  fs_write = function(fn, cb, fd, data, offset)
    return pcall(fn, fd, chunks(data), offset, cb)
  end,
  write = function(fn, cb, stream, data)
    return pcall(fn, stream, chunks(data), cb)
  end,
  write2 = function(fn, cb, stream, data, handle)
    return pcall(fn, stream, chunks(data), handle, cb)
  end,
  udp_send = function(fn, cb, handle, data, address, port)
    return pcall(fn, handle, chunks(data), address, port, cb)
  end,
}

-- Synchronous functions whose second argument is a list to write.
local LISTS = { try_write = true, try_write2 = true, udp_try_send = true }

-- Positions of arguments that differ from luv's: name -> luv's -> ours.
local POSITION = { fs_opendir = { [3] = 2 } }

local uv = {}

local function failed(err)
  local future = Future()
  future:set_exception(err)
  return future
end

-- Returns the position of the caller's argument that luv's message is about,
-- and the complaint; nil if the message is about something else.
local function argument_error(err, name)
  local position, what = guard.argument_error(err)
  if not position then return nil end
  local moved = POSITION[name]
  return moved and moved[position] or position, what
end

-- Requests whose waiters were cancelled --------------------------------------

-- What goes on when its waiters are cancelled, because its effect cannot be
-- taken back in part, or its result is not to be lost: it stays with the
-- Future.
local GOES_ON = { fs_read = true, fs_readdir = true, fs_write = true,
  fs_sendfile = true, fs_close = true, fs_closedir = true, tcp_connect = true,
  pipe_connect = true, pipe_connect2 = true, udp_send = true, shutdown = true,
  write = true, write2 = true }

local function ignore() end

-- What is done with a result that nobody waits for any more.
local LATE = {
  fs_open = function(fd) luv.fs_close(fd, ignore) end,
  fs_opendir = function(dir) luv.fs_closedir(dir, ignore) end,
  fs_mkdtemp = function(path) luv.fs_rmdir(path, ignore) end,
  fs_mkstemp = function(fd, path)
    luv.fs_close(fd, ignore)
    luv.fs_unlink(path, ignore)
  end,
}

local given_up = setmetatable({}, { __mode = "k" }) -- set of Futures

core.on_cancel_request(function(future, request)
  given_up[future] = true
  luv.cancel(request)
end)

-- Returns a callback that settles the Future; a result of one that was given up
-- is passed to `late`.
local function settles(future, late)
  return function(err, ...)
    if err ~= nil then
      if not given_up[future] then fail(future, err) end
    elseif late and given_up[future] then
      late(...)
    else
      deliver(future, ...)
    end
  end
end

-- Judges the results of pcall(luv's function): raises an argument error, and
-- fails the Future with any other error.  The caller is the function that the
-- user called, so an error at level 3 is at the user's line.
local function judge(name, future, ok, first, err)
  if not ok then
    local position, what = argument_error(first, name)
    if position then argument.bad(position, name, what, 3) end
    future:set_exception(first)
  elseif first == nil and err ~= nil then
    future:set_exception(err)
  end
end

-- Returns a callback that first reports to `progress` that the operation on the
-- first argument has ended.  Until then it holds the first and the third
-- argument: libuv uses them, and luv does not hold them.
local function tracked(callback, progress, first, _, third)
  return function(...)
    progress(first, "over", third)
    return callback(...)
  end
end

-- Like call, for functions whose progress is tracked.
local function tracked_call(call, progress)
  return function(fn, callback, first, ...)
    if type(first) ~= "userdata" then return call(fn, callback, first, ...) end
    callback = tracked(callback, progress, first, ...)
    progress(first, "begun")
    local ok, request, err = call(fn, callback, first, ...)
    if not ok or request == nil then progress(first, "refused") end
    return ok, request, err
  end
end

local function wrap(name, fn, arity)
  local call = SPECIAL_CALL[name] or CALL[arity]
  local progress, check = guard.progress[name], guard.checks[name]
  local new = GOES_ON[name] and Future or core.request_future
  local late = LATE[name]
  if progress then call = tracked_call(call, progress) end
  return function(...)
    local extra = select(arity + 1, ...)
    if extra ~= nil then
      argument.bad(arity + 1, name, "no value expected, got "
        .. type(extra) .. "; a Future stands for the callback", 2)
    end
    if check then
      local position, what, code = check(...)
      if code then return failed(code .. ": " .. what) end
      if position then argument.bad(position, name, what, 2) end
    end
    local future = new()
    local ok, request, err = call(fn, settles(future, late), ...)
    judge(name, future, ok, request, err)
    if new ~= Future and ok and request then
      core.set_request(future, request)
    end
    return future
  end
end

-- Wraps a function of a luv that is newer than ARITY: the callback follows the
-- given arguments.  If the function takes no callback, it has run at once and
-- returned no request; then its results are the result of the Future.
local function wrap_unknown(name, fn)
  return function(...)
    local future = Future()
    local arguments = table.pack(...)
    arguments[arguments.n + 1] = settles(future)
    local got = table.pack(
      pcall(fn, table.unpack(arguments, 1, arguments.n + 1)))
    judge(name, future, table.unpack(got, 1, got.n))
    if not future:done() and type(got[2]) ~= "userdata" then
      future:set_result(table.unpack(got, 2, got.n))
    end
    return future
  end
end

local function is_asynchronous_fs(name)
  if name:sub(1, 3) ~= "fs_" or SYNCHRONOUS[name] then return false end
  for _, pattern in ipairs(REPEATING) do
    if name:find(pattern) then return false end
  end
  return true
end

-- SIGPIPE is watched as soon as there may be a stream, not only from the first
-- uv.write on, because the methods of streams write, too.
local WRITING = { new_tcp = true, new_pipe = true, socketpair = true,
  pipe = true, write = true, write2 = true, try_write = true,
  try_write2 = true }

-- When the Lua state ends, luv frees handles that are still closing, although
-- libuv uses them.  If lunado's loop is luv's, their closing ends before that.
local function share_loop() pcall(core.IOLoop.instance) end

-- A longer string often does not fit into the system's buffer: then the rest
-- would be copied, and the system called once more.
local AT_ONCE <const> = 16 * 1024

--- Writes a short string at once, without a request of libuv's. Returns the
-- rest that is not sent yet, or nil. After an error that is the whole string:
-- its write reports the error.
local function write_now(try_write, handle, data)
  if #data > AT_ONCE then return data end
  local ok, written = pcall(try_write, handle, data)
  if not ok or not written then return data end
  if written == #data then return nil end
  return written > 0 and data:sub(written + 1) or data
end

local function write_at_once(write, try_write)
  local check = guard.checks.write
  return function(stream, data, excess)
    if type(data) == "string" and excess == nil and not check(stream) then
      data = write_now(try_write, stream, data)
      if not data then return waiters.done() end
    end
    return write(stream, data, excess)
  end
end

-- What a stream with a handle of lunado's own, in the place of luv's, has as
-- methods.
local OWN_METHODS = { tcp_getsockname = "getsockname",
  tcp_bind = "bind", tcp_getpeername = "getpeername",
  pipe_getsockname = "getsockname",
  pipe_getpeername = "getpeername", tcp_nodelay = "nodelay",
  tcp_keepalive = "keepalive", tcp_close_reset = "close_reset",
  is_closing = "is_closing", is_active = "is_active",
  is_readable = "is_readable", is_writable = "is_writable",
  fileno = "fileno", send_buffer_size = "send_buffer_size",
  recv_buffer_size = "recv_buffer_size",
  stream_get_write_queue_size = "get_write_queue_size" }

local own_metatable = debug.getregistry()["lunado.stream"]

--- Returns luv's function, or for a handle of lunado's own its method.
local function for_both(fn, method)
  return function(handle, ...)
    if type(handle) == "userdata"
      and debug.getmetatable(handle) == own_metatable then
      return handle[method](handle, ...)
    end
    return fn(handle, ...)
  end
end

local function with_list(fn)
  return function(handle, data, ...) return fn(handle, chunks(data), ...) end
end

local function resolve(name)
  local value = luv[name]
  if type(name) ~= "string" or type(value) ~= "function" then return value end
  if WRITING[name] then signals.survive_broken_pipes() end
  if name:find "^new_" then share_loop() end
  if ARITY[name] then
    local wrapped = wrap(name, value, ARITY[name])
    if name ~= "write" then return wrapped end
    return write_at_once(wrapped, luv.try_write)
  end
  if is_asynchronous_fs(name) then return wrap_unknown(name, value) end
  value = guard.wrap(name, value)
  if OWN_METHODS[name] then return for_both(value, OWN_METHODS[name]) end
  return LISTS[name] and with_list(value) or value
end

-- Each name is looked up in luv on first use and then cached.
setmetatable(uv, {
  __name = "lunado.uv",
  __index = function(self, name)
    local value = resolve(name)
    if value ~= nil then rawset(self, name, value) end
    return value
  end,
})

-- Handles -------------------------------------------------------------------

--- Closes a handle; returns a Future that is done, without a value, when the
-- handle is closed.
function uv.close(handle)
  local position, what = guard.checks.close(handle)
  if position then argument.bad(position, "close", what, 2) end
  local future = Future()
  judge("close", future, pcall(luv.close, handle, function()
    deliver(future)
  end))
  return future
end

--- Returns a Future of the data and the sender's address of the next datagram.
-- Datagrams that arrive between calls remain with the system.
function uv.udp_recv(handle)
  local position, what, code = check_receive(handle)
  if udp.is_started(handle) then
    what, code = "udp_recv_start receives by the handle", "EALREADY"
  end
  if code then return failed(code .. ": " .. what) end
  local ok, err = pcall(luv.udp_get_send_queue_size, handle)
  if not position and not ok then
    position, what = argument_error(err, "udp_recv")
  end
  if position then argument.bad(position, "udp_recv", what, 2) end
  return udp.receive(handle)
end

-- Returns the number of a signal given by luv's name or by number.
local function signal_number(signal, name)
  local number, got = signals.number_of(signal)
  if not number then
    argument.bad(1, name, "signal expected, got " .. got, 3)
  end
  return number
end

--- Returns a Future of the signal's name, which is done when the process next
-- gets the signal, or at once if the signal has arrived since its last Future
-- was settled.  From this call on, the signal has no default effect.
-- @param signal a name such as "sigterm", or a number
function uv.signal(signal)
  return signals.wait_for(signal_number(signal, "signal"))
end

-- Processes -----------------------------------------------------------------

local Process = {}
Process.__index = Process
Process.__name = "lunado.uv.Process"

--- Returns a Future of the exit code, and the number of the signal that ended
-- the process, or 0.
function Process:wait()
  return self._ended
end

--- Sends a signal, like luv.process_kill; returns true, or nil and an error.
-- The signal never reaches another process that has since got the same id.
function Process:kill(signal)
  local number = signal_number(signal == nil and "sigterm" or signal, "kill")
  if luv.is_closing(self.handle) then
    return nil, "ESRCH: no such process", "ESRCH"
  end
  local done, err, name = luv.process_kill(self.handle, number)
  return done and true, err, name
end

function Process:__tostring()
  return ("%s: %d"):format(Process.__name, self.pid)
end

--- Returns a function to call when the handle is closed before the process has
-- ended.  It fails `ended`; the error counts as retrieved, so it is not logged.
local function gives_up(ended)
  return function()
    if ended:done() then return end
    ended:set_exception("ECANCELED: operation canceled")
    ended:exception()
  end
end

--- Starts a program with luv's options and returns a Process; raises luv's
-- error if it fails.
function uv.spawn(path, options)
  local position, what = guard.checks.spawn(path, options)
  if position then argument.bad(position, "spawn", what, 2) end
  share_loop()
  local ended = Future()
  local ok, handle, pid
  ok, handle, pid = pcall(luv.spawn, path, guard.spawn_options(options),
    function(code, signal)
      guard.waits[handle] = nil
      if luv.is_closing(handle) then return deliver(ended, code, signal) end
      luv.close(handle, function() deliver(ended, code, signal) end)
    end)
  if not ok then
    position, what = argument_error(handle, "spawn")
    if position then argument.bad(position, "spawn", what, 2) end
    error(handle, 2)
  end
  if not handle then error(("%s (program %q)"):format(pid, path), 0) end
  guard.waits[handle] = gives_up(ended)
  return setmetatable({ pid = pid, handle = handle, _ended = ended }, Process)
end

-- Work on libuv's threads ---------------------------------------------------

-- Both sides send a list of values as one string, because luv itself accepts
-- only a few values, and older versions of luv convert integers to floats.  The
-- parcels of executors cannot be used here: the Lua states of these threads
-- belong to luv; lunado.core is not loaded in them, and may not be found.
local CODEC = [[
local FORMAT = { integer = "c1j", float = "c1n", string = "c1s" }
local TAG = { integer = "i", float = "f", string = "s" }
local READ = { i = "j", f = "n", s = "s" }

-- Returns the values as a string; if one cannot be sent, nil, its position and
-- its type.
local function encode(...)
  local parts, values = {}, table.pack(...)
  for i = 1, values.n do
    local value = values[i]
    local kind = math.type(value) or type(value)
    if FORMAT[kind] then
      parts[i] = string.pack(FORMAT[kind], TAG[kind], value)
    elseif kind == "boolean" then
      parts[i] = value and "T" or "F"
    elseif kind == "nil" then
      parts[i] = "N"
    else
      return nil, i, kind
    end
  end
  return table.concat(parts)
end

local function decode(packed)
  local values, count, at = {}, 0, 1
  while at <= #packed do
    local tag = packed:sub(at, at)
    count, at = count + 1, at + 1
    if READ[tag] then
      values[count], at = string.unpack(READ[tag], packed, at)
    elseif tag ~= "N" then
      values[count] = tag == "T"
    end
  end
  return table.unpack(values, 1, count)
end
]]

-- The code of a thread: runs the dumped function, never raises.
local WORKER = CODEC .. [[
local id, code, arguments = ...
local function answer(ok, ...)
  local packed, position, kind = encode(...)
  if packed then return id, ok, packed end
  if ok then
    return id, false, encode(("cannot send a %s from a thread: result #%d")
      :format(kind, position))
  end
  local _, text = pcall(tostring, (...))
  return id, false, encode(text) or encode("an error without a text")
end
local fn, err = load(code, "=queue_work", "b")
if not fn then return answer(false, err) end
return answer(pcall(fn, decode(arguments)))
]]

-- Compiles the code.  If memory runs out, load returns the error, hence the
-- check.
local function compile(code)
  local chunk, err = load(code, "=queue_work")
  return chunk or error(err, 0)
end

local encode, decode = compile(CODEC .. "return encode, decode")()

local pending = {} -- the Futures of the running jobs, by number
local last_job = 0
local work -- luv's work context for all jobs, with the threads' Lua states

local function work_done(id, ok, packed)
  local future = pending[id]
  pending[id] = nil
  if ok then
    deliver(future, decode(packed))
  else
    fail(future, (decode(packed)))
  end
end

-- Returns the reason why fn cannot run in another Lua state, or nil.
local function not_portable(fn)
  if type(fn) ~= "function" then
    return "function expected, got " .. type(fn)
  end
  if debug.getinfo(fn, "S").what == "C" then
    return "Lua function expected, got a C function"
  end
  for i = 1, math.huge do
    local name = debug.getupvalue(fn, i)
    if not name then return nil end
    if name ~= "_ENV" then
      return ("function without upvalues expected, it uses '%s'"):format(name)
    end
  end
end

--- Runs fn(...) on a thread of libuv's pool, in a Lua state of its own; returns
-- a Future of its results. fn has no upvalues; arguments, results and errors
-- are nil, booleans, numbers and strings.
function uv.queue_work(fn, ...)
  local complaint = not_portable(fn)
  if complaint then argument.bad(1, "queue_work", complaint, 2) end
  local packed, position, kind = encode(...)
  if not packed then
    argument.bad(position + 1, "queue_work",
      ("cannot send a %s to a thread"):format(kind), 2)
  end
  share_loop()
  work = work or luv.new_work(WORKER, work_done)
  local future = Future()
  last_job = last_job + 1
  pending[last_job] = future
  local ok, queued, err =
    pcall(luv.queue_work, work, last_job, string.dump(fn), packed)
  if not ok or not queued then pending[last_job] = nil end
  judge("queue_work", future, ok, queued, err)
  return future
end

core.loaded["lunado.uv"] = uv
return uv
