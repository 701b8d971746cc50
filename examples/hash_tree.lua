-- SPDX-License-Identifier: MIT
--
-- Reads every file below a folder, several at once, and prints the CRC-32 and
-- the size of each.
--
--   lua hash_tree.lua [-j COUNT] DIR
--
--   -j COUNT   at most COUNT files and folders at once (default 8)
--
-- The lines are sorted by path, relative to DIR.  The last lines are the totals
-- and a checksum of the lines themselves, which is the same for two equal
-- trees.  Symbolic links and special files are counted, not read.  A file that
-- cannot be read is reported on the standard error, and the other files are
-- still read.  The exit status is 0 if everything was read, 1 if something was
-- not, 2 for wrong arguments.

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/?.lua;" .. package.path

local lunado = require "lunado"
local uv = require "lunado.uv"
local crc32 = require "support.crc32"
local crew = require "support.crew"
local terminal = require "support.terminal"

local PIECE = 64 * 1024 -- bytes that a file reads and sums in its turn

local await = coroutine.yield
local loop = lunado.IOLoop.current()

local function usage()
  io.stderr:write("usage: lua hash_tree.lua [-j COUNT] DIR\n")
  os.exit(2)
end

local function parse_arguments()
  local limit, root, i = 8, nil, 1
  while arg[i] do
    if arg[i] == "-j" then
      limit = math.tointeger(tonumber(arg[i + 1] or "") or 0) or 0
      if limit < 1 then usage() end
      i = i + 1
    elseif root or arg[i]:sub(1, 1) == "-" then
      usage()
    else
      root = arg[i]
    end
    i = i + 1
  end
  if not root then usage() end
  return root, limit
end

-- The results so far, of the whole tree.
local tally = { files = {}, bytes = 0, folders = 0, passed_over = 0,
  unreadable = 0 }

local function report(err)
  tally.unreadable = tally.unreadable + 1
  terminal.line("hash_tree: " .. terminal.plain(err), io.stderr)
end

-- Returns the size and checksum of an open file.
local function sum_file(file)
  local size, sum = 0, 0
  repeat
    local piece = await(uv.fs_read(file, PIECE, size))
    sum = crc32(sum, piece)
    size = size + #piece
    tally.bytes = tally.bytes + #piece
  until piece == ""
  return size, sum
end

local function read_file(path, name)
  local file = await(uv.fs_open(path, "r"))
  local ok, size, sum = pcall(sum_file, file)
  await(uv.fs_close(file))
  if not ok then
    local err = size
    error(("%s: %s"):format(err, path), 0)
  end
  table.insert(tally.files, { name = name, size = size, sum = sum })
end

-- Adds a job for each entry of a folder.
local function read_folder(path, name, add)
  local entries = await(uv.fs_scandir(path))
  tally.folders = tally.folders + 1
  local above = path:find("/$") and path or path .. "/"
  local prefix = name == "" and "" or name .. "/"
  for entry, kind in uv.fs_scandir_next, entries do
    add { path = above .. entry, name = prefix .. entry, kind = kind }
  end
end

-- Does one job: a file, a folder, or something else.  Some file systems do not
-- give the kind in the folder's list.
local function visit(job, add)
  local kind = job.kind
  if not kind or kind == "unknown" then
    kind = await(uv.fs_lstat(job.path)).type
  end
  if kind == "file" then
    read_file(job.path, job.name)
  elseif kind == "directory" then
    read_folder(job.path, job.name, add)
  else
    tally.passed_over = tally.passed_over + 1
  end
end

local function work(job, add)
  local ok, err = pcall(visit, job, add)
  if not ok then report(err) end
end

-- Returns the job of the file or folder that was named, with links followed.
local function first_job(root)
  local ok, stat = pcall(await, uv.fs_stat(root))
  if not ok then
    report(stat)
    return nil
  end
  local name = stat.type == "file" and root:match("[^/]*$") or ""
  return { path = root, name = name, kind = stat.type }
end

local function so_far()
  return ("%s in %s, %s"):format(terminal.count(#tally.files, "file"),
    terminal.count(tally.folders, "folder"), terminal.bytes(tally.bytes))
end

local function show_progress(started)
  local seconds = loop:time() - started
  terminal.progress(("%s, %s/s"):format(so_far(),
    terminal.bytes(tally.bytes / math.max(seconds, 0.001))))
end

-- Prints the lines; returns their checksum.
local function show_files()
  table.sort(tally.files, function(a, b) return a.name < b.name end)
  local width, sum = 0, 0
  for _, file in ipairs(tally.files) do
    width = math.max(width, #tostring(file.size))
  end
  for _, file in ipairs(tally.files) do
    terminal.line(("%08x  %" .. width .. "d  %s"):format(file.sum, file.size,
      terminal.plain(file.name)))
    sum = crc32(sum, ("%08x %d %s\n"):format(file.sum, file.size, file.name))
  end
  return sum
end

local function show_totals(sum, seconds)
  terminal.line(("\n%08x  %s in %.2f s"):format(sum, so_far(), seconds))
  if tally.passed_over > 0 then
    terminal.line(("%d symbolic links or special files passed over")
      :format(tally.passed_over))
  end
  if tally.unreadable > 0 then
    terminal.line(terminal.paint("bad", ("%d could not be read")
      :format(tally.unreadable)))
  end
end

local root, limit = parse_arguments()
lunado.run(function()
  terminal.end_on_interrupt()
  local started = loop:time()
  local ticker = lunado.ioloop.PeriodicCallback(function()
    show_progress(started)
  end, 100)
  ticker:start()
  local job = first_job(root)
  if job then crew.run(limit, job, work) end
  ticker:stop()
  terminal.progress(nil)
  local seconds = loop:time() - started
  show_totals(show_files(), seconds)
end)
os.exit(tally.unreadable == 0)
