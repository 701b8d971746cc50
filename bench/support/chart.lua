-- SPDX-License-Identifier: MIT
-- Pictures of the tables: horizontal bars, and lines on logarithmic axes.
local chart = {}

local style <const> = [[
  text { font: 13px system-ui, Helvetica, sans-serif; fill: #333c4d }
  .title { font-size: 16px; font-weight: 600; fill: #1b2333 }
  .note { font-size: 12px; fill: #7a8499 }
  .value { font-variant-numeric: tabular-nums }
  .own { font-weight: 600; fill: #3a3fb5 }
  .grid { stroke: #e6e9f0 }
]]

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;",
    [">"] = "&gt;" }))
end

-- Formats 1234567 as 1,234,567; small numbers keep two or three digits.
function chart.number(value)
  if value < 10 then return ("%.2f"):format(value) end
  if value < 100 then return ("%.1f"):format(value) end
  local text = ("%.0f"):format(value)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function short(value)
  local units = { { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } }
  for _, unit in ipairs(units) do
    if value >= unit[1] then
      return ("%g%s"):format(value / unit[1], unit[2])
    end
  end
  return ("%g"):format(value)
end

local function drawing(width, height, title, note)
  local lines = {}
  local function add(format, ...)
    lines[#lines + 1] = format:format(...)
  end
  add('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
    .. 'width="%d" height="%d" role="img">', width, height, width, height)
  add("<title>%s</title>", escape(title))
  add("<style>\n%s</style>", style)
  add('<rect x=".5" y=".5" width="%d" height="%d" rx="8" fill="#fff" '
    .. 'stroke="#dfe3ec"/>', width - 1, height - 1)
  add('<text class="title" x="20" y="30">%s</text>', escape(title))
  add('<text class="note" x="20" y="49">%s</text>', escape(note))
  return lines, add
end

local function write(path, lines)
  lines[#lines + 1] = "</svg>\n"
  local file <close> = assert(io.open(path, "w"))
  file:write(table.concat(lines, "\n"))
end

-- Returns a scale from values to pixels.  It is logarithmic if on a linear
-- scale the shortest bar would be too small to see; then it starts a little
-- below the least value.
local function scale_for(rows, width)
  local least, most = math.huge, 0
  for _, row in ipairs(rows) do
    least, most = math.min(least, row.value), math.max(most, row.value)
  end
  if least <= 0 or most / least < 25 then
    return function(value) return math.max(0, value) / most * width end
  end
  local from = 10 ^ math.floor(math.log(least / 1.5, 10))
  local span = math.log(most / from)
  return function(value) return math.log(value / from) / span * width end, from
end

-- rows: a list of { label, value, own }, drawn in the order of their values.
function chart.bars(path, title, unit, rows)
  rows = table.move(rows, 1, #rows, 1, {})
  table.sort(rows, function(a, b) return a.value < b.value end)
  local left, bar, pitch, top = 150, 20, 28, 66
  local width, height = 720, top + #rows * pitch + 14
  local room = width - left - 90
  local scale, from = scale_for(rows, room)
  local lines, add = drawing(width, height, title,
    unit .. ", less is better" .. (from and ", logarithmic" or ""))
  local tick = from
  while tick and scale(tick) <= room do
    local x = left + scale(tick)
    add('<path class="grid" d="M%.1f %dV%d"/>', x, top - 4, height - 14)
    tick = tick * 10
  end
  for i, row in ipairs(rows) do
    local y, length = top + (i - 1) * pitch, math.max(2, scale(row.value))
    local own = row.own and " own" or ""
    add('<text class="label%s" x="%d" y="%d" text-anchor="end">%s</text>',
      own, left - 10, y + 15, escape(row.label))
    add('<rect x="%d" y="%d" width="%.1f" height="%d" rx="3" fill="%s"/>',
      left, y, length, bar, row.own and "#4b52d6" or "#b9c2d6")
    add('<text class="value%s" x="%.1f" y="%d">%s</text>', own,
      left + length + 8, y + 15, chart.number(row.value))
  end
  write(path, lines)
end

local colours <const> = { "#8a94a8", "#d08a2e", "#3b9a6b", "#c2557a",
  "#5aa0c8", "#8d6cc0", "#a3a02f", "#777" }

local function decades(least, most)
  return math.floor(math.log(least, 10) + 1e-9),
    math.ceil(math.log(most, 10) - 1e-9)
end

-- Moves labels apart that would overlap.
local function spread(labels)
  table.sort(labels, function(a, b) return a.y < b.y end)
  for i = 2, #labels do
    labels[i].y = math.max(labels[i].y, labels[i - 1].y + 16)
  end
end

-- series: a list of { label, own, points = { { x, y } ... } }.  Both axes are
-- logarithmic.
function chart.lines(path, title, note, series)
  local width, height, left, right, top, bottom = 720, 420, 70, 130, 70, 46
  local xs, ys = {}, {}
  for _, s in ipairs(series) do
    for _, p in ipairs(s.points) do
      xs[#xs + 1], ys[#ys + 1] = p[1], p[2]
    end
  end
  table.sort(xs)
  table.sort(ys)
  local x0, x1 = decades(xs[1], xs[#xs])
  local y0, y1 = decades(ys[1], ys[#ys])
  local w, h = width - left - right, height - top - bottom
  local function px(x) return left + (math.log(x, 10) - x0) / (x1 - x0) * w end
  local function py(y)
    return top + h - (math.log(y, 10) - y0) / (y1 - y0) * h
  end
  local lines, add = drawing(width, height, title, note)
  for d = x0, x1 do
    add('<path class="grid" d="M%.1f %dV%d"/>', px(10 ^ d), top, top + h)
    add('<text x="%.1f" y="%d" text-anchor="middle">%s</text>', px(10 ^ d),
      top + h + 20, short(10 ^ d))
  end
  for d = y0, y1 do
    add('<path class="grid" d="M%d %.1fH%d"/>', left, py(10 ^ d), left + w)
    add('<text x="%d" y="%.1f" text-anchor="end">%s</text>', left - 8,
      py(10 ^ d) + 4, short(10 ^ d))
  end
  local labels = {}
  for i, s in ipairs(series) do
    local colour = s.own and "#4b52d6" or colours[(i - 1) % #colours + 1]
    local points = {}
    for _, p in ipairs(s.points) do
      points[#points + 1] = ("%.1f,%.1f"):format(px(p[1]), py(p[2]))
      add('<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>', px(p[1]),
        py(p[2]), colour)
    end
    add('<polyline points="%s" fill="none" stroke="%s" stroke-width="%s"/>',
      table.concat(points, " "), colour, s.own and "2.5" or "1.6")
    local last = s.points[#s.points]
    labels[i] = { y = py(last[2]) + 4, text = s.label, colour = colour,
      own = s.own }
  end
  spread(labels)
  for _, label in ipairs(labels) do
    add('<text x="%d" y="%.1f" style="fill:%s%s">%s</text>', left + w + 10,
      label.y, label.colour, label.own and ";font-weight:600" or "",
      escape(label.text))
  end
  write(path, lines)
end

return chart
