-- SPDX-License-Identifier: MIT
--- lunado.inherit: the sockets that workers get from their parent.
--
-- The parent notes what it listens on, and for what `listen` was asked; a
-- worker finds its sockets by the same words.  The variable LUNADO_WORKER tells
-- a worker which descriptors it has got: in its first line the worker's number
-- and the identity of its channel, which is descriptor 3; in each other line a
-- descriptor, its kind, the port and the address.  Programs that a worker
-- starts have the variable, too, but not the channel, and so are no workers.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.inherit"] then return loaded["lunado.inherit"] end

local VARIABLE <const> = "LUNADO_WORKER"
local CHANNEL <const> = 3

local function weak() return setmetatable({}, { __mode = "k" }) end

local inherit = {
  --- Number of this worker; nil in any other process.
  number = nil,
  --- Descriptor that ends when the parent does; nil in any other process, and
  -- in Lua states of other threads.
  channel = nil,
  --- The set of the servers that have listened.
  servers = weak(),
}

-- The words of a listener ---------------------------------------------------

-- As one line: an address may be a path, with any bytes but zeros.
local function to_line(kind, address, port)
  local safe = address:gsub("[%c%%]", function(byte)
    return ("%%%02x"):format(byte:byte())
  end)
  return ("%s %d %s"):format(kind, port, safe)
end

local function of_line(line)
  local fd, kind, port, safe = line:match "^(%d+) (%l+) (%d+) (.*)$"
  local address = safe:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end)
  return { fd = math.tointeger(fd), kind = kind, port = math.tointeger(port),
    address = address }
end

-- In the parent -------------------------------------------------------------

local noted = weak() -- listener -> { number in order, line }
local count = 0

--- Notes that the server listens; `port` is the one that was asked for.
function inherit.note(server, listener, kind, address, port)
  local note = { count, to_line(kind, address, port) }
  inherit.servers[server] = true
  noted[listener] = note
  count = count + 1
end

--- Returns what workers get: a list of descriptors, which stay the listeners',
-- and the lines for them.
local function open_listeners()
  local list = {}
  for listener, note in pairs(noted) do
    local fd = listener:fileno()
    if fd then list[#list + 1] = { note[1], fd, note[2] } end
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

--- Returns the environment and the descriptors for a worker, the channel first.
function inherit.pass_on(number, channel)
  local descriptors, env = { channel }, {}
  local lines = { ("worker %d %s"):format(number,
    core.descriptor_identity(channel:fileno())) }
  for i, listener in ipairs(open_listeners()) do
    descriptors[i + 1] = listener[2]
    lines[i + 1] = ("%d %s"):format(CHANNEL + i, listener[3])
  end
  for _, variable in ipairs(core.environ()) do
    if variable:sub(1, #VARIABLE + 1) ~= VARIABLE .. "=" then
      env[#env + 1] = variable
    end
  end
  env[#env + 1] = VARIABLE .. "=" .. table.concat(lines, "\n")
  return env, descriptors
end

-- In a worker ---------------------------------------------------------------

local sockets = {}

--- Returns the socket of the parent for what `listen` was asked for; nil if
-- there is none, or nil and an error.
function inherit.take(kind, address, port)
  for _, socket in ipairs(sockets) do
    if socket.kind == kind and socket.address == address
      and socket.port == port and not socket.taken then
      -- Several may have been asked for any port: each gets the next one.
      socket.taken = port == 0 and kind == "tcp"
      return socket.descriptor:dup()
    end
  end
end

--- Ends all listening: of the servers, and on sockets that no server has taken,
-- where connections would wait in vain.
function inherit.stop()
  for server in pairs(inherit.servers) do server:stop() end
  for _, socket in ipairs(sockets) do socket.descriptor:close() end
  sockets = {}
end

--- Reads the variable, if this process is the worker that it is for.
local function read_variable(text)
  local number, identity = text:match "^worker (%d+) ([%d:-]+)"
  if not number or core.descriptor_identity(CHANNEL) ~= identity then return end
  inherit.number = math.tointeger(number)
  if not core.claim_descriptors() then return end
  inherit.channel = core.own_descriptor(CHANNEL)
  for line in text:gmatch "\n([^\n]+)" do
    local socket = of_line(line)
    socket.descriptor = core.own_descriptor(socket.fd)
    sockets[#sockets + 1] = socket
  end
end

local text = os.getenv(VARIABLE)
if text then read_variable(text) end

loaded["lunado.inherit"] = inherit
return inherit
