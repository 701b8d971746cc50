-- SPDX-License-Identifier: MIT
--- lunado.supervisor: the parent of workers, which starts them again.
--
-- It has a loop of its own, so that what the program has put on its loop, the
-- listeners above all, is only there to be handed on.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.supervisor"] then return loaded["lunado.supervisor"] end

local gen = require "lunado.gen"
local inherit = require "lunado.inherit"
local iostream = require "lunado.iostream"
local log = require "lunado.log".app_log
local subprocess = require "lunado.subprocess"

local Future, await = core.Future, core.await

-- Seconds.  A worker that was up for less has died at once; the first pause
-- after that, and the longest; and the time after a worker's own time limit
-- until it is killed.
local AT_ONCE <const>, PAUSE <const>, LONGEST <const> = 1, 0.1, 10
local GRACE <const> = 5

-- Its fields:
-- `count`: the number of workers;
-- `program`, `args`: the command that starts them;
-- `options`: max_restarts, stop_timeout, start_timeout;
-- `all`: the set of the workers that run, those being replaced included;
-- `workers`: number -> the worker that serves under it;
-- `replacing`: number -> Future that is done when it is replaced, or not;
-- `stopped`: Future that is done when all are to end;
-- `code`: the status with which the parent will exit.
-- A worker's fields: `id`, its number; `process`; `channel`, a stream whose end
-- tells it that the parent is gone; `up`, a Future of whether it has come up;
-- `was_told`, whether it has ended at a signal; `heard`, a Future that is done
-- when it says no more; `ended`, one that is done when it has ended; `since`,
-- the time when it came up, or false; `killer`, a timeout.
local Supervisor = {}
Supervisor.__index = Supervisor

-- One worker ----------------------------------------------------------------

--- Waits for a byte; returns whether it has come.
local function hear(channel)
  return (core.try(function() return await(channel:read_bytes(1)) end))
end

--- A worker says one byte when it has come up, and one more when it is to end
-- at a signal.
local listen_to = core.coroutine(function(self, worker)
  local up = hear(worker.channel)
  worker.since = up and self.loop:time()
  worker.up:set_result(up)
  worker.was_told = up and hear(worker.channel)
end)

--- Waits for the end of the worker.
local attend = core.coroutine(function(self, worker)
  await(worker.process:wait_for_exit(false))
  await(worker.heard)
  self.all[worker] = nil
  if worker.killer then self.loop:remove_timeout(worker.killer) end
  worker.channel:close()
end)

--- Starts a worker and returns it; or nil, if that fails.
function Supervisor:start(id)
  local ours, theirs = core.socketpair()
  if not ours then
    log:error("worker %d cannot be started: %s", id, theirs)
    return nil
  end
  local _ <close> = theirs
  local env, descriptors = inherit.pass_on(id, theirs)
  local channel = iostream._of_descriptor(ours)
  local ok, process = pcall(subprocess.Subprocess._start, self.program,
    self.args, { env = env, descriptors = descriptors })
  if not ok then
    channel:close()
    log:error("worker %d cannot be started: %s", id, tostring(process))
    return nil
  end
  local worker = { id = id, process = process, channel = channel,
    since = false, killer = false, was_told = false,
    up = Future() }
  self.all[worker] = true
  worker.heard = listen_to(self, worker)
  worker.ended = attend(self, worker)
  log:info("worker %d (pid %d) was started", id, process.pid)
  return worker
end

--- Sends the worker a signal on which it is to end, and kills it later.
function Supervisor:end_worker(worker, signal)
  worker.process:kill(signal)
  if worker.killer then return end
  local seconds = self.options.stop_timeout + GRACE
  worker.killer = self.loop:call_later(seconds, function()
    worker.killer = false
    log:warning("worker %d (pid %d) has not ended in %g s and is killed",
      worker.id, worker.process.pid, seconds)
    worker.process:kill "sigkill"
  end)
end

-- Starting again ------------------------------------------------------------

--- Runs worker `id`, and those that replace it, to their end.  Returns the last
-- one; nil if it could not be started.
function Supervisor:run_worker(id)
  local worker = self:start(id)
  if not worker then return nil end
  self.workers[id] = worker
  repeat
    worker = self.workers[id]
    await(worker.ended)
    if self.replacing[id] then await(self.replacing[id]) end
  until worker == self.workers[id]
  self.workers[id] = nil
  return worker
end

local function describe(worker)
  local status = worker and worker.process.returncode
  if not status then return "cannot be started" end
  if status >= 0 then return ("exited with status %d"):format(status) end
  local name = core.signal_name(-status)
  return "died with " .. (name and name:upper() or "signal " .. -status)
end

--- Counts a restart; gives up if there were too many.
function Supervisor:count_restart(id, worker)
  self.restarts = self.restarts + 1
  if self.restarts > self.options.max_restarts then
    log:error("worker %d %s; too many restarts (%d), giving up", id,
      describe(worker), self.options.max_restarts)
    self.code = 1
    self:stop "sigterm"
  elseif worker then
    log:warning("worker %d (pid %d) %s, starting it again", id,
      worker.process.pid, describe(worker))
  end
end

--- Whether the worker that has ended has not died at once.
function Supervisor:has_lasted(worker)
  return worker and worker.since and self.loop:time() - worker.since >= AT_ONCE
end

--- Waits after the n-th death at once in a row, unless all are to end.
function Supervisor:pause(n)
  if n == 0 or self.stopped:done() then return end
  local seconds = math.min(PAUSE * 2.0 ^ (n - 1), LONGEST)
  core.try(await, gen.with_timeout({ seconds = seconds }, self.stopped))
end

local keep = core.coroutine(function(self, id)
  local deaths = 0
  repeat
    local worker = self:run_worker(id)
    if self.stopped:done() then return end
    if worker and worker.process.returncode == 0 and not worker.was_told then
      log:info("worker %d (pid %d) exited normally", id, worker.process.pid)
      return
    end
    deaths = self:has_lasted(worker) and 0 or deaths + 1
    self:count_restart(id, worker)
    self:pause(deaths)
  until self.stopped:done()
end)

-- Signals -------------------------------------------------------------------

--- Makes all workers end, and refuses connections that come later.  The second
-- call kills them.
function Supervisor:stop(signal)
  local again = self.stopped:done()
  if not again then self.stopped:set_result() end
  inherit.stop()
  for worker in pairs(self.all) do
    if again then
      worker.process:kill "sigkill"
    else
      self:end_worker(worker, signal)
    end
  end
end

--- Returns whether the worker has come up in time.
function Supervisor:is_up(worker)
  local timeout = { seconds = self.options.start_timeout }
  local ok, up = core.try(await, gen.with_timeout(timeout, worker.up))
  return ok and up
end

--- Replaces a worker by a new one, which has to come up before the old one is
-- to end.  Returns whether it has.
function Supervisor:replace(id, old)
  local over = Future()
  self.replacing[id] = over
  local new = self:start(id)
  local up = new and self:is_up(new) and not self.stopped:done()
  if up then
    self.workers[id] = new
    self:end_worker(old, "sigterm")
  elseif new and not self.stopped:done() then
    new.process:kill "sigkill"
  end
  self.replacing[id] = nil
  over:set_result()
  if up then await(old.ended) end
  return up
end

function Supervisor:replace_all()
  for id = 0, self.count - 1 do
    local old = self.workers[id]
    if self.stopped:done() then return end
    if old and not self:replace(id, old) then
      if not self.stopped:done() then
        log:error("worker %d: the new one has not come up, the old ones stay",
          id)
      end
      return
    end
  end
end

--- Replaces all workers one by one; once more, if it is asked for meanwhile.
local reload = core.coroutine(function(self)
  if self.reloads > 0 then
    self.reloads = 2
    return
  end
  self.reloads = 1
  repeat
    self:replace_all()
    self.reloads = self.reloads - 1
  until self.reloads == 0
end)

-- All -----------------------------------------------------------------------

function Supervisor:handle_signals()
  for _, signal in ipairs { "sigterm", "sigint" } do
    self.loop:add_signal_handler(signal, function() self:stop(signal) end)
  end
  self.loop:add_signal_handler("sighup", function() return reload(self) end)
end

--- Runs the workers until all have ended; returns the status to exit with.
function Supervisor:run()
  local keepers = {}
  self:handle_signals()
  log:info("starting %d workers", self.count)
  for id = 0, self.count - 1 do keepers[id + 1] = keep(self, id) end
  for _, keeper in ipairs(keepers) do await(keeper) end
  if not self.stopped:done() then self.stopped:set_result() end
  while next(self.all) do await(next(self.all).ended) end
  return self.code
end

local supervisor = {}

--- Runs n workers with a command, a program and its list of arguments; returns
-- the status to exit with.
-- @param options max_restarts; stop_timeout, start_timeout: seconds
function supervisor.run(n, program, args, options)
  local loop <close> = core.IOLoop(false)
  return loop:run_sync(function()
    local self = setmetatable({ loop = loop, count = n, program = program,
      args = args, options = options, all = {}, workers = {}, replacing = {},
      stopped = Future(), restarts = 0, reloads = 0, code = 0 }, Supervisor)
    return self:run()
  end)
end

loaded["lunado.supervisor"] = supervisor
return supervisor
