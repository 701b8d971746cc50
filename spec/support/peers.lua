-- SPDX-License-Identifier: MIT
-- Runs programs that a spec talks to, and ends them with the spec.
local IOStream = require "lunado.iostream".IOStream
local uv = require "lunado.uv"

local await = coroutine.yield

local peers = {}
local running = {}

local Peer = {}
Peer.__index = Peer

--- Starts a program, inside a coroutine.  `stdin` and `out` are streams: what
-- it reads, and what it prints, on stderr too.
function peers.start(program, args)
  local stdin, out = uv.new_pipe(false), uv.new_pipe(false)
  local process = uv.spawn("sh", { stdio = { stdin, out }, args = { "-c",
    'exec "$0" "$@" 2>&1', program, table.unpack(args) } })
  local self = setmetatable({ process = process, stdin = IOStream(stdin),
    out = IOStream(out), text = "" }, Peer)
  running[#running + 1] = self
  return self
end

--- Waits for what the pattern finds in the program's output, from where the
-- last call has ended; returns its captures.
function Peer:expect(pattern)
  local text = await(self.out:read_until_pattern(pattern))
  self.text = self.text .. text
  return text:match(pattern)
end

--- Waits for the program's end; returns its whole output, and its status.
function Peer:finish()
  self.text = self.text .. await(self.out:read_until_close())
  local code = await(self.process:wait())
  self.ended = true
  return self.text, code
end

function Peer:stop()
  if not self.ended then
    self.process:kill("sigkill")
    await(self.process:wait())
    self.ended = true
  end
  self.stdin:close()
  await(self.out:close())
end

--- Ends all programs.
function peers.stop()
  for _, peer in ipairs(running) do peer:stop() end
  running = {}
end

--- Starts `openssl s_server` with these arguments; returns it, and its port.
function peers.s_server(args)
  local all = { "s_server", "-accept", "127.0.0.1:0" }
  table.move(args, 1, #args, #all + 1, all)
  local peer = peers.start("openssl", all)
  return peer, tonumber((peer:expect "ACCEPT [^\n]*:(%d+)\n"))
end

--- Starts `openssl s_client` for a port of this machine.
function peers.s_client(port, args)
  local all = { "s_client", "-connect", "127.0.0.1:" .. port }
  table.move(args, 1, #args, #all + 1, all)
  return peers.start("openssl", all)
end

return peers
