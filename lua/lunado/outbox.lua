-- SPDX-License-Identifier: MIT
--- lunado.outbox: what a stream has been given to write and what has not left
-- yet.
--
-- libuv gets one write at a time. After a write that fails it would keep those
-- behind it for ever, and with them the loop and the stream.
--
-- Invariants: the entries are entries[first] to entries[last], each with the
-- Future of a write and its data; the end of writing has no data. While
-- `sending`, the first one is libuv's. `waiting` is the size of the others.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.outbox"] then return loaded["lunado.outbox"] end

local waiters = require "lunado.waiters"

local deliver, fail = waiters.deliver, waiters.deliver_error

local Outbox = {}
Outbox.__index = Outbox

--- @param stream its owner: `stream:_write_failed(err)` is called when a write
-- fails, and has to close the outbox; `stream:_end_sent(err)` when the end of
-- writing has left, or not; `stream:_written()` when nothing is left
local function new(handle, stream)
  return setmetatable({ handle = handle, stream = stream, entries = {},
    first = 1, last = 0, waiting = 0, sending = false }, Outbox)
end

function Outbox:is_empty() return self.first > self.last end

--- How many bytes have not left yet.
function Outbox:size()
  return self.handle:get_write_queue_size() + self.waiting
end

local function first(self) return self.entries[self.first] end

local function remove(self)
  self.entries[self.first] = nil
  self.first = self.first + 1
  if self:is_empty() then self.first, self.last = 1, 0 end
end

--- The end of writing is the last entry.
local function sent_end(self, entry, err)
  remove(self)
  err = self.stream:_end_sent(err)
  if err ~= nil then
    fail(entry.future, err)
  else
    deliver(entry.future)
  end
  self.stream:_written()
end

local function sent(self, entry, err)
  if first(self) ~= entry then return end -- it was given up meanwhile
  self.sending = false
  if not entry.data then return sent_end(self, entry, err) end
  if err then return self.stream:_write_failed(err) end
  remove(self)
  self:send()
  deliver(entry.future)
  if self:is_empty() then self.stream:_written() end
end

local function start(handle, data, done)
  if data then return pcall(handle.write, handle, data, done) end
  return pcall(handle.shutdown, handle, done)
end

--- Gives the next entry to libuv, unless it has one.
function Outbox:send()
  local entry = first(self)
  if self.sending or not entry then return end
  self.sending = true
  if entry.data then self.waiting = self.waiting - #entry.data end
  local ok, request, err = start(self.handle, entry.data, entry.sent)
  if not ok or not request then entry.sent(ok and err or request) end
end

--- Puts data behind what is there, or the end of writing; `send` sends it.
-- Raises for want of memory, and then nothing has changed.
function Outbox:put(future, data)
  local entry = { future = future, data = data, sent = false }
  function entry.sent(err) sent(self, entry, err) end
  self.entries[self.last + 1] = entry
  self.last = self.last + 1
  if data then self.waiting = self.waiting + #data end
end

local function give_up(future, err)
  future:set_exception(err())
  future:exception()
end

--- Gives up what has not left: err() makes the error of each of its Futures.
-- No caller is told twice: the close callback, and the next call, report it.
function Outbox:close(err)
  local entries, from, to = self.entries, self.first, self.last
  self.first, self.last, self.waiting = to + 1, to, 0
  for i = from, to do
    local future = entries[i].future
    entries[i] = nil
    if not future:done() and not pcall(give_up, future, err) then
      core.fail_for_memory(future)
    end
  end
end

-- What is longer than this often does not fit into the system's buffer: the
-- rest would be copied, and the system be asked once more.
local AT_ONCE <const> = 16 * 1024

--- Writes a short string at once, for which libuv needs no request. Returns
-- what is left of it; nil where nothing is. An error is told by the write of
-- the rest.
-- @param try_write luv's, which takes the handle and the data
local function write_at_once(try_write, handle, data)
  if #data > AT_ONCE then return data end
  local ok, written = pcall(try_write, handle, data)
  if not ok or not written then return data end
  if written == #data then return nil end
  return written > 0 and data:sub(written + 1) or data
end

local outbox = { new = new, write_at_once = write_at_once }

loaded["lunado.outbox"] = outbox
return outbox
