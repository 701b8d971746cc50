-- SPDX-License-Identifier: MIT
--- lunado.process: programs that this one starts, and workers.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.process"] then return loaded["lunado.process"] end

local subprocess = require "lunado.subprocess"
local workers = require "lunado.workers"

local process = {
  STREAM = subprocess.STREAM,
  DEVNULL = subprocess.DEVNULL,
  STDOUT = subprocess.STDOUT,
  CalledProcessError = subprocess.CalledProcessError,
  Subprocess = subprocess.Subprocess,
  --- Returns the number of processors that this process may use.
  cpu_count = core.cpu_count,
  spawn_workers = workers.spawn_workers,
  task_id = workers.task_id,
}

loaded["lunado.process"] = process
return process
