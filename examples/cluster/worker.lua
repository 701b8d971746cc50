-- SPDX-License-Identifier: MIT
--
-- A worker of a cluster: takes jobs from Redis and runs them.
--
--   lua worker.lua [-j COUNT] [-n NAME] [-l SECONDS] redis://HOST[:PORT]
--
--   -j COUNT     how many jobs run at once, each on a thread (default 1)
--   -n NAME      the name of the cluster (default lunado)
--   -l SECONDS   a worker that gives no sign of life for that time is taken for
--                dead, and its jobs run again (default 10)
--
-- Writes "ready" and its name as its first line.  SIGTERM and Ctrl-C end it
-- when the jobs that run have ended.  The exit status is 0 then, 1 if Redis
-- cannot be reached, 2 for wrong arguments.

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/../?.lua;" .. package.path

local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local lunado = require "lunado"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local jobs = require "cluster.jobs"
local redis = require "cluster.redis"

local BLOCK = 5 -- seconds for which Redis waits for a job
local PATIENCE = 60 -- seconds for which Redis may be missing

local await = coroutine.yield
local loop = lunado.IOLoop.current()

local function usage()
  io.stderr:write("usage: lua worker.lua [-j COUNT] [-n NAME] [-l SECONDS] "
    .. "redis://HOST[:PORT]\n")
  os.exit(2)
end

local function parse_arguments()
  local options, i = { count = 1, name = "lunado", lease = 10 }, 1
  while arg[i] do
    local value = arg[i + 1] or ""
    if arg[i] == "-j" then
      options.count = math.tointeger(tonumber(value)) or 0
    elseif arg[i] == "-n" then
      options.name = value
    elseif arg[i] == "-l" then
      options.lease = tonumber(value) or 0
    elseif options.url or not arg[i]:find "^redis://" then
      usage()
    else
      options.url = arg[i]
    end
    i = i + (arg[i]:sub(1, 1) == "-" and 2 or 1)
  end
  if not options.url or options.count < 1 or options.lease <= 0
    or not options.name:find "^%w+$" then usage() end
  return options
end

-- On a thread of its own: runs what dumps has made of a function and its
-- arguments; returns "+" and the results, or "-", the error and its traceback.
local function execute(work)
  local dumps, loads = require("lunado.concurrent").dumps,
    require("lunado.concurrent").loads
  local function call(fn, ...) return fn(...) end
  local results = table.pack(xpcall(function() return call(loads(work)) end,
    function(err)
      return { err, debug.traceback("", 2):gsub("^\n", "") }
    end))
  local sign = results[1] and "+" or "-"
  local from = results[1] and results or results[2]
  local ok, text = pcall(dumps, table.unpack(from, results[1] and 2 or 1,
    results[1] and results.n or 2))
  if ok then return sign .. "\n" .. text end
  return "-\n" .. dumps("what the job has returned or raised cannot be sent: "
    .. tostring(text))
end

-- (results, running; result, milliseconds, job): hands in the result of a job
-- that is not running any more.
local FINISH = [[
  redis.call("LPUSH", KEYS[1], ARGV[1])
  redis.call("PEXPIRE", KEYS[1], ARGV[2])
  return redis.call("LREM", KEYS[2], 1, ARGV[3])
]]

local Worker = {}
Worker.__index = Worker

function Worker:run_job(job, running)
  local number, results, seconds, work = jobs.unpack(job)
  local ok, outcome = pcall(await, self.pool:submit(execute, work))
  if not ok then outcome = "-\n" .. concurrent.dumps(tostring(outcome)) end
  await(self.client:insist("EVAL", FINISH, 2, results, running,
    number .. " " .. outcome, math.ceil(seconds * 1000), job))
end

-- Puts the jobs of a list back, to be run next.
function Worker:put_back(running)
  repeat
    local job = await(self.client:insist("LMOVE", running, self.keys.jobs(),
      "LEFT", "RIGHT"))
  until not job
end

-- Takes jobs and runs them, one after another.  A call that is lost with its
-- connection may have moved a job to the list; or it does so later, if Redis
-- has not noticed the loss yet.
function Worker:work(number)
  local running = self.keys.running(self.id, number)
  local taker <close> = await(redis.connect(self.url, PATIENCE))
  self.takers[number] = taker
  while not self.stopping do
    local ok, job = pcall(await, taker:call("BLMOVE", self.keys.jobs(), running,
      "RIGHT", "LEFT", BLOCK))
    if ok and job then
      self.busy[number] = true
      self:run_job(job, running)
      self.busy[number] = nil
    else
      if taker.closed and not self.stopping then error(job, 0) end
      self:put_back(running)
    end
  end
  self:put_back(running)
end

function Worker:live()
  while true do
    await(self.client:insist("SET", self.keys.alive(self.id), 1, "PX",
      math.ceil(self.lease * 1000)))
    await(gen.sleep(self.lease / 3))
  end
end

-- Puts back the jobs of workers that have died.
function Worker:reap()
  while true do
    await(gen.sleep(self.lease / 2))
    local cursor = "0"
    repeat
      local page = await(self.client:insist("SCAN", cursor, "MATCH",
        self.keys.running "*"))
      cursor = page[1]
      for _, running in ipairs(page[2]) do
        local worker = running:match ":(%x+):%d+$"
        if worker and worker ~= self.id and await(self.client:insist("EXISTS",
          self.keys.alive(worker))) == 0 then self:put_back(running) end
      end
    until cursor == "0"
  end
end

-- Lets the jobs that run end; threads that wait for a job stop waiting.
function Worker:stop()
  self.stopping = true
  for number, taker in pairs(self.takers) do
    if not self.busy[number] then taker:close() end
  end
end

function Worker:run()
  self.client = await(redis.connect(self.url, PATIENCE))
  self.pool = concurrent.ThreadPoolExecutor(self.count)
  await(self.client:insist("SET", self.keys.alive(self.id), 1, "PX",
    math.ceil(self.lease * 1000)))
  do
    local group <close> = tasks.TaskGroup {
      quiet_exceptions = redis.ConnectionError }
    group:spawn(self.live, self)
    group:spawn(self.reap, self)
    local threads = {}
    for i = 1, self.count do threads[i] = group:spawn(self.work, self, i) end
    io.stdout:write("ready ", self.id, "\n"):flush()
    await(threads)
    group:cancel()
  end
  await(self.client:insist("DEL", self.keys.alive(self.id)))
  self.client:close()
end

local options = parse_arguments()
local worker = setmetatable({ url = options.url, count = options.count,
  lease = options.lease, keys = jobs.keys(options.name), id = jobs.new_name(),
  takers = {}, busy = {}, stopping = false }, Worker)
for _, signal in ipairs { "sigterm", "sigint" } do
  loop:add_signal_handler(signal, worker.stop, worker)
end
local ok, err = pcall(lunado.run, worker.run, worker)
if not ok then
  if not util.isinstance(err, redis.ConnectionError) then error(err, 0) end
  io.stderr:write("worker: ", err.message, "\n")
end
os.exit(ok, true)
