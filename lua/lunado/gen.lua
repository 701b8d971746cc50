-- SPDX-License-Identifier: MIT
--- lunado.gen: coroutines, and the things that they wait for.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.gen"] then return loaded["lunado.gen"] end

local callback = require "lunado.callback"
local legacy = require "lunado.legacy"

local gen = {
  --- coroutine(fn) returns a function that runs fn as a coroutine and returns a
  -- Future of the results of fn.
  coroutine = core.coroutine,
  --- await(x) returns the results of x, like coroutine.yield(x), but without a
  -- switch of coroutines if x is done.
  await = core.await,
  --- is_coroutine_function(x) returns whether x was made by coroutine.
  is_coroutine_function = core.is_coroutine_function,
  --- reuse_threads(on) sets whether threads of ended coroutines are reused.
  reuse_threads = core.reuse_threads,
  --- sleep(seconds) returns a Future that is done after that time.
  sleep = core.sleep,
  --- with_timeout(timeout, x [, quiet_exceptions]) returns a Future that gets
  -- the outcome of x, or fails with TimeoutError at the deadline.
  with_timeout = core.with_timeout,
  --- A Future that is yielded to let the loop run one turn.
  moment = core.moment,
  --- multi(list or table [, quiet_exceptions]) returns a Future of all results.
  multi = core.multi,
  Multi = core.Multi,
  multi_future = core.multi_future,
  --- WaitIterator(...) gives the outcomes of Futures in the order in which they
  -- are done.
  WaitIterator = core.WaitIterator,
  --- maybe_future(x) returns x if it is a Future, else a Future that is done
  -- with x.
  maybe_future = core.maybe_future,
  --- convert_yielded(x) returns the Future that a yield of x waits for;
  -- convert_yielded.register(key, fn) adds a converter.
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
