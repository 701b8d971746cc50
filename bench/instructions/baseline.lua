-- SPDX-License-Identifier: MIT
-- Instructions for one operation; written by `check.lua --update`.
return {
  interpreter = "Lua 5.4.4",
  ready_yield = 742,
  ready_await = 410,
  failed_yield = 2486,
  suspended_await = 3154,
  turn = 1162,
  spawn = 1882,
  spawn_suspend = 4982,
  timer = 2898,
  sleep = 10425,
  callback = 1241,
  future = 1337,
  multi = 2661,
  wait_iterator = 5890,
  with_timeout = 7908,
}
