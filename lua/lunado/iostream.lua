-- SPDX-License-Identifier: MIT
--- lunado.iostream: streams and files, read and written by Futures.
--
-- Most of IOStream is written in C, in src/binding/stream. The documentation of
-- those methods, which `core.stream_methods` has, is there.  An IOStream is a
-- table; its field [1] is a userdata, the stream behind it.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.iostream"] then return loaded["lunado.iostream"] end

local argument = require "lunado.argument"
local pattern = require "lunado.pattern"
local signals = require "lunado.signals"
local waiters = require "lunado.waiters"

local await = core.await

local StreamClosedError = core.StreamClosedError

local MAX_BUFFER_SIZE = 100 * 1024 * 1024
local READ_CHUNK_SIZE = 64 * 1024

local IOStream = waiters.class("IOStream")

for name, method in pairs(core.stream_methods) do IOStream[name] = method end

--- How much a read may gather, where the stream does not say otherwise.
IOStream.max_buffer_size = MAX_BUFFER_SIZE

function IOStream:_state() return self:closed() and "closed" or "open" end

-- Arguments -----------------------------------------------------------------

--- Checks the object of a method, at the line of its caller.
local function check_self(self, name)
  argument.check_self(self, 1, "IOStream", name, 3)
end

local SIZES = { "max_buffer_size", "read_chunk_size", "max_write_buffer_size" }

--- Returns the set of the options of a stream, and others.
local function options_and(...)
  local names = {}
  for _, name in ipairs(SIZES) do names[name] = true end
  for _, name in ipairs { ... } do names[name] = true end
  return names
end

local OPTIONS <const>, OF_TTY <const>, OF_DESCRIPTOR <const> =
  options_and(), options_and "readable", options_and "mode"

local MODES <const> = { r = true, w = true, a = true, ["r+"] = true }

--- What is wrong with the options of a stream, or nil.
local function wrong_option(options)
  for _, field in ipairs(SIZES) do
    local value = options[field]
    local size = math.type(value) and math.tointeger(value)
    if value ~= nil and (not size or size < 1) then
      return field .. ": a number of bytes expected"
    end
  end
end

--- Checks what of the options is the stream's: argument `position` of `name`.
local function check_options(options, position, name, level)
  local wrong = wrong_option(options)
  if wrong then argument.bad(position, name, wrong, level) end
end

--- Returns a copy of the options, with nothing wrong in it; they may have the
-- names in `known`.
local function to_options(options, known, position, name, level)
  if options == nil then return {} end
  argument.check_type(options, "table", position, name, level + 1)
  local copy, wrong = argument.copy_options(options, known)
  if not copy then argument.bad(position, name, wrong, level + 1) end
  check_options(copy, position, name, level + 2)
  return copy
end

local TYPES = { uv_tcp = true, uv_pipe = true, uv_tty = true }

--- The name of a userdata's type.
local function type_of(handle)
  local mt = debug.getmetatable(handle)
  return type(handle) == "userdata" and mt and mt.__name
end

local function check_handle(handle)
  if not TYPES[type_of(handle)] then
    argument.unexpected(1, "IOStream", "stream of luv's", handle, 4)
  end
  if handle:is_closing() then
    argument.bad(1, "IOStream", "the stream is closed", 4)
  end
end

-- Making streams ------------------------------------------------------------

--- Prepares an IOStream for its stream to be opened.  From there on no memory
-- is needed: if the stream cannot be had, its descriptor is still the caller's.
local function prepare(self, options)
  signals.survive_broken_pipes()
  self.max_buffer_size = options.max_buffer_size
  self.max_write_buffer_size = options.max_write_buffer_size
  self.handle = false
  return self
end

--- The stream is open.
local function finish(self, options, handle)
  local ahead = math.min(options.max_buffer_size or MAX_BUFFER_SIZE,
    options.read_chunk_size or READ_CHUNK_SIZE)
  if ahead ~= READ_CHUNK_SIZE then core.stream_set_ahead(self, ahead) end
  self.handle = handle or self[1]
  return self
end

--- A function that closes the stream, while there is one.
local function closer_of(stream)
  local weak = setmetatable({ stream }, { __mode = "v" })
  return function()
    if weak[1] then weak[1][1]:close() end
  end
end

local function new(options)
  return prepare(setmetatable({}, IOStream), options)
end

--- @param handle luv's stream (TCP, pipe, TTY), which is the IOStream's now
-- @param options max_buffer_size: how much a read may take; read_chunk_size:
-- how much may arrive ahead of reads, before reading stops;
-- max_write_buffer_size: how much may wait to be written
function IOStream:_init(handle, options)
  check_handle(handle)
  if core.is_filtered(handle) then -- what is written would not be encrypted
    argument.bad(1, "IOStream", "the handle's IOStream has TLS", 3)
  end
  options = to_options(options, OPTIONS, 2, "IOStream", 3)
  prepare(self, options)
  local guard = require "lunado.uvguard"
  local fd = type_of(handle) == "uv_pipe" and core.file_of(handle)
  if fd then
    -- libuv ends the process when it reads a file as a pipe
    local mode = handle:is_writable() and "r+" or "r"
    core.stream_open_file(self, fd, mode, false, handle)
    guard.waits[handle] = closer_of(self)
  else
    core.stream_adopt(self, handle)
    guard.waits[handle] = core.stream_lost
  end
  finish(self, options, handle)
end

--- A TCP stream that is not connected yet; options as for IOStream.
function IOStream.tcp(options)
  options = to_options(options, OPTIONS, 1, "tcp", 2)
  local self = new(options)
  core.stream_open(self, "tcp")
  return finish(self, options)
end

--- A stream of a local socket that is not connected yet, as IOStream.tcp.
function IOStream.pipe(options)
  options = to_options(options, OPTIONS, 1, "pipe", 2)
  local self = new(options)
  core.stream_open(self, "pipe")
  return finish(self, options)
end

--- Opens the stream of a descriptor of that kind in the mode of io.open's.
local function open_descriptor(self, fd, kind, mode, seekable)
  if kind == "tcp" or kind == "pipe" then
    core.stream_open(self, kind, fd)
  elseif kind == "tty" then
    core.stream_open(self, kind, fd, mode == "r" or mode == "r+")
  else
    core.stream_open_file(self, fd, mode, seekable)
  end
end

--- A stream of a terminal.
-- @param fd its descriptor: 0 is read, any other is written unless `readable`
-- @param options as for IOStream; readable: whether it is read
function IOStream.tty(fd, options)
  fd = argument.check_descriptor(fd, 1, "tty", 2)
  options = to_options(options, OF_TTY, 2, "tty", 2)
  local readable = options.readable
  if readable == nil then readable = fd == 0 end
  if type(readable) ~= "boolean" then
    argument.bad(2, "tty", "readable: boolean expected, got " .. type(readable),
      2)
  end
  if core.guess_handle(fd) ~= "tty" then
    argument.bad(1, "tty", "not a terminal", 2)
  end
  local self = new(options)
  core.stream_open(self, "tty", fd, readable)
  return finish(self, options)
end

--- A stream of an open descriptor, whatever that is: a socket, a pipe, a
-- terminal or a file, which goes on where the descriptor is. It is the
-- stream's from now on.
-- @param options as for IOStream; mode: "r" (the default of 0), "w", "a" or
-- "r+" (that of others), which matters for files and terminals
function IOStream.open(fd, options)
  fd = argument.check_descriptor(fd, 1, "open", 2)
  options = to_options(options, OF_DESCRIPTOR, 2, "open", 2)
  local mode = options.mode
  if mode == nil then mode = fd == 0 and "r" or "r+" end
  if not MODES[mode] then argument.bad(2, "open", "mode: invalid mode", 2) end
  local kind = core.guess_handle(fd) -- before anything takes a free number
  local self = new(options)
  open_descriptor(self, fd, kind, mode, false)
  return finish(self, options)
end

--- A stream of the pipe, or of the local socket, whose descriptor an object of
-- core's owns until then.
local function of_descriptor(descriptor)
  local options = {}
  local self = new(options)
  core.stream_open(self, "pipe", descriptor)
  return finish(self, options)
end

--- Returns the stream of the incoming connection; nil if the peer has
-- disconnected already; nil and an error.
local function accept(listener, options)
  local self = new(options)
  local accepted, err = listener:accept(self)
  if not accepted then return nil, err end
  local wrong = wrong_option(options)
  if not wrong then return finish(self, options) end
  self:close()
  return nil, wrong
end

-- Reading -------------------------------------------------------------------

--- A Future of what comes up to and with the first match of the pattern.
-- Tornado: read_until_regex.
function IOStream:read_until_pattern(text, max)
  check_self(self, "read_until_pattern")
  argument.check_type(text, "string", 1, "read_until_pattern", 2)
  local ok, err = pcall(string.find, "", text)
  if not ok then argument.bad(1, "read_until_pattern", err, 2) end
  if max ~= nil then
    max = argument.check_count(max, 2, "read_until_pattern", 2)
  end
  local future = self:_read_match(pattern.matcher(text, max))
  return future
end

--- Ends `lines` after a read that failed with `err`: raises the error, unless
-- it is the end of the stream. Bytes that the peer sent behind its last end of
-- line are returned as a line.
local function last_line(self, err)
  local well, ended = self:_ended_well()
  if not core.isinstance(err, StreamClosedError) or not well
    or core.isinstance(err.real_error, core.Exception) then
    error(err, 0)
  end
  local text = self:_peek(0)
  if ended and text ~= "" then return self:read_bytes(#text):result() end
end

--- An iterator over the lines that come, without their ends, which waits for
-- each. It ends with the stream; any other error is raised.
function IOStream:lines(max)
  check_self(self, "lines")
  if max ~= nil then max = argument.check_count(max, 1, "lines", 2) end
  return function()
    if self:_waits() then error("the stream is being read already", 2) end
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

-- Connecting ----------------------------------------------------------------

--- What a connection is made to, for messages.
local function target_of(address, port, name)
  if not port then return address end
  local format = address:find(":", 1, true) and "[%s]:%d" or "%s:%d"
  if not name or name == address then return format:format(address, port) end
  return ("%s:%d (%s)"):format(name, port, address)
end

--- Connects to `address`, which was found for `name` where there is one.
-- Returns nil if the stream is being connected already.
function IOStream:_connect_to(address, port, name)
  return self:_connect(address, port, target_of(address, port, name))
end

--- A Future of the stream itself when it is connected: a TCP stream to an
-- address in numbers and a port, a pipe to a path.
function IOStream:connect(address, port)
  check_self(self, "connect")
  argument.check_name(address, 1, "connect", 2)
  local kind = self:_kind()
  if kind == "pipe" then
    port = nil
  elseif kind == "tcp" then
    port = argument.check_port(port, 2, "connect", 2)
  else
    error("a file or terminal cannot be connected", 2)
  end
  local future = self:_connect_to(address, port)
  if not future then error("the stream is being connected already", 2) end
  return future
end

-- TLS -----------------------------------------------------------------------

--- Starts TLS on the connected stream: a Future of the stream itself, when the
-- handshake has ended well.  From now on reads and writes are encrypted; what
-- was written before is not.  Raises if bytes have arrived that were not read:
-- they would pass for encrypted ones.  Tornado: IOStream.start_tls.
-- @param server_side whether this side is the server
-- @param ssl_options a table of options, or a context; see lunado.tls
-- @param server_hostname the name or IP address that the certificate of the
--   server must have
function IOStream:start_tls(server_side, ssl_options, server_hostname)
  check_self(self, "start_tls")
  local future = require "lunado.tls"._start_tls(self, server_side,
    ssl_options, server_hostname, 3)
  return future
end

--- The certificate of the other side, as a table; nil if it has sent none.
function IOStream:peer_certificate()
  check_self(self, "peer_certificate")
  if not self:_filter() then return nil end
  local certificate = require "lunado.tls"._peer_certificate(self, 3)
  return certificate
end

-- Files ---------------------------------------------------------------------

local open = core.coroutine(function(path, mode, options)
  local self = new(options)
  local fd = await(core.open_descriptor(path, mode))
  local ok, err = pcall(open_descriptor, self, fd, core.guess_handle(fd), mode,
    true)
  if not ok then
    core.close_descriptor(fd)
    error(err, 0)
  end
  return finish(self, options)
end)

--- A Future of a stream that reads or writes a file.
-- @param mode as for io.open: "r", which it is by default, "w", "a" or "r+"
-- @param options as for IOStream
local function open_file(path, mode, options)
  argument.check_name(path, 1, "open", 2)
  if mode == nil then mode = "r" end
  if not MODES[mode] then argument.bad(2, "open", "invalid mode", 2) end
  options = to_options(options, OPTIONS, 3, "open", 2)
  local future = open(path, mode, options)
  return future
end

local iostream = {
  open = open_file,
  IOStream = IOStream,
  StreamClosedError = StreamClosedError,
  UnsatisfiableReadError = core.UnsatisfiableReadError,
  StreamBufferFullError = core.StreamBufferFullError,
  _accept = accept,
  _check_options = check_options,
  _options_and = options_and,
  _of_descriptor = of_descriptor,
  _type_of = type_of,
}

loaded["lunado.iostream"] = iostream
return iostream
