-- SPDX-License-Identifier: MIT
-- The loop's handlers of descriptors.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local IOLoop = require "lunado.ioloop".IOLoop
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local pipes = require "spec.support.pipes"
local values = require "spec.support.values"

local READ, WRITE, ERROR = IOLoop.READ, IOLoop.WRITE, IOLoop.ERROR

local loop, log, open
before_each(function()
  loop, log = frame.begin()
  open = {}
end)
after_each(function()
  frame.finish()
  for fd in pairs(open) do pipes.close(fd) end
end)

local function pipe()
  local p = pipes.pipe()
  open[p.read], open[p.write] = true, true
  return p.read, p.write
end

local function pair()
  local a, b = pipes.pair()
  open[a], open[b] = true, true
  return a, b
end

local function close(fd)
  open[fd] = nil
  pipes.close(fd)
end

-- Starts the loop, for a while at most.
local function start()
  local guard = loop:call_later(loops.PATIENCE, loop.stop, loop)
  loop:start()
  loop:remove_timeout(guard)
end

-- Long enough for several polls.
local function linger()
  loop:call_later(0.003, loop.stop, loop)
  loop:start()
end

describe("the events", function()
  it("are flags", function()
    assert.equal(0, IOLoop.NONE)
    assert.equal(0, READ & WRITE)
    assert.equal(0, READ & ERROR)
    assert.equal(0, WRITE & ERROR)
    assert.is_true(READ ~= 0 and WRITE ~= 0 and ERROR ~= 0)
    assert.equal(READ, loop.READ)
  end)
end)

describe("add_handler", function()
  it("calls with the descriptor and READ when there is something",
    function()
      local r, w = pipe()
      local got
      loop:add_handler(r, function(...)
        got = table.pack(...)
        loop:stop()
      end, READ)
      linger()
      assert.is_nil(got)
      pipes.write(w, "x")
      start()
      assert.equal(2, got.n)
      assert.equal(r, got[1])
      assert.equal(READ, got[2] & READ)
      assert.equal(0, got[2] & WRITE)
      loop:remove_handler(r)
    end)

  it("calls with WRITE when there is room", function()
    local _, w = pipe()
    local got
    loop:add_handler(w, function(_, events)
      got = events
      loop:stop()
    end, WRITE)
    start()
    assert.equal(WRITE, got & WRITE)
    loop:remove_handler(w)
  end)

  it("combines events", function()
    local a, b = pair()
    local got = 0
    loop:add_handler(a, function(_, events)
      got = got | events
      if got == READ | WRITE then
        loop:stop()
      end
    end, READ | WRITE)
    pipes.write(b, "x")
    start()
    assert.equal(READ | WRITE, got)
    loop:remove_handler(a)
  end)

  it("calls again while there is something left", function()
    local r, w = pipe()
    local n = 0
    pipes.write(w, "abc")
    local text = ""
    loop:add_handler(r, function()
      n = n + 1
      text = text .. pipes.read(r, 1)
      if n == 3 then
        loop:remove_handler(r)
        loop:stop()
      end
    end, READ)
    start()
    assert.equal("abc", text)
  end)

  it("reports when the other end was closed", function()
    local r, w = pipe()
    local got
    loop:add_handler(r, function(_, events)
      got = events
      loop:remove_handler(r)
      loop:stop()
    end, READ | ERROR)
    close(w)
    start()
    assert.is_true(got & (READ | ERROR) ~= 0)
  end)

  it("takes an object with fileno() or getfd()", function()
    for _, name in ipairs { "fileno", "getfd" } do
      local r, w = pipe()
      local object = { fd = r }
      object[name] = function(self)
        assert(self == object)
        return self.fd
      end
      local n = 0
      loop:add_handler(object, function()
        n = n + 1
        pipes.read(r)
        loop:stop()
      end, READ)
      pipes.write(w, "x")
      start()
      assert.equal(1, n)
      loop:update_handler(object, WRITE)
      loop:update_handler(object, READ)
      loop:remove_handler(object)
      pipes.write(w, "x")
      linger()
      assert.equal(1, n)
    end
  end)

  it("takes a luv handle by uv.fileno", function()
    local uv = require "luv"
    local r, w = pipe()
    local handle = uv.new_pipe(false)
    handle:open(r)
    open[r] = nil
    local n = 0
    loop:add_handler(uv.fileno(handle), function(fd)
      n = n + 1
      loop:remove_handler(fd)
      loop:stop()
    end, READ)
    pipes.write(w, "x")
    start()
    assert.equal(1, n)
    handle:close()
    uv.run("nowait")
  end)

  it("refuses a second add of one descriptor", function()
    local r, w = pipe()
    local first, second = 0, 0
    loop:add_handler(r, function()
      first = first + 1
      loop:stop()
    end, READ)
    local ok, err = pcall(loop.add_handler, loop, r, function()
      second = second + 1
    end, READ)
    assert.is_false(ok)
    assert.is_truthy(tostring(err):find(tostring(r), 1, true),
      tostring(err))
    pipes.write(w, "x")
    start()
    assert.same({ 1, 0 }, { first, second })
    loop:remove_handler(r)
    loop:add_handler(r, function()
      second = second + 1
      loop:stop()
    end, READ)
    start()
    assert.same({ 1, 1 }, { first, second })
    loop:remove_handler(r)
  end)

  it("refuses what cannot be polled, and says so", function()
    local fd = pipes.file("spec/ioloop_handler_spec.lua")
    local ok, err = pcall(loop.add_handler, loop, fd, print, READ)
    assert.is_false(ok)
    assert.is_true(#tostring(err) > 10)
    -- Nothing is left of the attempt.
    loop:remove_handler(fd)
    assert.is_false((pcall(loop.update_handler, loop, fd, READ)))
    pipes.close(fd)
    for _, never in ipairs { -1, 100000, math.maxinteger, math.mininteger,
      fd } do
      assert.is_false((pcall(loop.add_handler, loop, never, print, READ)),
        tostring(never))
    end
    linger()
  end)

  it("refuses bad arguments", function()
    local r = pipe()
    bad(function() loop:add_handler(nil, print, READ) end, 1, "add_handler",
      nil, "nil")
    bad(function() loop:add_handler("x", print, READ) end, 1, "add_handler",
      nil, "string")
    bad(function() loop:add_handler({}, print, READ) end, 1, "add_handler",
      nil, "table")
    bad(function() loop:add_handler(1.5, print, READ) end, 1, "add_handler")
    bad(function() loop:add_handler(r, nil, READ) end, 2, "add_handler",
      "function", "nil")
    bad(function() loop:add_handler(r, print, "read") end, 3, "add_handler",
      "number", "string")
    bad(function() loop:add_handler(r, print) end, 3, "add_handler",
      "number")
    bad(function() loop:add_handler(r, print, 1 << 40) end, 3,
      "add_handler")
    local broken = { fileno = function() error("no descriptor", 0) end }
    local ok, err = pcall(loop.add_handler, loop, broken, print, READ)
    assert.is_false(ok)
    assert.equal("no descriptor", err)
    local wrong = { fileno = function() return "x" end }
    assert.is_false((pcall(loop.add_handler, loop, wrong, print, READ)))
    -- Nothing was added.
    loop:add_handler(r, print, READ)
    loop:remove_handler(r)
  end)

  it("keeps the handler alive", function()
    local r, w = pipe()
    local n = 0
    loop:add_handler(r, function()
      n = n + 1
      loop:stop()
    end, READ)
    gc.collect()
    pipes.write(w, "x")
    start()
    assert.equal(1, n)
    loop:remove_handler(r)
  end)

  it("counts as something pending for run_sync", function()
    local r, w = pipe()
    pipes.write(w, "x")
    assert.equal("x", loop:run_sync(function()
      local f = concurrent.Future()
      loop:add_handler(r, function()
        loop:remove_handler(r)
        f:set_result(pipes.read(r))
      end, READ)
      return coroutine.yield(f)
    end))
  end)
end)

describe("update_handler", function()
  it("changes the events", function()
    local a, b = pair()
    local got = {}
    loop:add_handler(a, function(_, events)
      got[#got + 1] = events
      if events & WRITE ~= 0 then
        loop:update_handler(a, READ)
        loop:add_callback(pipes.write, b, "x")
      else
        loop:update_handler(a, IOLoop.NONE)
        loop:stop()
      end
    end, WRITE)
    start()
    assert.same({ WRITE, READ }, got)
    linger()
    assert.equal(2, #got)
    loop:update_handler(a, READ)
    start()
    assert.equal(3, #got)
    loop:remove_handler(a)
  end)

  it("raises for an unknown descriptor", function()
    local r = pipe()
    assert.is_false((pcall(loop.update_handler, loop, r, READ)))
    loop:add_handler(r, print, READ)
    loop:remove_handler(r)
    assert.is_false((pcall(loop.update_handler, loop, r, READ)))
  end)

  it("refuses bad arguments", function()
    local r = pipe()
    loop:add_handler(r, print, READ)
    bad(function() loop:update_handler(r, "x") end, 2, "update_handler",
      "number", "string")
    bad(function() loop:update_handler(r) end, 2, "update_handler",
      "number")
    bad(function() loop:update_handler({}, READ) end, 1, "update_handler",
      nil, "table")
    loop:remove_handler(r)
  end)
end)

describe("remove_handler", function()
  it("does nothing for an unknown descriptor", function()
    local r = pipe()
    loop:remove_handler(r)
    loop:remove_handler(54321)
  end)

  it("ends the calls, from inside too", function()
    local r, w = pipe()
    local n = 0
    loop:add_handler(r, function()
      n = n + 1
      loop:remove_handler(r)
    end, READ)
    pipes.write(w, "x")
    linger()
    assert.equal(1, n)
  end)

  it("frees the handler", function()
    local r = pipe()
    assert.is_true(gc.collects(function()
      local token = {}
      loop:add_handler(r, function() return token end, READ)
      loop:remove_handler(r)
      return token
    end))
  end)

  it("keeps another from being called in the same turn", function()
    local r1, w1 = pipe()
    local r2, w2 = pipe()
    local n = 0
    local function handler()
      n = n + 1
      loop:remove_handler(r1)
      loop:remove_handler(r2)
    end
    loop:add_handler(r1, handler, READ)
    loop:add_handler(r2, handler, READ)
    pipes.write(w1, "x")
    pipes.write(w2, "x")
    linger()
    assert.equal(1, n)
  end)

  it("may come after the descriptor was closed", function()
    local r, w = pipe()
    loop:add_handler(r, print, READ)
    close(r)
    close(w)
    loop:remove_handler(r)
    local r2, w2 = pipe()
    local n = 0
    loop:add_handler(r2, function()
      n = n + 1
      loop:remove_handler(r2)
      loop:stop()
    end, READ)
    pipes.write(w2, "x")
    start()
    assert.equal(1, n)
  end)

  it("lets it be added again in the same callback", function()
    local r, w = pipe()
    local order = {}
    loop:add_handler(r, function()
      order[#order + 1] = "first"
      loop:remove_handler(r)
      loop:add_handler(r, function()
        order[#order + 1] = "second"
        loop:remove_handler(r)
        loop:stop()
      end, READ)
    end, READ)
    pipes.write(w, "x")
    start()
    assert.same({ "first", "second" }, order)
  end)

  it("refuses bad arguments", function()
    bad(function() loop:remove_handler(nil) end, 1, "remove_handler", nil,
      "nil")
    bad(function() loop:remove_handler({}) end, 1, "remove_handler", nil,
      "table")
  end)
end)

describe("a handler", function()
  it("that raises goes to handle_callback_exception and stays", function()
    for _, case in ipairs(values.errors) do
      local r, w = pipe()
      local caught = {}
      local function handler() error(case[2], 0) end
      loop.handle_callback_exception = function(self, callback, err, trace)
        caught[#caught + 1] = err
        assert(self == loop and type(trace) == "string")
        assert(callback == handler)
        if #caught == 2 then
          loop:remove_handler(r)
          loop:stop()
        end
      end
      loop:add_handler(r, handler, READ)
      pipes.write(w, "x")
      start()
      assert.equal(2, #caught)
      assert.is_true(rawequal(case[2], caught[1]))
    end
  end)

  it("that raises is logged by default", function()
    local r, w = pipe()
    loop:add_handler(r, function()
      loop:remove_handler(r)
      loop:add_callback(loop.stop, loop)
      error("in a handler")
    end, READ)
    pipes.write(w, "x")
    start()
    assert.equal(1, log:count("in a handler"))
    assert.equal(1, log:count("Exception in callback"))
  end)

  it("that raises does not keep others from being called", function()
    local r1, w1 = pipe()
    local r2, w2 = pipe()
    local n = 0
    for _, r in ipairs { r1, r2 } do
      loop:add_handler(r, function()
        n = n + 1
        loop:remove_handler(r)
        if n == 2 then
          loop:stop()
        end
        error("boom")
      end, READ)
    end
    pipes.write(w1, "x")
    pipes.write(w2, "x")
    start()
    assert.equal(2, n)
    assert.equal(2, log:count ": boom")
  end)

  it("may stop the loop, and wake coroutines", function()
    local r, w = pipe()
    local chunks = {}
    loops.run(loop, function()
      local f
      loop:add_handler(r, function()
        f:set_result(pipes.read(r, 1))
      end, READ)
      for _ = 1, 3 do
        f = concurrent.Future()
        pipes.write(w, "x")
        chunks[#chunks + 1] = coroutine.yield(gen.with_timeout(
          { seconds = loops.PATIENCE }, f))
      end
      loop:remove_handler(r)
    end)
    assert.same({ "x", "x", "x" }, chunks)
  end)

  it("may be a coroutine function whose failure is logged", function()
    local r, w = pipe()
    loop:add_handler(r, gen.coroutine(function()
      loop:remove_handler(r)
      coroutine.yield()
      loop:add_callback(loop.stop, loop)
      error("in a coroutine")
    end), READ)
    pipes.write(w, "x")
    start()
    loops.turn(loop, 2)
    gc.collect()
    assert.equal(1, log:count("in a coroutine"), log:text())
  end)
end)

describe("close", function()
  it("leaves descriptors open", function()
    local r = pipe()
    local other = IOLoop(false)
    other:add_handler(r, print, READ)
    other:close()
    assert.is_true(pipes.is_open(r))
  end)

  it("closes the descriptors with all_fds", function()
    local r, w = pipe()
    local other = IOLoop(false)
    other:add_handler(r, print, READ)
    other:close(true)
    assert.is_false(pipes.is_open(r))
    open[r] = nil
    assert.is_true(pipes.is_open(w))
  end)

  it("frees handlers", function()
    local r = pipe()
    local other
    assert.is_true(gc.collects(function()
      other = IOLoop(false)
      local token = {}
      other:add_handler(r, function() return token end, READ)
      other:close()
      return token
    end))
  end)
end)
