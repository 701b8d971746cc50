-- SPDX-License-Identifier: MIT
-- Formats the findings as text for the terminal, as Markdown and as JSON.
--
-- A result is one line of the big table, { id, title, unit, goals, rows }; each
-- row is { variant, label, value, peak_kb, values, own, note }.
local chart = require "chart"
local peers = require "peers"

local report = {}

function report.median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  return (sorted[middle] + sorted[#sorted // 2 + 1]) / 2
end

local function row_of(result, variant)
  for _, row in ipairs(result.rows) do
    if row.variant == variant then return row end
  end
end

-- Returns the least value of the peers other than lunado.
local function best_peer(result)
  local best
  for _, row in ipairs(result.rows) do
    local peer = not row.own and not row.variant:match "^floor"
    if peer and (not best or row.value < best) then best = row.value end
  end
  return best
end

local function ratio(value, reference)
  if not reference or reference <= 0 then return "" end
  return ("%.2f"):format(value / reference)
end

-- Returns whether a row meets a goal, as a text; nil if it is another row's, or
-- its peer was not measured.
local function verdict(result, row, variant, factor, reference)
  local other = reference and row_of(result, reference)
  local limit = not reference and factor
    or other and factor * math.max(0, other.value)
  if variant ~= row.variant or not limit then return nil end
  return ("%g%s: %s"):format(factor,
    reference and " x " .. peers.title(reference) or "",
    row.value <= limit and "met"
    or ("missed by %.0f %%"):format((row.value / limit - 1) * 100))
end

-- Returns a text such as "goal 0.85 x raw Lua: met" for a row with goals.
local function goal(result, row)
  local verdicts = {}
  for _, g in ipairs(result.goals or {}) do
    verdicts[#verdicts + 1] = verdict(result, row, table.unpack(g, 1, 3))
  end
  return #verdicts > 0 and "goal " .. table.concat(verdicts, ", ") or ""
end

function report.print(result)
  local raw, best = row_of(result, "raw"), best_peer(result)
  print(("\n%-4s %s"):format(result.id, result.title))
  print(("     %-22s %11s %7s %7s %9s"):format("", result.unit, "x raw",
    "x best", "peak MB"))
  for _, row in ipairs(result.rows) do
    local text = ("     %-22s %11s %7s %7s %9s  %s%s"):format(row.label,
      chart.number(row.value), ratio(row.value, raw and raw.value),
      ratio(row.value, best),
      row.peak_kb and ("%.1f"):format(row.peak_kb / 1024) or "",
      goal(result, row), row.note or "")
    print((text:gsub("%s+$", "")))
  end
end

-- Returns the big table, as README.md has it: a line for each workload, and a
-- column for each peer that users have.
function report.markdown(results, versions, date)
  local columns, lines = { "lunado" }, {}
  for _, peer in ipairs(peers.list) do
    if versions[peer.name] and peer.name ~= "lunado"
      and peer.name ~= "floor" then
      columns[#columns + 1] = peer.name
    end
  end
  local head, rule = { "" }, { "---" }
  for _, name in ipairs(columns) do
    head[#head + 1], rule[#rule + 1] = peers[name].title, "---:"
  end
  local function add(cells)
    lines[#lines + 1] = "| " .. table.concat(cells, " | ") .. " |"
  end
  add(head)
  add(rule)
  for _, result in ipairs(results) do
    local cells = { ("%s %s, %s"):format(result.id, result.title,
      result.unit) }
    for _, name in ipairs(columns) do
      local text = {}
      for _, row in ipairs(result.rows) do
        local peer, way = row.variant:match "^(%S+) ?(.*)$"
        if peer == name then
          text[#text + 1] = (way ~= "" and way .. ": " or "")
            .. chart.number(row.value)
        end
      end
      cells[#cells + 1] = table.concat(text, "<br>")
    end
    add(cells)
  end
  local shown = {}
  for _, name in ipairs(columns) do shown[name] = versions[name] end
  lines[#lines + 1] = "\n" .. date .. "; " .. report.versions(shown) .. "."
  return table.concat(lines, "\n") .. "\n"
end

function report.versions(versions)
  local list = {}
  for _, peer in ipairs(peers.list) do
    local version = versions[peer.name]
    if version then
      local named = version:lower():find(peer.title:lower(), 1, true)
        or peer.name == "raw"
      list[#list + 1] = named and version or peer.title .. " " .. version
    end
  end
  return table.concat(list, ", ")
end

local function encode(value)
  if type(value) == "string" then
    return '"' .. value:gsub('[%c"\\]', function(c)
      return ("\\u%04x"):format(c:byte())
    end) .. '"'
  elseif type(value) == "number" then
    return ("%.6g"):format(value)
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  if #value > 0 or next(value) == nil then
    for i, item in ipairs(value) do parts[i] = encode(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do
    parts[#parts + 1] = encode(key) .. ":" .. encode(item)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

report.json = encode

return report
