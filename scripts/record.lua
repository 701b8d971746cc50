-- SPDX-License-Identifier: MIT
-- Records what a command prints, line by line, as a moving picture in SVG.
-- When it is over it begins anew.
--   lua5.4 scripts/record.lua "stdbuf -oL lua5.4 examples/fetch.lua" >x.svg
-- The command is not run in a terminal, so it prints whole lines.
local command = assert(arg[1], "which command?")
local SIZE, WIDTH, LEADING = 13, 7.8, 17
local HOLD = 6 -- seconds that the last picture stays
local uv = require "luv"

local lines, begun = {}, uv.hrtime()
local pipe = assert(io.popen(command))
for line in pipe:lines() do
  lines[#lines + 1] = { text = line, at = (uv.hrtime() - begun) / 1e9 }
end
pipe:close()
assert(#lines > 0, "the command prints nothing")

local function escape(text)
  local names = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }
  return (text:gsub("[&<>]", names))
end

local function colour(text)
  if text:find "^%[[ %d/]+%]%s+200" then return "#7ee787" end
  if text:find "^%[[ %d/]+%]" or text:find "%s%-%s+0 " then
    return "#ffa198"
  end
  if text:find "^%s*0%s" or text:find "^page " then return "#8b949e" end
  return "#e6edf3"
end

local width = 0
for _, line in ipairs(lines) do
  width = math.max(width, utf8.len(line.text) or 0)
end
local total = lines[#lines].at + HOLD
local w, h = math.ceil(width * WIDTH + 28), (#lines + 1) * LEADING + 22

local head = [[
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"
  viewBox="0 0 %d %d" role="img">
<rect width="100%%" height="100%%" rx="6" fill="#0d1117"/>
<g font-family="ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
  font-size="%d" xml:space="preserve">
<text x="14" y="24" fill="#8b949e">$ make demo</text>]]
-- A line is hidden up to its moment.  A viewer without animations shows all.
local row = [[
<text x="14" y="%d" fill="%s">%s<animate attributeName="opacity"
  calcMode="discrete" values="0;1" keyTimes="0;%.4f" dur="%.2fs"
  repeatCount="indefinite"/></text>]]

print(head:format(w, h, w, h, SIZE))
for i, line in ipairs(lines) do
  if line.text ~= "" then
    print(row:format(24 + i * LEADING, colour(line.text), escape(line.text),
      line.at / total, total))
  end
end
print "</g>\n</svg>"
