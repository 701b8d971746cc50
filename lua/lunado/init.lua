-- SPDX-License-Identifier: MIT
--- lunado: Tornado's futures for Lua.
--
-- Each module first looks itself up in core.loaded, and at its end stores
-- itself there.  So a second require, after package.loaded was cleared, returns
-- the same module; and core knows which chunks are lunado's own, for its
-- messages.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado"] then return loaded["lunado"] end

local concurrent = require "lunado.concurrent"
local gen = require "lunado.gen"
local ioloop = require "lunado.ioloop"

local lunado = {
  _VERSION = "lunado 0.2.0",

  concurrent = concurrent,
  gen = gen,
  ioloop = ioloop,
  locks = require "lunado.locks",
  log = require "lunado.log",
  queues = require "lunado.queues",
  stack_context = require "lunado.stack_context",
  util = require "lunado.util",

  Future = concurrent.Future,
  IOLoop = ioloop.IOLoop,
  WaitIterator = gen.WaitIterator,
  await = gen.await,
  coroutine = gen.coroutine,
  moment = gen.moment,
  multi = gen.multi,
  run = core.run,
  sleep = gen.sleep,
  with_timeout = gen.with_timeout,
}

--- Modules that are loaded when the program first uses their field.
local optional = { debug = true, httpclient = true, httputil = true,
  iostream = true, platform = true, process = true, tasks = true,
  tcpclient = true, tcpserver = true, testing = true, tls = true, uv = true }

setmetatable(lunado, {
  __index = function(self, name)
    if not optional[name] then return nil end
    local module = require("lunado." .. name)
    rawset(self, name, module)
    return module
  end,
})

loaded["lunado"] = lunado
return lunado
