-- SPDX-License-Identifier: MIT
--
-- The output of the examples: lines, one progress line below them, tables.
--
-- The progress line and the colours appear on a terminal only, so that output
-- to a file contains only the plain lines.

local uv = require "lunado.uv"

local terminal = {}
local interactive = uv.guess_handle(1) == "tty" and os.getenv("TERM") ~= "dumb"

local CLEAR = "\r\27[K"
local COLOUR = { good = "\27[32m", bad = "\27[31m", faint = "\27[2m" }
local colourful = interactive and not os.getenv("NO_COLOR")

local columns -- of the terminal, read once
local progress = "" -- the text on the progress line

local function width()
  if not columns then
    local tty = uv.new_tty(1, false)
    columns = tty and tty:get_winsize() or 0
    if tty then uv.close(tty) end
    if columns < 1 then columns = 80 end
  end
  return columns
end

-- Returns the text in a colour, if there are colours.
function terminal.paint(colour, text)
  return colourful and COLOUR[colour] .. text .. "\27[0m" or text
end

-- Returns the text as one line, with control bytes replaced.
function terminal.plain(text)
  return (tostring(text):gsub("%c", "?"))
end

-- Returns the text cut to `limit` columns.
function terminal.fit(text, limit)
  text = terminal.plain(text)
  return #text <= limit and text or text:sub(1, limit - 2) .. ".."
end

-- "1 file", "2 files".
function terminal.count(number, noun)
  return ("%d %s%s"):format(number, noun, number == 1 and "" or "s")
end

function terminal.bytes(count)
  local unit = 1
  local units = { "B", "kB", "MB", "GB", "TB" }
  while count >= 1000 and units[unit + 1] do
    count, unit = count / 1000, unit + 1
  end
  return (unit == 1 and "%.0f %s" or "%.1f %s"):format(count, units[unit])
end

-- Replaces the progress line; nil removes it.
function terminal.progress(text)
  if not interactive then return end
  progress = text and terminal.fit(text, width() - 1) or ""
  io.stdout:write(CLEAR, progress):flush()
end

-- Writes a line above the progress line, to `file` or the standard output.
function terminal.line(text, file)
  if progress ~= "" then io.stdout:write(CLEAR):flush() end
  file = file or io.stdout
  file:write(text, "\n"):flush()
  if progress ~= "" then io.stdout:write(progress):flush() end
end

-- Writes rows of strings in columns. `headings` are strings; a heading that
-- begins with a blank makes its column right-aligned.
function terminal.table(headings, rows)
  local widths = {}
  for i, heading in ipairs(headings) do
    widths[i] = #heading
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], #row[i]) end
  end
  local function write(row, paint)
    local cells = {}
    for i, cell in ipairs(row) do
      local padding = (" "):rep(widths[i] - #cell)
      local right = headings[i]:sub(1, 1) == " "
      cells[i] = right and padding .. cell or cell .. padding
    end
    local text = table.concat(cells, "  "):gsub("%s+$", "")
    terminal.line(paint and terminal.paint(paint, text) or text)
  end
  write(headings, "faint")
  for _, row in ipairs(rows) do write(row, row.colour) end
end

-- Makes an interrupt (Ctrl-C) end the program at once, with the status that
-- shells expect.
function terminal.end_on_interrupt()
  uv.signal("sigint"):add_done_callback(function()
    terminal.progress(nil)
    os.exit(130)
  end)
end

return terminal
