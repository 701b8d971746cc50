-- SPDX-License-Identifier: MIT
--
-- Draws a timeline: one row for each piece of work, time from left to right.

local terminal = require "support.terminal"

local COLUMNS = 50

-- bars: a list of { label =, phases = { { mark, start, stop }, … }, failed =
-- boolean }, times in seconds from a common zero. Later phases are drawn over
-- earlier ones.  Each phase is at least one column wide.
local function draw(bars, legend)
  local total, label_width = 0, 0
  for _, bar in ipairs(bars) do
    label_width = math.max(label_width, #bar.label)
    for _, phase in ipairs(bar.phases) do total = math.max(total, phase[3]) end
  end
  local scale = COLUMNS / math.max(total, 0.001)
  local function column(time)
    return math.min(COLUMNS, math.floor(time * scale) + 1)
  end

  terminal.line(terminal.paint("faint", ("%s  0%s%.2f s"):format(
    (" "):rep(label_width), (" "):rep(COLUMNS - 7), total)))
  for _, bar in ipairs(bars) do
    local cells, last = {}, 1
    for i = 1, COLUMNS do cells[i] = " " end
    for _, phase in ipairs(bar.phases) do
      last = column(phase[3])
      for i = column(phase[2]), last do cells[i] = phase[1] end
    end
    if bar.failed then cells[last] = "x" end
    local text = ("%s%s |%s|"):format(bar.label,
      (" "):rep(label_width - #bar.label), table.concat(cells))
    terminal.line(bar.failed and terminal.paint("bad", text) or text)
  end
  terminal.line(terminal.paint("faint", legend))
end

return { draw = draw }
