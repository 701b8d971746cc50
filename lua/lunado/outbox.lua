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
  local function done(err) sent(self, entry, err) end
  if entry.data then self.waiting = self.waiting - #entry.data end
  local ok, request, err = start(self.handle, entry.data, done)
  if not ok or not request then done(ok and err or request) end
end

--- Puts data behind what is there, or the end of writing; `send` sends it.
function Outbox:put(future, data)
  self.last = self.last + 1
  self.entries[self.last] = { future = future, data = data }
  if data then self.waiting = self.waiting + #data end
end

--- Gives up what has not left: err() makes the error of each of its Futures.
-- Nobody is told twice: the close callback, and the next call, tell of it.
function Outbox:close(err)
  local entries, from, to = self.entries, self.first, self.last
  self.entries, self.first, self.last, self.waiting = {}, 1, 0, 0
  for i = from, to do
    local future = entries[i].future
    if not future:done() then
      future:set_exception(err())
      future:exception()
    end
  end
end

local outbox = { new = new }

loaded["lunado.outbox"] = outbox
return outbox
