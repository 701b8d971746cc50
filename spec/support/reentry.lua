-- SPDX-License-Identifier: MIT
--- Finalizers that use a stream in the middle of a call of its methods.  For
--- processes that are small, so that collections take no time.
local core = require "lunado.core"
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local IOStream = require "lunado.iostream".IOStream
local uv = require "lunado.uv"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local await = coroutine.yield

-- More than the system buffers.
local LARGE = ("x"):rep(1 << 20)
local TEXT = "hello\nworld\n"

-- No call under test makes as many objects.
local MANY = 40

local calls = {
  write = function(stream) return stream:write "abc" end,
  large_write = function(stream) return stream:write(LARGE) end,
  read_bytes = function(stream) return stream:read_bytes(3) end,
  read_line = function(stream) return stream:read_line() end,
  read_until = function(stream) return stream:read_until("#", 4) end,
  read_pattern = function(stream) return stream:read_until_pattern "l+o" end,
  read_until_close = function(stream) return stream:read_until_close() end,
  long_read = function(stream) return stream:read_bytes(400) end,
  close_write = function(stream) return stream:close_write() end,
  close = function(stream) return stream:close() end,
}

-- Makes a stream of one end of a local socket; returns it and the other end's.
local makers = {}

function makers.own()
  local ends = uv.socketpair()
  return IOStream.open(ends[1]), IOStream.open(ends[2])
end

function makers.luv()
  local ends = uv.socketpair()
  local handle = uv.new_pipe(false)
  assert(handle:open(ends[1]))
  return IOStream(handle), IOStream.open(ends[2])
end

-- The stream has TEXT in its buffer.
local function filled(make)
  local stream, there = make()
  there:write(TEXT)
  stream:set_close_callback(function() end)
  stream:set_close_callback(nil)
  while stream:_peek(0) == "" do await(gen.moment) end
  return stream, there
end

-- What the Future of a call has come to: a string, or nil.
local function result_of(ok, future, what)
  if not ok then
    assert(tostring(future):find "is being read already", future)
    return nil
  end
  assert(future:done(), what)
  if future:exception() ~= nil then return nil end
  return future:result()
end

-- What read_line left out is a byte.
local function length_of(name, text)
  return not text and 0 or #text + (name == "read_line" and 1 or 0)
end

local function interfere(make, n, name, other)
  local stream, there = filled(make)
  local acted, other_ok, second
  local ok, first = pcall(gc.interfere, n, function()
    acted, other_ok, second = true, pcall(calls[other], stream)
  end, function() return calls[name](stream) end)
  await(stream:close())
  local bytes = length_of(name, result_of(ok, first, name))
    + (acted and length_of(other, result_of(other_ok, second, other)) or 0)
    + #stream:_peek(0)
  assert(bytes == #TEXT, ("%s, %s: %d bytes"):format(name, other, bytes))
  local got = await(there:read_until_close()):gsub("x+", "x")
  assert(("abcabcx xabc abcxx"):find(got, 1, true), got)
  await(there:close())
  return acted
end

local reentry = {}

--- Calls each method, with another one in the nth collection of that call.
-- @param kind whose the stream's handle is: "own" or "luv"
function reentry.methods(kind)
  for name in pairs(calls) do
    for other in pairs(calls) do
      for n = 1, MANY do
        if not interfere(makers[kind], n, name, other) then break end
      end
    end
  end
end

--- The same with the end of the loop.
local function end_of_loop(n, make, call)
  local loop, acted = loops.open(), false
  loop:make_current()
  local stream = make()
  pcall(gc.interfere, n, function()
    acted = true
    loop:close()
  end, function() return call(stream) end)
  loop:close()
  IOLoop.clear_current()
  assert(not stream or stream:closed(), "not closed")
  return acted
end

local begins = {
  function() return core.resolve("127.0.0.1", "80") end,
  function() return core.open_descriptor("/dev/null", "r") end,
  function() return IOStream.tcp():connect("127.0.0.1", 1) end,
}

function reentry.loops()
  for _, call in pairs(calls) do
    for n = 1, MANY do
      if not end_of_loop(n, makers.own, call) then break end
    end
  end
  for _, begin in ipairs(begins) do
    for n = 1, MANY do
      if not end_of_loop(n, function() end, begin) then break end
    end
  end
end

return reentry
