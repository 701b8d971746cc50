-- SPDX-License-Identifier: MIT
-- Lists of awkward values, to pass through every function that takes values.
local values = {}

local function raise()
  error("a metamethod was called")
end

-- Each of these errors must arrive as the same object, unchanged.
values.errors = {
  { "a string", "boom" },
  { "an empty string", "" },
  { "a string with zeros", "a\0b" },
  { "false", false },
  { "true", true },
  { "an integer", 42 },
  { "a float", 0.5 },
  { "a table", {} },
  { "a function", raise },
  { "a userdata", io.stdout },
  { "a thread", coroutine.create(raise) },
  { "a table whose metamethods raise", setmetatable({}, {
    __index = raise, __newindex = raise, __eq = raise, __tostring = raise,
    __len = raise, __concat = raise, __call = raise, __lt = raise,
  }) },
  { "a table with __metatable", setmetatable({}, { __metatable = false }) },
  { "a table whose __tostring gives a number", setmetatable({}, {
    __tostring = function() return 1 end,
  }) },
  { "a table whose __name is a number", setmetatable({}, { __name = 1 }) },
}

-- Lists of results, in the form of table.pack.
local many = { n = 300 }
for i = 1, 300, 3 do
  many[i], many[i + 2] = i, false
end

values.lists = {
  { "no value", table.pack() },
  { "nil", table.pack(nil) },
  { "false", table.pack(false) },
  { "one value", table.pack("one") },
  { "nils around a value", table.pack(nil, "x", nil) },
  { "nils only", table.pack(nil, nil, nil) },
  { "a list", table.pack({ 1, 2 }) },
  { "300 values", many },
}

function values.unpack(list)
  return table.unpack(list, 1, list.n)
end

return values
