-- SPDX-License-Identifier: MIT
-- lunado.util: exception classes, isinstance, timedelta.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local util = require "lunado.util"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"
local values = require "spec.support.values"

local Exception, isinstance = util.Exception, util.isinstance

describe("Exception", function()
  it("makes an error with a message", function()
    local err = Exception("it broke")
    assert.equal("it broke", err.message)
    assert.equal("Exception: it broke", tostring(err))
  end)

  it("derives classes, at any depth", function()
    local Base = Exception:subclass("BaseError")
    local Leaf = Base:subclass("LeafError")
    local err = Leaf("x")
    assert.equal("LeafError: x", tostring(err))
    assert.equal("BaseError: y", tostring(Base("y")))
    assert.equal("x", err.message)
    assert.is_true(isinstance(err, Leaf))
    assert.is_true(isinstance(err, Base))
    assert.is_true(isinstance(err, Exception))
    assert.is_false(isinstance(Base("x"), Leaf))
    assert.is_false(isinstance(Exception("x"), Base))
  end)

  it("makes a class of its own for each subclass() of one name", function()
    local one, two = Exception:subclass("Same"), Exception:subclass("Same")
    assert.is_true(isinstance(one("x"), one))
    assert.is_false(isinstance(one("x"), two))
  end)

  it("passes through error and pcall unchanged", function()
    local err = Exception("x")
    local ok, got = pcall(error, err)
    assert.is_false(ok)
    assert.equal(err, got)
  end)

  it("does not require a message", function()
    local err = Exception()
    assert.is_nil(err.message)
    assert.is_truthy(tostring(err):find("^Exception"))
  end)

  it("has all of a message in its text", function()
    assert.equal("Exception: a\0b", tostring(Exception("a\0b")))
  end)

  it("requires its class", function()
    local call = getmetatable(Exception).__call
    assert.is_false(pcall(call))
    assert.is_false(pcall(call, "x", "message"))
    assert.is_false(pcall(call, {}, "message"))
  end)

  it("wants a name for a subclass", function()
    bad(function() Exception:subclass() end, 1, "subclass", "string")
    bad(function() Exception:subclass({}) end, 1, "subclass", "string",
      "table")
  end)
end)

describe("lunado's own errors", function()
  local classes = {
    TimeoutError = util.TimeoutError,
    BadYieldError = gen.BadYieldError,
    InvalidStateError = concurrent.InvalidStateError,
    ReturnValueIgnoredError = concurrent.ReturnValueIgnoredError,
  }
  for name, class in pairs(classes) do
    it("are exceptions: " .. name, function()
      local err = class("Timeout")
      assert.is_true(isinstance(err, Exception))
      assert.is_true(isinstance(err, class))
      assert.equal(name .. ": Timeout", tostring(err))
      local Derived = class:subclass("Derived")
      assert.is_true(isinstance(Derived("x"), class))
    end)
  end

  it("have one class under all their names", function()
    assert.is_not_nil(util.TimeoutError)
    assert.equal(util.TimeoutError, gen.TimeoutError)
    assert.is_not_nil(gen.ReturnValueIgnoredError)
    assert.equal(gen.ReturnValueIgnoredError,
      concurrent.ReturnValueIgnoredError)
  end)
end)

describe("isinstance", function()
  it("is false, never an error, for any other value", function()
    assert.is_false(isinstance(nil, Exception))
    for _, case in ipairs(values.errors) do
      assert.is_false(isinstance(case[2], Exception), case[1])
    end
    assert.is_false(isinstance(concurrent.Future(), Exception))
    assert.is_false(isinstance({ message = "x" }, Exception))
  end)

  it("is false for a class itself", function()
    assert.is_false(isinstance(Exception, Exception))
    assert.is_false(isinstance(util.TimeoutError, Exception))
  end)
end)

describe("timedelta", function()
  local loop
  before_each(function() loop = frame.begin() end)
  after_each(function() frame.finish() end)

  it("is a time from now", function()
    local due, now
    local start = loop:time()
    loop:add_timeout(util.timedelta(0.003), function()
      now = loop:time()
      loop:stop()
    end)
    due = loop:time() + 0.003
    loop:start()
    assert.is_true(now >= start + 0.003)
    assert.is_true(now < due + 5)
  end)

  it("refuses NaN and what is not a number", function()
    bad(function() util.timedelta(0/0) end, 1, "timedelta")
    bad(function() util.timedelta("soon") end, 1, "timedelta", "number",
      "string")
    bad(function() util.timedelta(nil) end, 1, "timedelta", "number")
  end)
end)
