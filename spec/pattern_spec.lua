-- SPDX-License-Identifier: MIT
-- lunado.pattern: where a Lua pattern matches, when bytes come in pieces.
local iostream = require "lunado.iostream"
local isinstance = require "lunado.util".isinstance
local pattern = require "lunado.pattern"

local UnsatisfiableReadError = iostream.UnsatisfiableReadError

math.randomseed(7)

-- What a matcher sees of a stream.
local Stream = {}
Stream.__index = Stream

function Stream:_peek(from)
  return self.text:sub(from + 1), #self.text
end

local function stream(text)
  return setmetatable({ text = text or "" }, Stream)
end

-- A text of few letters, so that patterns nearly match.
local function random_text(size)
  local letters = {}
  for i = 1, size do
    local letter = math.random(3)
    letters[i] = ("ab\0"):sub(letter, letter)
  end
  return table.concat(letters)
end

-- What the matcher returns when bytes have come, in pieces of up to `most`: all
-- of them are looked at; or nil.
local function match_in_pieces(text, most, match)
  local self, at = stream(), 0
  while at < #text do
    at = math.min(at + math.random(most), #text)
    self.text = text:sub(1, at)
    local found, err = match(self)
    if found or err then return found, err end
  end
end

local limited = { "b", "a?b", "%z", "[ab][^ab]", "(a)b()", "[]%]a]%z",
  "a%z?b?a", ".", "a.b", "%%?b" }
local unlimited = { "a+%z", "b-a", "%b\0a", "(.)%1%z", "a*", "%f[a]ab",
  "^a", "^%z.", "[%]-a]*b" }

describe("matcher", function()
  -- Where the first match ends, when bytes come one by one.
  local function earliest(text, what)
    for size = 1, #text do
      local _, last = text:sub(1, size):find(what)
      if last then return last end
    end
  end

  local function compare(what)
    for _ = 1, 300 do
      local text = random_text(40)
      assert.equal(earliest(text, what),
        (match_in_pieces(text, 1, pattern.matcher(what))))
    end
  end

  it("finds what string.find does, byte by byte", function()
    for _, what in ipairs(limited) do compare(what) end
  end)

  it("looks at everything again where it has to", function()
    for _, what in ipairs(unlimited) do compare(what) end
  end)

  it("finds a match that nothing longer could replace, wherever pieces end",
    function()
      for _, what in ipairs { "b", "%z", "[ab][^ab]", "(a)b()", "a.b", "^b",
        "%f[a]ab" } do
        for _ = 1, 300 do
          local text = random_text(40)
          local _, last = text:find(what)
          assert.equal(last,
            (match_in_pieces(text, 12, pattern.matcher(what))))
        end
      end
    end)

  it("finds it in one large piece", function()
    for _, what in ipairs { "b", "a?b", "a+%z", "^a", "%f[a]ab" } do
      for _ = 1, 300 do
        local text = random_text(40)
        local _, last = text:find(what)
        assert.equal(last, (pattern.matcher(what)(stream(text))))
      end
    end
  end)

  it("finds nothing where nothing has come", function()
    for _, what in ipairs { "", "a*", "$", "^" } do
      assert.is_nil(pattern.matcher(what)(stream()))
    end
    assert.equal(0, (pattern.matcher("a*")(stream("b"))))
  end)

  it("looks at bytes once where no match can begin any more", function()
    local self, seen = stream(), {}
    function self._peek(_, from)
      seen[#seen + 1] = from
      return Stream._peek(self, from)
    end
    local match = pattern.matcher("\r?\n")
    for size = 1, 5 do
      self.text = ("x"):rep(size)
      assert.is_nil(match(self))
    end
    assert.same({ 0, 0, 1, 2, 3 }, seen)
    self.text = self.text .. "\r\n"
    assert.equal(7, (match(self)))
  end)
end)

describe("max", function()
  local function is_unsatisfiable(text, what, max)
    local found, err = pattern.matcher(what, max)(stream(text))
    assert.is_nil(found)
    assert.is_true(isinstance(err, UnsatisfiableReadError), tostring(err))
    return tostring(err)
  end

  it("is how far a match may reach", function()
    assert.equal(4, (pattern.matcher("\r\n", 4)(stream("ab\r\ncd"))))
    is_unsatisfiable("ab\r\ncd", "\r\n", 3)
    is_unsatisfiable("ab\r\n", "\r\n", 3)
  end)

  it("is how much may come without one", function()
    assert.is_nil((pattern.matcher("\n", 3)(stream("abc"))))
    is_unsatisfiable("abcd", "\n", 3)
  end)

  it("holds for what comes in pieces, too", function()
    for _, what in ipairs { "b%z", "b+%z" } do
      for _ = 1, 500 do
        local text, max = random_text(30), math.random(30)
        local _, last = text:find(what)
        local found, err = match_in_pieces(text, 5, pattern.matcher(what, max))
        if last and last <= max then
          assert.equal(last, found)
          assert.is_nil(err)
        elseif #text > max then
          assert.is_nil(found)
          assert.is_true(isinstance(err, UnsatisfiableReadError))
        end
      end
    end
  end)

  it("is told with the pattern", function()
    assert.matches('pattern "a\\nb" not found within 3 bytes',
      is_unsatisfiable("....", "a\nb", 3), 1, true)
  end)
end)

describe("a pattern that is none", function()
  it("is told as string.find does, without a place", function()
    for what, message in pairs {
      ["["] = "malformed pattern (missing ']')",
      ["%"] = "malformed pattern (ends with '%')",
      ["(a"] = "unfinished capture",
      ["%1"] = "invalid capture index %1",
    } do
      local found, err = pattern.matcher(what)(stream("aa"))
      assert.is_nil(found)
      assert.equal(message, err:sub(1, #message))
    end
  end)
end)

describe("reach", function()
  it("is how many bytes a match has at most", function()
    for what, limit in pairs { [""] = 0, ["a"] = 1, ["\r?\n"] = 2,
      ["\r\n\r\n"] = 4, ["[^%]a]b$"] = 2, ["%a%%?"] = 2, ["[]]x"] = 2,
      ["$a"] = 2, ["()a"] = 1, ["[a-]"] = 1, ["%-?"] = 1 } do
      assert.equal(limit, pattern.reach(what), what)
    end
    for _, what in ipairs(limited) do
      assert.is_number(pattern.reach(what), what)
    end
  end)

  it("is nil where there is no limit, or what is before counts", function()
    for _, what in ipairs { "a*", "[a]-", "%d+", "[a", "[%", "%b()", "(a)%1",
      "%f[a]", "^a" } do
      assert.is_nil(pattern.reach(what), what)
    end
    for _, what in ipairs(unlimited) do
      assert.is_nil(pattern.reach(what), what)
    end
  end)
end)
