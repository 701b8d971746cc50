-- SPDX-License-Identifier: MIT
--- lunado.concurrent: Futures, and wrappers that make functions return them.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.concurrent"] then return loaded["lunado.concurrent"] end

local callback = require "lunado.callback"
local executor = require "lunado.executor"

local concurrent = {
  --- Future() makes a pending Future.
  Future = core.Future,
  TracebackFuture = core.Future,
  --- is_future(x) returns whether x is a Future.
  is_future = core.is_future,
  --- chain_future(a, b) settles b with the outcome of a, unless b is done
  -- before.
  chain_future = core.chain_future,
  --- dumps(...) returns a string of the values, which other processes can load.
  -- Raises for values that an executor does not send.
  dumps = core.dumps,
  --- loads(string) returns copies of the values that dumps was given.
  loads = core.loads,
  return_future = callback.return_future,
  run_on_executor = executor.run_on_executor,
  ThreadPoolExecutor = executor.ThreadPoolExecutor,
  DummyExecutor = executor.DummyExecutor,
  dummy_executor = executor.dummy_executor,
  InvalidStateError = core.InvalidStateError,
  ReturnValueIgnoredError = core.ReturnValueIgnoredError,
}

loaded["lunado.concurrent"] = concurrent
return concurrent
