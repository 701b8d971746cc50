-- SPDX-License-Identifier: MIT
-- Handlers whose descriptors are closed, replaced or reopened at the wrong
-- moment, and whose objects do as they like when they are asked.
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local loops = require "spec.support.loops"
local pipes = require "spec.support.pipes"
local uv = require "luv"

local READ, WRITE, NONE = IOLoop.READ, IOLoop.WRITE, IOLoop.NONE

local loop, log, open
before_each(function()
  loop, log = frame.begin()
  open = {}
end)
after_each(function()
  frame.finish()
  for fd in pairs(open) do pcall(pipes.close, fd) end
end)

local function pipe()
  local p = pipes.pipe()
  open[p.read], open[p.write] = true, true
  return p.read, p.write
end

local function close(fd)
  open[fd] = nil
  pipes.close(fd)
end

-- Closes a descriptor and gives its number to something else.
local function replace(fd, path)
  close(fd)
  local new = assert(uv.fs_open(path, "r", 0))
  assert.equal(fd, new)
  open[new] = true
end

-- The number of a pipe's end whose other end has something to read.
local function readable()
  local r, w = pipe()
  pipes.write(w, "x")
  return r
end

-- Lets libuv poll several times.
local function linger(on)
  on = on or loop
  local polls = 0
  local function again()
    polls = polls + 1
    if polls == 4 then return on:stop() end
    on:call_later(0.001, again)
  end
  again()
  on:start()
end

local function unexpected() error("was called") end

describe("a descriptor that is closed before it is watched", function()
  local function is_told(fd, why)
    linger()
    local message, level = log:first(("descriptor %d "):format(fd))
    assert.equal("error", level)
    assert.is_truthy(message:find(why, 1, true), message)
    assert.is_truthy(message:find("ioloop_descriptor_spec.lua:", 1, true),
      message)
    assert.equal(1, #log, log:text())
    -- Its handler is gone, and its number can be used again.
    assert.is_false((pcall(loop.update_handler, loop, fd, READ)))
    loop:remove_handler(fd)
  end

  it("is reported, after add_handler", function()
    local r = pipe()
    loop:add_handler(r, unexpected, READ)
    close(r)
    is_told(r, "bad file descriptor")
  end)

  it("is reported, after update_handler", function()
    local r = pipe()
    loop:add_handler(r, unexpected, WRITE)
    linger()
    loop:update_handler(r, READ)
    close(r)
    is_told(r, "bad file descriptor")
  end)

  it("is reported where its number is a file's, or a device's", function()
    for _, path in ipairs { "spec/ioloop_descriptor_spec.lua", "spec",
      "/dev/null" } do
      log:clear()
      local r = pipe()
      loop:add_handler(r, unexpected, READ)
      replace(r, path)
      is_told(r, "operation not permitted")
      close(r)
    end
  end)

  it("is refused by update_handler at once", function()
    local r = pipe()
    loop:add_handler(r, unexpected, READ)
    linger()
    replace(r, "/dev/null")
    local ok, err = pcall(loop.update_handler, loop, r, WRITE)
    assert.is_false(ok)
    assert.is_truthy(err:find("cannot be watched", 1, true), err)
    close(r)
    assert.is_false((pcall(loop.update_handler, loop, r, WRITE)))
    loop:remove_handler(r)
    linger()
    assert.equal(0, #log)
  end)

  it("is still watched where its number is another pipe's", function()
    local r = pipe()
    local got
    loop:add_handler(r, function(fd)
      got = pipes.read(fd)
      loop:remove_handler(fd)
    end, READ)
    close(r)
    local again, w = pipe()
    assert.equal(r, again)
    pipes.write(w, "y")
    linger()
    assert.equal("y", got)
    assert.equal(0, #log)
  end)

  it("is reported when a handler of the same turn closed it", function()
    local first, second = readable(), pipe()
    loop:add_handler(second, unexpected, READ)
    loop:add_handler(first, function()
      loop:remove_handler(first)
      loop:update_handler(second, WRITE)
      close(second)
    end, READ)
    is_told(second, "bad file descriptor")
  end)

  it("is reported on a loop that luv runs", function()
    local r = child [[
      local IOLoop = require "lunado.ioloop".IOLoop
      local uv = require "luv"
      require "lunado.log".set_handler(function(_, m) print(m) end)
      local loop = IOLoop.current()
      local fds = assert(uv.pipe())
      loop:add_handler(fds.read, print, loop.READ)
      uv.fs_close(fds.read)
      uv.run()
      loop:remove_handler(fds.read)
    ]]
    assert.equal(0, r.code, r.err)
    assert.is_truthy(r.out:find "bad file descriptor", r.out)
  end)

  it("is reported when luv's last callback before the poll closes it",
    function()
      for _, first in ipairs { "closer", "adder", "loop" } do
        for _, when in ipairs { "prepare", "idle", "check" } do
          local r = child((([[
            local uv = require "luv"
            local IOLoop = require "lunado.ioloop".IOLoop
            require "lunado.log".set_handler(function(_, m) print(m) end)
            local closer, adder = uv.new_WHEN(), uv.new_WHEN()
            local loop, fds
            local start = {
              closer = function()
                closer:start(function()
                  if not fds then return end
                  uv.fs_close(fds.read)
                  closer:close()
                end)
              end,
              adder = function()
                adder:start(function()
                  adder:close()
                  fds = assert(uv.pipe())
                  loop:add_handler(fds.read, print, loop.READ)
                end)
              end,
              loop = function() loop = IOLoop.current() end,
            }
            start.FIRST()
            start.FIRST = function() end
            start.closer()
            start.loop()
            start.adder()
            local timer = uv.new_timer()
            timer:start(1, 1, function()
              if not fds or adder:is_active() then return end
              loop:remove_handler(fds.read)
              timer:close()
            end)
            uv.run()
          ]]):gsub("WHEN", when):gsub("FIRST", first)))
          assert.equal(0, r.code, first .. when .. r.err)
        end
      end
    end)

  it("is reported when it was a luv handle's", function()
    local r = child [[
      local IOLoop = require "lunado.ioloop".IOLoop
      local uv = require "luv"
      require "lunado.log".set_handler(function(_, m) print(m) end)
      local loop = IOLoop.current()
      local handles = { uv.new_tcp(), uv.new_udp() }
      for _, handle in ipairs(handles) do
        handle:bind("127.0.0.1", 0)
        loop:add_handler(uv.fileno(handle), print, loop.READ)
      end
      for _, handle in ipairs(handles) do handle:close() end
      uv.run()
    ]]
    assert.equal(0, r.code, r.err)
    local _, count = r.out:gsub("bad file descriptor", "")
    assert.equal(2, count, r.out)
  end)

  it("that the log's handler then adds is checked, too", function()
    local log_module = require "lunado.log"
    local n = 0
    log_module.set_handler(function()
      n = n + 1
      if n == 3 then return end
      local r = pipe()
      loop:add_handler(r, unexpected, READ)
      close(r)
    end)
    local r = pipe()
    loop:add_handler(r, unexpected, READ)
    close(r)
    linger()
    linger()
    assert.equal(3, n)
  end)

  it("may end with the loop, which the log's handler closes", function()
    local other = IOLoop(false)
    require "lunado.log".set_handler(function() other:close() end)
    local fds = { pipe() }
    fds[3] = pipe()
    for _, fd in ipairs(fds) do other:add_handler(fd, unexpected, READ) end
    for _, fd in ipairs(fds) do close(fd) end
    other:call_later(loops.PATIENCE, other.stop, other)
    other:start()
    assert.is_truthy(tostring(other):find "closed")
  end)
end)

describe("remove_handler", function()
  -- What fileno may do once the object is closed.
  local endings = {
    { "nil", function() return nil end },
    { "-1", function() return -1 end },
    { "an error", function() error("attempt to use a closed file", 0) end },
    { "false", function() return false end },
    { "another descriptor", function() return 0 end },
  }

  it("finds by its identity an object that is closed", function()
    for _, ending in ipairs(endings) do
      local r = pipe()
      local object = { fileno = function() return r end }
      loop:add_handler(object, unexpected, READ)
      linger()
      close(r)
      object.fileno = ending[2]
      loop:remove_handler(object)
      -- It is gone: the number can be watched again.
      local again = pipe()
      assert.equal(r, again, ending[1])
      loop:add_handler(again, unexpected, READ)
      loop:remove_handler(again)
    end
    linger()
    assert.equal(0, #log)
  end)

  it("leaves alone a new descriptor of the same number", function()
    local r = pipe()
    local old = { fileno = function() return r end }
    local new = { fileno = function() return r end }
    loop:add_handler(old, unexpected, READ)
    loop:remove_handler(old)
    local n = 0
    loop:add_handler(new, function() n = n + 1 end, READ)
    old.fileno = function() return nil end
    loop:remove_handler(old)
    loop:update_handler(new, NONE)
    loop:remove_handler(new)
    assert.equal(0, n)
  end)

  it("does nothing for an object that has no descriptor any more", function()
    local r = pipe()
    local object = { fileno = function() return r end }
    loop:add_handler(object, unexpected, READ)
    object.fileno = function() return nil end
    loop:remove_handler(object)
    loop:remove_handler(object)
    loop:remove_handler { fileno = function() return -1 end }
  end)

  it("finds by its number what was given as a number", function()
    local r = readable()
    loop:add_handler(r, unexpected, READ)
    loop:remove_handler { fileno = function() return r end }
    linger()
  end)

  it("finds one object that was given for several descriptors", function()
    local fds, object = {}, {}
    for i = 1, 4 do
      fds[i] = readable()
      object.fileno = function() return fds[i] end
      loop:add_handler(object, unexpected, READ)
    end
    object.fileno = function() return nil end
    loop:remove_handler(fds[2]) -- from the middle
    loop:remove_handler(object) -- the newest
    loop:remove_handler(fds[1]) -- the oldest
    loop:add_handler(fds[4], unexpected, READ)
    loop:remove_handler(fds[4])
    assert.is_false((pcall(loop.add_handler, loop, fds[3], print, READ)))
    loop:remove_handler(object)
    loop:remove_handler(object)
    loop:add_handler(fds[3], unexpected, READ)
    loop:remove_handler(fds[3])
    linger()
  end)

  it("releases the object", function()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local r = pipe()
      local object = { fileno = function() return r end }
      weak[object] = true
      loop:add_handler(object, unexpected, READ)
      loop:remove_handler(r)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

describe("an object that is asked for its descriptor", function()
  -- Calls add_, update_ and remove_handler with an object whose fileno does
  -- the worst, on a loop of its own with one handler more.
  local function asked(worst, check)
    for _, name in ipairs { "fileno", "getfd" } do
      for _, call in ipairs { "add", "update", "remove" } do
        local other = IOLoop(false)
        local r, second = pipe(), readable()
        other:add_handler(second, function() end, READ)
        local object = setmetatable({}, { __index = function(_, key)
          if key ~= name then return nil end
          return function()
            worst(other, r, second)
            return r
          end
        end })
        if call ~= "add" then other:add_handler(r, function() end, READ) end
        local ok, err
        if call == "add" then
          ok, err = pcall(other.add_handler, other, object, print, READ)
        elseif call == "update" then
          ok, err = pcall(other.update_handler, other, object, WRITE)
        else
          ok, err = pcall(other.remove_handler, other, object)
        end
        check(ok, err, other, call, r)
        if tostring(other):find "closed" == nil then linger(other) end
        other:close()
        if pipes.is_open(r) then close(r) end
        if pipes.is_open(second) then close(second) end
      end
    end
  end

  it("may close the loop", function()
    for _, all_fds in ipairs { false, true } do
      asked(function(other) other:close(all_fds) end, function(ok, err)
        assert.is_false(ok)
        assert.is_truthy(err:find("the IOLoop is closed", 1, true), err)
      end)
    end
  end)

  it("may remove every handler", function()
    asked(function(other, r, second)
      other:remove_handler(r)
      other:remove_handler(second)
    end, function(ok, _, _, call) assert.equal(call ~= "update", ok) end)
  end)

  it("may add the very handler", function()
    asked(function(other, r)
      pcall(other.add_handler, other, r, print, READ)
    end, function(ok, err, _, call)
      assert.equal(call ~= "add", ok)
      if not ok then assert.is_truthy(err:find "has a handler", err) end
    end)
  end)

  it("may collect garbage and make another loop current", function()
    asked(function()
      collectgarbage()
      IOLoop(true)
      collectgarbage()
    end, function(ok, err) assert.is_true(ok, err) end)
    IOLoop.current():close()
    loop:make_current()
  end)

  it("may raise, and yield", function()
    asked(function() error {} end, function(ok, err)
      assert.is_false(ok)
      assert.is_table(err)
    end)
    asked(function() coroutine.yield() end, function(ok)
      assert.is_false(ok)
    end)
    loops.run(loop, function()
      local ok, err = pcall(loop.add_handler, loop,
        { fileno = function() return gen.await(gen.sleep(0.001)) end }, print,
        READ)
      assert.is_false(ok)
      assert.is_truthy(err:find("cannot await inside", 1, true), err)
    end)
  end)

  it("may start the loop, whose callbacks remove the handler", function()
    asked(function(other, r)
      other:add_callback(function() other:remove_handler(r) end)
      linger(other)
    end, function(ok, _, _, call) assert.equal(call ~= "update", ok) end)
  end)
end)

describe("close(true)", function()
  -- A loop with five objects, whose close does the worst first.
  local function closing(worst)
    local other = IOLoop(false)
    local objects, closed = {}, 0
    for i = 1, 5 do
      local r = pipe()
      objects[i] = {
        fd = r,
        fileno = function(self) return self.fd end,
        close = function(self)
          worst(other, self, objects)
          if self.fd then close(self.fd) end
          self.fd = nil
          closed = closed + 1
        end,
      }
      other:add_handler(objects[i], unexpected, READ)
    end
    other:close(true)
    assert.is_false((pcall(other.stop, other)))
    return closed, objects
  end

  it("may remove handlers, its own and others", function()
    assert.equal(5, (closing(function(other, self)
      other:remove_handler(self)
      other:remove_handler(self.fd)
    end)))
    -- Who removes another's handler has taken over its descriptor.
    local closed, objects = closing(function(other, self, objects)
      for i = 1, 5 do
        if objects[i] ~= self then other:remove_handler(objects[i]) end
      end
    end)
    assert.equal(1, closed)
    for _, object in ipairs(objects) do
      if object.fd then close(object.fd) end
    end
  end)

  it("may update handlers", function()
    assert.equal(5, (closing(function(other, self, objects)
      for i = 1, 5 do
        pcall(other.update_handler, other, objects[i], WRITE)
      end
      pcall(other.update_handler, other, self, NONE)
    end)))
  end)

  it("may add handlers, which are removed", function()
    local fds = {}
    assert.equal(5, (closing(function(other)
      fds[#fds + 1] = pipe()
      other:add_handler(fds[#fds], unexpected, READ)
    end)))
    for _, fd in ipairs(fds) do assert.is_true(pipes.is_open(fd)) end
  end)

  it("may close the loop, with and without descriptors", function()
    for _, all_fds in ipairs { false, true } do
      assert.equal(5, (closing(function(other) other:close(all_fds) end)))
    end
  end)

  it("may raise, even an unreadable error; that is logged", function()
    local _, objects = closing(function() error("cannot close", 0) end)
    assert.equal(5, log:count("cannot close"), log:text())
    log:clear()
    local bad = setmetatable({}, { __tostring = function() error("worse") end })
    local _, more = closing(function() error(bad) end)
    assert.equal(5, #log, log:text())
    assert.equal(5, log:count "Exception in closing a descriptor: ")
    for _, list in ipairs { objects, more } do
      for _, object in ipairs(list) do close(object.fd) end
    end
  end)

  it("may let the loop be finalized", function()
    assert.equal(5, (closing(function(other)
      debug.getmetatable(other).__gc(other)
    end)))
  end)

  it("may run the loop", function()
    assert.equal(5, (closing(function(other) linger(other) end)))
  end)

  it("may collect garbage, which closes the loop", function()
    assert.equal(5, (closing(function(other)
      setmetatable({}, { __gc = function() other:close() end })
      collectgarbage()
    end)))
  end)
end)

describe("a loop that is to be closed", function()
  it("leaves descriptors open, also after an error", function()
    local r = pipe()
    pcall(function()
      local other <close> = IOLoop(false)
      other:add_handler(r, unexpected, READ)
      error "boom"
    end)
    assert.is_true(pipes.is_open(r))
  end)
end)
