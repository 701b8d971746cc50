-- SPDX-License-Identifier: MIT
--- lunado.testing: tests that wait, for busted and similar test runners.
-- @module lunado.testing
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.testing"] then return loaded["lunado.testing"] end

local argument = require "lunado.argument"
local IOLoop = require("lunado.ioloop").IOLoop
local gen = require "lunado.gen"
local coroutine_of, is_coroutine_function = gen.coroutine,
  gen.is_coroutine_function
local waitgraph = require "lunado.waitgraph"

-- Errors that were never retrieved --------------------------------------------

-- The beginnings of lunado's log messages about errors that were never
-- retrieved.
local UNOBSERVED = { "^Future exception was never retrieved: ",
  "^Exception in callback", "^Exception in handle_callback_exception: " }

local function is_unobserved(level, message)
  if level ~= "error" then return false end
  for _, pattern in ipairs(UNOBSERVED) do
    if message:find(pattern) then return true end
  end
  return false
end

--- Collects these messages in the list until the returned function is called.
-- Other messages go to the previous handler.  If the test sets a log handler,
-- that handler gets all messages.
local function gather(list)
  local before = core.log_handler()
  local function handler(level, message)
    if is_unobserved(level, message) then
      list[#list + 1] = message
      return
    end
    if before then return before(level, message) end
    core.set_log_handler(nil)
    core.log(level, message)
    core.set_log_handler(list.handler)
  end
  list.handler = handler
  core.set_log_handler(handler)
  return function()
    if core.log_handler() == handler then core.set_log_handler(before) end
  end
end

-- The text of a failure -------------------------------------------------------

local function text_of(err)
  local ok, text = pcall(tostring, err)
  return ok and text or ("(a %s whose __tostring fails)"):format(type(err))
end

-- The beginning of a traceback line that names this file.
local HERE = "\t" .. debug.getinfo(1, "S").short_src .. ":"

--- Returns the traceback without the lines about how the test was run.  In each
-- section of the traceback, these are the first line that names this file, all
-- lines below it, and the lines of C functions directly above it.
local function without_runner(text)
  local lines, within = {}, false
  for line in text:gmatch "[^\n]*" do
    if line:sub(1, #HERE) == HERE and not within then
      within = true
      while (lines[#lines] or ""):find "^\t%[C%]: in " do
        lines[#lines] = nil
      end
    elseif not line:find "^\t" then
      within = false
    end
    if not within then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

--- Returns the first place in the test's part of a traceback that is not in a
-- file of lunado.
local function place_in(traceback)
  local text = without_runner(traceback)
  for file, line in text:gmatch "\n%s+([^\n]-):(%d+): in" do
    if not core.is_own(file) then return file .. ":" .. line end
  end
end

--- Returns the text with a place in front, because test runners look for one:
-- the first place of the traceback, or else the place of the test function.
local function with_place(text, traceback, fn)
  if text:find "^[^\n]-:%d+: " then return text end
  local place = traceback and place_in(traceback)
    or core.describe(fn):match "[<(]([^<>()]+)[>)]$"
  return place and place .. ": " .. text or text
end

-- Returns the type name of one of busted's own error objects, or nil.  The
-- error of a failed assertion has a message; the error of a pending test must
-- be raised unchanged.
local function busted_type(err)
  local mt = type(err) == "table" and debug.getmetatable(err)
  return type(mt) == "table" and rawget(mt, "__type") or nil
end

local function raise(err, text)
  if busted_type(err) == "failure" and type(err.message) == "string" then
    error(setmetatable({ message = text }, debug.getmetatable(err)), 0)
  end
  error(text, 0)
end

local function unobserved_text(list, failed)
  if #list == 0 then return nil end
  local head = ("%s%d error%s that nobody took:\n"):format(
    failed and "also, " or "", #list, #list == 1 and "" or "s")
  return head .. without_runner(table.concat(list, "\n"))
end

--- Raises the error to be reported for the test; returns if there is none.
local function report(outcome, unobserved, fn)
  local also = unobserved_text(unobserved, outcome.failed)
  if not outcome.failed then
    if also then error(with_place(also, nil, fn), 0) end
    return
  end
  local err, traceback = outcome.err, outcome.traceback
  local kind = busted_type(err)
  if kind == "pending" then error(err, 0) end
  local message = kind == "failure" and err.message
  if type(message) ~= "string" then message = text_of(err) end
  local text = with_place(message, traceback, fn)
  if traceback and traceback ~= "" then
    text = text .. "\n" .. without_runner(traceback)
  end
  if also then text = text .. "\n" .. also end
  raise(err, text)
end

-- Running ---------------------------------------------------------------------

--- Returns the last Future of the test: if the result of a Future is another
-- Future, the run awaits that one, too.
local function last_of(future)
  while future:done() and future:exception() == nil do
    local result = future:result()
    if not core.is_future(result) then break end
    future = result
  end
  return future
end

--- Returns a text that says why the test has not ended, and where it waits.
local function unfinished(err, future, timeout)
  local why = text_of(err):gsub("^Exception: ", "")
  if timeout then
    why = ("the test was not done after %g seconds"):format(timeout)
  elseif why:find "^the run would never end" then
    why = "the test would never end: nothing on the IOLoop is left that could "
      .. "set what it waits for"
  end
  local tree = waitgraph.text(future)
  local place = tree:match "^[^\n]- at ([^\n]-:%d+)"
  return (place and place .. ": " or "") .. why .. "\nwaiting:\n\t"
    .. tree:gsub("\n", "\n\t")
end

--- Runs fn(...) on the loop; returns a table with the outcome.
local function run(loop, fn, timeout, ...)
  local start = is_coroutine_function(fn) and fn or coroutine_of(fn)
  core.set_limit(loop, timeout)
  local future = start(...)
  local ok, err = pcall(core.wait, loop, future)
  local open = not core.is_closed(loop)
  local late = open and core.is_limited(loop)
  if open then core.set_limit(loop, math.huge) end
  if ok then return { failed = false } end
  future = last_of(future)
  if not future:done() then
    return { failed = true, err = unfinished(err, future, late and timeout) }
  end
  local traceback
  err, traceback = future:exc_info()
  return { failed = true, err = err, traceback = traceback }
end

local function collect()
  collectgarbage()
  collectgarbage()
end

local function run_test(fn, timeout, io_loop, ...)
  collect() -- errors of earlier tests do not belong to this one
  local unobserved = {}
  local release = gather(unobserved)
  local before = IOLoop.current(false)
  local loop = io_loop or IOLoop(false)
  loop:make_current()
  local outcome = run(loop, fn, timeout, ...)
  if not io_loop then loop:close() end
  if before and not core.is_closed(before) then
    before:make_current()
  else
    IOLoop.clear_current()
  end
  collect()
  release()
  report(outcome, unobserved, fn)
end

-- The module ------------------------------------------------------------------

local testing = {}

--- Returns the default timeout of a test, in seconds.
local function default_timeout()
  return tonumber(os.getenv "ASYNC_TEST_TIMEOUT") or 5
end

local CHECKS = {
  timeout = function(value)
    if type(value) ~= "number" then return "number" end
    local above = value > 0 -- NaN is not
    return not above and "number of seconds above 0" or nil
  end,
  io_loop = function(value)
    return not core.is_loop(value) and "IOLoop" or nil
  end,
}

-- Raises at level 3, the line that calls gen_test.
local function check_options(options)
  if options == nil then return {} end
  argument.check_type(options, "table", 2, "gen_test", 3)
  for name, value in next, options do
    local check = CHECKS[name]
    local expected
    if not check then
      expected = ("no option '%s'"):format(tostring(name))
    else
      expected = check(value)
      expected = expected and ("field '%s': %s expected, got %s"):format(name,
        expected, type(value))
    end
    if expected then argument.bad(2, "gen_test", expected, 3) end
  end
  return options
end

--- Returns a function for busted's `it` that runs fn(...) as a coroutine on a
-- loop of its own.  Tornado: testing.gen_test.
-- @param fn the test, a plain function or a coroutine function
-- @param options `timeout` in seconds of the system's time (by default the
--   value of the environment variable ASYNC_TEST_TIMEOUT, or else 5);
--   `io_loop`, a loop to use instead of a new one
function testing.gen_test(fn, options)
  argument.check_callable(fn, 1, "gen_test", 2)
  options = check_options(options)
  local timeout, io_loop = options.timeout, options.io_loop
  return function(...)
    return run_test(fn, timeout or default_timeout(), io_loop, ...)
  end
end

--- The virtual clock of a loop, which a test controls.
local Clock = {}
Clock.__index = Clock
Clock.__name = "lunado.Clock"

--- Advances the time by `seconds`; timers that are due after that run when the
-- loop runs.
function Clock:advance(seconds)
  if type(seconds) ~= "number" then
    argument.bad(1, "advance", "number expected, got " .. type(seconds), 2)
  elseif not (seconds >= 0 and seconds < math.huge) then
    argument.bad(1, "advance", "a time that goes forward expected", 2)
  end
  core.advance(self._loop, seconds)
end

--- Makes the time continue from its present value, at the speed of the system's
-- clock.
function Clock:stop()
  if not core.is_closed(self._loop) then core.set_virtual(self._loop, false) end
end

function Clock:__close() self:stop() end

--- Makes the time of the loop stand still while there is work, and jump to the
-- next timer when there is none.  The time first advances to the next whole
-- second.
-- @param loop the current one by default
function testing.virtual_clock(loop)
  if loop == nil then
    loop = IOLoop.current()
  elseif not core.is_loop(loop) then
    argument.bad(1, "virtual_clock", "IOLoop expected, got " .. type(loop), 2)
  end
  if core.is_closed(loop) then error("the IOLoop is closed", 2) end
  core.set_virtual(loop, true)
  return setmetatable({ _loop = loop }, Clock)
end

loaded["lunado.testing"] = testing
return testing
