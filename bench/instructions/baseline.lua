-- SPDX-License-Identifier: MIT
-- Instructions for one operation; written by `check.lua --update`.
return {
  interpreter = "Lua 5.4.4",
  ready_yield = 761,
  ready_await = 410,
  failed_yield = 2249,
  failed_call = 11187,
  suspended_await = 3168,
  turn = 1136,
  spawn = 1824,
  spawn_suspend = 4974,
  timer = 2025,
  sleep = 10890,
  callback = 1103,
  future = 1348,
  multi = 2412,
  wait_iterator = 4633,
  with_timeout = 7678,
  job = 7338,
  stream_message = 23633,
  stream_large = 2473335,
  accept = 76479,
}
