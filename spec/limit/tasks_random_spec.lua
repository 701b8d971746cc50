-- SPDX-License-Identifier: MIT
-- lunado.tasks in random programs: groups, timeouts, shields, races and waits
-- of all kinds that cancel each other, compared with a model.
--
--   LUNADO_PROGRAMS=100000   runs so many programs instead of 2,000
--   LUNADO_PROGRAM=4711      runs this program alone and shows it
--
-- A program that fails is shown with its number.  A group cancels its children
-- in no fixed order; so a few failures come only in some runs of a number.
local capture = require "spec.support.capture"
local gc = require "spec.support.gc"
local loops = require "spec.support.loops"
local taskprogram = require "spec.support.taskprogram"
local testing = require "lunado.testing"
local times = require "spec.support.times"

-- So many programs run between two collections.
local BATCH <const> = 50

local count = math.tointeger(os.getenv "LUNADO_PROGRAMS") or times(2000)
local alone = math.tointeger(os.getenv "LUNADO_PROGRAM")

--- Runs the programs of these numbers on a new loop.  Returns a list of the
-- problems, each { number of the program or nil, text }.
local function run(first, last)
  local log, loop = capture(), loops.open()
  local outcomes, problems = {}, {}
  testing.virtual_clock(loop)
  loop:set_slice(loops.PATIENCE) -- so that the order of events is fixed
  for number = first, last do
    local outcome = taskprogram.run(taskprogram.make(number), loop)
    outcomes[#outcomes + 1] = outcome
    for _, text in ipairs(outcome.problems) do
      problems[#problems + 1] = { number, text }
    end
  end
  gc.collect()
  for _, problem in ipairs(taskprogram.check_log(outcomes, log)) do
    problems[#problems + 1] = problem
  end
  loops.close(loop)
  log:restore()
  return problems
end

--- Raises an error that shows the problems and the first program that has one.
local function report(problems)
  local lines, shown = {}, nil
  for i = 1, math.min(#problems, 20) do
    local number, text = table.unpack(problems[i], 1, 2)
    lines[i] = ("%s: %s"):format(number or "some program", text)
    shown = shown or number
  end
  if shown then
    lines[#lines + 1] = taskprogram.text(taskprogram.make(shown))
  end
  error(table.concat(lines, "\n"), 0)
end

describe("random programs that cancel", function()
  it("keep the rules of tasks", function()
    for first = alone or 1, alone or count, BATCH do
      local problems = run(first, alone or math.min(count, first + BATCH - 1))
      if #problems > 0 then report(problems) end
    end
  end)

  if alone then
    it("are shown", function()
      print(taskprogram.text(taskprogram.make(alone)))
    end)
  end
end)
