-- SPDX-License-Identifier: MIT
-- Passes a string of 64 MB to a job on another thread, which returns it.  The
-- figure is the CPU time of all threads for one MB.
local w = {
  title = "string of 64 MB to a thread and back (CPU of all threads, each MB)",
  n = 64, goals = { { "lunado", 0.8, "luv" } },
}

local function same(text) return text end

function w.luv(n)
  local uv = require "luv"
  local text, back = ("x"):rep(n << 20), nil
  local context = uv.new_work(function(s) return s end,
    function(s) back = s end)
  return function()
    back = nil
    context:queue(text)
    uv.run()
    assert(#back == #text)
  end
end

function w.lunado(n)
  local lunado = require "lunado"
  local executor = lunado.concurrent.ThreadPoolExecutor(1)
  local text = ("x"):rep(n << 20)
  return function()
    local back = lunado.run(function()
      return coroutine.yield(executor:submit(same, text))
    end)
    assert(#back == #text)
  end
end

return w
