-- SPDX-License-Identifier: MIT
--- lunado.gen: coroutines, and what they wait for.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.gen"] then return loaded["lunado.gen"] end

local callback = require "lunado.callback"
local legacy = require "lunado.legacy"

local gen = {
  coroutine = core.coroutine,
  await = core.await,
  is_coroutine_function = core.is_coroutine_function,
  reuse_threads = core.reuse_threads,
  sleep = core.sleep,
  with_timeout = core.with_timeout,
  moment = core.moment,
  multi = core.multi,
  Multi = core.Multi,
  multi_future = core.multi_future,
  WaitIterator = core.WaitIterator,
  maybe_future = core.maybe_future,
  convert_yielded = core.convert_yielded,
  engine = callback.engine,
  Task = callback.Task,
  Arguments = callback.Arguments,
  YieldPoint = legacy.YieldPoint,
  Callback = legacy.Callback,
  Wait = legacy.Wait,
  WaitAll = legacy.WaitAll,
  MultiYieldPoint = legacy.MultiYieldPoint,
  KeyReuseError = legacy.KeyReuseError,
  UnknownKeyError = legacy.UnknownKeyError,
  LeakedCallbackError = legacy.LeakedCallbackError,
  Return = core.Return,
  TimeoutError = core.TimeoutError,
  BadYieldError = core.BadYieldError,
  ReturnValueIgnoredError = core.ReturnValueIgnoredError,
}

loaded["lunado.gen"] = gen
return gen
