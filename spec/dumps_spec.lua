-- SPDX-License-Identifier: MIT
-- concurrent.dumps and loads.
local concurrent = require "lunado.concurrent"
local util = require "lunado.util"
local child = require "spec.support.child"
local gc = require "spec.support.gc"

local dumps, loads = concurrent.dumps, concurrent.loads

local function copy(...) return loads(dumps(...)) end

local function has(text, plain)
  assert.is_truthy(text:find(plain, 1, true), text)
end

local function fails(plain, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  has(tostring(err), plain)
end

describe("loads gives what dumps was given:", function()
  local function same(...)
    assert.same(table.pack(...), table.pack(copy(...)))
  end

  it("nothing, and several values", function()
    assert.equal(0, select("#", copy()))
    same(1, nil, "x", nil)
    same(nil)
  end)

  it("plain values", function()
    same(true, false, 0, -1, math.maxinteger, math.mininteger, 0.1, -0.0,
      math.huge, -math.huge, "", "\0\n\r\xff", ("x"):rep(127), ("x"):rep(128),
      ("x"):rep(70000), ("x"):rep(300000))
    local nan = copy(0 / 0)
    assert.is_true(nan ~= nan)
    assert.equal("float", math.type((copy(1.0))))
    assert.equal("integer", math.type((copy(1))))
  end)

  it("many values", function()
    local list = {}
    for i = 1, 10000 do list[i] = i end
    same(table.unpack(list))
  end)

  it("tables", function()
    same({}, { 1, nil, 3 }, { a = { b = { [1.5] = "x", [true] = {} } } })
    local list = {}
    for i = 1, 1000 do list[i] = { i, tostring(i) } end
    same(list)
    assert.is_nil(getmetatable(copy(setmetatable({}, { __index = {} }))))
  end)

  it("references and cycles", function()
    local shared, long = {}, ("y"):rep(1000)
    local t = { shared, shared, long, long }
    t.self, t[shared] = t, "key"
    local u, s = copy(t, shared)
    assert.equal(u, u.self)
    assert.equal(s, u[1])
    assert.equal(s, u[2])
    assert.equal("key", u[s])
    assert.equal(long, u[4])
  end)

  it("a chain of 100,000 tables", function()
    local first = {}
    local last = first
    for _ = 1, 100000 do
      last.next = {}
      last = last.next
    end
    local count, t = 0, copy(first)
    while t.next do count, t = count + 1, t.next end
    assert.equal(100000, count)
  end)

  it("functions with their upvalues", function()
    local n, list = 5, { 1, 2 }
    local function add(x)
      n = n + x
      return n
    end
    local function read() return n, list, tostring(n) end
    local add2, read2, list2 = copy(add, read, list)
    assert.equal(7, add2(2))
    assert.same({ 7, { 1, 2 }, "7" }, { read2() })
    assert.equal(list2, select(2, read2()))
    assert.equal(5, n)
  end)

  it("functions that refer to themselves", function()
    local function factorial(x) return x < 2 and 1 or x * factorial(x - 1) end
    assert.equal(120, copy(factorial)(5))
  end)

  it("functions without upvalues, twice in one string", function()
    local function one() return 1 end
    local a, b, c = copy(one, one, function() return 1 end)
    assert.equal(a, b)
    assert.not_equal(a, c)
    assert.equal(1, c())
  end)

  it("functions whose _ENV is not the first upvalue", function()
    local x = 3
    local function f() return x, tostring(x) end
    assert.same({ 3, "3" }, { copy(f)() })
  end)

  it("functions with their lines", function()
    local function fail() error "here" end
    local ok, err = pcall((copy(fail)))
    assert.is_false(ok)
    has(err, ("dumps_spec.lua:%d: here"):format(
      debug.getinfo(fail, "S").linedefined))
  end)

  it("the globals", function()
    assert.equal(_G, (copy(_G)))
    assert.equal(_G, copy({ _G })[1])
  end)

  it("errors and their classes", function()
    local Own = util.Exception:subclass "Own"
    local Deeper = Own:subclass "Deeper"
    local err = Deeper "broken"
    err.code = 7
    local err2, class = copy(err, Own)
    assert.is_true(util.isinstance(err2, Deeper))
    assert.equal("Deeper: broken", tostring(err2))
    assert.equal(7, err2.code)
    assert.equal(Own, class)
    assert.is_true(util.isinstance(copy(util.TimeoutError "x"),
      util.TimeoutError))
  end)
end)

describe("dumps refuses", function()
  for what, value in pairs { userdata = io.stdout, ["C function"] = print,
    thread = coroutine.create(print) } do
    it("a " .. what, function()
      fails("cannot send a " .. what
        .. " in a string: argument #2, field 'x'", dumps, 1, { x = value })
    end)
  end

  it("an upvalue", function()
    local insert = table.insert
    fails("cannot send a C function in a string: argument #1, upvalue 'insert'",
      dumps, function() insert({}, 1) end)
  end)

  it("a table marked __copy = false", function()
    fails("__copy = false", dumps, setmetatable({}, { __copy = false }))
  end)

  it("Futures and loops", function()
    fails("userdata", dumps, concurrent.Future())
    fails("userdata", dumps, require "lunado.ioloop".IOLoop.current())
  end)

  it("at the caller's line, and works afterwards", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local ok, err = pcall(function() local _ = dumps(print) end)
    assert.is_false(ok)
    has(err, ("dumps_spec.lua:%d: cannot"):format(line))
    assert.equal(1, copy(1))
  end)

  it("nothing while it is called in a finalizer of itself", function()
    local inner
    for _ = 1, 100 do
      setmetatable({}, { __gc = function() inner = copy { 1 } end })
    end
    local list = {}
    for i = 1, 20000 do list[i] = { tostring(i) } end
    assert.same(list, copy(list))
    collectgarbage()
    assert.same({ 1 }, inner)
  end)
end)

-- The checksum of the format, so that damage behind it can be tested.
local function checksum(text)
  local prime <const> = 0x100000001b3
  local hash = 0xcbf29ce484222325 ~ #text
  local i = 1
  while i + 7 <= #text do
    hash = (hash ~ ("<i8"):unpack(text, i)) * prime
    hash = hash ~ (hash >> 32)
    i = i + 8
  end
  for k = i, #text do hash = (hash ~ text:byte(k)) * prime end
  return ("<i8"):pack(hash ~ (hash >> 29))
end

local function sealed(payload) return payload .. checksum(payload) end

local DAMAGED = "loads' (the string is truncated or corrupted)"

describe("loads refuses", function()
  local function some_values()
    local n = 1
    local shared = { "x", 2, 3.5, [true] = {} }
    shared.self = shared
    return 1, nil, true, "text", ("long"):rep(50), shared,
      function() n = n + 1 return n, shared end, util.TimeoutError "late"
  end

  it("what is no string", function()
    fails("loads' (string expected, got no value)", loads)
    fails("string expected, got number", loads, 12345)
    fails("string expected, got table", loads, {})
  end)

  it("another string", function()
    for _, text in ipairs { "", "x", "\x1bLua", ("x"):rep(1000),
      string.dump(print == nil and print or function() end) } do
      fails("not a string that dumps has made", loads, text)
    end
  end)

  it("another format and another Lua", function()
    local text = dumps(1)
    fails("another version of lunado", loads,
      sealed(text:sub(1, 4) .. "\2" .. text:sub(6, -9)))
    fails("the string was made by Lua 5.3, this is " .. _VERSION, loads,
      sealed(text:sub(1, 5) .. "\x53" .. text:sub(7, -9)))
  end)

  it("any part of a string", function()
    local text = dumps(some_values())
    for length = 0, #text - 1, gc.chosen == "" and 1 or 10 do
      local ok = pcall(loads, text:sub(1, length))
      assert.is_false(ok)
    end
    fails(DAMAGED, loads, text:sub(1, -2))
    fails(DAMAGED, loads, text .. "x")
    fails(DAMAGED, loads, text .. text)
  end)

  it("any changed byte", function()
    local text = dumps(some_values())
    for i = 1, #text, gc.chosen == "" and 1 or 10 do
      for _, change in ipairs { 1, 0x80, 0xff } do
        local changed = text:sub(1, i - 1)
          .. string.char(text:byte(i) ~ change) .. text:sub(i + 1)
        local ok = pcall(loads, changed)
        assert.is_false(ok)
      end
    end
  end)

  it("what is left over", function()
    fails(DAMAGED, loads, sealed(dumps(1):sub(1, -9) .. "n"))
  end)

  it("a nil or NaN as a key", function()
    local text = dumps { [1.5] = 1 }
    local key = "d" .. ("<d"):pack(1.5)
    for _, other in ipairs { "n", "d" .. ("<d"):pack(0 / 0) } do
      local changed, count = text:sub(1, -9):gsub(key:gsub("%W", "%%%0"),
        (other:gsub("%%", "%%%%")))
      assert.equal(1, count)
      fails(DAMAGED, loads, sealed(changed))
    end
  end)

  it("a size of more than there is", function()
    local head = dumps():sub(1, 6)
    for _, body in ipairs {
      "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0", -- values
      "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\0", -- too large
      "\1\xff\xff\xff\xff\x0f", -- objects
      "\1\1T\xff\xff\xff\xff\x0f\0o\1", "\1\1T\0\xff\xff\xff\xff\x0fo\1",
      "\1\1S\xff\xff\xff\xff\x0fo\1", "\1\0s\xff\x01x", "\1\0o\1", "\1\1o\2",
      "\1\1F\0o\1.", "\1\1C\0o\1", "\1\1C\1xo\1", "\1\1C\2\0\no\1",
      "\1\1C\3a\r\no\1", "\1\1E\2x\nE\2x\nT\0\0o\1", "\1\0?", "\1\0i1234567",
      "\1\1C\x81\1" .. ("\n"):rep(129) .. "o\1",
    } do
      fails("loads' (", loads, sealed(head .. body))
    end
    -- Tables may not claim the same bytes again and again.
    local tables = {}
    for i = 1, 1000 do tables[i] = "T\x90\x4e\0" end
    local ok = pcall(loads, sealed(head .. "\0\xe8\x07" .. table.concat(tables)
      .. ("n"):rep(10000)))
    assert.is_false(ok)
  end)

  it("upvalues that are not there", function()
    local n = 1
    local payload = dumps(function() return n end):sub(1, -9)
    assert.equal(".", payload:sub(-1))
    for _, body in ipairs { "nnn.", "j\1\2.", "j\1\0.", "j\0\1.", "j\2\1.", "n",
      "j\1\xff\xff\xff\xff\x0f." } do
      -- the upvalue was "i", eight bytes and "."
      fails(DAMAGED, loads, sealed(payload:sub(1, -11) .. body))
    end
    local f = loads(sealed(payload:sub(1, -11) .. "t."))
    assert.is_true(f())
  end)

  it("code that is none", function()
    local payload = dumps(function() return 1 end):sub(1, -9)
    fails("cannot load a function: ", loads,
      sealed((payload:gsub("\x1bLua", "\x1bLuA"))))
  end)
end)

describe("a damaged string whose checksum is right", function()
  -- Without functions, whose code Lua does not check.
  it("does no harm", function()
    local shared = { "x", 2, 3.5, [true] = {}, ("long"):rep(40) }
    shared.self = shared
    local payload = dumps(1, nil, "text", shared, _G, util.TimeoutError "late",
      util.Exception:subclass "Own" "x", util.Exception):sub(1, -9)
    local loaded = 0
    math.randomseed(7)
    for _ = 1, gc.chosen == "" and 20000 or 500 do
      local bytes = { payload:byte(1, -1) }
      for _ = 1, math.random(3) do
        local kind, at = math.random(4), math.random(7, #bytes)
        if kind == 1 then
          bytes[at] = math.random(0, 255)
        elseif kind == 2 then
          bytes[at] = bytes[math.random(7, #bytes)]
        elseif kind == 3 then
          table.remove(bytes, at)
        else
          table.insert(bytes, at, math.random(0, 255))
        end
      end
      local ok, err = pcall(loads, sealed(string.char(table.unpack(bytes))))
      if ok then
        loaded = loaded + 1
      else
        has(err, "loads' (")
      end
    end
    assert.is_true(loaded > 0)
    assert.is_nil(rawget(_G, 1.5))
  end)
end)

describe("another process", function()
  it("loads the string", function()
    local n = 20
    local function work(x, list) return x + n + #list, string.rep("a", 3) end
    local path = os.tmpname()
    local file = assert(io.open(path, "wb"))
    file:write(dumps(work, 1, { 1, 2 }, util.TimeoutError "late"))
    file:close()
    local result = child(([[
      local concurrent = require "lunado.concurrent"
      local util = require "lunado.util"
      local file = io.open(%q, "rb")
      local fn, x, list, err = concurrent.loads(file:read "a")
      print(fn(x, list))
      print(err, util.isinstance(err, util.TimeoutError))
    ]]):format(path))
    os.remove(path)
    assert.equal("23\taaa\nTimeoutError: late\ttrue\n", result.out, result.err)
  end)

  it("does not take a class for another of the same name", function()
    local path = os.tmpname()
    local first = util.Exception:subclass "Twin"
    local second = util.Exception:subclass "Twin"
    local text = dumps(first "1", second "2")
    assert.is_nil(text:find("0x", 1, true))
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local result = child(([[
      local file = io.open(%q, "rb")
      print(require "lunado.concurrent".loads(file:read "a"))
    ]]):format(path))
    os.remove(path)
    assert.equal("Twin: 1\tTwin: 2\n", result.out, result.err)
  end)
end)
