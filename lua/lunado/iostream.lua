-- SPDX-License-Identifier: MIT
--- lunado.iostream: luv's streams, read and written by Futures.
--
-- What has arrived waits in a buffer; a read that it does not satisfy waits
-- for more. luv goes on reading when a read is satisfied, up to so many bytes
-- ahead of reads: most often the next read comes soon.
--
-- The Future of a read is a ticket (ticket.h in src). What comes while
-- nothing waits for it any more stays in the buffer, until the ticket asks.
--
-- Invariants: luv keeps a handle until it is closed. The handle references the
-- stream only while a reader or a close callback waits. So a stream that the
-- program has dropped is collected, and its finalizer closes the handle. The
-- handle keeps the loop running for as long as it references the stream.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.iostream"] then return loaded["lunado.iostream"] end

local argument = require "lunado.argument"
local uv = require "lunado.uv" -- says what is missing where luv is
local luv = require "luv"
local buffer = require "lunado.buffer"
local filehandle = require "lunado.filehandle"
local guard = require "lunado.uvguard"
local finders = require "lunado.finders"
local outbox = require "lunado.outbox"
local stack_context = require "lunado.stack_context"
local waiters = require "lunado.waiters"

local Future, IOLoop, done = core.Future, core.IOLoop, waiters.done
local deliver, fail = waiters.deliver, waiters.deliver_error
local await = core.await

--- The stream is closed. `real_error` is why, where that was an error.
local StreamClosedError = core.Exception:subclass("StreamClosedError")
local UnsatisfiableReadError = finders.UnsatisfiableReadError
--- More has come, or is to be written, than the stream may hold.
local StreamBufferFullError = core.Exception:subclass("StreamBufferFullError")

local MAX_BUFFER_SIZE = 100 * 1024 * 1024
local READ_CHUNK_SIZE = 64 * 1024

-- Lua's error for want of memory.
local NO_MEMORY = "not enough memory"

local WEAK = { __mode = "v" }

local IOStream = waiters.class("IOStream")

function IOStream:_state() return self._closed and "closed" or "open" end

-- Arguments -----------------------------------------------------------------

--- `max`, an optional argument.
local function check_max(value, position, name)
  if value == nil then return nil end
  local max = argument.check_count(value, position, name, 3)
  return max
end

--- What is to be written, as one string: of a list what it holds now.
local function check_data(data)
  if type(data) == "string" then return data end
  if type(data) ~= "table" then
    argument.unexpected(1, "write", "string", data, 3)
  end
  local pieces = {}
  for i = 1, #data do
    local piece = data[i]
    if type(piece) ~= "string" then
      argument.unexpected(1, "write", "list of strings", piece, 3)
    end
    pieces[i] = piece
  end
  return table.concat(pieces)
end

local STREAMS = { uv_tcp = true, uv_pipe = true, uv_tty = true }

--- The name of a userdata's type.
local function kind_of(handle)
  local mt = debug.getmetatable(handle)
  return type(handle) == "userdata" and mt and mt.__name
end

local function check_handle(handle)
  if filehandle.is_file(handle) then return end
  if not STREAMS[kind_of(handle)] then
    argument.unexpected(1, "IOStream", "stream of luv's", handle, 4)
  end
  if luv.is_closing(handle) then
    argument.bad(1, "IOStream", "the stream is closed", 4)
  end
end

local SIZES = { "max_buffer_size", "read_chunk_size", "max_write_buffer_size" }

--- Checks what of the options is the stream's: argument `position` of `name`.
local function check_options(options, position, name, level)
  for _, field in ipairs(SIZES) do
    local value = options[field]
    local size = math.type(value) and math.tointeger(value)
    if value ~= nil and (not size or size < 1) then
      argument.bad(position, name, field .. ": a number of bytes expected",
        level)
    end
  end
end

-- Closing -------------------------------------------------------------------
--
-- A stream that is closed keeps its handle in two cases. When the other side
-- has ended, what was written before leaves. When a write has failed, what the
-- other side has sent is read, up to its end.

--- The error of what cannot be done any more; because of `cause`, or of what
-- closed the stream.
local function closed_error(self, cause)
  local reason = cause or self.error
  local message = not cause and self._closed_by
    or reason and "Stream is closed: " .. tostring(reason)
    or "Stream is closed"
  local err = StreamClosedError(message)
  err.real_error, self._told = reason, true
  return err
end

--- A Future that has failed.
local function failed(err)
  local future = Future()
  future:set_exception(err)
  return future
end

local function run_close_callback(self)
  local fn = self._close_callback
  if not fn then return end
  IOLoop.instance():add_callback(fn)
  self._close_callback = nil
end

--- Whether nothing was lost of what the other side has sent: it, or we, ended
-- in good order. A write that the peer does not read, EPIPE,
-- says nothing against it.
local function ended_well(self)
  return self.error == nil
    or self._ended and tostring(self.error):find("^EPIPE")
end

-- What core.standing says of the Future of a read.
local SETTLED <const>, WITHDRAWN <const>, GONE <const> = 0, 3, 4

--- The Future of the read that waits, if one does; with `withdrawn` also one
-- for which something waited, such as with_timeout, and nothing does by now. A
-- read is over where other code has settled its Future, or the coroutine
-- that waited for it was closed.
local function pending_read(self, withdrawn)
  local future = self._future
  if not future then return nil end
  local standing = core.standing(future)
  if standing == GONE then waiters.give_up_forsaken(future) end
  if standing == GONE or standing == SETTLED then
    self._future = false
  elseif withdrawn or standing ~= WITHDRAWN then
    return future
  end
end

local function set_closed_error(future, self, cause)
  future:set_exception(closed_error(self, cause))
end

--- Fails, or ends, the read that waits. What was read before an error is given
-- to a caller that knew of the error when it began to read.
local function end_read(self, cause, withdrawn)
  local future = pending_read(self, withdrawn)
  if not future then return end
  if self._until_close and not cause
    and (self._knows or ended_well(self)) then
    local data = self._buffer:take(self._buffer.size)
    self._future = false
    core.settle(future, data)
    return
  end
  self._future = false
  if not pcall(set_closed_error, future, self, cause) then
    core.fail_for_memory(future)
  end
end

--- Closes the handle of a stream that is closed; nothing is read or written
-- from now on.
local function close_handle(self)
  if self._gone then return end
  local closed, handle = self._handle_closed, self.handle
  local function on_closed() deliver(closed) end
  local function because() return closed_error(self) end
  core.reserve()
  self._gone = true
  if not pcall(handle.close, handle, on_closed) then
    pcall(handle.close, handle) -- where there was no memory for the callback
    deliver(closed)
  end
  self._outbox:close(because)
  end_read(self)
end

--- Marks the stream as closed, because of `err` where there is one.
local function mark_closed(self, err)
  self._handle_closed = Future()
  self._closed, self.error = true, err
end

--- Closes the stream and its handle.
local function close(self, err)
  if self._closed then return end
  mark_closed(self, err)
  close_handle(self)
  run_close_callback(self)
end

--- Closes the stream, whose other side has ended; the handle stays until all
-- that was written has left.
local function close_at_end(self)
  if self._outbox:is_empty() then return close(self) end
  mark_closed(self)
  end_read(self)
  run_close_callback(self)
end

-- Reading -------------------------------------------------------------------

--- Keeps the stream and the loop alive while something waits for the stream.
local function attend(self, wanted)
  if self._attended == wanted then return end
  if wanted then
    self.handle:ref()
  else
    self.handle:unref()
  end
  self._hold[1] = wanted and self
  self._attended = wanted
end

local function stop_reading(self)
  self._reading = false
  self.handle:read_stop()
end

--- The Future of the read that waits, if one does; else the stream waits for
-- nothing but its end.
local function reader(self)
  if not self._future then return nil end
  local future = pending_read(self)
  if not future and not self._gone then
    attend(self, self._close_callback ~= nil)
  end
  return future
end

--- What a read of n bytes gives; they stay in the buffer.
local function peek(self, n)
  local data = self._buffer:peek(n)
  if not self._line then return data end
  n = n - 1
  if data:byte(n) == 13 then n = n - 1 end
  return data:sub(1, n)
end

--- Why the read that waits, and has not found what it wants, never will.
local function hopeless(self)
  if self._buffer.size <= self.max_buffer_size then return nil end
  return StreamBufferFullError("Reached maximum read buffer size")
end

--- Nothing can be read any more, because of `err`.
local function end_reading(self, err)
  close(self, err)
  close_handle(self)
end

--- Gives the read n bytes.
local function give(self, future, n)
  local data = peek(self, n)
  if not self._gone then attend(self, self._close_callback ~= nil) end
  self._future = false
  self._buffer:skip(n)
  core.settle(future, data)
end

--- Gives the waiting read what it wants, if that is there.
local function proceed(self, future)
  local n, err = self._find(self)
  if n then return give(self, future, n) end
  err = err or hopeless(self)
  if not err then return end
  if not self._closed then return close(self, err) end
  attend(self, false)
  end_read(self, err)
end

--- The error of a connection that was reset. Some versions of libuv call that
-- an end where it comes right behind data; a write of nothing tells.
local function reset_error(self)
  if self._write_closed or kind_of(self.handle) ~= "uv_tcp" then return nil end
  local ok, _, _, code = pcall(luv.try_write, self.handle, "")
  return ok and code == "ECONNRESET" and code or nil
end

--- The other side has ended. While no read waits that is no reason to close:
-- it may still wait for an answer.
local function on_end(self)
  self._reading = false
  local err = reset_error(self)
  if err then return end_reading(self, err) end
  self._ended = true
  if self._closed then
    close_handle(self)
  elseif self._close_callback or self._shut or reader(self) then
    close_at_end(self)
  end
end

local function on_read(self, err, chunk)
  if self._gone then return end
  if err then
    self._reading = false
    return end_reading(self, err)
  end
  if not chunk then return on_end(self) end
  local buffered = self._buffer
  if not pcall(buffered.append, buffered, chunk) then
    return end_reading(self, NO_MEMORY) -- else a piece would be missing
  end
  local future = reader(self)
  if future then proceed(self, future) end
  if self._reading and not self._gone and not reader(self)
    and self._buffer.size >= self._read_ahead then
    stop_reading(self)
  end
end

--- luv's callback, which finds the stream while there is one.
local function callback_of(self)
  local hold, stream = self._hold, setmetatable({ self }, WEAK)
  return function(err, chunk)
    local found = hold[1] or stream[1]
    if found then on_read(found, err, chunk) end
  end
end

--- Lets luv read; an error closes the stream. Raises for want of memory, and
-- then nothing has changed.
local function start_reading(self)
  if self._reading then return end
  self._reading = true
  local handle = self.handle
  local ok, started, err = pcall(handle.read_start, handle, self._on_read)
  if ok and started then return end
  self._reading = false
  if not ok and started == NO_MEMORY then error(started, 0) end
  end_reading(self, ok and err or started)
end

--- Lets luv read while no read waits, to notice the end.
local function watch(self)
  if not self._ended and not self._connecting and not self._gone
    and self._buffer.size < self._read_ahead and self.handle:is_readable() then
    start_reading(self)
  end
end

--- Makes the read, which has not found what it wants, wait where it is to;
-- ends it when that cannot come any more, because of `err` or of the end.
local function wait_or_end(self, err, waits)
  if not self._closed and err then
    close(self, err)
  elseif not self._closed and self._ended then
    close_at_end(self)
  end
  if self._gone or self._closed and (self._ended or err) then
    end_read(self, not self._gone and err or nil, true)
  elseif waits then
    attend(self, true)
    if not self._connecting then start_reading(self) end
  end
end

--- core's: a read that has withdrawn is looked at, or waited for again.
local function ask(line, future, _, waits)
  local self = line.stream
  if self._future ~= future then return end
  local n, err = self._find(self)
  if n then return give(self, future, n) end
  wait_or_end(self, err or hopeless(self), waits)
end

--- core's: a read has withdrawn, or other code has settled it.
local function left(line, future)
  if line.stream._future == future then reader(line.stream) end
end

-- A stream is the line of its one read, which it holds by itself: core's other
-- tables are for nothing.
local NONE <const> = setmetatable({}, { __mode = "v" })

local function line_of(self)
  local line = self._line_of_reads
  if not line then
    line = { NONE, NONE, {}, ask, false, false, left, stream = self }
    self._line_of_reads = line
  end
  return line
end

--- A Future of the read, which has not found what it wants. What may fail for
-- want of memory comes first.
local function wait(self)
  local future, err = core.ticket(line_of(self), 1), hopeless(self)
  if not err and not self._closed and not self._ended then
    if not self._connecting then start_reading(self) end
    if not self._gone then attend(self, true) end
  end
  self._future = future
  wait_or_end(self, err, true)
  return future
end

--- A read of what `find` finds: a function of the stream that gives the number
-- of bytes, or nil, and an error where they cannot come.
local function read(self, find, until_close)
  self._find, self._until_close, self._knows = find, until_close, self._told
  local n, err = find(self)
  if n then
    local future = done(peek(self, n))
    self._buffer:skip(n)
    if self._close_callback or self._closed then watch(self) end
    return future
  end
  if not err then return wait(self) end
  close(self, err)
  return failed(closed_error(self, err))
end

--- Another read takes the place of one that has withdrawn.
local function supersede(self)
  local future = pending_read(self, true)
  if not future then return end
  self._future = false
  future:set_exception(core.Exception("another read of the stream has begun"))
  future:exception()
end

--- The state of a read that is about to begin; there is one at a time.
local function begin(self, what, max, line)
  if reader(self) then error("the stream is being read already", 3) end
  supersede(self)
  self._what, self._max, self._line = what, max, line
  self._buffer:rewind()
end

--- A Future of the next n bytes; with `partial` of those that there are, at
-- least one and at most n.
function IOStream:read_bytes(n, partial)
  n = argument.check_count(n, 1, "read_bytes", 2)
  begin(self, n)
  self._partial = partial
  return read(self, finders.bytes)
end

--- A Future of what comes up to and with the delimiter. Where that is not
-- within `max` bytes, the stream closes by an UnsatisfiableReadError.
function IOStream:read_until(delimiter, max)
  argument.check_type(delimiter, "string", 1, "read_until", 2)
  if delimiter == "" then
    argument.bad(1, "read_until", "the delimiter is empty", 2)
  end
  max = check_max(max, 2, "read_until")
  begin(self, delimiter, max)
  return read(self, finders.delimiter)
end

--- A Future of what comes up to and with the first match of the pattern.
-- Tornado: read_until_regex.
function IOStream:read_until_pattern(pattern, max)
  argument.check_type(pattern, "string", 1, "read_until_pattern", 2)
  local ok, err = pcall(string.find, "", pattern)
  if not ok then argument.bad(1, "read_until_pattern", err, 2) end
  max = check_max(max, 2, "read_until_pattern")
  begin(self, pattern, max)
  self._reach = buffer.reach(pattern)
  return read(self, finders.pattern)
end

--- A Future of the next line, without its end: "\n" or "\r\n".
function IOStream:read_line(max)
  max = check_max(max, 1, "read_line")
  begin(self, "\n", max, true)
  return read(self, finders.delimiter)
end

--- A Future of all that comes until the stream is closed, by either side.
function IOStream:read_until_close()
  begin(self)
  return read(self, finders.close, true)
end

--- The end of `lines`, or why it cannot go on: the error of a read. What the
-- other side has sent behind its last end of line is a line, too.
local function last_line(self, err)
  if not core.isinstance(err, StreamClosedError) or not ended_well(self)
    or core.isinstance(err.real_error, core.Exception) then
    error(err, 0)
  end
  local size = self._buffer.size
  if self._ended and size > 0 then return self._buffer:take(size) end
end

--- An iterator over the lines that come, without their ends, which waits for
-- each. It ends with the stream; any other error is raised.
function IOStream:lines(max)
  max = check_max(max, 1, "lines")
  return function()
    if reader(self) then error("the stream is being read already", 2) end
    local future = self:read_line(max)
    local ok, line = pcall(await, future)
    if ok then return line end
    if not future:done() then -- this is no place to wait at
      future:set_result()
      error(line, 2)
    end
    return last_line(self, line)
  end
end

--- Whether a read waits.
function IOStream:reading() return pending_read(self, true) ~= nil end

-- Writing -------------------------------------------------------------------

--- A write has failed, so that the stream is closed. Whatever the other side
-- has sent stays to be read, and may still be on its way.
function IOStream:_write_failed(err)
  if self._closed then return close_handle(self) end
  local handle = self.handle
  if self._ended or handle:is_closing() or not handle:is_readable() then
    return close(self, err)
  end
  mark_closed(self, err)
  self._outbox:close(function() return closed_error(self) end)
  run_close_callback(self)
  if not self._gone then attend(self, reader(self) ~= nil) end
  watch(self)
end

--- All that was written has left.
function IOStream:_written()
  if self._closed and self._ended then close_handle(self) end
end

--- A file is written where reading has come to: what was read ahead of that is
-- read again.
local function forget_ahead(self)
  if not self._closed and self.handle:back(self._buffer.size) then
    self._buffer, self._ended = buffer.new(), false
  end
end

--- A Future that is done when the data, a string or a list of strings, has
-- left.
function IOStream:write(data)
  data = check_data(data)
  local box, handle = self._outbox, self.handle
  if self._is_file then forget_ahead(self) end
  if self._closed then return failed(closed_error(self)) end
  if self._write_closed then
    return failed(StreamClosedError("Stream is closed for writing"))
  end
  local max = self.max_write_buffer_size
  if max and box:size() + #data > max then
    return failed(StreamBufferFullError("Reached maximum write buffer size"))
  end
  if box:is_empty() and not self._connecting then
    data = outbox.write_at_once(handle.try_write, handle, data)
    if not data then return done() end
  end
  local future = Future()
  box:put(future, data)
  if not self._connecting then box:send() end
  return future
end

--- The end of writing has left, but for `err`. Returns the error of its Future.
-- What is no socket is not read, see close_write: it can only be closed.
function IOStream:_end_sent(err)
  if err and not err:find("^ENOTSOCK") then
    self:_write_failed(err)
    return closed_error(self)
  end
  local readable = not self.handle:is_closing() and self.handle:is_readable()
  self._shut = true
  if self._ended or not readable then return close(self) end
  watch(self) -- when the other side ends, too, the stream is closed
end

--- True for what libuv tries to end on one side, and then writes no more.
local function is_no_socket(handle)
  local kind = kind_of(handle)
  if kind ~= "uv_pipe" then return kind == "uv_tty" end
  local status = luv.fs_fstat(handle:fileno())
  return status ~= nil and status.type ~= "socket"
end

--- Why a stream that is read cannot be closed for writing alone, or nil.
local function refuses_close_write(handle)
  if not handle:is_readable() then return nil end
  if not handle:is_writable() then
    return StreamClosedError("Stream is open for reading only")
  end
  return is_no_socket(handle) and "ENOTSOCK: a terminal, or a named pipe that "
    .. "is read as well, cannot be closed for writing alone" or nil
end

--- Tells the other side that no more will come, once all that was written has
-- left. Reading goes on. A Future that is done then.
function IOStream:close_write()
  if self._write_closed then return self._write_closed end
  if self._closed then
    return self.error == nil and done() or failed(closed_error(self))
  end
  local err = refuses_close_write(self.handle)
  if err then return failed(err) end
  local future = Future()
  self._outbox:put(future)
  self._write_closed = future
  if not self._connecting then self._outbox:send() end
  return future
end

--- Whether some of what was written has not left yet.
function IOStream:writing()
  return not self._closed and self._outbox:size() > 0
end

-- The stream ----------------------------------------------------------------

--- @param handle luv's stream (TCP, pipe, TTY), which is the IOStream's now
-- @param options max_buffer_size: how much a read may take; read_chunk_size:
-- how much may arrive ahead of reads, before reading stops;
-- max_write_buffer_size: how much may wait to be written
function IOStream:_init(handle, options)
  check_handle(handle)
  if options ~= nil then
    argument.check_type(options, "table", 2, "IOStream", 3)
  end
  options = options or {}
  check_options(options, 2, "IOStream", 4)
  if kind_of(handle) == "uv_pipe" then
    handle = filehandle.of_pipe(handle) or handle
  end
  self.max_buffer_size = options.max_buffer_size or MAX_BUFFER_SIZE
  self.max_write_buffer_size = options.max_write_buffer_size
  self._read_ahead = math.min(self.max_buffer_size,
    options.read_chunk_size or READ_CHUNK_SIZE)
  self._closed, self._reading, self._ended = false, false, false
  self._attended = false
  self._gone, self._told, self._future = false, false, false
  self._write_closed = false
  self._buffer, self._hold = buffer.new(), { false }
  self._outbox = outbox.new(handle, self)
  self._on_read = callback_of(self)
  self._is_file = filehandle.is_file(handle)
  self.handle = handle
  guard.waits[handle] = self._on_read
  local _ = uv.try_write -- from now on a broken pipe is an error, no signal
end

--- What a connection is made to, for messages.
local function target_of(address, port, name)
  if not port then return address end
  local format = address:find(":", 1, true) and "[%s]:%d" or "%s:%d"
  if not name or name == address then return format:format(address, port) end
  return ("%s:%d (%s)"):format(name, port, address)
end

local function on_connected(self, future, target, err)
  self._connecting = false
  if err and not self._closed then
    self._closed_by = ("cannot connect to %s: %s"):format(target, err)
    close(self, err)
  end
  if self._closed then return fail(future, closed_error(self)) end
  if self._attended then start_reading(self) end
  self._outbox:send()
  deliver(future, self)
end

--- Connects to `address`, which was found for `name` where there is one.
function IOStream:_connect(address, port, name)
  local handle = self.handle
  if self._connecting then error("the stream is being connected already", 3) end
  if self._closed then return failed(closed_error(self)) end
  local future, target = Future(), target_of(address, port, name)
  local function connected(err) on_connected(self, future, target, err) end
  self._connecting = true
  local ok, started, err
  if port then
    ok, started, err = pcall(luv.tcp_connect, handle, address, port, connected)
  else
    ok, started, err = pcall(luv.pipe_connect, handle, address, connected)
  end
  if not ok or not started then connected(ok and err or started) end
  return future
end

--- A Future of the stream itself when it is connected: a TCP stream to an
-- address in numbers and a port, a pipe to a path.
function IOStream:connect(address, port)
  argument.check_name(address, 1, "connect", 2)
  local kind = kind_of(self.handle)
  if kind == "uv_pipe" then
    port = nil
  elseif kind == "uv_tcp" then
    port = argument.check_count(port, 2, "connect", 2)
  else
    error("a file or terminal cannot be connected", 2)
  end
  local future = self:_connect(address, port)
  return future
end

--- Small writes leave at once, or wait to be sent together, which is the
-- default. Tornado: set_nodelay.
function IOStream:set_nodelay(value)
  if not self._closed and kind_of(self.handle) == "uv_tcp" then
    luv.tcp_nodelay(self.handle, value and true or false)
  end
end

--- fn() is called, on the loop, when the stream is closed by either side; nil:
-- none is. With it the stream notices that, as long as its buffer has room,
-- while no read waits.
function IOStream:set_close_callback(fn)
  if fn ~= nil then
    argument.check_callable(fn, 1, "set_close_callback", 2)
  end
  self._close_callback = fn and stack_context.wrap(fn)
  if self._closed then return run_close_callback(self) end
  if not fn then return attend(self, reader(self) ~= nil) end
  if self._ended then return close_at_end(self) end
  attend(self, true)
  watch(self)
end

--- Closes the stream: what waits to be written is given up, what was read and
-- not asked for stays to be read. A Future that is done when the handle is
-- closed, too.
function IOStream:close()
  close(self)
  close_handle(self)
  run_close_callback(self)
  return self._handle_closed
end

function IOStream:closed() return self._closed end

-- What was written before the other side's end still leaves.
function IOStream:__close()
  close(self)
  if not self._ended then close_handle(self) end
end

-- A stream that is collected has no waiters.
function IOStream:__gc()
  if self._gone ~= false then return end
  self._gone = true
  pcall(self.handle.close, self.handle)
end

-- Files ---------------------------------------------------------------------

local MODES = { r = true, w = true, a = true, ["r+"] = true }
local NEW_FILE = 438 -- 0666, less the umask: what io.open gives a new file

--- The stream of a descriptor that was opened just now.
local function open_descriptor(fd, path, mode, options)
  local stat = await(uv.fs_fstat(fd))
  if stat.type == "directory" then
    error("EISDIR: illegal operation on a directory: " .. path, 0)
  end
  local handle, err =
    filehandle.of_descriptor(fd, mode, stat.type == "file")
  if not handle then error(err, 0) end
  return IOStream(handle, options)
end

local open = core.coroutine(function(path, mode, options)
  local fd = await(uv.fs_open(path, mode, NEW_FILE))
  local ok, stream = pcall(open_descriptor, fd, path, mode, options)
  if ok then return stream end
  await(uv.fs_close(fd))
  error(stream, 0)
end)

--- A Future of a stream that reads or writes a file.
-- @param mode as for io.open: "r", which it is by default, "w", "a" or "r+"
-- @param options as for IOStream
local function open_file(path, mode, options)
  argument.check_name(path, 1, "open", 2)
  if mode == nil then mode = "r" end
  if not MODES[mode] then
    argument.bad(2, "open", "invalid mode", 2)
  end
  if options ~= nil then
    argument.check_type(options, "table", 3, "open", 2)
  end
  check_options(options or {}, 3, "open", 3)
  local future = open(path, mode, options)
  return future
end

local iostream = {
  open = open_file,
  IOStream = IOStream,
  StreamClosedError = StreamClosedError,
  UnsatisfiableReadError = UnsatisfiableReadError,
  StreamBufferFullError = StreamBufferFullError,
  _check_options = check_options,
}

loaded["lunado.iostream"] = iostream
return iostream
