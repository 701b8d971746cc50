-- SPDX-License-Identifier: MIT
-- lunado.buffer: what streams keep, in pieces of every size.
local buffer = require "lunado.buffer"

math.randomseed(7)

-- The text in random pieces of up to `most` bytes.
local function pieces(text, most)
  local list, from = {}, 1
  while from <= #text do
    local size = math.random(1, most)
    list[#list + 1] = text:sub(from, from + size - 1)
    from = from + size
  end
  return list
end

-- A text of few letters, so that delimiters nearly come.
local function random_text(size)
  local letters = {}
  for i = 1, size do letters[i] = ("ab\0"):sub(math.random(3), -1):sub(1, 1) end
  return table.concat(letters)
end

local function filled(list)
  local self = buffer.new()
  for _, piece in ipairs(list) do self:append(piece) end
  return self
end

describe("take", function()
  it("gives the bytes in their order, in portions of every size", function()
    for _ = 1, 200 do
      local text, got = random_text(200), {}
      local self, list = buffer.new(), pieces(text, 20)
      local i = 0
      while self.size > 0 or i < #list do
        if i < #list then
          i = i + 1
          self:append(list[i])
        end
        got[#got + 1] = self:take(math.random(0, self.size))
      end
      assert.equal(text, table.concat(got))
      assert.equal(0, self.size)
    end
  end)

  it("keeps nothing of what was taken", function()
    for _ = 1, 100 do
      local self = filled(pieces(random_text(100), 10))
      while self.size > 0 do
        self:take(math.random(1, self.size))
        local count = 0
        for i in pairs(self.chunks) do
          assert.is_true(self.first <= i and i <= self.last)
          count = count + 1
        end
        assert.is_true(count <= self.size)
      end
    end
  end)

  it("copies nothing where one piece is asked for", function()
    local self = filled { "one", "two" }
    assert.equal("one", self:take(3))
    assert.equal("two", self:take(3))
    assert.equal("", self:take(0))
  end)
end)

-- Searches after each piece that comes; checks against the whole text.
local function check(text, skip, most, search, expected)
  local self, list, i = buffer.new(), pieces(text, most), 0
  repeat
    i = i + 1
    self:append(list[i])
  until self.size >= skip
  self:take(skip)
  self:rewind()
  local found = search(self)
  while not found and i < #list do
    i = i + 1
    self:append(list[i])
    found = search(self)
  end
  assert.equal(expected, found)
  if found then
    assert.equal(text:sub(skip + 1, skip + found), self:take(found))
  end
end

describe("find", function()
  it("finds the first delimiter, wherever the pieces end", function()
    for _ = 1, 3000 do
      local text, skip = random_text(60), math.random(0, 20)
      local delimiter = random_text(math.random(1, 6))
      local _, last = text:find(delimiter, skip + 1, true)
      check(text, skip, math.random(1, 12), function(self)
        return self:find(delimiter)
      end, last and last - skip)
    end
  end)

  it("goes on after a search in vain, and begins anew when told", function()
    local self = filled { "one\r", "two" }
    assert.is_nil(self:find("\r\n"))
    self:append("\r")
    assert.is_nil(self:find("\r\n"))
    self:append("\n")
    assert.equal(9, self:find("\r\n"))
    self:rewind()
    assert.equal(4, self:find("\r"))
  end)
end)

describe("match", function()
  local patterns = { "b", "a?b", "%z", "[ab][^ab]", "(a)b()", "[]%]a]%z",
    "a%z?b?a", ".", "a.b", "%%?b" }
  local unlimited = { "a+%z", "b-a", "%b\0a", "(.)%1%z", "a*", "%f[a]ab",
    "^a", "^%z.", "[%]-a]*b" }

  -- Where the first match ends, when the bytes behind `skip` come one by one.
  local function earliest(text, skip, pattern)
    for size = skip + 1, #text do
      local _, last = text:sub(skip + 1, size):find(pattern)
      if last then return last end
    end
  end

  local function compare(pattern, limit)
    for _ = 1, 300 do
      local text, skip = random_text(40), math.random(0, 10)
      check(text, skip, 1, function(self)
        return self:match(pattern, limit)
      end, earliest(text, skip, pattern))
    end
  end

  it("finds what string.find does, wherever the pieces end", function()
    for _, pattern in ipairs(patterns) do
      local limit = buffer.reach(pattern)
      assert.is_number(limit, pattern)
      compare(pattern, limit)
    end
  end)

  it("looks at everything again where it has to", function()
    for _, pattern in ipairs(unlimited) do
      assert.is_nil(buffer.reach(pattern), pattern)
      compare(pattern)
    end
  end)

  it("finds it in one large piece, from where the last read ended", function()
    for _, pattern in ipairs { "b", "a?b", "a+%z", "^a", "%f[a]ab" } do
      local limit = buffer.reach(pattern)
      for _ = 1, 300 do
        local text, skip = random_text(40), math.random(1, 10)
        local _, last = text:sub(skip + 1):find(pattern)
        check(text, skip, 1000, function(self)
          return self:match(pattern, limit)
        end, last)
      end
    end
  end)

  it("knows how far a match reaches", function()
    local reaches = { [""] = 0, ["a"] = 1, ["\r?\n"] = 2, ["\r\n\r\n"] = 4,
      ["[^%]a]b$"] = 2, ["%a%%?"] = 2, ["[]]x"] = 2, ["$a"] = 2,
      ["()a"] = 1, ["[a-]"] = 1, ["%-?"] = 1 }
    for pattern, limit in pairs(reaches) do
      assert.equal(limit, buffer.reach(pattern), pattern)
    end
    for _, pattern in ipairs { "a*", "[a]-", "%d+", "[a", "[%", "%b()",
      "(a)%1", "%f[a]", "^a" } do
      assert.is_nil(buffer.reach(pattern), pattern)
    end
  end)
end)
