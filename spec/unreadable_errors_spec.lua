-- SPDX-License-Identifier: MIT
-- Errors that cannot be read, since their __tostring fails or does something
-- else, are told once and in the right words, wherever they are told.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local log_module = require "lunado.log"
local testing = require "lunado.testing"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"

local Future = concurrent.Future
local yield = coroutine.yield

local loop, log
before_each(function() loop, log = frame.begin() end)
after_each(function() frame.finish() end)

local function with_text(fn)
  return function() return setmetatable({}, { __tostring = fn }) end
end

local FAILS = "(a table whose __tostring fails)"

-- Each: a function that makes the error, and what it reads as.
local errors = {
  ["whose __tostring raises"] = { with_text(function() error "no" end), FAILS },
  ["whose __tostring raises another"] = {
    with_text(function() error(setmetatable({}, { __tostring = error })) end),
    FAILS },
  ["whose __tostring gives a table"] = {
    with_text(function() return {} end), FAILS },
  ["whose __tostring gives nothing"] = { with_text(function() end), FAILS },
  ["whose __tostring yields"] = {
    with_text(function() return yield() end), FAILS },
  ["whose __tostring is no function"] = { with_text(17), FAILS },
  ["whose __tostring overflows the stack"] = {
    with_text(function(e) return tostring(e) end), FAILS },
  ["whose __tostring logs"] = {
    with_text(function()
      log_module.app_log:debug "on the way"
      return "a text"
    end), "a text" },
  ["whose __tostring collects"] = {
    with_text(function()
      collectgarbage()
      return "a text"
    end), "a text" },
  ["whose __tostring closes the loop"] = {
    with_text(function()
      loop:close()
      return "a text"
    end), "a text" },
  ["whose __name is a table"] = {
    function() return setmetatable({}, { __name = {} }) end, "table: 0x" },
  ["whose metatable is hidden"] = {
    function()
      return setmetatable({}, { __metatable = "hidden", __tostring = function()
        return "a text"
      end })
    end, "a text" },
  ["that is nil"] = { function() return nil end, "<no error object>" },
  ["that is false"] = { function() return false end, "false" },
}

local function names_of(of)
  local list = {}
  for name in pairs(of) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- Each: function(make) → how the one log line begins.
local tellers = {
  ["a callback"] = function(make)
    loop:add_callback(function() error(make(), 0) end)
    loops.turn(loop)
    return "Exception in callback function <"
  end,
  ["a timeout"] = function(make)
    loop:call_later(0, function() error(make(), 0) end)
    loops.turn(loop)
    return "Exception in callback function <"
  end,
  ["a done-callback"] = function(make)
    local f = Future()
    f:add_done_callback(function() error(make(), 0) end)
    f:set_result()
    return "Exception in callback function <"
  end,
  ["a coroutine that a callback has started"] = function(make)
    loop:add_callback(gen.coroutine(function() error(make(), 0) end))
    loops.turn(loop)
    return "Exception in callback function <"
  end,
  ["a Future"] = function(make)
    Future():set_exception(make())
    gc.collect()
    gc.collect()
    return "Future exception was never retrieved: "
  end,
  ["a multi with two of them"] = function(make)
    local f, g = Future(), Future()
    f:set_exception("first")
    g:set_exception(make())
    gen.multi { f, g }:exception()
    return "Multiple exceptions in yield list: "
  end,
}

for _, teller in ipairs(names_of(tellers)) do
  describe("an error of " .. teller, function()
    for _, name in ipairs(names_of(errors)) do
      it("is logged once: one " .. name, function()
        local make, text = table.unpack(errors[name])
        local begin = tellers[teller](make)
        assert.equal(1, #log, log:text())
        assert.equal("error", log[1].level)
        local message = log:first(begin)
        assert.equal(begin, message:sub(1, #begin))
        assert.is_truthy(message:find(text, 1, true), message)
        assert.is_nil(message:find("handle_callback_exception", 1, true))
      end)
    end
  end)
end

describe("the loop's own handler that fails", function()
  it("is named, and the error is still logged", function()
    local line
    function loop.handle_callback_exception()
      line = debug.getinfo(1, "l").currentline + 1
      error(setmetatable({}, { __tostring = error }))
    end
    loop:add_callback(function() error "trouble" end)
    loops.turn(loop)
    assert.equal(2, #log, log:text())
    assert.is_truthy(log[1].message:find(
      "Exception in handle_callback_exception: " .. FAILS, 1, true))
    assert.is_truthy(log[1].message:find("unreadable_errors_spec.lua:" .. line,
      1, true), log:text())
    assert.is_truthy(log[2].message:find("^Exception in callback function <"))
    assert.equal(2, log:count "Exception in ")
  end)

  it("that closes the loop does no harm", function()
    function loop.handle_callback_exception(self)
      self:close()
      error "no"
    end
    loop:add_callback(function() error "trouble" end)
    loop:stop()
    loop:start()
    assert.equal(1, log:count "Exception in handle_callback_exception: ")
    assert.equal(1, log:count "Exception in callback function <")
  end)
end)

describe("the text of", function()
  for _, name in ipairs(names_of(errors)) do
    local make, text = table.unpack(errors[name])
    it("a Future that has failed with one " .. name, function()
      local f = Future()
      f:set_exception(make())
      assert.is_truthy(tostring(f):find(text, 1, true), tostring(f))
      f:exception()
    end)

    it("a test that fails with one " .. name, function()
      local other = loop
      local ok, err = pcall(testing.gen_test(function()
        error(make(), 0)
      end))
      loop = other
      assert.is_false(ok)
      assert.is_string(err)
      assert.is_truthy(err:find(text, 1, true), err)
    end)
  end

  it("what run raises to the top level", function()
    local result = child [[
      require "lunado".run(function()
        coroutine.yield()
        error(setmetatable({}, { __tostring = function() error {} end }))
      end)
    ]]
    assert.equal(1, result.code)
    assert.is_truthy(result.err:find(FAILS, 1, true), result.err)
  end)
end)

describe("a log handler that fails", function()
  it("on an unreadable error is reported on stderr, once", function()
    local result = child [[
      local lunado = require "lunado"
      lunado.log.set_handler(function()
        error(setmetatable({}, { __tostring = function() error {} end }))
      end)
      lunado.run(function()
        lunado.IOLoop.current():add_callback(function() error "trouble" end)
        coroutine.yield()
        coroutine.yield()
      end)
    ]]
    assert.equal(0, result.code)
    local _, n = result.err:gsub("the log handler failed: "
      .. FAILS:gsub("%p", "%%%0"), "")
    assert.equal(1, n, result.err)
    _, n = result.err:gsub("Exception in callback", "")
    assert.equal(1, n, result.err)
  end)

  it("by a yield, or by logging itself, does no harm", function()
    local result = child [[
      local lunado = require "lunado"
      local depth = 0
      lunado.log.set_handler(function()
        depth = depth + 1
        if depth == 1 then lunado.log.app_log:error "again" end
        coroutine.yield()
      end)
      lunado.run(function()
        lunado.log.app_log:error "once"
        coroutine.yield()
      end)
    ]]
    assert.equal(0, result.code)
    local _, n = result.err:gsub("the log handler failed", "")
    assert.equal(2, n, result.err)
    assert.is_truthy(result.err:find("error: once", 1, true), result.err)
    assert.is_truthy(result.err:find("error: again", 1, true), result.err)
  end)
end)
