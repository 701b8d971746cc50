-- SPDX-License-Identifier: MIT
-- A message of 64 bytes goes over a local socket to an echo, and comes back:
-- two writes and two reads.
local echo = dofile "bench/support/echo.lua"
echo(math.tointeger(...), 64)
