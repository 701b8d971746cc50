-- SPDX-License-Identifier: MIT
-- lunado.log: levels, handlers, and what a bad handler can do.
local log = require "lunado.log"
local bad = require "spec.support.bad"
local child = require "spec.support.child"

local app_log = log.app_log

describe("app_log", function()
  local seen
  before_each(function()
    seen = {}
    log.set_handler(function(level, message)
      seen[#seen + 1] = level .. "|" .. message
    end)
  end)
  after_each(function()
    log.set_handler(nil)
    log.set_level("warning")
  end)

  local function say_all()
    app_log:debug("d")
    app_log:info("i")
    app_log:warning("w")
    app_log:error("e")
  end

  it("passes warnings and errors by default", function()
    say_all()
    assert.same({ "warning|w", "error|e" }, seen)
  end)

  it("passes its level and what is above", function()
    local expected = {
      debug = { "debug|d", "info|i", "warning|w", "error|e" },
      info = { "info|i", "warning|w", "error|e" },
      warning = { "warning|w", "error|e" },
      error = { "error|e" },
    }
    for level, messages in pairs(expected) do
      seen = {}
      log.set_level(level)
      say_all()
      assert.same(messages, seen)
    end
  end)

  it("formats its arguments", function()
    app_log:error("%s has %d of %5.2f%%", "x", 3, 0.5)
    assert.same({ "error|x has 3 of  0.50%" }, seen)
  end)

  it("keeps any byte and any length", function()
    local long = ("x"):rep(100000)
    app_log:error("%s", "a\0b\nc")
    app_log:error("%s", long)
    assert.same({ "error|a\0b\nc", "error|" .. long }, seen)
  end)

  it("hands each message to one handler only", function()
    local other = 0
    log.set_handler(function() other = other + 1 end)
    app_log:error("x")
    assert.equal(1, other)
    assert.same({}, seen)
  end)

  it("lets a handler change the handler", function()
    local calls = 0
    log.set_handler(function()
      calls = calls + 1
      log.set_handler(function() calls = calls + 10 end)
    end)
    app_log:error("x")
    app_log:error("x")
    assert.equal(11, calls)
  end)
end)

describe("the log's arguments", function()
  after_each(function()
    log.set_handler(nil)
    log.set_level("warning")
  end)

  it("are checked", function()
    bad(function() log.set_handler(5) end, 1, "set_handler", "function",
      "number")
    bad(function() log.set_handler({}) end, 1, "set_handler", "function",
      "table")
    bad(function() log.set_level("loud") end, 1, "set_level")
    bad(function() log.set_level(nil) end, 1, "set_level")
    bad(function() app_log:error("%d", "x") end, 2, "string.format")
  end)

  it("change nothing when they are wrong", function()
    local seen = 0
    log.set_handler(function() seen = seen + 1 end)
    pcall(log.set_handler, 5)
    pcall(log.set_level, "loud")
    app_log:warning("x")
    app_log:info("x")
    assert.equal(1, seen)
  end)
end)

describe("the default handler", function()
  it("writes `level: message` to stderr", function()
    local r = child [[
      local log = require "lunado.log"
      log.app_log:info("unseen")
      log.app_log:warning("hello %d", 1)
      log.set_handler(function() end)
      log.app_log:error("unseen")
      log.set_handler(nil)
      log.app_log:error("bye")
      log.set_level("debug")
      log.app_log:debug("bits")
      log.app_log:info("news")
    ]]
    assert.same({ code = 0, out = "",
      err = "warning: hello 1\nerror: bye\ndebug: bits\ninfo: news\n" }, r)
  end)

  it("writes what comes after a zero, too", function()
    local r = child [[
      local log = require "lunado.log"
      log.app_log:error("%s", "a\0b\0\0c\0")
      log.set_handler(function() error("no\0pe", 0) end)
      log.app_log:error("%s", "d\0e")
    ]]
    assert.same({ code = 0, out = "",
      err = "error: a\\0b\\0\\0c\\0\n" ..
        "error: the log handler failed: no\\0pe\nerror: d\\0e\n" }, r)
  end)
end)

describe("a handler that raises", function()
  it("is reported on stderr and does no other harm", function()
    local r = child [[
      local lunado = require "lunado"
      local calls = 0
      lunado.log.set_handler(function()
        calls = calls + 1
        error("handler broke")
      end)
      lunado.log.app_log:error("one")
      lunado.log.app_log:error("two")
      assert(calls == 2)
      lunado.run(function()
        local loop = lunado.IOLoop.current()
        loop:add_callback(error, "three")
        coroutine.yield(lunado.sleep(0.001))
      end)
      assert(calls == 3)
      lunado.Future():set_exception("four")
      collectgarbage()
      collectgarbage()
      assert(calls == 4)
      io.write("alive")
    ]]
    assert.equal(0, r.code, r.err)
    assert.equal("alive", r.out)
    local _, reports = r.err:gsub("handler broke", "")
    assert.is_true(reports >= 4, r.err)
  end)

  it("may raise anything", function()
    local r = child [[
      local log = require "lunado.log"
      for _, err in ipairs { false, {}, 1, setmetatable({},
        { __tostring = function() error("again") end }) } do
        log.set_handler(function() error(err) end)
        log.app_log:error("x")
      end
      log.set_handler(function() error() end)
      log.app_log:error("x")
      log.set_handler(function() local x = nil; x.y = 1 end)
      log.app_log:error("x")
      io.write("alive")
    ]]
    assert.equal(0, r.code, r.err)
    assert.equal("alive", r.out)
  end)
end)
