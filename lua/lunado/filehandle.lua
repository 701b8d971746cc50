-- SPDX-License-Identifier: MIT
--- lunado.filehandle: an open file with the methods of luv's streams, for
-- lunado.iostream.
--
-- For the system a file is always ready, so a loop cannot wait for it; libuv
-- reads and writes files on its threads.  Only one operation runs at a time, so
-- that all operations happen in the order of the calls.  Reads and writes share
-- one position, as in io.open.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.filehandle"] then return loaded["lunado.filehandle"] end

local luv = require "luv"
local guard = require "lunado.uvguard"

local CHUNK = 64 * 1024

-- Fields:
-- `fd`: the descriptor;
-- `owner`: luv's handle that has opened the descriptor and closes it, or nil;
-- `readable`, `writable`, `appends`: from the mode;
-- `position`: of the next byte; -1 if the system keeps it;
-- `busy`: an operation runs; `reading`: it is a read;
-- `stale`: the data of this read must be read again;
-- `on_read`: the callback of read_start, nil after read_stop;
-- `kept`: data that arrived while there was no on_read;
-- `data`, `on_written`: of the pending write;
-- `closing`, `on_closed`: close was called, and its callback.
local File = { __name = "lunado.file" }
File.__index = File

--- Makes a file on a descriptor of known type and mode.
local function new(fd, seekable, appends, readable, writable, owner)
  return setmetatable({ fd = fd, owner = owner, readable = readable,
    writable = writable, appends = appends, position = seekable and 0 or -1,
    busy = false, reading = false, stale = false, closing = false }, File)
end

local function finish_close(self)
  local on_closed, owner = self.on_closed, self.owner
  if owner then
    if not owner:is_closing() then return owner:close(on_closed) end
    if on_closed then on_closed() end
  elseif on_closed then
    luv.fs_close(self.fd, function() on_closed() end)
  else
    luv.fs_close(self.fd)
  end
end

local pump

--- Records that an operation has ended; returns whether the file is closing.
local function over(self)
  self.busy, self.reading = false, false
  if self.closing then finish_close(self) end
  return self.closing
end

local function give_up_write(self, err)
  local on_written = self.on_written
  self.data, self.on_written = nil, nil
  if on_written then on_written(err) end
end

--- Judges the start of an operation, from the results of pcall(luv's function).
-- Returns nil, or the error if the operation has not started.
local function started(self, ok, request, err)
  if ok and request then return nil end
  self.busy, self.reading = false, false
  return ok and err or request
end

local function write(self)
  local data = self.data
  self.busy = true
  local err = started(self, pcall(luv.fs_write, self.fd, data,
    self.appends and -1 or self.position, function(problem, n)
      if over(self) then return end
      if problem then return give_up_write(self, problem) end
      if self.position >= 0 then self.position = self.position + n end
      if n < #data then
        self.data = data:sub(n + 1)
      else
        give_up_write(self)
      end
      pump(self)
    end))
  if err then give_up_write(self, err) end
end

local function stop(self, ...)
  local on_read = self.on_read
  self.on_read = nil
  on_read(...)
end

local function got(self, problem, data)
  local stale = self.stale
  self.stale = false
  if stale or not self.on_read then -- it will be read again
    if self.position < 0 and not problem then self.kept = data end
  elseif problem then
    stop(self, problem)
  elseif data == "" then
    stop(self)
  else
    if self.position >= 0 then self.position = self.position + #data end
    self.on_read(nil, data)
  end
end

local function read(self)
  self.busy, self.reading, self.stale = true, true, false
  local err = started(self, pcall(luv.fs_read, self.fd, CHUNK, self.position,
    function(problem, data)
      if over(self) then return end
      got(self, problem, data)
      pump(self)
    end))
  if err then stop(self, err) end
end

--- Starts the next operation, if any.
function pump(self)
  if self.busy or self.closing then return end
  if self.data then
    write(self)
  elseif self.on_read then
    local kept = self.kept
    if not kept then return read(self) end
    self.kept = nil
    if kept == "" then return stop(self) end
    self.on_read(nil, kept)
    pump(self)
  end
end

function File:read_start(on_read)
  self.on_read = on_read
  -- Kept data must not be delivered before this returns.
  if not self.kept or self.busy then
    pump(self)
  else
    self.busy = true
    luv.fs_fstat(self.fd, function()
      if not over(self) then pump(self) end
    end)
  end
  return 0
end

function File:read_stop()
  self.on_read = nil
  return 0
end

--- Moves the position of reads and writes back by n bytes.  Returns false, and
-- does nothing, if the system keeps the position.
function File:back(n)
  if self.position < 0 then return false end
  self.position = self.position - n
  self.stale = self.stale or self.reading
  return true
end

function File:write(data, on_written)
  self.data, self.on_written = data, on_written
  pump(self)
  return self
end

function File.try_write() end

--- Ends writing.  All data of the calls of `write` before has been written.
function File:shutdown(on_shut)
  on_shut()
  return self
end

function File:get_write_queue_size() return self.data and #self.data or 0 end

function File:is_readable() return self.readable end

function File:is_writable() return self.writable end

function File:is_closing() return self.closing end

--- A file is not a handle of the loop, so ref and unref do nothing.
function File.ref() end
File.unref = File.ref

function File:close(on_closed)
  if self.closing then error("the file is closing", 2) end
  self.closing, self.on_read = true, nil
  self.on_closed = on_closed
  if not self.busy then finish_close(self) end
  local told = guard.waits[self]
  if told then told("ECANCELED") end
end

--- Whether a value is a File.
local function is_file(value) return getmetatable(value) == File end

--- By kind of descriptor: makes luv's handle, if it is not a file.
local OPENERS = {
  pipe = function() return luv.new_pipe(false) end,
  tcp = function() return luv.new_tcp() end,
}

--- Returns a stream of luv, or a File, on a descriptor; or nil and luv's error.
-- @param mode as in io.open
-- @param seekable whether it has just been opened and is a regular file
local function of_descriptor(fd, mode, seekable)
  local kind = luv.guess_handle(fd)
  local readable = mode == "r" or mode == "r+"
  if kind == "tty" then return luv.new_tty(fd, readable) end
  if not OPENERS[kind] then
    return new(fd, seekable, mode == "a", readable, mode ~= "r")
  end
  local handle = OPENERS[kind]()
  local ok, err = handle:open(fd)
  if ok then return handle end
  handle:close()
  return nil, err
end

--- Returns a File for a luv pipe that was opened on a regular file, because
-- libuv would abort the process; returns nil for other pipes.
local function of_pipe(handle)
  local fd = handle:fileno()
  if not fd or luv.guess_handle(fd) ~= "file" then return nil end
  local file = new(fd, false, false, true, handle:is_writable(), handle)
  guard.waits[handle] = function()
    if not file.closing then file:close() end
  end
  return file
end

local filehandle = {
  is_file = is_file, of_descriptor = of_descriptor, of_pipe = of_pipe,
}

loaded["lunado.filehandle"] = filehandle
return filehandle
