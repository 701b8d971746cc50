-- SPDX-License-Identifier: MIT
-- luv beside lunado: the end of a state with luv's handles on the loop, and of
-- handles before that.
local child = require "spec.support.child"
local interpreter = require "spec.support.interpreter"
local luv = require "spec.support.luv"

local expect = luv.expect
local orders, PRELUDE = luv.orders, luv.prelude

describe("the end of the state", function()
  it("is clean with luv's handles open", expect("", [[
    for i = 1, 3 do
      uv.new_timer():start(60000, 0, print)
    end
    local fds = uv.pipe()
    local pipe = uv.new_pipe(false)
    pipe:open(fds.read)
    pipe:read_start(print)
    uv.new_tcp()
    uv.new_async(print)
    uv.new_idle()
    uv.new_prepare():start(print)
    loop:call_later(60, print)
    loop:add_callback(print)
  ]]))

  it("is clean with requests in the thread pool", expect("", [[
    for i = 1, 20 do
      uv.fs_stat(arg[0], function() end)
    end
    gen.coroutine(function() coroutine.yield(gen.sleep(60)) end)()
  ]]))

  it("is clean after both were used", expect("", [[
    for _ = 1, 3 do
      after(1, function() end)
      lunado.run(function() coroutine.yield(gen.sleep(0.001)) end)
      uv.run()
    end
  ]]))

  it("is clean with handles that are closing", expect("", [[
    uv.new_timer():close()
    local t = uv.new_timer()
    t:start(0, 0, print)
    t:close()
    lunado.run(function() end)
    uv.new_timer():close()
  ]]))

  it("is clean where the loop was not used", function()
    for _, last in ipairs {
      "uv.close(uv.new_timer())",
      "pcall(uv.spawn, '/there/is/no/such/program')",
      "local t = uv.new_timer() collectgarbage() t:close()",
      "local server = require('lunado.tcpserver').TCPServer() "
        .. "server:listen(0) server:stop()",
    } do
      local r = child("local uv = require 'lunado.uv' " .. last)
      assert.same({ code = 0, out = "", err = "" }, r, last)
    end
  end)

  it("is clean by os.exit", function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. [[
        uv.new_timer():start(60000, 0, print)
        loop:call_later(60, print)
        after(1, function() os.exit(7, true) end)
        loop:start()
      ]])
      assert.same({ code = 7, out = "", err = "" }, r, order[1])
    end
  end)

  it("is clean after the loop was closed, and luv lives on",
    expect("luv lives", [[
      loop:call_later(60, print)
      loop:close()
      after(1, function() io.write("luv lives") end)
      uv.run()
    ]]))

  it("logs errors that were not observed, once", function()
    for _, order in ipairs(orders) do
      local r = child(order[2] .. PRELUDE .. [[
        kept = lunado.Future()
        kept:set_exception("late trouble")
        uv.new_timer():start(60000, 0, print)
      ]])
      local _, n = r.err:gsub("never retrieved: late trouble", "")
      assert.equal(0, r.code, r.err)
      assert.equal(1, n, order[1] .. ": " .. r.err)
    end
  end)
end)

describe("handles of luv's that were closed", function()
  it("are freed while the loop runs", expect("freed", [[
    local alive = setmetatable({}, { __mode = "k" })
    local n = 0
    local function next_one()
      n = n + 1
      if n == 500 then return loop:stop() end
      local t = uv.new_timer()
      alive[t] = true
      t:start(0, 0, function() t:close(next_one) end)
    end
    next_one()
    loop:start()
    for _ = 1, 2 do
      collectgarbage()
      collectgarbage()
      after(0, function() loop:stop() end)
      loop:start()
    end
    local left = 0
    for _ in pairs(alive) do
      left = left + 1
    end
    assert(left < 10, left)
    io.write("freed")
  ]]))
end)

-- With a handle of every type, open or closing, and requests under way.
local BUSY = [[
  local function never() io.write("called") end
  uv.new_timer():start(60000, 0, never)
  uv.new_timer():start(0, 1, never)
  uv.new_timer():close(never)
  uv.new_idle():start(never)
  uv.new_prepare():start(never)
  uv.new_check():start(never)
  uv.new_async(never):close(never)
  uv.new_async(never)
  uv.new_signal():start("sigusr1", never)
  uv.new_fs_poll():start(arg[0], 60000, never)
  uv.new_fs_event():start(arg[0], {}, never)
  local server = uv.new_tcp()
  server:bind("127.0.0.1", 0)
  server:listen(8, never)
  uv.new_tcp():connect("127.0.0.1", server:getsockname().port, never)
  local udp = uv.new_udp()
  udp:bind("127.0.0.1", 0)
  udp:recv_start(never)
  uv.spawn("true", {}, never)
  uv.fs_stat(arg[0], never)
  uv.getaddrinfo("localhost", nil, {}, never)
  loop:call_later(60, never)
  loop:add_callback(never)
  gen.coroutine(function() coroutine.yield(gen.sleep(60)) end)()
]]

describe("the end of a busy state", function()
  it("calls no callback", expect("", BUSY))

  it("waits for what the thread pool does for handles", expect("", [[
    uv.os_setenv("UV_THREADPOOL_SIZE", "1")
    local fifo = os.tmpname()
    os.remove(fifo)
    assert(os.execute("mkfifo " .. fifo))
    os.execute(("(sleep 0.1; : >%s; rm %s) &"):format(fifo, fifo))
    uv.fs_open(fifo, "r", 0, print) -- waits for the one that writes
    uv.new_fs_poll():start(arg[0], 60000, print)
  ]]))

  it("calls no callback after the loop was closed",
    expect("", BUSY .. "loop:close()"))

  it("is the same for every order of collection", expect("", BUSY .. [[
    collectgarbage("generational")
    collectgarbage()
    uv, loop, lunado, gen = nil, nil, nil, nil
    server, udp = nil, nil
    collectgarbage()
  ]]))
end)

describe("valgrind", function()
  -- With musl, valgrind does not see where memory is allocated.
  local available = not luv.checked
    and os.execute(("valgrind --quiet --error-exitcode=99 %s -e "
      .. "'io.open(arg[0]):close()' /dev/null >/dev/null 2>&1")
      :format(interpreter))

  local function expect_clean(script)
    return function()
      if not available then return pending("valgrind is of no use here") end
      for _, order in ipairs(orders) do
        local name = os.tmpname()
        local file = assert(io.open(name, "w"))
        file:write(order[2] .. PRELUDE .. script)
        file:close()
        local r = child(([[
          local _, _, code = os.execute(("valgrind --quiet --leak-check=full "
            .. "--suppressions=spec/support/valgrind.supp "
            .. "--errors-for-leak-kinds=definite --error-exitcode=99 %%s %%s")
            :format(arg[-1], %q))
          os.exit(code)
        ]]):format(name))
        os.remove(name)
        if r.err:find("I can't recover.  Giving up.", 1, true) then
          return pending("valgrind cannot read what this compiler writes")
        end
        assert.equal(0, r.code, order[1] .. ": " .. r.err)
        assert.equal("", r.err, order[1])
      end
    end
  end

  it("finds nothing at the end of a busy state", expect_clean(BUSY))

  it("finds nothing when both were used, and required again", expect_clean [[
    loop.handle_callback_exception = function() end
    after(1, function() error("in luv") end)
    lunado.run(function()
      local f = lunado.Future()
      after(2, function() f:set_result() end)
      coroutine.yield(f)
    end)
    package.loaded.luv = nil
    collectgarbage()
    uv = require "luv"
    after(0, function() end)
    uv.run()
    loop:close()
    after(0, function() end)
    uv.run()
    loop = lunado.IOLoop.current()
    after(0, function() loop:stop() end)
    loop:start()
    uv.new_timer():start(60000, 0, print)
  ]])
end)
