-- SPDX-License-Identifier: MIT
-- The peers that lunado is compared with, and the commands that start them.
-- All paths are relative to the root of the tree, where the driver runs.
local compile = require "compile"
local lua = require "interpreter"

local peers = {}

-- Returns the first line that a command prints; nil if it fails or prints none.
local function line_of(command)
  local pipe <close> = assert(io.popen(command .. " 2>/dev/null"))
  local line = pipe:read "l"
  if line and line ~= "" and pipe:close() then return line end
end

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

local function lua_version(expression, path)
  return line_of(("%s -e '%s io.write(%s, \"\\n\")'"):format(lua,
    path and ('package.path = package.path .. ";%s"'):format(path) or "",
    expression))
end

local function lua_command(workload, variant, n, gc)
  return ("%s bench/support/peer.lua %s '%s' %d %s"):format(
    lua, workload, variant, n, gc or "")
end

local pythons = { os.getenv "PYTHON", "/usr/bin/python3", "python3" }

local function python_version(code)
  for i = 1, 3 do
    local python = pythons[i]
    local version = python and line_of(("%s -c '%s'"):format(python, code))
    if version then return version, python end
  end
end

local function python(peer)
  return function(workload, variant, n)
    return ("%s bench/support/peer.py %s %s %d"):format(
      peer.python, workload, variant, n)
  end
end

local function lua_peer(name, title, expression, path)
  return {
    name = name, title = title, command = lua_command, lua = true,
    version = function() return lua_version(expression, path) end,
    has = function(_, workload) return workload[name] ~= nil end,
  }
end

-- Several peers share a workload's file, which has a function for each.
local function python_peer(name, title, code)
  local peer = { name = name, title = title }
  function peer.has(id)
    local file <close> = io.open("bench/workloads/" .. id .. ".py")
    return file and file:read "a":find("on_" .. name, 1, true) ~= nil
  end
  peer.command = python(peer)
  function peer.version()
    local version
    version, peer.python = python_version(code)
    return version
  end
  return peer
end

peers.list = {
  lua_peer("raw", "raw Lua", "_VERSION"),
  {
    name = "floor", title = "Lua's C API", command = lua_command, lua = true,
    version = function() return compile.library "floor" and "alone" end,
    has = function(_, workload) return workload.floor ~= nil end,
  },
  lua_peer("luv", "luv by hand", 'require "luv".version_string()'),
  lua_peer("cqueues", "cqueues", 'require "cqueues".VERSION'),
  lua_peer("copas", "copas", 'require "copas"._VERSION',
    "/usr/share/lua/5.2/?.lua"),
  python_peer("tornado", "Tornado", "import tornado; print(tornado.version)"),
  python_peer("asyncio", "asyncio",
    "import asyncio, platform; print(platform.python_version())"),
  python_peer("trio", "Trio", "import trio; print(trio.__version__)"),
  {
    name = "node", title = "Node",
    version = function() return line_of "node --version" end,
    has = function(id) return exists("bench/workloads/" .. id .. ".js") end,
    command = function(workload, variant, n)
      return ("node --expose-gc bench/support/peer.js %s %s %d"):format(
        workload, variant, n)
    end,
  },
  {
    name = "c", title = "C libuv",
    version = function()
      return line_of "pkg-config --modversion libuv"
        or line_of((os.getenv "CC" or "cc") .. " --version")
    end,
    has = function(id) return exists("bench/workloads/" .. id .. ".c") end,
    command = function(workload, variant, n)
      local program = compile.program(workload,
        "bench/workloads/" .. workload .. ".c")
      return program and ("%s %s %s %d"):format(
        program, workload, variant, n)
    end,
  },
  lua_peer("lunado", "lunado", 'require "lunado"._VERSION'),
}

for _, peer in ipairs(peers.list) do peers[peer.name] = peer end

function peers.raw.version()
  return line_of(lua .. " -v"):match "^Lua [%d.]+"
end

-- Returns the title of a variant, such as "lunado await", in tables and charts.
function peers.title(variant)
  local name, rest = variant:match "^(%S+)(.*)$"
  return peers[name].title .. (rest ~= "" and "," .. rest or "")
end

-- Returns the variants of a workload, peer by peer; for each peer, the variant
-- without further words comes first.
function peers.variants(id, workload, chosen)
  local found = {}
  for _, peer in ipairs(peers.list) do
    if chosen[peer.name] and peer.has(id, workload) then
      found[#found + 1] = peer.name
      local more = {}
      for key, value in pairs(workload) do
        if type(value) == "function"
          and key:match("^(%S+) ") == peer.name then
          more[#more + 1] = key
        end
      end
      table.sort(more)
      table.move(more, 1, #more, #found + 1, found)
    end
  end
  return found
end

function peers.command(variant, id, n, gc)
  return peers[variant:match "^%S+"].command(id, variant, n, gc)
end

-- Returns the command of a workload's client, which starts the server `command`
-- and is told how many connections to open, and what to do with them n times.
function peers.with_client(command, client, n)
  local name = client.program or "message_client"
  local program = compile.program(name, "bench/support/" .. name .. ".c")
  return program and ("%s %d %s %d %s"):format(
    program, client.connections, client.does or client.bytes, n, command)
end

return peers
