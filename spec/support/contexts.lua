-- SPDX-License-Identifier: MIT
-- Stack contexts with names, and a list of those that are entered.
local assert = require "luassert"
local StackContext = require "lunado.stack_context".StackContext

--- contexts() -> active, context: context(name) makes a StackContext that puts
--- its name into the list `active` and takes it out again, from the end.
return function()
  local active = {}
  local function context(name)
    return StackContext(function()
      return {
        enter = function() active[#active + 1] = name end,
        exit = function() assert.equal(name, table.remove(active)) end,
      }
    end)
  end
  return active, context
end
