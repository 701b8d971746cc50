-- SPDX-License-Identifier: MIT
-- require: its CPU time, and the growth of Lua's heap.
local w = {
  title = "require", n = 1, measures_itself = true,
  metrics = {
    { key = "ms", unit = "ms", title = "time of require",
      goals = { { "lunado", 3 } } },
    { key = "kb", unit = "KB", title = "Lua memory after require",
      goals = { { "lunado", 300 } } },
  },
}

local function requires(...)
  local names = { ... }
  return function()
    return function()
      collectgarbage()
      local before, from = collectgarbage "count", os.clock()
      for _, name in ipairs(names) do require(name) end
      local ms = (os.clock() - from) * 1000
      collectgarbage()
      return { ms = ms, kb = collectgarbage "count" - before }
    end
  end
end

w.luv = requires "luv"
w.cqueues = requires("cqueues", "cqueues.promise", "cqueues.socket")
w.copas = requires("copas")
w.lunado = requires "lunado"

return w
