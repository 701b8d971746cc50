-- SPDX-License-Identifier: MIT
--
-- Fetches many pages at once over HTTP/1.1.
--
--   lua fetch.lua [-j COUNT] [-t SECONDS] [URL ...]
--
--   -j COUNT     at most COUNT pages at once (default 4)
--   -t SECONDS   how long one page may take (default 10; demonstration: 1.5)
--
-- Shows each page when it has arrived, then a table, and a timeline of the
-- pages that ran in parallel.  The exit status is 0 if every page arrived
-- completely with a status below 400, 1 if one did not, 2 for wrong arguments.
--
-- Without a URL it is a demonstration: it starts its own server, whose pages
-- are quick, slow, silent, refused or cut off.  The exit status is then 0 if
-- each page ended as that server intended, including failures.

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/?.lua;" .. package.path

local lunado = require "lunado"
local demo = require "support.demo"
local http = require "support.http"
local terminal = require "support.terminal"
local timeline = require "support.timeline"

local USAGE = "usage: lua fetch.lua [-j COUNT] [-t SECONDS] [http://URL ...]\n"

local SECONDS, DEMO_SECONDS = 10, 1.5

local await = coroutine.yield
local loop = lunado.IOLoop.current()

local function usage()
  io.stderr:write(USAGE)
  os.exit(2)
end

local function parse_arguments()
  local options, i = { urls = {}, limit = 4 }, 1
  while arg[i] do
    local value = tonumber(arg[i + 1] or "")
    if arg[i] == "-j" then
      options.limit = math.tointeger(value or 0) or 0
      if options.limit < 1 then usage() end
      i = i + 1
    elseif arg[i] == "-t" then
      if not value or value ~= value or value <= 0 then usage() end
      options.seconds = value
      i = i + 1
    elseif arg[i]:sub(1, 1) == "-" then
      usage()
    else
      table.insert(options.urls, arg[i])
    end
    i = i + 1
  end
  return options
end

-- Fetches one page, after its turn at the semaphore has come.  Stores the
-- outcome in `page`: code and body, or err; bytes; and the times queued,
-- started, answered and finished.  Never fails.
local visit = lunado.coroutine(function(page, places, seconds)
  page.bytes, page.queued = 0, loop:time()
  local _ <close> = await(places:acquire())
  page.started = loop:time()
  local ok, answer = pcall(await, http.fetch(page.url, seconds,
    function(head, bytes)
      page.code, page.bytes = head.status, bytes
      page.answered = page.answered or loop:time()
    end))
  page.finished = loop:time()
  if ok then
    page.body = answer.body
  else
    page.err = tostring(answer)
  end
end)

local function came(page)
  return not page.err and page.code < 400
end

local function milliseconds(page)
  return ("%.1f"):format((page.finished - page.started) * 1000)
end

local function show(page, done, total)
  local word = ("%-6s"):format(page.err and "failed" or page.code)
  terminal.line(("[%2d/%d]  %s  %9s  %8s ms  %s"):format(done, total,
    terminal.paint(came(page) and "good" or "bad", word),
    terminal.bytes(page.bytes), milliseconds(page),
    terminal.fit(page.label, 40)))
end

local function show_progress(pages, done)
  local running, bytes = 0, 0
  for _, page in ipairs(pages) do
    bytes = bytes + (page.bytes or 0)
    if page.started and not page.finished then running = running + 1 end
  end
  local filled = math.floor(20 * done / #pages)
  terminal.progress(("[%s%s] %d of %d pages, %d running, %s"):format(
    ("="):rep(filled), (" "):rep(20 - filled), done, #pages, running,
    terminal.bytes(bytes)))
end

local function show_table(pages)
  local rows = {}
  for i, page in ipairs(pages) do
    rows[i] = { terminal.fit(page.label, 40), tostring(page.code or "-"),
      tostring(page.bytes), milliseconds(page),
      terminal.fit(page.err or "", 60), colour = not came(page) and "bad" }
  end
  terminal.line("")
  terminal.table({ "page", " status", " bytes", " ms", "error" }, rows)
end

local function show_timeline(pages)
  local zero, bars = pages[1].queued, {}
  for i, page in ipairs(pages) do
    local answered = page.answered or page.finished
    local phases = {
      { ".", page.queued - zero, page.started - zero },
      { "-", page.started - zero, answered - zero },
    }
    if page.answered then
      phases[3] = { "#", answered - zero, page.finished - zero }
    end
    bars[i] = { label = terminal.fit(page.label, 24), phases = phases,
      failed = page.err ~= nil }
  end
  terminal.line("")
  timeline.draw(bars,
    ". waits for its turn   - waits for the server   # receives   x fails")
end

-- Fetches all pages, and shows each one when it has arrived.
local function fetch_all(pages, limit, seconds)
  local places, tasks, done = lunado.locks.Semaphore(limit), {}, 0
  for i, page in ipairs(pages) do tasks[i] = visit(page, places, seconds) end
  local ticker = lunado.ioloop.PeriodicCallback(function()
    show_progress(pages, done)
  end, 100)
  ticker:start()
  for index in lunado.WaitIterator(tasks):results() do
    done = done + 1
    show(pages[index], done, #pages)
    show_progress(pages, done)
  end
  ticker:stop()
  terminal.progress(nil)
  show_table(pages)
  show_timeline(pages)
end

local function count(pages, holds)
  local number = 0
  for _, page in ipairs(pages) do
    if holds(page) then number = number + 1 end
  end
  return number
end

local function fetch_urls(options)
  local pages = {}
  for i, url in ipairs(options.urls) do
    pages[i] = { label = url:match("^http://(.*)") or url, url = url }
  end
  fetch_all(pages, options.limit, options.seconds or SECONDS)
  local good = count(pages, came)
  terminal.line(("\n%d of %d pages came"):format(good, #pages))
  return good == #pages
end

local function demonstrate(options)
  local good, total
  demo.run(here, function(pages, port, process)
    terminal.line(("this repository at http://127.0.0.1:%s, by process %d;"
      .. " %d pages at once, %g s for each"):format(port, process,
      options.limit, options.seconds or DEMO_SECONDS))
    fetch_all(pages, options.limit, options.seconds or DEMO_SECONDS)
    good, total = count(pages, demo.as_meant), #pages
    for _, page in ipairs(pages) do
      if not demo.as_meant(page) then
        terminal.line(terminal.paint("bad", "not as meant: " .. page.label))
      end
    end
  end)
  terminal.line(("\n%d of %d pages ended as the server meant it")
    :format(good, total))
  return good == total
end

local options = parse_arguments()
local good = lunado.run(function()
  terminal.end_on_interrupt()
  if options.urls[1] then return fetch_urls(options) end
  return demonstrate(options)
end)
os.exit(good)
