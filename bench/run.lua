-- SPDX-License-Identifier: MIT
-- The benchmark's driver; run it from the root of the tree.
local usage <const> = [[
usage: lua5.4 bench/run.lua [OPTION ...] [WORKLOAD ...]
  --quick         two runs of each, smaller sizes
  --full          five runs of slow peers too, and those that take minutes
  --runs=N        N runs of each (5)
  --peers=A,B     only these (raw floor luv cqueues copas tornado asyncio
                  trio node c lunado)
  --growth        cost for n = 1,000 to 1,000,000, drawn as lines
  --gc            the share of Lua's collector, in both its modes
  --list          the workloads and their names
]]

package.path = "bench/support/?.lua;bench/workloads/?.lua;" .. package.path

local chart = require "chart"
local peers = require "peers"
local report = require "report"

local out <const> = "build/bench/"
local guard = os.execute "timeout 1 true 2>/dev/null" and "timeout 300 " or ""
local slow <const> = 8 -- seconds; a slower peer is not run again

local function options(arguments)
  local o = { runs = 5, wanted = {}, any = true, chosen = {} }
  local function choose(list)
    o.chosen = {}
    for name in list:gmatch "[^,]+" do
      assert(peers[name], "no peer " .. name)
      o.chosen[name] = true
    end
  end
  choose "raw,floor,luv,cqueues,copas,tornado,asyncio,trio,node,c,lunado"
  for _, argument in ipairs(arguments) do
    local name, value = argument:match "^%-%-(%w+)=?(.*)$"
    if not name then
      o.wanted[argument], o.any = true, false
    elseif name == "quick" then
      o.quick, o.runs = true, 2
    elseif name == "runs" then
      o.runs = assert(math.tointeger(value), usage)
    elseif name == "peers" then
      choose(value)
      o.peers_given = true
    elseif name == "full" or name == "growth" or name == "gc"
      or name == "list" then
      o[name] = true
    else
      io.stderr:write(usage)
      os.exit(2)
    end
  end
  return o
end

-- Returns the chosen workloads: each is the table of its file, with the fields
-- of its entry in the list added.
local function workloads(o)
  local found = {}
  for _, entry in ipairs(require "init") do
    if o.any or o.wanted[entry.id] then
      local file = entry.file or entry.id
      local w = { file = file }
      for key, value in pairs(require(file)) do w[key] = value end
      for key, value in pairs(entry) do w[key] = value end
      found[#found + 1] = w
    end
    o.wanted[entry.id] = nil
  end
  local unknown = next(o.wanted)
  assert(not unknown, "no workload " .. tostring(unknown))
  return found
end

-- Returns the versions of the chosen peers; reports and unselects peers that
-- are not installed.
local function find_peers(o)
  local versions = {}
  for _, peer in ipairs(peers.list) do
    if o.chosen[peer.name] then
      versions[peer.name] = peer.version()
      if not versions[peer.name] then
        o.chosen[peer.name] = nil
        print(("%s is left out: not found"):format(peer.title))
      end
    end
  end
  return versions
end

-- Returns the beginning of the last process's output on stderr.
local function complaint()
  local file <close> = assert(io.open(out .. "stderr"))
  return file:read(400) or "no output\n"
end

-- Runs one process; returns the figures that it printed as a table, or nil if
-- it failed.
local function measure(w, variant, n, gc)
  local command = peers.command(variant, w.file,
    w.client and w.client.bytes or n, gc)
  if command and w.client then
    command = peers.with_client(command, w.client, n)
  end
  if not command then return nil end
  local pipe, found = assert(io.popen(guard .. command .. " 2>" .. out
    .. "stderr")), {}
  for line in pipe:lines() do
    local key, value = line:match "^(%S+)%s+(%S+)$"
    if key then found[key] = tonumber(value) end
  end
  if pipe:close() and next(found) then return found end
  io.write(w.id, ": ", peers.title(variant), " failed\n", complaint())
end

-- Runs all variants in turn, several times; returns a list of findings for each
-- variant.
local function run(w, variants, n, o)
  local findings, done = {}, {}
  for _, variant in ipairs(variants) do findings[variant] = {} end
  for _ = 1, o.runs do
    for _, variant in ipairs(variants) do
      if not done[variant] then
        local from = os.time()
        local list = findings[variant]
        list[#list + 1] = measure(w, variant, n)
        done[variant] = #list == 0
          or not o.full and os.time() - from >= slow
      end
    end
  end
  return findings
end

local function values_of(list, key)
  local values = {}
  for i, found in ipairs(list) do values[i] = found[key] end
  return values
end

-- Returns the peers to run: all chosen peers, except those that take minutes.
local function affordable(w, o)
  local chosen = setmetatable({}, { __index = o.chosen })
  for _, name in ipairs(not o.full and not o.quick and w.costly or {}) do
    if o.chosen[name] and not o.peers_given then
      chosen[name] = false
      print(("\n%s: %s takes minutes; run with --full"):format(w.id,
        peers[name].title))
    end
  end
  return chosen
end

local function metrics_of(w, n)
  local metrics = w.metrics or { { key = "ns" } }
  local list = {}
  for i, metric in ipairs(metrics) do
    list[i] = {
      key = metric.key, unit = metric.unit or "ns",
      id = w.id, file = #metrics == 1 and w.id
        or w.id .. "-" .. metric.key:match "^%a+",
      title = (#metrics > 1 and metric.title or w.title)
        .. (n ~= w.n and ", but n = " .. chart.number(n) or ""),
      goals = metric.goals or w.goals,
    }
  end
  return list
end

-- Returns one result for each metric of a workload.
local function results_of(w, n, variants, findings, o)
  local results = {}
  for i, metric in ipairs(metrics_of(w, n)) do
    local rows = {}
    for _, variant in ipairs(variants) do
      local list = findings[variant]
      local values = values_of(list, metric.key)
      if #values > 0 then
        rows[#rows + 1] = {
          variant = variant, label = peers.title(variant),
          value = report.median(values), values = values,
          peak_kb = report.median(values_of(list, "peak_kb")),
          own = variant:match "^lunado" ~= nil or nil,
          note = #values < o.runs
            and (" (%d of %d runs)"):format(#values, o.runs) or nil,
        }
      end
    end
    metric.rows = rows
    results[i] = metric
  end
  return results
end

local function save(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local function compare(o)
  local versions = find_peers(o)
  local all = {}
  for _, w in ipairs(workloads(o)) do
    local n = o.quick and w.quick or w.n
    local variants = peers.variants(w.file, w, affordable(w, o))
    local findings = run(w, variants, n, o)
    for _, result in ipairs(results_of(w, n, variants, findings, o)) do
      all[#all + 1] = result
      report.print(result)
      if #result.rows > 0 then
        chart.bars(out .. result.file .. ".svg",
          result.id .. "  " .. result.title,
          result.unit .. (result.unit == "ns" and " for each" or "")
            .. ", median of " .. o.runs, result.rows)
      end
    end
  end
  local date = os.date "!%Y-%m-%d"
  print("\n" .. report.versions(versions))
  save(out .. "table.md", report.markdown(all, versions, date))
  save(out .. "results.json", report.json {
    date = date, versions = versions, runs = o.runs, results = all } .. "\n")
  print("table.md, results.json and a picture of each are in " .. out)
end

local function growth(o)
  if not o.peers_given then o.chosen = { raw = true, luv = true,
    cqueues = true, c = true, lunado = true } end
  find_peers(o)
  for _, w in ipairs(workloads(o)) do
    local variants = w.grows and peers.variants(w.file, w, o.chosen) or {}
    local series = {}
    for i, variant in ipairs(variants) do
      series[i] = { label = peers.title(variant), points = {},
        own = variant:match "^lunado" ~= nil }
    end
    for exponent = 3, 6 do
      local n = 10 ^ exponent // 1 | 0
      local findings = run(w, variants, n, o)
      for i, variant in ipairs(variants) do
        local values = values_of(findings[variant], w.growth_key or "ns")
        if #values > 0 then
          table.insert(series[i].points, { n, report.median(values) })
        end
      end
    end
    if w.grows then
      print(("\n%-4s %s: ns for each of n"):format(w.id, w.grows))
      print(("     %-22s %9s %9s %9s %9s"):format("n", "1,000", "10,000",
        "100,000", "1,000,000"))
      for _, s in ipairs(series) do
        local cells = {}
        for i, p in ipairs(s.points) do
          cells[i] = ("%9s"):format(chart.number(p[2]))
        end
        print(("     %-22s %s"):format(s.label, table.concat(cells, " ")))
      end
      chart.lines(out .. "growth-" .. w.id .. ".svg", w.id .. "  " .. w.grows,
        "ns for each of n, over n; both axes logarithmic", series)
    end
  end
  print("\npictures are in " .. out)
end

-- Runs each workload with the collector stopped (garbage of a call is collected
-- while the clock is stopped) and in its two modes.  The share of the collector
-- is the time that the mode adds.
local function collector(o)
  if not o.peers_given then o.chosen = { raw = true, lunado = true } end
  find_peers(o)
  print(("%-24s %10s %12s %6s %13s %6s"):format("ns for each", "stopped",
    "incremental", "share", "generational", "share"))
  for _, w in ipairs(workloads(o)) do
    local variants = w.measures_itself and {}
      or peers.variants(w.file, w, o.chosen)
    for _, variant in ipairs(variants) do
      local ns = {}
      for _, mode in ipairs { "stop", "incremental", "generational" } do
        local values = {}
        for _ = 1, peers[variant:match "^%S+"].lua and o.runs or 0 do
          local found = measure(w, variant, w.n, mode)
          values[#values + 1] = found and found.ns
        end
        ns[#ns + 1] = #values > 0 and report.median(values) or nil
      end
      if #ns == 3 then
        local function share(i)
          return ("%.0f %%"):format((1 - ns[1] / ns[i]) * 100)
        end
        print(("%-4s %-19s %10.0f %12.0f %6s %13.0f %6s"):format(w.id,
          peers.title(variant), ns[1], ns[2], share(2), ns[3], share(3)))
      end
    end
  end
end

local function list(o)
  for _, w in ipairs(workloads(o)) do
    print(("%-5s %s"):format(w.id, w.title))
  end
end

io.stdout:setvbuf "line"
local o = options(arg)
os.execute("mkdir -p " .. out)
local action = o.list and list or o.growth and growth or o.gc and collector
  or compare
action(o)
