-- SPDX-License-Identifier: MIT
-- lunado.debug: which coroutines are suspended, and who waits for whom.
local lunado = require "lunado"
local lunado_debug = require "lunado.debug"
local testing = require "lunado.testing"
local bad = require "spec.support.bad"
local busted = require "spec.support.busted"
local child = require "spec.support.child"
local frame = require "spec.support.frame"
local gc = require "spec.support.gc"
local line = require "spec.support.here"
local loops = require "spec.support.loops"
local times = require "spec.support.times"

local Future, IOLoop = lunado.Future, lunado.IOLoop
local await, sleep = coroutine.yield, lunado.sleep
local here = debug.getinfo(1, "S").short_src

-- The entry of the coroutine of that Future; nil when it is not listed.
local function entry_of(future)
  local found
  for _, entry in ipairs(lunado_debug.tasks()) do
    if entry.future == future then
      assert.is_nil(found)
      found = entry
    end
  end
  return found
end

-- The part of the dump that begins with the coroutine of the name.
local function dumped(name)
  local out = {}
  lunado_debug.dump { write = function(_, ...)
    for _, part in ipairs { ... } do out[#out + 1] = part end
  end }
  local text = table.concat(out)
  if not name then return text end
  local pattern = "\n(" .. name:gsub("%p", "%%%0") .. " at [^\n]*\n.*)"
  text = text:match(pattern)
  return text and text:gsub("\n[^ ].*", "\n")
end

-- A module of functions with names.
local known = {}
package.loaded["spec.known"] = known

known.wait = lunado.coroutine(function(x) return await(x) end)
function known.plain(x) return await(x) end

describe("tasks", function()
  local loop, names
  before_each(function()
    loop = frame.begin()
    gc.collect()
    lunado.log.set_level "error" -- many are forgotten on purpose
    names = package.loaded["spec.known"]
    package.loaded["spec.known"] = known
  end)
  after_each(function()
    package.loaded["spec.known"] = names
    frame.finish()
  end)

  it("describes a coroutine", function()
    local f, waits, first = Future(), nil, line() + 1
    local future = lunado.coroutine(function()
      waits = line() + 1
      await(f)
    end)()
    local entry = entry_of(future)
    assert.equal(("function <%s:%d>"):format(here, first), entry.name)
    assert.equal(("%s:%d"):format(here, waits), entry.where)
    assert.equal(f, entry.waiting_for)
    assert.equal("thread", type(entry.coroutine))
    assert.equal("suspended", coroutine.status(entry.coroutine))
    local lines = debug.traceback(entry.coroutine)
    assert.is_truthy(lines:find(entry.where, 1, true), lines)
    assert.is_true(entry.age >= 0 and entry.age < 60)
    local fields = {}
    for name in pairs(entry) do fields[#fields + 1] = name end
    assert.equal(6, #fields)
  end)

  it("shows the line where it waits, at any depth of calls", function()
    local at
    local function deep(n)
      if n > 0 then return (deep(n - 1)) end
      at = line() + 1
      local ok, value = pcall(await, Future())
      return ok, value
    end
    local future = lunado.coroutine(function() return (deep(100)) end)()
    assert.equal(("%s:%d"):format(here, at), entry_of(future).where)
  end)

  it("names a function as its module does", function()
    assert.equal("spec.known.wait", entry_of(known.wait(Future())).name)
    assert.equal("spec.known.plain",
      entry_of(lunado.coroutine(known.plain)(Future())).name)
    _G.a_global = lunado.coroutine(function() await(Future()) end)
    local future = _G.a_global()
    assert.equal("a_global", entry_of(future).name)
    _G.a_global = nil
    assert.is_truthy(entry_of(future).name:find "^function <")
    assert.equal("coroutine.yield",
      entry_of(lunado.coroutine(coroutine.yield)(Future())).name)
  end)

  it("lists no coroutine that has ended, that failed, or that runs", function()
    local f = Future()
    local futures = { known.wait(f), known.wait(f) }
    futures[3] = lunado.coroutine(function()
      await(f)
      error "failed"
    end)()
    for i = 1, 3 do assert.is_not_nil(entry_of(futures[i])) end
    local running
    loops.run(loop, function()
      running = lunado.coroutine(function()
        await()
        assert.is_nil(entry_of(running))
        await(f)
      end)()
      assert.is_not_nil(entry_of(running))
      await()
      f:set_result()
      await(lunado.multi { futures[1], futures[2], running })
      assert.is_false(pcall(await, futures[3]))
    end)
    futures[4] = running
    for i = 1, 4 do assert.is_nil(entry_of(futures[i])) end
    assert.is_nil(entry_of(lunado.coroutine(function() end)()))
  end)

  it("lists one that the loop will resume without a Future", function()
    local at
    local future = lunado.coroutine(function()
      at = line() + 1
      await()
      await(Future())
    end)()
    local entry = entry_of(future)
    assert.is_nil(entry.waiting_for)
    assert.equal(("%s:%d"):format(here, at), entry.where)
    loops.turn(loop)
    assert.is_not_nil(entry_of(future).waiting_for)
    local f = Future()
    future = known.wait(f)
    f:set_result()
    assert.is_nil(entry_of(future).waiting_for)
  end)

  it("lists one that has not started", function()
    -- Below a C function, and so deep that it is left to the loop.
    local f, late, first = Future(), nil, nil
    local function nest()
      table.sort({ 1, 2 }, function()
        if late then return false end
        local started = false
        first = line() + 1
        local future = lunado.coroutine(function()
          started = true
          if not late then nest() end
          await(f)
        end)()
        if not started then late = future end
        return false
      end)
    end
    nest()
    local entry = entry_of(late)
    assert.equal(("%s:%d"):format(here, first), entry.where)
    assert.equal(("function <%s>"):format(entry.where), entry.name)
    assert.is_nil(entry.waiting_for)
    assert.is_truthy(dumped():find("\nfunction <[^\n]*>"
      .. " at [^\n]*, about to start\n"))
    loops.turn(loop)
    assert.equal(f, entry_of(late).waiting_for)
    assert.not_equal(entry.where, entry_of(late).where)
  end)

  it("shows what a coroutine waits for, converted to one Future", function()
    local future = known.wait { Future(), Future() }
    assert.is_true(lunado.concurrent.is_future(entry_of(future).waiting_for))
  end)

  it("tells the age on the loop's time, the oldest first", function()
    local clock = testing.virtual_clock(loop)
    local old = lunado.coroutine(function()
      await(sleep(5))
      await(Future())
    end)()
    clock:advance(2)
    local young = known.wait(Future())
    clock:advance(1)
    assert.equal(3, entry_of(old).age)
    assert.equal(1, entry_of(young).age)
    loop:run_sync(function() await(sleep(10)) end)
    assert.equal(13, entry_of(old).age)
    local ages = {}
    for i, entry in ipairs(lunado_debug.tasks()) do ages[i] = entry.age end
    for i = 2, #ages do assert.is_true(ages[i - 1] >= ages[i]) end
    assert.is_true(#ages >= 2)
  end)

  it("counts the age of a coroutine on a reused thread anew", function()
    local clock = testing.virtual_clock(loop)
    for _ = 1, 3 do
      local f = Future()
      local future = known.wait(f)
      assert.equal(0, entry_of(future).age)
      clock:advance(7)
      assert.equal(7, entry_of(future).age)
      f:set_result()
      loop:run_sync(function() await(future) end)
      assert.is_nil(entry_of(future))
    end
  end)

  it("lists the coroutines of all loops", function()
    local other <close> = IOLoop(false)
    local mine = known.wait(Future())
    other:make_current()
    local its = known.wait(Future())
    loop:make_current()
    assert.is_not_nil(entry_of(mine))
    assert.is_not_nil(entry_of(its))
    other:close()
    entry_of(its)
    assert.is_not_nil(entry_of(mine))
  end)

  it("is a new list each time", function()
    local future = known.wait(Future())
    local list = lunado_debug.tasks()
    local count = #list
    assert.is_true(count >= 1)
    for i in ipairs(list) do list[i] = nil end
    assert.equal(count, #lunado_debug.tasks())
    assert.is_not_nil(future)
  end)
end)

describe("a coroutine that is tracked", function()
  local loop, log
  before_each(function() loop, log = frame.begin() end)
  after_each(function() frame.finish() end)

  it("is collected, and that is logged, as usual", function()
    assert.is_true(gc.collects(function()
      return entry_of(known.wait(Future())).coroutine
    end))
    assert.equal(1, log:count "Coroutine was collected while waiting at")
  end)

  it("is not listed once it is collected", function()
    local before = #lunado_debug.tasks()
    local kept = {}
    for i = 1, 100 do kept[i] = known.wait(Future()) end
    assert.is_true(#lunado_debug.tasks() >= before + #kept)
    for i = 1, 100 do kept[i] = nil end
    gc.collect()
    assert.is_true(#lunado_debug.tasks() <= before)
    assert.equal(100, log:count "Coroutine was collected while waiting at")
  end)

  it("uses no memory once it has ended", function()
    local function many()
      for _ = 1, times(5000) do
        local f = Future()
        local future = known.wait(f)
        f:set_result()
        loops.run(loop, function() await(future) end)
      end
    end
    many()
    local before = gc.kilobytes()
    many()
    assert.is_true(gc.kilobytes() - before < 100)
  end)
end)

describe("coroutines from before debug was loaded", function()
  -- Each line makes one of them; the script prints what is found.
  local function found(script)
    local result = child([[
      local lunado = require "lunado"
      local await = coroutine.yield
      local wait = lunado.coroutine(function(f) await(f) end)
      assert(not package.loaded["lunado.debug"])
      ]] .. script .. [[
      local count = 0
      for _, entry in ipairs(lunado.debug.tasks()) do
        count = count + 1
        assert(entry.where:find ":3$" and entry.age >= 0 and entry.age < 60)
      end
      io.write(count)
    ]])
    assert.equal("", result.err)
    return result.out
  end

  it("are found wherever they are held", function()
    local holds = {
      "wait(lunado.sleep(60))",
      "local kept = lunado.Future() wait(kept)",
      "local kept = wait(lunado.Future())",
      "kept = { { [lunado.Future()] = 1 } } wait((next(kept[1])))",
      "local kept = lunado.Future() f = function() return kept end wait(kept)",
      "local f = lunado.Future() "
        .. "lunado.IOLoop.current():add_callback(f.set_result, f) wait(f)",
      "lunado.IOLoop.current():add_callback(print, wait(lunado.Future()))",
      "wait()",
      "wait{ lunado.sleep(60) }",
      "wait(wait(wait(lunado.sleep(60)))) local three = 1",
      "co = coroutine.wrap(function(...) await() end) "
        .. "co(wait(lunado.Future()))",
      "getmetatable('').kept = wait(lunado.Future())",
      "kept = setmetatable({}, { __mode = 'k' }) "
        .. "kept[kept] = wait(lunado.Future())",
    }
    for _, script in ipairs(holds) do
      local count = script:find "three" and "3" or "1"
      assert.equal(count, found(script .. "\n"), script)
    end
  end)

  it("are found from inside a coroutine, too", function()
    assert.equal("2", found([[
      wait(lunado.sleep(60))
      lunado.coroutine(function()
        local kept = wait(lunado.Future())
        coroutine.wrap(function()
          coroutine.wrap(function() return lunado.debug end)()
        end)()
        kept2 = kept
      end)()
    ]]))
  end)

  it("are not found when they are garbage that is held weakly", function()
    assert.equal("0", found([[
      lunado.log.set_level "error"
      weak = setmetatable({}, { __mode = "kv" })
      local function make()
        local _ = weak
        weak[wait(lunado.Future())] = wait(lunado.Future())
      end
      coroutine.wrap(make)()
    ]]))
  end)

  it("nothing is tracked until then", function()
    local result = child [[
      local lunado = require "lunado"
      lunado.run(function() coroutine.yield() end)
      print(rawget(lunado, "debug"), package.loaded["lunado.debug"])
      print(#lunado.debug.tasks(), rawget(lunado, "debug") == lunado.debug)
      print(require "lunado.debug" == lunado.debug, lunado.debug == debug)
    ]]
    assert.equal("nil\tnil\n0\ttrue\ntrue\tfalse\n", result.out, result.err)
  end)
end)

describe("dump", function()
  local loop
  before_each(function()
    loop = frame.begin()
    gc.collect()
    lunado.log.set_level "error" -- many are forgotten on purpose
    package.loaded["spec.known"] = known
  end)
  after_each(function()
    frame.finish()
  end)

  -- known.NAME, a coroutine function with a name in the dump.
  local function name(field, fn)
    known[field] = lunado.coroutine(fn)
    return known[field]
  end

  local function place(offset)
    return ("%s:%d"):format(here, debug.getinfo(2, "l").currentline + offset)
  end

  it("shows which coroutine waits for which, with lines", function()
    local clock = testing.virtual_clock(loop)
    local f, at = Future(), place(1)
    local leaf = name("leaf", function(x) await(x) end)
    local crawl_at = place(2)
    local crawl = name("crawl", function()
      await { leaf(f), sleep(60), a = lunado.with_timeout(
        loop:time() + 90, leaf(sleep(30))) }
    end)
    local future = crawl()
    clock:advance(10.5)
    assert.equal(("spec.known.crawl at %s (10.5 s)\n"):format(crawl_at)
      .. "  multi of 3, 3 pending\n"
      .. ("    spec.known.leaf at %s (10.5 s)\n"):format(at)
      .. ("      %s\n"):format(tostring(f))
      .. "    sleep, 49.5 s left\n"
      .. "    with_timeout, 79.5 s left\n"
      .. ("      spec.known.leaf at %s (10.5 s)\n"):format(at)
      .. "        sleep, 19.5 s left\n", dumped "spec.known.crawl")
    f:set_result()
    loop:run_sync(function() await(sleep(35)) end)
    assert.equal(("spec.known.crawl at %s (45.5 s)\n"):format(crawl_at)
      .. "  multi of 3, 1 pending\n"
      .. "    sleep, 14.5 s left\n", dumped "spec.known.crawl")
    assert.is_false(future:done())
  end)

  it("shows scopes, and the tasks of groups", function()
    local clock = testing.virtual_clock(loop)
    local tasks = lunado.tasks
    local leaf_at, group_at, crawl_at = place(1), place(4), place(8)
    local leaf = name("leaf", function(seconds) await(sleep(seconds)) end)
    local crawl = name("crawl", function()
      local _ <close> = tasks.timeout { seconds = 20 }
      local group <close> = tasks.TaskGroup()
      group:spawn(leaf, 30)
      group:spawn(leaf, 1)
      group:spawn(leaf, 40)
      tasks.shield(function() await(sleep(5)) end)
    end)
    local future = crawl()
    clock:advance(2)
    loop:run_sync(function() await(sleep(0)) end)
    local function expect(wait, about)
      assert.equal(("spec.known.crawl at %s (%g s)\n"):format(crawl_at, about)
        .. ("  timeout, %g s left\n"):format(20 - about)
        .. ("    TaskGroup at %s, 2 of 3 running\n"):format(group_at)
        .. ("      spec.known.leaf at %s (%g s)\n"):format(leaf_at, about)
        .. ("        sleep, %g s left\n"):format(30 - about)
        .. ("      spec.known.leaf at %s (%g s)\n"):format(leaf_at, about)
        .. ("        sleep, %g s left\n"):format(40 - about)
        .. wait, dumped "spec.known.crawl")
    end
    expect("      shield\n        sleep, 3 s left\n", 2)
    loop:run_sync(function() await(sleep(5)) end)
    crawl_at = here .. ":" .. crawl_at:match "%d+$" + 1
    expect("", 7)
    assert.is_false(pcall(loop.run_sync, loop, function() await(future) end))
  end)

  it("counts them, and indents those that another waits for",
    function()
      local inner = known.wait(Future())
      local outer = known.wait(inner)
      local text = dumped()
      local n = tonumber(text:match "^(%d+) suspended coroutines?\n")
      assert.equal(#lunado_debug.tasks(), n)
      local _, left = text:gsub("\nspec%.known%.wait at ", "%0")
      local _, all = text:gsub("spec%.known%.wait at ", "%0")
      assert.equal(2, all)
      assert.equal(1, left)
      assert.is_not_nil(outer)
    end)

  it("shows the sources of a WaitIterator and of chain_future", function()
    local leaf = name("leaf", function(x) await(x) end)
    local source = Future()
    local kept = { name("iterates", function()
      local wi = lunado.WaitIterator(leaf(Future()), leaf(Future()))
      for _ in wi:results() do error "none is there" end
    end)(), name("chained", function()
      local f = Future()
      lunado.concurrent.chain_future(leaf(source), f)
      await(f)
    end)() }
    local _, leaves = dumped "spec.known.iterates"
      :gsub("\n    spec%.known%.leaf at [^\n]*\n      Future: ", "%0")
    assert.equal(2, leaves)
    assert.is_truthy(dumped "spec.known.chained"
      :find("\n  Future: [^\n]*\n    spec%.known%.leaf at "))
    assert.equal(2, #kept)
    source:set_result()
  end)

  it("says that a coroutine is about to go on", function()
    local kept = name("ready", function() await() end)()
    assert.is_truthy(dumped "spec.known.ready"
      :find("^spec%.known%.ready at [^\n]*, about to go on\n$"))
    assert.is_not_nil(kept)
  end)

  it("shows a coroutine that several wait for only once", function()
    local inner = name("inner", function() await(Future()) end)()
    local kept = { name("first", function(f) await(f) end)(inner),
      name("second", function(f) await(f) end)(inner) }
    local text = dumped()
    local _, full = text:gsub("\n  spec%.known%.inner at [^\n]*\n    Fut", "%0")
    local _, again = text:gsub("\n  spec%.known%.inner at [^\n]*, see above\n",
      "%0")
    assert.same({ 1, 1, 2 }, { full, again, #kept })
  end)

  it("shows coroutines that wait for each other", function()
    local futures = {}
    local circle = name("circle", function(i)
      await()
      await(futures[i])
    end)
    futures[1], futures[2] = circle(2), circle(1)
    futures[3] = circle(3)
    loops.turn(loop)
    local text = dumped()
    local _, circles = text:gsub("\nspec%.known%.circle at [^\n]*\n"
      .. "  spec%.known%.circle at [^\n]*, which waits for itself\n", "%0")
    assert.equal(1, circles)
    _, circles = text:gsub("\nspec%.known%.circle at [^\n]*\n"
      .. "  spec%.known%.circle at [^\n,]*\n"
      .. "    spec%.known%.circle at [^\n]*, which waits for itself\n", "%0")
    assert.equal(1, circles)
  end)

  it("goes down a chain of any length", function()
    local n = times(20000)
    local deepest = Future()
    local future = known.wait(deepest)
    for _ = 2, n do future = known.wait(future) end
    local text = dumped "spec.known.wait"
    local _, lines = text:gsub("spec%.known%.wait at ", "%0")
    assert.equal(n, lines)
    assert.is_truthy(text:find(("\n%s[%d] %s\n"):format(("  "):rep(30), n,
      tostring(deepest)), 1, true))
  end)

  it("writes to a file, and to stderr by default", function()
    local file = assert(io.tmpfile())
    lunado_debug.dump(file)
    file:seek "set"
    assert.is_truthy(file:read "a":find "^%d+ suspended coroutine")
    file:close()
    local result = child [[
      local lunado = require "lunado"
      lunado.coroutine(function() coroutine.yield(lunado.sleep(60)) end)()
      lunado.debug.dump()
      lunado.debug.dump(nil)
    ]]
    assert.equal("", result.out)
    local _, dumps = result.err:gsub("1 suspended coroutine\nfunction "
      .. "<script.lua:2> at script.lua:2 %([%d.]+ s%)\n"
      .. "  sleep, 59%.?%d* s left\n", "%0")
    assert.equal(2, dumps, result.err)
  end)
end)

describe("the end of the state", function()
  it("may be shown by dump", function()
    -- The last is looked at after its loop is gone, and before it is itself.
    for _, before in ipairs { "", "lunado.debug = lunado.debug",
      "lunado.run(function() coroutine.yield() end)" } do
      local result = child("lunado = require 'lunado' " .. before .. [[
        at_end = setmetatable({}, { __gc = function()
          lunado.debug.dump(io.stdout)
        end })
        local loop = lunado.IOLoop(true)
        loop:make_current()
        local _ = lunado.debug
        local wait = lunado.coroutine(function(f) coroutine.yield(f) end)
        f = lunado.Future()
        wait(f)
        wait { f, lunado.sleep(60) }
        wait(lunado.with_timeout({ seconds = 60 }, wait(f)))
        wait()
      ]])
      assert.equal("", result.err)
      assert.equal(0, result.code)
      assert.is_truthy(result.out:find "^%d suspended coroutine")
    end
  end)
end)

describe("under busted", function()
  it("a second file finds what the first has tracked", function()
    local head = [[
      local lunado = require "lunado"
      local registry = debug.getregistry()
    ]]
    local result = busted(head .. [[
      it("leaves one", function()
        assert.equal(0, #lunado.debug.tasks())
        registry["of a spec"] = { lunado.debug, lunado.coroutine(function()
          coroutine.yield(lunado.sleep(60))
        end)() }
      end)
    ]], head .. [[
      it("finds it", function()
        local before = registry["of a spec"]
        assert.equal(before[1], lunado.debug)
        assert.equal(before[2], lunado.debug.tasks()[1].future)
        assert.equal(1, #lunado.debug.tasks())
      end)
    ]])
    assert.is_truthy(result.out:find("2 successes", 1, true), result.out)
    assert.equal("", result.err)
  end)

  it("a test sees its own coroutines", testing.gen_test(function()
    local loop = IOLoop.current()
    local before = #lunado_debug.tasks()
    local future = lunado.coroutine(function() await(sleep(60)) end)()
    assert.equal(before + 1, #lunado_debug.tasks())
    await()
    assert.is_not_nil(entry_of(future))
    assert.equal(loop, IOLoop.current())
  end))
end)

describe("a wrong argument", function()
  it("of dump raises at the caller's line", function()
    for _, value in ipairs { 3, "x", false, {}, setmetatable({}, {
      __index = function() return nil end }) } do
      bad(function() lunado_debug.dump(value) end, 1, "dump", "file",
        type(value))
    end
    bad(function() lunado_debug.dump(true) end, 1, "dump", "file", "boolean")
  end)
end)
