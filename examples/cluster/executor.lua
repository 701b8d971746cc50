-- SPDX-License-Identifier: MIT
--
-- An executor whose workers are other processes, on this machine or others;
-- they meet at a Redis server.
--
--   local executor <close> = await(RedisExecutor.connect(url))
--   local future = executor:submit(function(a, b) return a + b end, 1, 2)
--   print(await(future))
--
-- A job runs at least once: it runs again if its worker dies, and it may run
-- twice if a connection is lost.

local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local lunado = require "lunado"
local tasks = require "lunado.tasks"
local util = require "lunado.util"
local jobs = require "cluster.jobs"
local redis = require "cluster.redis"

local BLOCK = 5 -- seconds for which Redis waits for a result

local await = coroutine.yield

local RedisExecutor = {}
RedisExecutor.__index = RedisExecutor

-- Settles the Future of a job, which is forgotten; does nothing if it was.
local function settle(self, number, method, ...)
  local entry = self.pending[number]
  if not entry then return end
  self.pending[number] = nil
  self.loop:remove_timeout(entry.timeout)
  local future = entry.future
  if not future:done() then future[method](future, ...) end
end

local function end_all(self, err)
  self.closed = self.closed or err
  for number in pairs(self.pending) do
    settle(self, number, "set_exception", err)
  end
end

-- A result: the job's number, "+" or "-", and what dumps has made of the
-- results, or of the error and its traceback.
local function receive(self, result)
  local number, sign, data = result:match "^(%S+) ([+-])\n(.*)$"
  if not number or not self.pending[number] then return end -- late, or twice
  local values = table.pack(pcall(concurrent.loads, data))
  if not values[1] then
    settle(self, number, "set_exception", values[2])
  elseif sign == "+" then
    settle(self, number, "set_result", table.unpack(values, 2, values.n))
  else
    settle(self, number, "set_exc_info", values[2], values[3])
  end
end

-- Receives results until the connection is lost.  Those that were moved when it
-- was lost the last time come first; Redis may notice the loss later, and move
-- one after that, so they are looked for whenever there is nothing to do.
local function listen_once(self)
  local client, results, received = self.listener, self.results, self.received
  while true do
    for _, result in ipairs(await(client:call("LRANGE", received, 0, -1))) do
      receive(self, result)
      await(client:call("LREM", received, 1, result))
    end
    repeat
      local result = await(client:call("BLMOVE", results, received, "RIGHT",
        "LEFT", BLOCK))
      if result then
        receive(self, result)
        client:tell("LREM", received, 1, result)
      end
    until not result
  end
end

local listen = gen.coroutine(function(self)
  repeat
    local _, err = pcall(listen_once, self)
    if not util.isinstance(err, redis.ConnectionError)
      or self.listener.closed then end_all(self, err) end
  until self.closed
end)

-- Sends a job; if that fails for good, so does its Future.
local send = gen.coroutine(function(self, number, job)
  local ok, err = pcall(await, self.client:insist("LPUSH", self.jobs, job))
  if not ok then settle(self, number, "set_exception", err) end
end)

-- submit(fn, ...) -> Future of the results of fn(...), which a worker calls.
-- Raises if the function or an argument cannot be sent (concurrent.dumps).  The
-- Future fails with the error of fn; or with TimeoutError if no result comes in
-- time.  A job whose Future is cancelled before it began does not run.
function RedisExecutor:submit(fn, ...)
  if type(fn) ~= "function" then
    error("bad argument #1 to 'submit' (function expected, got " .. type(fn)
      .. ")", 2)
  end
  if self.closed then error(self.closed, 2) end
  local ok, work = pcall(concurrent.dumps, fn, ...)
  if not ok then error(work, 2) end
  local future = lunado.Future()
  self.count = self.count + 1
  local number = tostring(self.count)
  local job = jobs.pack(number, self.results, self.timeout, work)
  local timeout = self.loop:call_later(self.timeout, settle, self, number,
    "set_exception", util.TimeoutError(("no result within %g seconds"):format(
    self.timeout)))
  self.pending[number] = { future = future, timeout = timeout }
  tasks.set_canceller(future, function()
    self.pending[number] = nil
    self.loop:remove_timeout(timeout)
    self.client:tell("LREM", self.jobs, 1, job)
  end)
  send(self, number, job)
  return future
end

-- map(fn, list) -> Future of the list of the results of fn(item).
function RedisExecutor:map(fn, list)
  local futures = {}
  for i = 1, #list do futures[i] = self:submit(fn, list[i]) end
  return gen.multi(futures)
end

-- Ends the executor.  Futures that are pending fail; their jobs still run.
function RedisExecutor:close()
  end_all(self, util.Exception "the executor was closed")
  self.client:close()
  self.listener:close()
end

RedisExecutor.__close = RedisExecutor.close

local DEFAULTS = { name = "lunado", timeout = 3600, patience = 60 }

local function check_options(options)
  for key, value in pairs(options) do
    local default = DEFAULTS[key]
    if default == nil then
      error(("unknown option '%s'"):format(tostring(key)), 3)
    end
    local good = type(value) == type(default)
      and (key == "name" and value:find "^%w+$" or key ~= "name" and value > 0)
    if not good then
      error(("bad option '%s': %s"):format(key, tostring(value)), 3)
    end
  end
  return setmetatable(options, { __index = DEFAULTS })
end

local connect = gen.coroutine(function(url, options)
  local client = await(redis.connect(url, options.patience))
  local ok, listener = pcall(await, redis.connect(url, options.patience))
  if not ok then
    client:close()
    error(listener, 0)
  end
  local keys, name = jobs.keys(options.name), jobs.new_name()
  local self = setmetatable({ client = client, listener = listener,
    timeout = options.timeout, loop = lunado.IOLoop.current(), pending = {},
    jobs = keys.jobs(), results = keys.results(name),
    received = keys.received(name), count = 0, closed = false }, RedisExecutor)
  listen(self)
  return self
end)

-- connect(url [, options]) -> Future of an executor.  Options: `name` of the
-- cluster, letters and digits ("lunado"); `timeout`, the seconds for which a
-- job may wait and run (3600); `patience`, the seconds for which Redis may be
-- missing (60).
function RedisExecutor.connect(url, options)
  local copy = {}
  for key, value in pairs(options or {}) do copy[key] = value end
  return connect(url, check_options(copy))
end

return { RedisExecutor = RedisExecutor }
