-- SPDX-License-Identifier: MIT
-- Instructions for one operation; written by `check.lua --update`.
return {
  interpreter = "Lua 5.4.4",
  ready_yield = 743,
  ready_await = 417,
  failed_yield = 2540,
  suspended_await = 3419,
  turn = 1416,
  spawn = 2290,
  spawn_suspend = 5929,
  timer = 3169,
  sleep = 11533,
  callback = 3136,
  future = 1431,
  multi = 3198,
  wait_iterator = 6639,
  with_timeout = 10390,
}
