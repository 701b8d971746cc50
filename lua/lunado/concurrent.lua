-- SPDX-License-Identifier: MIT
--- lunado.concurrent: Futures, and what makes functions return them.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.concurrent"] then return loaded["lunado.concurrent"] end

local concurrent = {
  Future = core.Future,
  TracebackFuture = core.Future,
  is_future = core.is_future,
  chain_future = core.chain_future,
  InvalidStateError = core.InvalidStateError,
  ReturnValueIgnoredError = core.ReturnValueIgnoredError,
}

loaded["lunado.concurrent"] = concurrent
return concurrent
