-- SPDX-License-Identifier: MIT
-- An error that somebody is waiting for when a run, a loop or the state ends
-- counts as observed.
local child = require "spec.support.child"

-- Runs the body as a script; what it logs of errors that nobody retrieved, and
-- how often.
local function never_retrieved(body, ending)
  local result = child(([[
    local lunado = require "lunado"
    local concurrent, gen = lunado.concurrent, lunado.gen
    local Future, await = lunado.Future, coroutine.yield
    local loop = lunado.IOLoop()
    loop:make_current()
    local run = function(fn) return loop:run_sync(fn) end
    %s
    %s
  ]]):format(body, ending))
  assert.equal(0, result.code, result.err)
  local _, n = result.err:gsub("never retrieved: [^\n]*trouble", "")
  assert.is_nil(result.err:find "Exception in callback", result.err)
  return n, result.err
end

-- How the end comes after the body.
local endings = {
  ["the state"] = "",
  ["the state, after a collection"] = "collectgarbage()",
  ["the state, by os.exit"] = "os.exit(true, true)",
  ["the loop"] = "loop:close()",
  ["the state, collected in between"] =
    "collectgarbage 'incremental' collectgarbage('step', 100)",
}

-- The Future's error is on its way to somebody: what is logged is 0.
local waiting = {
  ["a coroutine that catches it"] = [[
    local f = Future()
    gen.coroutine(function() pcall(await, f) end)()
    run(function() f:set_exception "trouble" end)]],
  ["a coroutine that lets it pass, to one that catches it"] = [[
    local f = Future()
    local co = gen.coroutine(function() await(f) end)()
    gen.coroutine(function() pcall(await, co) end)()
    run(function() f:set_exception "trouble" end)]],
  ["gen.await"] = [[
    local f = Future()
    gen.coroutine(function() pcall(gen.await, f) end)()
    run(function() f:set_exception "trouble" end)]],
  ["several coroutines"] = [[
    local f = Future()
    for _ = 1, 3 do gen.coroutine(function() pcall(await, f) end)() end
    run(function() f:set_exception "trouble" end)]],
  ["a coroutine within a stack context"] = [[
    local f = Future()
    lunado.stack_context.NullContext():run(function()
      lunado.stack_context.ExceptionStackContext(function() end)
        :run(function()
          gen.coroutine(function() pcall(await, f) end)()
        end)
    end)
    run(function() f:set_exception "trouble" end)]],
  ["a multi that is not done"] = [[
    f, g = Future(), Future()
    gen.coroutine(function() pcall(await, { f, g }) end)()
    run(function() f:set_exception "trouble" end)]],
  ["a multi that is not done, at the end of a chain"] = [[
    f, g = Future(), Future()
    local chained = Future()
    concurrent.chain_future(f, chained)
    gen.coroutine(function()
      pcall(await, gen.with_timeout(math.huge, gen.multi { chained, g }))
    end)()
    run(function() f:set_exception "trouble" end)]],
  ["a multi that began to wait when it was there"] = [[
    f, g = Future(), Future()
    f:set_exception "trouble"
    gen.coroutine(function() pcall(await, { f, g }) end)()
    run(function() end)]],
  ["a WaitIterator that began to wait when it was there"] = [[
    f, g = Future(), Future()
    f:set_exception "trouble"
    gen.coroutine(function()
      await()
      pcall(await, gen.WaitIterator(f, g):next())
    end)()
    wi = gen.WaitIterator(f, g)
    run(function() end)]],
  ["a multi that is done"] = [[
    local f = Future()
    gen.coroutine(function() pcall(await, { f }) end)()
    run(function() f:set_exception "trouble" end)]],
  ["with_timeout"] = [[
    local f = Future()
    gen.coroutine(function()
      pcall(await, gen.with_timeout({ hours = 1 }, f))
    end)()
    run(function() f:set_exception "trouble" end)]],
  ["a WaitIterator"] = [[
    f, g = Future(), Future()
    gen.coroutine(function()
      local wi = gen.WaitIterator(g, f)
      while not wi:done() do pcall(await, wi:next()) end
    end)()
    run(function()
      f:set_exception "trouble"
      g:set_result()
    end)]],
  ["a function of add_future"] = [[
    local f = Future()
    loop:add_future(f, function(done) done:exception() end)
    run(function() f:set_exception "trouble" end)]],
  ["a function of add_future within a stack context"] = [[
    local f = Future()
    lunado.stack_context.ExceptionStackContext(function() end)
      :run(function()
        loop:add_future(f, function(done) done:exception() end)
      end)
    run(function() f:set_exception "trouble" end)]],
  ["the callback of a coroutine"] = [[
    local f = Future()
    gen.coroutine(function() await(f) end)(
      lunado.util.kwargs { callback = print })
    run(function() f:set_exception "trouble" end)]],
}

-- Nobody waits: it is logged once.
local unseen = {
  ["nobody"] = [[
    local f = Future()
    run(function() f:set_exception "trouble" end)]],
  ["a coroutine that has failed of it"] = [[
    local f = Future()
    gen.coroutine(function() await(f) end)()
    run(function() f:set_exception "trouble" await() await() end)]],
  ["a multi that failed of it"] = [[
    local f = Future()
    gen.multi { f }
    run(function() f:set_exception "trouble" end)]],
  ["a Future that it was chained to"] = [[
    local f, g = Future(), Future()
    concurrent.chain_future(f, g)
    run(function() f:set_exception "trouble" end)]],
  ["a callback that did not ask"] = [[
    local f = Future()
    f:add_done_callback(function() end)
    run(function() f:set_exception "trouble" end)]],
  ["a function of add_future that did not ask"] = [[
    local f = Future()
    loop:add_future(f, function() end)
    run(function() f:set_exception "trouble" await() await() end)]],
  ["a function of add_future that did not ask, before others"] = [[
    f = Future()
    loop:add_future(f, function() end)
    run(function()
      f:set_exception "trouble" await() await()
      for _ = 1, 10 do loop:add_callback(print, Future()) end
    end)]],
}

local function each(t, fn)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do fn(name, t[name]) end
end

each(endings, function(ending, finish)
  describe("at the end of " .. ending .. " an error is", function()
    each(waiting, function(name, body)
      it("not reported where it is awaited by " .. name, function()
        local n, text = never_retrieved(body, finish)
        assert.equal(0, n, text)
      end)
    end)

    each(unseen, function(name, body)
      it("reported once where it came to " .. name, function()
        local n, text = never_retrieved(body, finish)
        assert.equal(1, n, text)
      end)
    end)
  end)
end)

describe("an error that is awaited by a wait that never ends", function()
  it("is reported when the program goes on", function()
    -- The multi is never done, and nobody can reach it any more.
    local n, text = never_retrieved([[
      local function drop()
        local f = Future()
        gen.coroutine(function() pcall(await, { f, Future() }) end)()
        f:set_exception "trouble"
      end
      drop()
      for _ = 1, 4 do collectgarbage() end]], "os.exit(true)")
    assert.equal(1, n, text)
  end)
end)
