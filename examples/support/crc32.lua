-- SPDX-License-Identifier: MIT
--
-- CRC-32, as in zip, gzip and PNG, in plain Lua.

local TABLE = {}
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do
    c = c & 1 == 1 and c >> 1 ~ 0xEDB88320 or c >> 1
  end
  TABLE[i] = c
end

-- Returns the checksum of some data followed by `text`, where `sum` is the
-- checksum of that data, or 0 if there is none.  It takes four bytes at a time,
-- because most of the cost of a byte is that of the loop.
return function(sum, text)
  local byte, T = string.byte, TABLE
  local c, length = sum ~ 0xFFFFFFFF, #text
  local last = length - length % 4
  for i = 1, last, 4 do
    local p, q, r, s = byte(text, i, i + 3)
    c = T[(c ~ p) & 255] ~ c >> 8
    c = T[(c ~ q) & 255] ~ c >> 8
    c = T[(c ~ r) & 255] ~ c >> 8
    c = T[(c ~ s) & 255] ~ c >> 8
  end
  for i = last + 1, length do
    c = T[(c ~ byte(text, i)) & 255] ~ c >> 8
  end
  return c ~ 0xFFFFFFFF
end
