-- SPDX-License-Identifier: MIT
-- Instructions for one operation; written by `check.lua --update`.
return {
  interpreter = "Lua 5.4.4",
  ready_yield = 743,
  ready_await = 410,
  failed_yield = 2045,
  failed_call = 10586,
  suspended_await = 3124,
  turn = 1150,
  spawn = 1799,
  spawn_suspend = 4882,
  timer = 1934,
  sleep = 10458,
  callback = 1109,
  future = 1337,
  multi = 2390,
  wait_iterator = 4524,
  with_timeout = 7501,
  job = 7331,
  stream_message = 23633,
  stream_large = 2473335,
  accept = 76479,
}
