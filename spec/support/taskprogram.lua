-- SPDX-License-Identifier: MIT
-- Random programs of coroutines that cancel each other, on a virtual clock.
--   local program = taskprogram.make(number)  -- always the same for a number
--   taskprogram.text(program)                 -- as text
--   local run = taskprogram.run(program, loop)
--   run.problems                              -- what went wrong, as texts
--   taskprogram.check_log(runs, log)          -- after a collection
--
-- A program is a tree of nodes.  Each node is a table; its field `op` names its
-- function in `ops`.  The functions keep a model of what the program does: the
-- scopes of each coroutine, who waits for whom, which items are in a queue, and
-- so on.  They compare the model with what happens.
local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local iostream = require "lunado.iostream"
local locks = require "lunado.locks"
local queues = require "lunado.queues"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local pipes = require "spec.support.pipes"

local Future, isinstance = concurrent.Future, util.isinstance
local yield = coroutine.yield

local taskprogram = {}

local HOUR <const> = 3600
-- By then, all sleeps and timers that a program has are over, except those of
-- an hour.
local HORIZON <const> = 300

-- Random numbers ------------------------------------------------------------

local function new_random(seed)
  local state = seed * 0x9E3779B97F4A7C15 + 1
  return function(a, b)
    if not b then a, b = 1, a end
    state = state * 6364136223846793005 + 1442695040888963407
    return a + (state >> 33) % (b - a + 1)
  end
end

-- Making programs -----------------------------------------------------------

-- Ways to wait for a Future.  By the first ones, nothing that the Future brings
-- is lost; by those of `keeping`, the Future goes on when the wait is
-- cancelled, and the program looks at it later; the rest is for Futures that
-- bring nothing.
local WAYS <const> = { "yield", "yield", "await", "with_timeout", "timeout",
  "helper", "keep", "chain", "iterator", "multi" }
local TAKING <const> = 9
local LOSSLESS <const> = 6
local keeping <const> = { keep = true, chain = true, iterator = true }

local Maker = {}
Maker.__index = Maker

function Maker:pick(list) return list[self.random(#list)] end

--- Returns seconds: whole numbers and quarters, sometimes 0.
function Maker:seconds() return self.random(0, 12) / 4 end

function Maker:way(most) return WAYS[self.random(most)] end

local make = {}

-- What waits for nothing.

function make.settle(m) return { index = m.random(3) } end
function make.put_nowait(m) return { index = m.random(3) } end
function make.get_nowait(m) return { index = m.random(3) } end
function make.notify(m) return { n = m.random(0, 3) } end
function make.event(m) return { set = m.random(3) > 1 } end
function make.cancel(m) return { index = m.random(1000) } end
function make.cancel_scope(m) return { index = m.random(1000) } end
function make.cancel_group(m) return { index = m.random(1000) } end
function make.reschedule(m)
  return { index = m.random(1000), seconds = m:seconds() }
end
function make.spawn(m) return { block = m:block {} } end
function make.spawn_into(m)
  return { index = m.random(1000), block = m:block {} }
end
function make.watch(m)
  return { index = m.random(1000), how = m:pick { "callback", "loop" },
    action = m:node(m:pick(m.actions), {}) }
end
function make.on_future(m)
  return { index = m.random(3), action = m:node(m:pick(m.actions), {}) }
end
function make.write(m) return { n = m.random(12), way = m:way(LOSSLESS) } end

local ACTIONS <const> = { "settle", "put_nowait", "get_nowait", "notify",
  "event", "cancel", "cancel", "cancel_scope", "cancel_group", "reschedule",
  "spawn_into" }
Maker.actions = ACTIONS

function make.later(m)
  return { seconds = m.random(3) > 1 and m:seconds() or nil,
    action = m:node(m:pick(ACTIONS), {}) }
end

-- What waits.

function make.turn() return {} end
function make.checkpoint() return {} end
function make.sleep(m, context)
  local long = not context.bounded and m.random(8) == 1
  return { seconds = long and HOUR or m:seconds(),
    way = long and m:way(LOSSLESS) or m:way(#WAYS) }
end
local function again(m, node)
  node.again = m.random(4) == 1 and m:seconds() or nil
  return node
end
function make.future(m)
  return again(m, { index = m.random(3), way = m:way(#WAYS) })
end
function make.canceller(m)
  return { seconds = m:seconds(), way = m:way(#WAYS),
    mode = m:pick { "nothing", "settles", "acts" },
    action = m:node(m:pick(ACTIONS), {}) }
end
local function timed(m, node)
  again(m, node)
  local long = m.random(3) == 1 and not keeping[node.way]
  node.timeout = m.random(4) == 1 and (long and HOUR or m:seconds()) or nil
  return node
end
function make.get(m)
  return timed(m, { index = m.random(3), way = m:way(TAKING) })
end
function make.put(m)
  return timed(m, { index = m.random(3), way = m:way(TAKING) })
end
function make.lock(m, context)
  return timed(m, { index = m.random(3), way = m:way(TAKING),
    block = m:block(context) })
end
function make.condition(m) return timed(m, { way = m:way(TAKING) }) end
function make.event_wait(m) return timed(m, { way = m:way(#WAYS) }) end
function make.read(m)
  return { how = m:pick { "bytes", "partial", "line", "until" },
    n = m.random(12), way = m:way(LOSSLESS) }
end

function make.table(m)
  return { queues = { m.random(3), m.random(3) },
    seconds = m.random(2) == 1 and m:seconds() }
end

-- What waits for coroutines.

function make.group_wait(m) return { index = m.random(1000) } end
function make.await(m)
  return { index = m.random(1000), way = m:way(#WAYS) }
end
local function children(m)
  local list = {}
  for i = 1, m.random(3) do list[i] = m:block {} end
  return list
end
function make.call(m) return { block = m:block {}, way = m:way(#WAYS) } end
function make.multi(m)
  return { children = children(m), seconds = m.random(2) == 1 and m:seconds() }
end
function make.race(m)
  return { children = children(m), seconds = m.random(2) == 1 and m:seconds() }
end
function make.iterate(m) return { children = children(m) } end

-- Blocks.

function make.pcall(m, context) return { block = m:block(context) } end
function make.repeated(m, context)
  return { n = m.random(2, 3), block = m:block(context) }
end
function make.timeout(m, context)
  local long = m.random(6) == 1 and not context.bounded
  return { seconds = long and HOUR or m:seconds(),
    form = m:pick { "block", "fn" }, block = m:block {} }
end
function make.shield(m) return { block = m:block { bounded = true } } end
function make.group(m, context)
  local list = {}
  for i = 1, m.random(0, 3) do list[i] = m:block {} end
  return { form = m:pick { "TaskGroup", "group" }, children = list,
    block = m:block(context) }
end
function make.close(m, context)
  local shielded = context.bounded or m.random(2) == 1
  return { shielded = shielded, block = m:block(context),
    handler = m:block { bounded = shielded } }
end
make["return"] = function() return {} end
make["raise"] = function() return {} end

-- A node that waits without a bound is not made where no cancellation can end
-- its wait.
local BOUNDED <const> = { "turn", "checkpoint", "sleep", "sleep", "call",
  "pcall", "timeout", "timeout", "group", "shield", "close", "settle",
  "put_nowait", "get_nowait", "notify", "event", "cancel", "spawn_into",
  "later", "race", "write", "watch" }
local ANY <const> = { "turn", "checkpoint", "sleep", "sleep", "future",
  "future", "canceller", "get", "get", "put", "put", "lock", "lock",
  "condition", "event_wait", "table", "group_wait", "await", "call", "multi",
  "race", "iterate",
  "pcall", "pcall", "repeated", "timeout", "timeout", "timeout", "shield",
  "shield", "group", "group", "group", "close", "close", "settle",
  "put_nowait", "get_nowait", "notify", "event", "cancel", "cancel",
  "cancel_scope", "cancel_group", "reschedule", "spawn", "spawn", "spawn_into",
  "watch", "on_future", "later", "later", "return", "raise" }

function Maker:node(op, context)
  self.left = self.left - 1
  local node = make[op](self, context)
  node.op = op
  return node
end

function Maker:block(context)
  local block = {}
  self.depth = self.depth + 1
  for i = 1, self.depth < 7 and self.random(0, 4) or self.random(0, 1) do
    if self.left <= 0 then break end
    local op = self:pick(context.bounded and BOUNDED or ANY)
    if self.streams and self.random(8) == 1 then
      op = (self.random(2) == 1 or context.bounded) and "write" or "read"
    end
    block[i] = self:node(op, context)
  end
  self.depth = self.depth - 1
  return block
end

function taskprogram.make(number)
  local maker = setmetatable({ random = new_random(number), depth = 0 }, Maker)
  maker.left = maker.random(8, 100)
  maker.streams = maker.random(8) == 1
  local block = {}
  for i = 1, maker.random(0, 8) do block[i] = maker:node("later", {}) end
  while maker.left > 0 do
    local op = maker.random(3) > 1 and "spawn" or maker:pick(ANY)
    block[#block + 1] = maker:node(op, {})
  end
  return { number = number, streams = maker.streams, block = block,
    closes = maker:pick { 0, 1, 2, 5, HORIZON, HORIZON } }
end

-- Programs as text ----------------------------------------------------------

local function text_of(lines, indent, name, value)
  local words, inner = { name, value.op }, {}
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    if type(value[key]) == "table" then
      inner[#inner + 1] = key
    elseif key ~= "op" then
      words[#words + 1] = ("%s=%s"):format(key, value[key])
    end
  end
  lines[#lines + 1] = indent .. table.concat(words, " ")
  for _, key in ipairs(inner) do
    local label = type(key) == "string" and key .. ":" or "-"
    text_of(lines, indent .. "  ", label, value[key])
  end
end

function taskprogram.text(program)
  local lines = {}
  text_of(lines, "", ("program %d, closes after %g s"):format(program.number,
    program.closes), program.block)
  return table.concat(lines, "\n")
end

-- Running: the model --------------------------------------------------------

-- A coroutine of the model has: `id`; `future`; `scope`, its innermost scope;
-- `group`, whose child it is; `sources`, the waits for it; `direct`, the origin
-- of the first cancellation of it by its Future; `error` and `over`.
--
-- A scope has: `kind`; `outer`; `scope`, lunado's object, as soon as it is
-- known; `object`, what the program has; `owner`, its coroutine.
--
-- The origin of a cancellation has: `target`, a coroutine or a scope; `time`;
-- `turn`, which numbers all steps that settle or cancel something.  It is the
-- reason that the CancelledError carries, except for timeouts and errors.
local Run = {}
Run.__index = Run

local function is_cancelled(err)
  return isinstance(err, tasks.CancelledError)
end

local function is_timeout(err) return isinstance(err, util.TimeoutError) end

function Run:fail(message, ...)
  local problem = message:format(...)
  if #self.problems < 20 then
    self.problems[#self.problems + 1] = ("at %g: %s"):format(
      self.loop:time() - self.began, problem)
  end
end

function Run:check(ok, ...) if not ok then self:fail(...) end end

function Run:time() return self.loop:time() end

function Run:count()
  self.turn = self.turn + 1
  return self.turn
end

-- Where lunado keeps the scopes: user value 2 of a coroutine's Future is the
-- task, user value 4 of that the innermost scope or the notice; user value 2 of
-- a scope is the scope around it, user value 3 its notice; of a group, user
-- value 3 is the notice.
local uservalue = debug.getuservalue

--- Compares the scopes of the coroutine with those of the model.  Must be
-- called in that coroutine.
function Run:compare_scopes(c, where)
  local task = c.future and uservalue(c.future, 2)
  if not task then return end
  local found, known = uservalue(task, 4), c.scope
  while known do
    if not found or concurrent.is_future(found) then
      return self:fail("coroutine %d: a scope is missing %s", c.id, where)
    end
    known.scope = known.scope or found
    if not rawequal(known.scope, found) then
      return self:fail("coroutine %d: the scopes differ %s", c.id, where)
    end
    found, known = uservalue(found, 2), known.outer
  end
  if found and not concurrent.is_future(found) then
    self:fail("coroutine %d: a scope is left %s", c.id, where)
  end
end

--- Finds lunado's objects for the scopes of a coroutine, the outermost first;
-- within them may be one that the model does not have.
local function learn_scopes(c)
  local task = c.future and uservalue(c.future, 2)
  local found, known = {}, {}
  local scope = task and uservalue(task, 4)
  while scope and not concurrent.is_future(scope) do
    found[#found + 1], scope = scope, uservalue(scope, 2)
  end
  scope = c.scope
  while scope do known[#known + 1], scope = scope, scope.outer end
  for i = 0, math.min(#known, #found) - 1 do
    scope = known[#known - i]
    scope.scope = scope.scope or found[#found - i]
  end
end

local function error_of(notice)
  return notice and concurrent.is_future(notice) and notice:exception()
end

--- Returns the origin of a CancelledError, if the model can tell.
function Run:origin_of(err)
  if type(err.reason) == "table" then return err.reason end
  if err.reason == "the race is over" then return { race = true } end
  for _, scope in ipairs(self.scopes) do
    if not scope.scope and not scope.closed then learn_scopes(scope.owner) end
    if scope.kind == "timeout" and scope.scope
      and rawequal(error_of(uservalue(scope.scope, 3)), err) then
      return { target = scope,
        time = math.max(scope.deadline, scope.opened, scope.changed) }
    end
  end
  local groups = {} -- one of them has failed, the others were told
  for _, group in ipairs(self.groups) do
    if rawequal(error_of(uservalue(group.object, 3)), err) then
      groups[group] = true
    end
  end
  return next(groups) and { groups = groups }
end

local function is_target(origin, object)
  return origin.target == object or origin.groups and origin.groups[object]
end

local may_reach_task

--- Whether a cancellation of that origin may reach coroutine c where `scope` is
-- its innermost scope.
local function may_reach(c, scope, origin, seen)
  while scope do
    if is_target(origin, scope) then
      -- A group that has failed cancels its body with the notice that it has.
      return not origin.children_only or #scope.object:errors() > 0
    end
    if scope.kind == "shield" then return false end
    scope = scope.outer
  end
  return may_reach_task(c, origin, seen)
end

function may_reach_task(c, origin, seen)
  if seen[c] then return false end
  seen[c] = true
  if origin.target == c then return true end
  local group = c.group
  if group and (is_target(origin, group)
    or may_reach(group.owner, group.outer, origin, seen)) then
    return true
  end
  for _, source in ipairs(c.sources) do
    if source.race and origin.race
      or may_reach(source.waiter, source.scope, origin, seen) then
      return true
    end
  end
  return false
end

--- The cancellation of coroutine c, or of its scope `outermost`, tells the
-- groups within.
local function tell_groups(c, outermost, origin)
  local scope, groups = c.scope, {}
  while scope do
    if scope.kind == "shield" then return end
    if scope == outermost then break end
    if scope.kind == "group" then groups[#groups + 1] = scope end
    scope = scope.outer
  end
  for _, group in ipairs(groups) do group.told = group.told or origin end
end

--- Returns the origin of a cancellation that is certainly due for c, else nil.
local function due(c)
  local scope = c.scope
  while scope do
    if scope.kind == "shield" then return nil end
    if scope.origin then return scope.origin end
    if scope.kind == "timeout" and scope.object and scope.object:expired() then
      return { target = scope, time = math.max(scope.deadline, scope.changed) }
    end
    scope = scope.outer
  end
  return c.direct or c.group and c.group.told
end

--- Checks a CancelledError that coroutine c has received at a wait that can
-- fail with it only if c itself is cancelled.  `began` is when the wait began,
-- if it must end at once.
function Run:check_cancelled(c, err, began)
  self:compare_scopes(c, "at a wait")
  local origin = self:origin_of(err)
  if not origin then
    return self:fail("coroutine %d: a cancellation from nowhere: %s", c.id,
      tostring(err.reason))
  end
  if not may_reach(c, c.scope, origin, {}) then
    self:fail("coroutine %d was not cancelled, but got: %s", c.id,
      tostring(err.reason))
  end
  local scope = c.scope
  while scope and scope.kind ~= "shield" and scope ~= origin.target do
    scope = scope.outer
  end
  if began and origin.time and not origin.children_only
    and (scope and scope == origin.target
    or not scope and origin.target == c) then
    local time = math.max(origin.time, began)
    self:check(self:time() == time, "coroutine %d: cancelled %g s late", c.id,
      self:time() - time)
  end
end

-- Running: coroutines -------------------------------------------------------

local execute

--- A child or the body of the group has failed: so the others are cancelled.
function Run:add_error(group, err)
  group.errors[#group.errors + 1] = err
  group.told = group.told or { target = group, time = self:time() }
end

--- Starts a coroutine that runs the block, in a group or alone.  `parent` is
-- the coroutine that will wait for it, if there is one.
function Run:start(block, group, parent)
  local c = { id = #self.coroutines + 1, sources = {}, group = group,
    parent = parent }
  self.coroutines[c.id] = c
  if group then group.children[#group.children + 1] = c end
  local function main()
    local ok, err = pcall(execute, self, c, block)
    c.over = true
    self:check(not c.scope, "coroutine %d has ended in a scope", c.id)
    if ok then return c.id end
    c.error = err
    if group and not is_cancelled(err) then self:add_error(group, err) end
    self.ends[err] = (self.ends[err] or 0) + 1
    error(err, 0)
  end
  c.future = group and group.object:spawn(main) or gen.coroutine(main)()
  self.all[c.future] = true
  return c
end

--- Coroutine c begins to wait for another.
local function begin_wait(c, child, race)
  table.insert(child.sources, { waiter = c, scope = c.scope, race = race })
end

--- Whether `target` waits for c, directly or not.
local function is_above(c, target, seen)
  if not c or seen[c] then return false end
  seen[c] = true
  local function is(waiter)
    return waiter == target or is_above(waiter, target, seen)
  end
  if c.group and is(c.group.owner) or c.parent and is(c.parent) then
    return true
  end
  for _, source in ipairs(c.sources) do
    if is(source.waiter) then return true end
  end
  return false
end

--- Counts an error that the program has caught.
function Run:see(err) self.seen[err] = true end

--- Returns the coroutine of that number, round and round.
function Run:coroutine(index)
  return self.coroutines[index % #self.coroutines + 1]
end

-- Running: waits ------------------------------------------------------------

local ways = {}

ways.yield = yield
ways.await = gen.await
function ways.with_timeout(future)
  return yield(gen.with_timeout({ seconds = HOUR }, future))
end
function ways.timeout(future)
  return tasks.timeout({ seconds = HOUR }, yield, future)
end
function ways.keep(future) return yield(tasks.keep(future)) end
function ways.chain(future)
  local target = Future()
  concurrent.chain_future(future, target)
  return yield(target)
end
function ways.iterator(future)
  return yield(gen.WaitIterator(future):next())
end
function ways.multi(future) return table.unpack(yield { future }) end

--- Waits for a Future that fails with CancelledError only if c is cancelled.
-- Returns as pcall.  `settles` is whether the wait may end with a result though
-- c is cancelled.
function Run:wait(c, way, future, settles)
  local cause, began = due(c), self:time()
  local done = future:done()
  if not done then self.all[future] = true end
  local ok, result = pcall(ways[way], future)
  local cancelled = not ok and is_cancelled(result)
  if cancelled then
    self:check_cancelled(c, result, began)
    self:check(not done or way ~= "yield" and way ~= "await",
      "coroutine %d was interrupted where it did not wait", c.id)
  end
  self:check(not cause or done or cancelled or settles,
    "coroutine %d could wait although it was cancelled", c.id)
  cause = ok and not done and not settles and due(c)
  self:check(not cause or cause.time >= self:time(),
    "coroutine %d has waited on although it was cancelled", c.id)
  return ok, result
end

--- Waits for the Future of make_future() by node.way; with `again`, for so many
-- seconds before.  Then calls finish(ok, result,
-- future); if the wait was cancelled and the Future goes on, `finish` is
-- called at the end of the program.
function Run:wait_for(c, node, make_future, finish, settles)
  if node.way == "helper" then
    local copy = setmetatable({ way = "yield" }, { __index = node })
    return self:call(c, "yield", { copy })
  end
  local future = make_future()
  if node.again then
    pcall(tasks.timeout, { seconds = node.again }, yield, future)
  end
  local ok, result = self:wait(c, node.way, future, settles)
  if not ok and keeping[node.way] then
    self.kept[#self.kept + 1] = function()
      if not future:done() then return false end
      finish(pcall(future.result, future))
      return true
    end
  else
    finish(ok, result, future)
  end
  if not ok then error(result, 0) end
  return result
end

local function timeout_of(node)
  return node.timeout and { seconds = node.timeout }
end

--- Waits for coroutines by fn(); returns as pcall.
function Run:wait_for_all(c, list, race, fn)
  for _, child in ipairs(list) do begin_wait(c, child, race) end
  local results = table.pack(pcall(fn))
  local err = results[2]
  if not results[1] and is_cancelled(err) then
    for _, child in ipairs(list) do
      if rawequal(child.error, err) then return false, err end
      -- One that was spawned into a cancelled group.
      if child.refused and rawequal(child.future:exception(), err) then
        return false, err
      end
    end
    self:check_cancelled(c, err)
  end
  return table.unpack(results, 1, results.n)
end

--- Checks that the coroutines have ended for which only c has waited.  A wait
-- that closes a cycle is given up earlier.
function Run:check_ended(c, list, where)
  if self.cyclic then return end
  for _, child in ipairs(list) do
    if #child.sources == 1 and not child.watched then
      self:check(child.future:done(), "coroutine %d still runs after %s of %d",
        child.id, where, c.id)
    end
  end
end

--- Runs the block as another coroutine, and waits for it.
function Run:call(c, way, block)
  local child = self:start(block, nil, c)
  local ok, result = self:wait_for_all(c, { child }, false, function()
    return ways[way](child.future)
  end)
  if not keeping[way] then
    self:check(ok or not is_timeout(result) or child.error == result,
      "coroutine %d: a timeout from nowhere", c.id)
    self:check_ended(c, { child }, "a wait")
  end
  if not ok then error(result, 0) end
  self:check(result == child.id, "coroutine %d: a wrong result", child.id)
  return result
end

-- Running: nodes ------------------------------------------------------------

-- Each returns true if the coroutine is to return.
local ops = {}

function execute(run, c, block)
  for _, node in ipairs(block) do
    if ops[node.op](run, c, node) then return true end
  end
end

-- Steps.

function ops.settle(run, _, node)
  local future = run.futures[node.index]
  run.futures[node.index] = Future()
  run.settled[future] = run:count()
  future:set_result(node.index)
end

function Run:new_item()
  self.items = self.items + 1
  self.put[self.items] = "putting"
  return self.items
end

function Run:take(item)
  self:check(not self.got[item], "item %s was got twice", item)
  self:check(self.put[item] and self.put[item] ~= "refused",
    "item %s was got, but not put", item)
  self.got[item] = true
end

function ops.put_nowait(run, _, node)
  local item = run:new_item()
  local ok = pcall(run.queues[node.index].put_nowait, run.queues[node.index],
    item)
  run.put[item] = ok and "put" or "refused"
end

function ops.get_nowait(run, _, node)
  local queue = run.queues[node.index]
  local ok, item = pcall(queue.get_nowait, queue)
  if ok then run:take(item) end
end

function ops.notify(run, _, node)
  local waiting = tonumber(tostring(run.condition):match "(%d+) waiting")
  run.notified = run.notified + math.min(waiting, node.n)
  run.condition:notify(node.n)
end

function ops.event(run, _, node)
  if node.set then run.event:set() else run.event:clear() end
end

local function new_origin(run, target)
  return { target = target, time = run:time(), turn = run:count() }
end

function Run:cancel(target)
  if not target.future then return end -- it runs for the first time
  local origin = new_origin(self, target)
  local pending = not target.future:done()
  if pending and not target.over and not target.direct then
    target.direct = origin
    tell_groups(target, nil, origin)
  end
  local told = tasks.cancel(target.future, origin)
  self:check(told == (pending and not target.refused),
    "cancel of coroutine %d has returned %s", target.id, tostring(told))
end

function ops.cancel(run, _, node) run:cancel(run:coroutine(node.index)) end

function ops.cancel_scope(run, _, node)
  if #run.timeouts == 0 then return end
  local scope = run.timeouts[node.index % #run.timeouts + 1]
  local may = not scope.closed and not scope.origin
    and not scope.object:expired()
  local origin = new_origin(run, scope)
  if may then
    scope.origin = origin
    tell_groups(scope.owner, scope, origin)
  end
  run:check(scope.object:cancel(origin) == may, "cancel of a scope")
end

function ops.cancel_group(run, _, node)
  if #run.groups == 0 then return end
  local group = run.groups[node.index % #run.groups + 1]
  local origin = new_origin(run, group)
  origin.children_only = not group.owns_body
  if not group.closed then
    group.told = group.told or origin
    if group.owns_body and not group.body_over then
      group.origin = group.origin or origin
    end
  end
  group.object:cancel(origin)
end

function ops.reschedule(run, _, node)
  if #run.timeouts == 0 then return end
  local scope = run.timeouts[node.index % #run.timeouts + 1]
  local may = not scope.closed and not scope.object:expired()
  local ok = pcall(scope.object.reschedule, scope.object,
    { seconds = node.seconds })
  if scope.overdue then return end -- its timer has run, without an effect
  if may and scope.origin and not ok then return end
  run:check(ok == may, "reschedule of a scope")
  if ok then
    scope.deadline, scope.changed = run:time() + node.seconds, run:time()
  end
end

function ops.spawn(run, _, node) run:start(node.block) end

function Run:spawn_into(group, block)
  local n = #self.coroutines
  local ok, err = pcall(self.start, self, block, group)
  if ok then
    local c = self.coroutines[n + 1]
    c.refused = c.future:done() and not c.over
    return
  end
  self:check(tostring(err):find "has ended", "spawn: %s", tostring(err))
  table.remove(self.coroutines, n + 1)
  table.remove(group.children)
  for _, child in ipairs(group.children) do
    self:check(child.future:done(), "a group has ended before its children")
  end
end

function ops.spawn_into(run, _, node)
  if #run.groups == 0 then return end
  run:spawn_into(run.groups[node.index % #run.groups + 1], node.block)
end

function ops.watch(run, _, node)
  local target = run:coroutine(node.index)
  if not target.future then return end
  target.watched = true
  local function act() ops[node.action.op](run, nil, node.action) end
  if node.how == "loop" then
    run.loop:add_future(target.future, act)
  else
    target.future:add_done_callback(act)
  end
end

function ops.on_future(run, _, node)
  run.futures[node.index]:add_done_callback(function()
    ops[node.action.op](run, nil, node.action)
  end)
end

function ops.later(run, _, node)
  local function act() ops[node.action.op](run, nil, node.action) end
  if node.seconds then
    run.loop:call_later(node.seconds, act)
  else
    run.loop:add_callback(act)
  end
end

-- Waits.

function ops.turn(run, c)
  local cause, began = due(c), run:time()
  local ok, err = pcall(yield)
  if not ok then run:check_cancelled(c, err, began) end
  run:check(not cause or not ok,
    "coroutine %d could wait although it was cancelled", c.id)
  if not ok then error(err, 0) end
end

function ops.checkpoint(run, c)
  local cause, began = due(c), run:time()
  local ok, err = pcall(tasks.checkpoint)
  if not ok then run:check_cancelled(c, err, began) end
  run:check(not cause or not ok,
    "coroutine %d passed a checkpoint although it was cancelled", c.id)
  if not ok then error(err, 0) end
end

function ops.sleep(run, c, node)
  local began = run:time()
  run:wait_for(c, node, function() return gen.sleep(node.seconds) end,
    function(ok)
      if not ok or run.closing then return end
      run:check(run:time() == began + node.seconds or keeping[node.way],
        "coroutine %d has slept %g s", c.id, run:time() - began)
    end)
end

--- Checks the order in which a plain Future was settled and c cancelled.
function Run:check_order(c, ok, err, future, done)
  local settled = self.settled[future]
  if done or not settled then return end
  if ok then
    local cause = due(c)
    self:check(not cause or not cause.turn or cause.turn > settled,
      "coroutine %d: a result that came after the cancellation", c.id)
  elseif is_cancelled(err) then
    local origin = self:origin_of(err)
    self:check(not origin or not origin.turn or origin.turn < settled,
      "coroutine %d: a result that was there before was lost", c.id)
  end
end

function ops.future(run, c, node)
  local future = run.futures[node.index]
  run:wait_for(c, node, function() return future end, function(ok, result)
    if not node.again and (node.way == "yield" or node.way == "await") then
      run:check_order(c, ok, result, future)
    end
    run:check(not ok or result == node.index, "a wrong result")
  end)
end

function ops.canceller(run, c, node)
  local future, calls = Future(), 0
  local settles = node.mode == "settles" or node.mode == "acts"
  local timer
  local function give_up(given)
    calls = calls + 1
    run:check(given == future and not future:done(), "canceller of another")
    if timer then run.loop:remove_timeout(timer) end
    if node.mode == "settles" then future:set_result "given up" end
    if node.mode == "acts" then ops[node.action.op](run, nil, node.action) end
  end
  run:wait_for(c, node, function()
    tasks.set_canceller(future, give_up)
    timer = run.loop:call_later(node.seconds, function()
      timer = nil
      future:set_result "in time"
    end)
    return future
  end, function(ok)
    run:check(calls <= 1, "a canceller was called %d times", calls)
    run:check(ok or keeping[node.way] or calls == 1,
      "coroutine %d: a canceller was not called", c.id)
    run:check(future:done(), "a Future was not settled by its canceller")
  end, settles)
end

function ops.get(run, c, node)
  local queue = run.queues[node.index]
  run:wait_for(c, node, function() return queue:get(timeout_of(node)) end,
    function(ok, item) if ok then run:take(item) end end)
end

function ops.put(run, c, node)
  local queue, item = run.queues[node.index], run:new_item()
  run:wait_for(c, node, function() return queue:put(item, timeout_of(node)) end,
    function(ok)
      run.put[item] = ok and "put" or "refused"
      run:check(ok or not run.got[item], "item %d was got, but its put failed",
        item)
    end)
end

function ops.lock(run, c, node)
  local lock = run.locks[node.index]
  if node.way == "helper" then return ops.call(run, c, { way = "yield",
    block = { setmetatable({ way = "yield" }, { __index = node }) } }) end
  local held = run:wait_for(c, node, function()
    return lock:acquire(timeout_of(node))
  end, function(ok, late) if ok and run.closing then late:release() end end)
  run.holders[lock] = (run.holders[lock] or 0) + 1
  run:check(run.holders[lock] <= (node.index == 3 and 2 or 1),
    "coroutine %d: the lock was held by another", c.id)
  local _ <close> = setmetatable({}, { __close = function()
    run.holders[lock] = run.holders[lock] - 1
    held:release()
  end })
  return execute(run, c, node.block)
end

function ops.condition(run, c, node)
  run:wait_for(c, node, function()
    return run.condition:wait(timeout_of(node))
  end, function(ok, woken)
    if ok and woken then run.woken = run.woken + 1 end
  end)
end

function ops.event_wait(run, c, node)
  run:wait_for(c, node, function() return run.event:wait(timeout_of(node)) end,
    function() end)
end

--- A table of waits that take something: the program keeps the Futures.
function ops.table(run, c, node)
  local list = {}
  for i, index in ipairs(node.queues) do list[i] = run.queues[index]:get() end
  if node.seconds then list[#list + 1] = gen.sleep(node.seconds) end
  local cause, began = due(c), run:time()
  local ok, results = pcall(yield, list)
  if not ok then run:check_cancelled(c, results, began) end
  run:check(not ok or not cause or list[1]:done(),
    "coroutine %d could wait although it was cancelled", c.id)
  for i = 1, #node.queues do
    if list[i]:done() then run:take(list[i]:result()) end
    run:check(not ok or results[i] == list[i]:result(), "a wrong result")
  end
  if not ok then error(results, 0) end
end

local reads = {
  bytes = function(stream, n) return stream:read_bytes(n) end,
  partial = function(stream, n) return stream:read_bytes(n, true) end,
  line = function(stream) return stream:read_line() end,
  ["until"] = function(stream) return stream:read_until "\n" end,
}


function ops.read(run, c, node)
  local stream = run.reader
  if not stream or stream:reading() then return end
  local n = #run.read + 1
  run.read[n] = ""
  run:wait_for(c, node, function() return reads[node.how](stream, node.n) end,
    function(ok, data)
      if ok then run.read[n] = data .. (node.how == "line" and "\n" or "") end
    end)
end

function ops.write(run, c, node)
  if not run.writer or node.way == "helper" then return end
  run.lines = run.lines + 1
  local data = ("%d:%s\n"):format(run.lines, ("x"):rep(node.n))
  run.written = run.written .. data
  run:wait_for(c, node, function() return run.writer:write(data) end,
    function() end)
end

-- Waits for coroutines.

function ops.group_wait(run, c, node)
  if #run.groups == 0 then return end
  local group = run.groups[node.index % #run.groups + 1]
  local list = {}
  for _, child in ipairs(group.children) do
    if child.future then list[#list + 1] = child end -- else it is spawned now
  end
  local ok, err = run:wait(c, "yield", group.object:wait())
  if not ok then error(err, 0) end
  for _, child in ipairs(list) do
    run:check(child.future:done(), "wait of a group has ended too early")
  end
end

function ops.await(run, c, node)
  local target = run:coroutine(node.index)
  if not target.future then return end
  if target == c or is_above(c, target, {}) then run.cyclic = true end
  local way = ways[node.way] or yield
  local ok, err = run:wait_for_all(c, { target }, false, function()
    return way(target.future)
  end)
  if not ok then error(err, 0) end
  run:check(err == target.id, "a wrong result of coroutine %d", target.id)
end

function ops.call(run, c, node)
  run:call(c, ways[node.way] and node.way or "yield", node.block)
end

function Run:start_all(c, node)
  local list, futures = {}, {}
  for i, block in ipairs(node.children) do
    list[i] = self:start(block, nil, c)
    futures[i] = list[i].future
  end
  if node.seconds then futures[#futures + 1] = gen.sleep(node.seconds) end
  return list, futures
end

function ops.multi(run, c, node)
  local list, futures = run:start_all(c, node)
  local ok, results = run:wait_for_all(c, list, false, function()
    return yield(futures)
  end)
  run:check_ended(c, list, "a table")
  if not ok then error(results, 0) end
  for i, child in ipairs(list) do
    run:check(results[i] == child.id, "a wrong result in a table")
  end
end

function ops.race(run, c, node)
  local list, futures = run:start_all(c, node)
  local ok, key, id = run:wait_for_all(c, list, true, function()
    return yield(tasks.race(futures))
  end)
  run:check_ended(c, list, "a race")
  if not ok then error(key, 0) end
  run:check(list[key] == nil or list[key].id == id, "a wrong winner")
end

function ops.iterate(run, c, node)
  local list, futures = run:start_all(c, node)
  local iterator = gen.WaitIterator(futures)
  while not iterator:done() do
    local ok, err = run:wait_for_all(c, list, false, function()
      return yield(iterator:next())
    end)
    if not ok and is_cancelled(err) then error(err, 0) end
    if not ok then run:see(err) end
  end
end

-- Blocks.

ops["return"] = function() return true end

ops["raise"] = function(run)
  local err = setmetatable({}, { __tostring = function(self)
    return ("boom %d.%d!"):format(run.number, self.id)
  end })
  run.raised[#run.raised + 1] = err
  err.id = #run.raised
  error(err, 0)
end

function ops.pcall(run, c, node)
  local ok, result = pcall(execute, run, c, node.block)
  if ok then return result end
  run:see(result)
end

function ops.repeated(run, c, node)
  for _ = 1, node.n do
    if execute(run, c, node.block) then return true end
  end
end

function Run:enter(c, scope)
  scope.outer, scope.owner = c.scope, c
  scope.opened, scope.changed = self:time(), 0
  c.scope = scope
  self.scopes[#self.scopes + 1] = scope
end

function Run:leave(c, scope)
  scope.closed = true
  self:check(c.scope == scope, "coroutine %d: blocks end out of order", c.id)
  c.scope = scope.outer
  self:compare_scopes(c, "after a block")
end

--- Calls fn; notes in the scope how it has ended, and raises its error again.
local function note_body(scope, fn, ...)
  local ok, result = pcall(fn, ...)
  learn_scopes(scope.owner)
  scope.body_over = true
  if ok then return result end
  scope.raised, scope.body_error = true, result
  error(result, 0)
end

--- Checks how a timeout's block has ended.
function Run:check_timeout(c, scope, ok, err)
  local expired = scope.object and scope.object:expired()
  local own = scope.raised and scope.scope
    and rawequal(scope.body_error, error_of(uservalue(scope.scope, 3)))
  if not scope.raised then
    return self:check(ok, "a timeout has raised an error for a body without")
  end
  self:check(not ok, "a timeout has swallowed an error")
  if not own then
    return self:check(rawequal(err, scope.body_error),
      "a timeout has changed an error that is not its own")
  end
  if is_cancelled(err) then
    if rawequal(err, scope.body_error) then
      return self:check(not expired, "a timeout has not changed its error")
    end
    local origin = self:origin_of(err)
    return self:check(origin and may_reach(c, c.scope, origin, {}),
      "a timeout has raised a cancellation that is not due")
  end
  self:check(is_timeout(err) and not due(c) and expired ~= false,
    "a timeout has raised %s", tostring(err))
end

function ops.timeout(run, c, node)
  local scope = { kind = "timeout" }
  local when = { seconds = node.seconds }
  local function body()
    return note_body(scope, execute, run, c, node.block)
  end
  run:enter(c, scope)
  scope.deadline = scope.opened + node.seconds
  local ok, result = pcall(function()
    if node.form == "fn" then return tasks.timeout(when, body) end
    local object <close> = tasks.timeout(when)
    scope.object = object
    run.timeouts[#run.timeouts + 1] = scope
    return body()
  end)
  run:leave(c, scope)
  run:check_timeout(c, scope, ok, result)
  if scope.object then
    local expired = scope.object:expired()
    run:check(not expired or run:time() >= scope.deadline,
      "a timeout has expired early")
    run:check(expired or scope.origin or run:time() <= scope.deadline,
      "a timeout has not expired")
  end
  if not ok then error(result, 0) end
  return result
end

function ops.shield(run, c, node)
  local scope = { kind = "shield" }
  run:enter(c, scope)
  local ok, result = pcall(tasks.shield, function()
    return note_body(scope, execute, run, c, node.block)
  end)
  run:leave(c, scope)
  run:check(ok == not scope.raised, "a shield has changed the outcome")
  if ok then return result end
  run:check(rawequal(result, scope.body_error), "a shield has changed an error")
  error(result, 0)
end

--- Checks what a group knows about errors when its block has ended.
function Run:check_errors(group, ok, err)
  local listed, n = group.object:errors(), 0
  for _, each in ipairs(listed) do
    if not is_cancelled(each) then
      n = n + 1
      self:check(rawequal(each, group.errors[n]),
        "errors of a group: %s, expected: %s", tostring(each),
        tostring(group.errors[n]))
    end
  end
  self:check(n == #group.errors, "a group has %d errors instead of %d", n,
    #group.errors)
  if #listed > 0 then
    self:check(not ok and rawequal(err, listed[1]),
      "a group has not raised its first error")
  else
    self:check(ok or is_cancelled(err), "a group has raised %s", tostring(err))
  end
end

function Run:check_group(c, group, ok, err)
  for _, child in ipairs(group.children) do
    self:check(child.future:done(), "coroutine %d has outlived its group",
      child.id)
  end
  self:check(tostring(group.object):find "ended", "a group has not ended")
  self:check_errors(group, ok, err)
  self:check(not ok or not group.waited or not due(c) or group.raised,
    "a cancellation has not ended the end of a group")
end

function ops.group(run, c, node)
  local group = { kind = "group", children = {}, errors = {},
    owns_body = node.form == "group" }
  local function body(object)
    group.object = object
    run.groups[#run.groups + 1] = group
    run:enter(c, group)
    local ok, result = pcall(note_body, group, function()
      for _, block in ipairs(node.children) do run:spawn_into(group, block) end
      return execute(run, c, node.block)
    end)
    for _, child in ipairs(group.children) do
      group.waited = group.waited or not child.future:done()
    end
    if ok then return result end
    if not is_cancelled(result) then run:add_error(group, result) end
    error(result, 0)
  end
  local ok, result = pcall(function()
    if group.owns_body then return tasks.group(body) end
    local object <close> = tasks.TaskGroup()
    return body(object)
  end)
  run:leave(c, group)
  run:check_group(c, group, ok, result)
  if not ok then error(result, 0) end
  return result
end

function ops.close(run, c, node)
  local _ <close> = setmetatable({}, { __close = function(_, err)
    local op = node.shielded and ops.shield or execute
    local ok, why = pcall(op, run, c,
      node.shielded and { block = node.handler } or node.handler)
    if ok then return end
    if err ~= nil then run:see(err) end
    error(why, 0)
  end })
  return execute(run, c, node.block)
end

-- Running: the whole --------------------------------------------------------

--- Cancels whatever still runs, until nothing does.
function Run:close()
  for _ = 1, 200 do
    local pending = 0
    for _, c in ipairs(self.coroutines) do
      if c.future and not c.future:done() then
        pending = pending + 1
        if not c.direct then self:cancel(c) end
      end
    end
    if pending == 0 then break end
    yield(gen.sleep(1))
  end
  for _, c in ipairs(self.coroutines) do
    self:check(c.future:done(), "coroutine %d never ends", c.id)
  end
end

function Run:check_items()
  for _, queue in ipairs(self.queues) do
    for _ = 0, self.items do
      local ok, item = pcall(queue.get_nowait, queue)
      if not ok then break end
      self:take(item)
    end
    self:check(self.waiting or not tostring(queue):find "tting", "left: %s",
      tostring(queue))
  end
  for item, how in ipairs(self.put) do
    self:check(how ~= "put" or self.got[item], "item %d was lost", item)
  end
end

function Run:check_locks()
  for i, lock in ipairs(self.locks) do
    local state = tostring(lock):gsub(", %d+ waiting",
      self.waiting and "" or "%0")
    self:check(state:find(i == 3 and "unlocked, value 2)" or "unlocked)", 1,
      true), "not free: %s", state)
  end
  self:check(self.waiting or tostring(self.condition):find "%(0 waiting",
    "left: %s", tostring(self.condition))
  self:check(self.woken == self.notified, "%d notifications have woken %d",
    self.notified, self.woken)
end

function Run:check_stream()
  if not self.reader then return end
  local read = table.concat(self.read)
  local rest = #self.written - #read
  if rest > 0 then
    read = read .. yield(gen.with_timeout({ seconds = HOUR },
      self.reader:read_bytes(rest)))
  end
  self:check(read == self.written, "read: %q, written: %q", read, self.written)
  yield(self.writer:close())
  yield(self.reader:close())
end

function Run:main(program)
  self:start(program.block)
  yield(gen.sleep(program.closes))
  self:close()
  yield(gen.sleep(HORIZON)) -- for what the end has started
  self.closing = true
  repeat
    local n = #self.kept
    for i = n, 1, -1 do
      if self.kept[i]() then table.remove(self.kept, i) end
    end
  until #self.kept == n
  self.waiting = #self.kept > 0
  self:check_items()
  self:check_locks()
  self:check_stream()
end

--- Checks that nothing is left in the loop that could happen.
function Run:check_loop()
  local began, future = self:time(), Future()
  local ok, err = pcall(self.loop.run_sync, self.loop,
    function() yield(future) end)
  future:set_result()
  self:check(not ok and tostring(err):find "would never end",
    "left in the loop: %s", tostring(err))
  self:check(self:time() == began, "a timer is left for %g s",
    self:time() - began)
  self.loop:run_sync(function() yield() end)
end

function Run:open_streams()
  local one, other = pipes.pair()
  self.reader = iostream.IOStream.open(one)
  self.writer = iostream.IOStream.open(other)
end

local function new_run(number, loop)
  return setmetatable({ number = number, loop = loop, began = loop:time(),
    problems = {}, turn = 0, coroutines = {}, scopes = {}, groups = {},
    timeouts = {}, raised = {}, seen = {}, ends = {}, kept = {}, settled = {},
    all = setmetatable({}, { __mode = "k" }), items = 0, put = {}, got = {},
    notified = 0, woken = 0, holders = {}, written = "", read = {}, lines = 0,
    futures = { Future(), Future(), Future() },
    queues = { queues.Queue(), queues.Queue(1), queues.PriorityQueue(2) },
    locks = { locks.Lock(), locks.Lock(), locks.Semaphore(2) },
    condition = locks.Condition(), event = locks.Event() }, Run)
end

--- Runs the program on a loop with a virtual clock.
function taskprogram.run(program, loop)
  local run = new_run(program.number, loop)
  if program.streams then run:open_streams() end
  local ok, err = pcall(loop.run_sync, loop, function() run:main(program) end)
  run:check(ok, "the run has failed: %s", tostring(err))
  run:check_loop()
  return run:outcome()
end

--- Returns what is needed later, which holds nothing of the run: the problems,
-- the errors that must be in the log, how often the others may be there, and
-- what must have been collected.
function Run:outcome()
  local lost, most = {}, {}
  for i, err in ipairs(self.raised) do
    lost[i], most[i] = not self.seen[err], math.max(1, self.ends[err] or 0)
  end
  return { number = self.number, problems = self.problems, lost = lost,
    most = most, all = self.all }
end

-- The log -------------------------------------------------------------------

local KNOWN <const> = { "never retrieved", "Error in a TaskGroup",
  "Error in the body of a TaskGroup", "Error in a loser of a race",
  "Multiple exceptions", "Error in a Future after its timeout" }

local function is_known(message)
  for _, part in ipairs(KNOWN) do
    if message:find(part, 1, true) then return true end
  end
end

--- Checks, after a collection, what the runs have logged.  Returns a list of
-- problems, each { number of the program or nil, text }.
function taskprogram.check_log(outcomes, log)
  local count, problems = {}, {}
  local function fail(number, ...)
    problems[#problems + 1] = { number, (...):format(select(2, ...)) }
  end
  for _, entry in ipairs(log) do
    local number, id = entry.message:match "boom (%d+)%.(%d+)!"
    if number then
      local key = number .. "." .. id
      count[key] = (count[key] or 0) + 1
    end
    if not is_known(entry.message) then fail(number, "%s", entry.message) end
  end
  for _, outcome in ipairs(outcomes) do
    for id, lost in ipairs(outcome.lost) do
      local n = count[("%d.%d"):format(outcome.number, id)] or 0
      if lost and n == 0 then fail(outcome.number, "error %d was lost", id) end
      if n > outcome.most[id] then
        fail(outcome.number, "error %d was logged %d times", id, n)
      end
    end
    if next(outcome.all) ~= nil then
      fail(outcome.number, "not collected: %s", tostring(next(outcome.all)))
    end
  end
  return problems
end

return taskprogram
