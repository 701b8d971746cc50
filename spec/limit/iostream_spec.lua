-- SPDX-License-Identifier: MIT
-- What comes in many small pieces costs as much as in a few large ones: were
-- all of them looked at for each one that comes, these would take hours.
local buffer = require "lunado.buffer"
local times = require "spec.support.times"

local MANY = times(300000)

-- Pieces of one byte, each looked at; then the end of it all.
local function search(find)
  local self = buffer.new()
  for _ = 1, MANY do
    self:append("x")
    assert(not find(self))
  end
  self:append("\r\n")
  return find(self), self
end

describe("300,000 pieces", function()
  it("are searched for a delimiter", function()
    local found, self = search(function(b) return b:find("\r\n") end)
    assert.equal(MANY + 2, found)
    assert.equal(MANY + 2, #self:take(found))
  end)

  it("are searched for a pattern", function()
    local limit = buffer.reach("\r?\n")
    assert.equal(MANY + 2, (search(function(b)
      return b:match("\r?\n", limit)
    end)))
  end)

  it("are taken one by one, and all at once", function()
    local self = buffer.new()
    for _ = 1, MANY do self:append("xyz") end
    for _ = 1, MANY do assert(#self:take(2) == 2) end
    assert.equal(MANY, #self:take(self.size))
  end)
end)

describe("a large piece", function()
  it("is taken in small ones", function()
    local self = buffer.new()
    self:append(("line\n"):rep(MANY))
    for _ = 1, MANY do
      self:rewind()
      assert(self:take(self:find("\n")) == "line\n")
    end
    assert.equal(0, self.size)
  end)
end)
