-- SPDX-License-Identifier: MIT
-- 1,000,000 callbacks with an argument, queued at once and run by the loop.
-- Each callback is protected: its error must not stop the others.
local w = {
  title = "a callback through the loop, 1,000,000 queued", n = 1000000,
  goals = { { "lunado", 0.75, "raw" } },
}

function w.raw(n)
  return function()
    local queue, arguments, tail, last = {}, {}, 0, nil
    local function soon(fn, argument)
      tail = tail + 1
      queue[tail], arguments[tail] = fn, argument
    end
    local function tick(i) last = i end
    for i = 1, n do soon(tick, i) end
    for i = 1, tail do
      local fn, argument = queue[i], arguments[i]
      queue[i], arguments[i] = nil, nil
      local ok, err = pcall(fn, argument)
      if not ok then io.stderr:write(tostring(err), "\n") end
    end
    assert(last == n)
  end
end

function w.luv(n)
  local luv, uv = require "hand_luv", require "luv"
  return function()
    local last
    local function tick(i) last = i end
    for i = 1, n do luv.soon(tick, i) end
    uv.run()
    assert(last == n)
  end
end

function w.cqueues(n)
  local cqueues = require "cqueues"
  return function()
    local cq, last = cqueues.new(), nil
    local function tick(i) last = i end
    for i = 1, n do cq:wrap(tick, i) end
    assert(cq:loop())
    assert(last)
  end
end

function w.lunado(n)
  local loop = require "lunado".IOLoop.current()
  return function()
    local last
    local function tick(i) last = i end
    for i = 1, n do loop:add_callback(tick, i) end
    loop:add_callback(loop.stop, loop)
    loop:start()
    assert(last == n)
  end
end

return w
