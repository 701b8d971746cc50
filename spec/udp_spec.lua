-- SPDX-License-Identifier: MIT
-- uv.udp_recv: datagrams as Futures.
local lunado = require "lunado"
local luv = require "luv"
local uv = require "lunado.uv"
local bad = require "spec.support.bad"
local frame = require "spec.support.frame"

local await = coroutine.yield

local server, client, port

local in_coroutine = frame.specs(it)
local function spec(name, fn)
  in_coroutine(name, function()
    server, client = uv.new_udp(), uv.new_udp()
    assert(uv.udp_bind(server, "127.0.0.1", 0))
    port = uv.udp_getsockname(server).port
    fn()
    if not uv.is_closing(server) then await(uv.close(server)) end
    await(uv.close(client))
  end)
end

local function send(data)
  await(uv.udp_send(client, data, "127.0.0.1", port))
end

before_each(function() frame.begin_default() end)
after_each(function() frame.finish() end)

describe("uv.udp_recv", function()
  spec("gives the data and the sender", function()
    local future = uv.udp_recv(server)
    send "hello"
    local data, address = await(future)
    assert.equal("hello", data)
    assert.equal("127.0.0.1", address.ip)
    assert.equal(uv.udp_getsockname(client).port, address.port)
    send ""
    assert.equal("", (await(uv.udp_recv(server))))
  end)

  spec("loses none of those that the system gives together", function()
    local made, several = pcall(uv.new_udp, { mmsgs = 4 })
    if not made then return end -- an old luv
    assert(uv.udp_bind(several, "127.0.0.1", 0))
    local to = uv.udp_getsockname(several).port
    for i = 1, 10 do
      await(uv.udp_send(client, tostring(i), "127.0.0.1", to))
    end
    for i = 1, 10 do
      assert.equal(tostring(i), (await(uv.udp_recv(several))))
    end
    await(uv.close(several))
  end)

  spec("serves those that wait in order", function()
    local futures = { uv.udp_recv(server), uv.udp_recv(server),
      uv.udp_recv(server) }
    for i = 1, 3 do send(tostring(i)) end
    for i = 1, 3 do assert.equal(tostring(i), (await(futures[i]))) end
  end)

  spec("leaves what comes between calls with the system", function()
    for i = 1, 5 do send(tostring(i)) end
    for i = 1, 5 do
      assert.equal(tostring(i), (await(uv.udp_recv(server))))
      assert.is_false(uv.is_active(server))
      await(lunado.sleep(0.001))
    end
  end)

  spec("loses nothing when who waited has gone", function()
    for round = 1, 3 do
      local ok = pcall(await, lunado.with_timeout({ seconds = 0.001 },
        uv.udp_recv(server)))
      assert.is_false(ok)
      send("a" .. round)
      send("b" .. round)
      await(lunado.sleep(0.002))
      assert.equal("a" .. round, (await(uv.udp_recv(server))))
      assert.equal("b" .. round, (await(uv.udp_recv(server))))
    end
  end)

  spec("fails those that wait when the handle is closed", function()
    local futures = { uv.udp_recv(server), uv.udp_recv(server) }
    await(uv.close(server))
    for _, future in ipairs(futures) do
      local ok, err = pcall(await, future)
      assert.is_false(ok)
      assert.is_truthy(err:find "^ECANCELED")
    end
    local ok, err = pcall(await, uv.udp_recv(server))
    assert.is_false(ok)
    assert.is_truthy(err:find "^EBADF")
  end)

  spec("refuses what is no UDP handle", function()
    bad(function() uv.udp_recv() end, 1, "udp_recv", "uv_udp", "nil")
    bad(function() uv.udp_recv({}) end, 1, "udp_recv", "uv_udp", "table")
    bad(function() uv.udp_recv(io.stdout) end, 1, "udp_recv")
    local timer = uv.new_timer()
    bad(function() uv.udp_recv(timer) end, 1, "udp_recv", "uv_udp",
      "uv_timer")
    await(uv.close(timer))
  end)

  spec("and udp_recv_start do not take a handle from each other", function()
    local future = uv.udp_recv(server)
    bad(function() uv.udp_recv_start(server, print) end, 1, "udp_recv_start")
    send "x"
    assert.equal("x", (await(future)))
    local got = lunado.Future()
    assert(uv.udp_recv_start(server, function(_, data)
      if data and not got:done() then got:set_result(data) end
    end))
    local ok, err = pcall(await, uv.udp_recv(server))
    assert.is_false(ok)
    assert.is_truthy(err:find "^EALREADY")
    send "y"
    assert.equal("y", await(got))
    uv.udp_recv_stop(server)
    future = uv.udp_recv(server)
    send "z"
    assert.equal("z", (await(future)))
  end)

  spec("is luv's own with callbacks", function()
    assert.is_nil(luv.udp_recv)
    local got = lunado.Future()
    assert(uv.udp_recv_start(server, function(_, data)
      if data and not got:done() then got:set_result(data) end
    end))
    send "x"
    assert.equal("x", await(got))
  end)
end)
