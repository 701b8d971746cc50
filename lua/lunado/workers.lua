-- SPDX-License-Identifier: MIT
--- lunado.workers: spawn_workers, and what it does in a worker.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.workers"] then return loaded["lunado.workers"] end

local argument = require "lunado.argument"
local gen = require "lunado.gen"
local inherit = require "lunado.inherit"
local iostream = require "lunado.iostream"
local log = require "lunado.log".app_log
require "lunado.signals" -- adds the methods for signals

local IOLoop, await = core.IOLoop, core.await

local MAX_RESTARTS <const> = 100

-- Seconds: how long a worker's connections may go on when it is to end; in what
-- time a new worker must come up; how long a program that handles signals
-- itself may go on without its parent, beyond the first of these.
local STOP_TIMEOUT <const>, START_TIMEOUT <const>, GRACE <const> = 30, 60, 5

-- Seconds between looks whether connections are left, only while it ends; and
-- between collections of those that the program has dropped.
local LOOK <const>, COLLECT <const> = 0.02, 1

-- Seconds beyond the time limit for what the script runs after the loop was
-- ended, which the parent's patience must exceed; and between its further ends,
-- which must exceed the last second of a run that is ended.
local LAST_RUNS <const>, AGAIN <const> = 3, 1.2

-- Arguments -----------------------------------------------------------------

local function check_count(value, position)
  if value == nil then return 0 end
  local count = argument.check_count(value, position, "spawn_workers", 3)
  return count
end

local function bad_option(what)
  argument.bad(2, "spawn_workers", what, 5)
end

local checks = {}

function checks.max_restarts(value)
  local count = math.type(value) and math.tointeger(value)
  if not count or count < 0 then
    bad_option "max_restarts: a count expected"
  end
  return count
end

local function check_seconds(value, name)
  if math.type(value) and value >= 0 and value < math.huge then return value end
  bad_option(name .. ": seconds expected")
end

checks.stop_timeout, checks.start_timeout = check_seconds, check_seconds

local function check_options(options)
  local all = { max_restarts = MAX_RESTARTS, stop_timeout = STOP_TIMEOUT,
    start_timeout = START_TIMEOUT }
  if options == nil then return all end
  argument.check_type(options, "table", 2, "spawn_workers", 3)
  local copy, wrong = argument.copy_options(options, checks)
  if not copy then argument.bad(2, "spawn_workers", wrong, 3) end
  for name, value in next, copy do all[name] = checks[name](value, name) end
  return all
end

-- The command ---------------------------------------------------------------

--- Whether the chunk that calls this was read from stdin.  `lua < script` has
-- the same `arg` as `lua` alone.
local function is_on_stdin()
  local source
  for level = 2, math.huge do
    local info = debug.getinfo(level, "S")
    if not info then return source == "=stdin" end
    if info.what == "main" then source = info.source end
  end
end

--- Returns the command that has started this script: the interpreter's path,
-- and a list of its name and arguments; or nil and what is missing.
local function command()
  local list, first = {}, 0
  if type(arg) ~= "table" or type(rawget(arg, 0)) ~= "string" then
    return nil, "the global table 'arg' does not name this script"
  end
  if rawget(arg, 0) == "-" or is_on_stdin() then
    return nil, "a script that is read from stdin cannot be started again"
  end
  while rawget(arg, first - 1) ~= nil do first = first - 1 end
  for i = first, rawlen(arg) do
    local text = rawget(arg, i)
    if type(text) ~= "string" then
      return nil, ("arg[%d] is not a string"):format(i)
    end
    list[#list + 1] = text
  end
  return core.exepath() or list[1], list
end

-- In a worker ---------------------------------------------------------------

local stopping = false

-- The stream that leads to the parent.
local channel

--- Tells the parent something: one byte.  It may be gone.
local say = core.coroutine(function(byte)
  core.try(function() return await(channel:write(byte)) end)
end)

--- Ends what runs the loop so late, again and again.  The script may clean up
-- in a run behind the one that was ended; but if that was its set-up, the next
-- run serves and would never end.
local function end_again(loop)
  log:warning("worker %d still runs its loop, which is ended again",
    inherit.number)
  core.dismiss(loop)
  loop:call_later(AGAIN, end_again, loop)
end

--- Waits until the connections of the loop are closed, but no longer than the
-- time limit, and ends what runs the loop.
local finish = core.coroutine(function(loop, seconds)
  local deadline, collect = loop:time() + seconds, loop:time()
  while core.accepted() > 0 and loop:time() < deadline do
    if loop:time() >= collect then
      collectgarbage()
      collect = loop:time() + COLLECT
    end
    await(gen.sleep(LOOK))
  end
  local left = core.accepted()
  if left > 0 then
    log:warning("worker %d ends with %d connections open", inherit.number, left)
  end
  core.dismiss(loop)
  loop:call_at(deadline + LAST_RUNS, end_again, loop)
end)

--- Accepts no more; ends the loop when the connections are closed.
local function stop(loop, seconds)
  if stopping then return end
  stopping = true
  inherit.stop()
  log:info("worker %d is to end", inherit.number)
  say "-"
  return finish(loop, seconds)
end

--- The parent is gone: what handles SIGTERM is to end the program.
local function on_orphaned(loop, seconds)
  log:warning("worker %d ends because its parent is gone", inherit.number)
  core.signal_self(core.signal_number "sigterm")
  loop:call_later(seconds + GRACE, os.exit, 1)
end

--- Makes this worker end when it is told to, and tells the parent, in a turn of
-- the loop, that it has come up.
local function begin_work(options)
  local loop, seconds = IOLoop.current(), options.stop_timeout
  local function ignore() end
  loop:add_signal_handler("sigterm", stop, loop, seconds)
  loop:add_signal_handler("sigint", stop, loop, seconds)
  loop:add_signal_handler("sighup", ignore)
  channel = iostream._of_descriptor(inherit.channel)
  core.stream_background(channel)
  channel:set_close_callback(function() on_orphaned(loop, seconds) end)
  loop:add_callback(say, "+")
end

-- spawn_workers -------------------------------------------------------------

local called = false

local workers = {}

--- Starts this script n times more.  In these workers it returns the worker's
-- number, from 0; in the parent it does not return: it starts again those that
-- die, and exits when all have ended.  To be called after TCPServer:listen and
-- before the loop runs.  Tornado: process.fork_processes.
-- @param n the number of workers; that of the processors, if it is nil or 0
-- @param options `max_restarts`: of all workers together, 100 by default;
--   `stop_timeout`: seconds for which connections may go on when a worker is to
--   end, 30 by default; `start_timeout`: seconds in which a new worker must
--   come up at a SIGHUP, 60 by default
function workers.spawn_workers(n, options)
  n = check_count(n, 1)
  options = check_options(options)
  if core.is_any_loop_running() then
    error("spawn_workers must be called before the IOLoop runs", 2)
  end
  if called then error("spawn_workers was called already", 2) end
  if inherit.channel then
    begin_work(options)
    called = true
    return inherit.number
  end
  if inherit.number then
    error("spawn_workers belongs into the first Lua state of a worker", 2)
  end
  if not core.can_pass_sockets() then
    error("spawn_workers: ENOTSUP: programs get no sockets on this system", 2)
  end
  local program, args = command()
  if not program then error("spawn_workers: " .. args, 2) end
  called = true
  if n == 0 then n = core.cpu_count() end
  local code = require "lunado.supervisor".run(n, program, args, options)
  os.exit(code, true)
end

--- Returns the number of this worker, from 0; nil in any other process.
function workers.task_id() return inherit.number end

loaded["lunado.workers"] = workers
return workers
