-- SPDX-License-Identifier: MIT
-- Counts the instructions of lunado's hot paths under callgrind and compares
-- them with the stored counts.  Each scenario runs twice, with different
-- numbers of operations; the difference of the two counts excludes the work
-- that is done only once.  The collector is stopped, so that its cycles do not
-- affect the counts.
--
-- What a look-up in a table costs depends on the seed of Lua's hashes.  So each
-- scenario is counted with several seeds, the same ones in each check; what is
-- compared is the median.
local usage <const> = [[
usage: lua5.4 bench/check.lua [--update] [--seeds=N] [SCENARIO ...]
Fails when an operation takes over 5 % more instructions than the stored
count; --update stores what was counted.  Each number is the median over N
seeds of Lua's hashes (5).
]]

package.path = "bench/support/?.lua;" .. package.path

local compile = require "compile"
local lua = require "interpreter"
local median = require "report".median

local scenarios <const> = {
  "ready_yield", "ready_await", "failed_yield", "failed_call",
  "suspended_await", "turn", "spawn", "spawn_suspend", "timer", "sleep",
  "callback", "future", "multi", "wait_iterator", "with_timeout",
  "timeout_scope", "group_spawn", "group_cancel", "job",
  "stream_message", "stream_large", "accept",
}
local folder <const> = "bench/instructions/"
-- The two numbers of operations; less for those that are large.
local usual <const> = { 2000, 12000 }
local numbers <const> = {
  stream_message = { 500, 2500 }, stream_large = { 5, 25 },
  accept = { 200, 1200 },
}
local tolerance <const> = 0.05

-- The library that sets the seed.  Without a compiler, the time is the seed.
local preloaded = compile.library "seed"

local function output(command)
  local pipe <close> = assert(io.popen(command .. " 2>&1"))
  return pipe:read "a"
end

-- Starts n operations of a scenario; returns a function that waits for their
-- end and returns the count.
local function start(name, n, seed)
  local pipe = assert(io.popen(("BENCH_SEED=%d %s valgrind --tool=callgrind "
    .. "--callgrind-out-file=/dev/null %s -e 'collectgarbage \"stop\"' "
    .. "%s%s.lua %d 2>&1"):format(seed,
    preloaded and "LD_PRELOAD=" .. preloaded or "", lua, folder, name, n)))
  return function()
    local text = pipe:read "a"
    pipe:close()
    local count = text:match "Collected : (%d+)"
    if not count or text:find "stack traceback" then
      error(name .. " failed:\n" .. text, 0)
    end
    return math.tointeger(count)
  end
end

-- Returns the instructions of one operation.  The two runs share the machine.
local function count(name, seed)
  local few, many = table.unpack(numbers[name] or usual)
  local first, second = start(name, few, seed), start(name, many, seed)
  return (second() - first()) / (many - few)
end

-- Returns the median of the counts, and half of their range in relation to it.
local function counts(name, seeds)
  local values = {}
  for seed = 1, seeds do values[seed] = count(name, seed) end
  local middle = median(values)
  return math.floor(middle + 0.5),
    (math.max(table.unpack(values)) - math.min(table.unpack(values)))
      / 2 / middle
end

local function load_baseline()
  local chunk = loadfile(folder .. "baseline.lua", "t", {})
  return chunk and chunk() or {}
end

local function save_baseline(baseline)
  local file <close> = assert(io.open(folder .. "baseline.lua", "w"))
  file:write "-- SPDX-License-Identifier: MIT\n"
  file:write("-- Instructions for one operation; written by ",
    "`check.lua --update`.\nreturn {\n")
  file:write(("  interpreter = %q,\n"):format(baseline.interpreter))
  for _, name in ipairs(scenarios) do
    if baseline[name] then
      file:write(("  %s = %d,\n"):format(name, baseline[name]))
    end
  end
  file:write "}\n"
end

local function main()
  local update, seeds, chosen = false, 5, {}
  for _, argument in ipairs(arg) do
    if argument == "--update" then
      update = true
    elseif argument:match "^%-%-seeds=[1-9]%d*$" then
      seeds = math.tointeger(argument:match "%d+")
    elseif argument:match "^%-" then
      io.stderr:write(usage)
      return 2
    else
      chosen[#chosen + 1] = argument
    end
  end
  if not output "valgrind --version":match "^valgrind" then
    io.stderr:write "valgrind is not installed\n"
    return 2
  end
  local version = output(lua .. " -v"):match "^Lua [%d.]+"
  local baseline, worse = load_baseline(), 0
  if baseline.interpreter and baseline.interpreter ~= version then
    print(("the stored counts are of %s, this is %s"):format(
      baseline.interpreter, version))
  end
  print(("%-16s %12s %8s %8s %8s"):format("", "instructions", "spread",
    "stored", "change"))
  for _, name in ipairs(#chosen > 0 and chosen or scenarios) do
    local found, spread = counts(name, seeds)
    local stored = baseline[name]
    local change = stored and found / stored - 1
    local bad = change and change > tolerance
    worse = worse + (bad and 1 or 0)
    print(("%-16s %12d %8s %8s %8s%s"):format(name, found,
      ("%.1f %%"):format(spread * 100), stored or "",
      change and ("%+.1f %%"):format(change * 100) or "",
      bad and "  more" or ""))
    if update then baseline[name] = found end
  end
  if update then
    baseline.interpreter = version
    save_baseline(baseline)
    return 0
  end
  if worse > 0 then
    print(("%d of the paths became dearer by more than %g %%"):format(
      worse, tolerance * 100))
  end
  return worse > 0 and 1 or 0
end

os.exit(main())
