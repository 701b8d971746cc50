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

-- The checksum of what `sum` is of, with `text` behind it; sum is 0 to begin.
-- Four bytes at a time: the loop's own cost is most of a byte's.
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
