-- SPDX-License-Identifier: MIT
-- Stack contexts with names, and the list of the entered ones.
local assert = require "luassert"
local StackContext = require "lunado.stack_context".StackContext

--- contexts() -> active, context.  context(name) makes a StackContext that adds
--- its name to the end of the list `active` when it is entered, and removes the
--- last name when it is left.
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
