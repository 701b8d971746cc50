-- SPDX-License-Identifier: MIT
-- The documentation: its samples run, its links lead somewhere, and every
-- public name has its place.
--
-- In README.md and below docs/, a block that begins with ```lua run is a
-- script, run in an interpreter of its own. What it prints, on stderr too, is
-- in the ```text block right behind it, or in its comments that begin with
-- "-->"; the sign … stands for anything. ```lua run fails ends with an error.
-- Every other ```lua block must be Lua.
local child = require "spec.support.child"
local gc = require "spec.support.gc"
local luv = require "luv"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

local function exists(path)
  return luv.fs_stat(path) ~= nil
end

-- The pages in a folder and below it.
local function pages_in(folder, pages)
  local entries = assert(luv.fs_scandir(folder))
  for name, kind in luv.fs_scandir_next, entries do
    local path = folder .. "/" .. name
    if kind == "directory" then
      pages_in(path, pages)
    elseif name:find("%.md$") then
      pages[#pages + 1] = path
    end
  end
  return pages
end

local pages = pages_in("docs", { "README.md", "CONTRIBUTING.md",
  "src/README.md", "src/binding/README.md", "spec/README.md",
  "bench/README.md" })
table.sort(pages)

-- The fenced blocks of a page, in order: what stands behind the fence, the
-- line of the fence, the last line, and the text.
local function blocks_of(page)
  local blocks, block, number = {}, nil, 0
  for line in (read(page) .. "\n"):gmatch("(.-)\r?\n") do
    number = number + 1
    local info = line:match("^```(.*)$")
    if info and block then
      block.last, block = number, nil
    elseif info then
      block = { info = info, line = number, text = "" }
      blocks[#blocks + 1] = block
    elseif block then
      block.text = block.text .. line .. "\n"
    end
  end
  return blocks
end

-- What a block says that it prints; nil when it does not say.
local function promise(block, following)
  if following and following.info == "text"
    and following.line - block.last <= 2 then
    return following.text
  end
  local lines = {}
  for line in block.text:gmatch("%-%->%s*([^\n]*)") do
    lines[#lines + 1] = line
  end
  return lines[1] and table.concat(lines, "\n")
end

-- One blank for many, none at the ends of lines, no empty lines at the end.
local function normal(text)
  return (text:gsub("[ \t]+", " "):gsub(" ?\n ?", "\n"):gsub("^ ", "")
    :gsub("%s+$", ""))
end

local function matches(text, promised)
  local pattern = normal(promised):gsub("%p", "%%%0"):gsub("…", ".-")
  return normal(text):find("^" .. pattern .. "$") ~= nil
end

-- Samples that wait for nothing but time do so in virtual time: what comes
-- first there is what the sample says, however busy the machine is.
local others = { "[^%l]uv", "[Ee]xecutor", "tcp", "iostream", "os%.", "testing",
  "io%.popen", "threads", "add_handler", "signal" }
local function in_virtual_time(text)
  for _, pattern in ipairs(others) do
    if text:find(pattern) then return text end
  end
  return 'require "lunado.testing".virtual_clock() ' .. text
end

-- Runs a block, whose file is called script.lua and its interpreter lua5.4.
local function run(block, promised)
  local result = child(in_virtual_time(block.text))
  local printed = (result.out .. result.err):gsub("/%S-lua_%w+", "script.lua")
    :gsub("^%S+: (script%.lua:)", "lua5.4: %1")
  -- What few samples leave waiting is collected where the collector is quick.
  if gc.chosen ~= "" then
    local warning = "warning: Coroutine was collected [^\n]*\n?"
    printed = printed:gsub(warning, "")
    promised = promised and promised:gsub(warning, "")
  end
  local fails = block.info:find(" fails", 1, true) ~= nil
  assert.equal(fails and 1 or 0, result.code, printed)
  if not promised then
    assert.equal("", result.err)
  elseif not matches(printed, promised) then
    assert.equal(normal(promised), normal(printed))
  end
end

-- Whether modules can be loaded: the half of one that is in Lua may be found
-- without that in C, which is for another Lua, or was not built.
local loads = {}
local function can_load(name)
  if loads[name] == nil then
    loads[name] = child(("require %q"):format(name)).code == 0
  end
  return loads[name]
end

-- The first module that a block requires and that this machine lacks.
local function missing_module(text)
  for name in text:gmatch 'require%s*%(?"([%w_.]+)"' do
    if not can_load(name) then return name end
  end
  for name in text:gmatch "lunado%.(%l+)" do -- without OpenSSL, or libcurl
    if (name == "tls" or name == "httpclient")
      and not can_load("lunado." .. name) then
      return "lunado." .. name
    end
  end
end

describe("the samples of", function()
  for _, page in ipairs(pages) do
    describe(page, function()
      local blocks = blocks_of(page)
      for i, block in ipairs(blocks) do
        if block.info:find("^lua run") then
          it("run: line " .. block.line, function()
            local missing = missing_module(block.text)
            if missing then return pending("needs " .. missing) end
            run(block, promise(block, blocks[i + 1]))
          end)
        elseif block.info:find("^lua") then
          it("are Lua: line " .. block.line, function()
            assert.is_truthy(load(block.text, "=block"))
          end)
        end
      end
    end)
  end
end)

describe("the links of", function()
  for _, page in ipairs(pages) do
    it(page .. " lead somewhere", function()
      local folder = page:match("^(.*/)") or ""
      local text = read(page):gsub("\n```.-\n```", "")
      for target in text:gmatch("%]%(([^)#]+)[^)]*%)") do
        if not target:find("^%a+:") then
          assert.is_true(exists(folder .. target), target)
        end
      end
      for target in text:gmatch("`([%l%d_]+/[%l%d_/]+%.%l+)`") do
        assert.is_true(exists(target) or exists(folder .. target)
          or exists("src/" .. target), target)
      end
    end)
  end
end)

describe("the reference", function()
  local lunado = require "lunado"

  -- Whether the page has the name in a code span.
  local function names(page, name)
    for code in page:gmatch("`([^`\n]+)`") do
      if code:find("%f[%w_]" .. name .. "%f[^%w_]") then return true end
    end
    return false
  end

  local function has_all(module, object, but)
    local page = read("docs/reference/" .. module .. ".md")
    for name in pairs(object) do
      if type(name) == "string" and not name:find("^_") and name ~= but then
        assert.is_true(names(page, name), name)
      end
    end
  end

  for _, module in ipairs { "concurrent", "debug", "gen", "httpclient",
    "httputil", "ioloop", "iostream", "locks", "log", "process", "queues",
    "stack_context", "tcpclient", "tcpserver", "testing", "tls", "util" } do
    it("has every name of lunado." .. module, function()
      if not can_load("lunado." .. module) then return pending "not built" end
      has_all(module, lunado[module])
    end)
  end

  it("has every name of lunado.httpclient", function()
    if not package.searchpath("lunado.curl", package.cpath) then return end
    has_all("httpclient", lunado.httpclient)
    has_all("httpclient", lunado.httpclient.AsyncHTTPClient)
  end)

  it("has every method", function()
    has_all("httputil", getmetatable(lunado.httputil.HTTPHeaders).__index)
    has_all("concurrent", debug.getmetatable(lunado.Future()).__index)
    has_all("ioloop", lunado.IOLoop)
    has_all("ioloop", lunado.ioloop.PeriodicCallback)
    has_all("iostream", lunado.iostream.IOStream)
    has_all("log", lunado.log.app_log)
    has_all("process", lunado.process.Subprocess)
    has_all("tcpclient", lunado.tcpclient.TCPClient)
    has_all("tcpserver", lunado.tcpserver.TCPServer)
  end)
end)

describe("docs/names.md", function()
  local page = read("docs/names.md")

  it("names what is there", function()
    local modules = "concurrent gen ioloop iostream locks log process "
      .. "queues stack_context tcpclient tcpserver util"
    local lunado = require "lunado"
    local count = 0
    for code in page:gmatch("`([^`\n]+)`") do
      for module, name in code:gmatch("%f[%w_]([%l_]+)%.([%a_]+)") do
        if (" " .. modules .. " "):find(" " .. module .. " ", 1, true)
          and not code:find("tornado", 1, true) then
          assert.is_not_nil(lunado[module][name], module .. "." .. name)
          count = count + 1
        end
      end
    end
    assert.is_true(count > 50)
  end)
end)

-- Where a promise is proved: `some_spec` and what its tests are called, up to
-- the next one.  "under these names" and the like are for the reader.
describe("the tests that are named by", function()
  local function check_title(spec, source, title)
    title = title:gsub("\\", ""):gsub("….*", ""):match("^%s*(.-)%s*$")
    if title ~= "" and not title:find("^under th") then
      assert.is_truthy(source:gsub("\\", ""):find(title, 1, true),
        spec .. " has no " .. title)
    end
  end

  for _, path in ipairs { "docs/names.md", "spec/README.md" } do
    it(path .. " are there", function()
      local count = 0
      for spec, titles in read(path):gmatch("`([%w_/]+_spec)`([^`;|\n]*)") do
        local file = "spec/" .. spec .. ".lua"
        assert.is_true(exists(file), file)
        local source = read(file)
        for title in (titles .. ","):gmatch("([^,]*),") do
          check_title(spec, source, title)
          count = count + 1
        end
      end
      assert.is_true(count > 50)
    end)
  end

  it("spec/README.md are all", function()
    local page = read("spec/README.md")
    local shown = {
      [""] = "^(.*_spec)%.lua$",
      ["limit/"] = "^(.*_spec)%.lua$",
      ["tornado/"] = "^(.*_spec)%.lua$",
      ["capi/"] = "^(.*%.c)$",
      ["support/"] = "^(.*)%.lua$",
    }
    for folder, pattern in pairs(shown) do
      local entries = assert(luv.fs_scandir("spec/" .. folder))
      for file in luv.fs_scandir_next, entries do
        local name = file:match(pattern)
        if name and folder ~= "support/" then name = folder .. name end
        assert.is_true(not name or page:find("`" .. name .. "`", 1, true)
          ~= nil, name)
      end
    end
  end)
end)

describe("README.md", function()
  it("has every module in its table", function()
    local page = read("README.md")
    local lunado = require "lunado"
    for name, value in pairs(lunado) do
      if package.loaded["lunado." .. name] == value then
        assert.is_truthy(page:find("\n| [`lunado." .. name .. "`]", 1, true),
          name)
      end
    end
  end)
end)
