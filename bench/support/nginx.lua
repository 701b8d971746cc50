-- SPDX-License-Identifier: MIT
-- nginx as the server of benchmarks, as the user who runs them, in the root of
-- the tree.
package.path = package.path .. ";./?.lua"
local luv = require "luv"
local free_port = require "spec.support.freeport"
local peer = require "spec.support.nginx"

local nginx = {}

--- Starts nginx on a free port, with the files of the folder; it writes there,
-- too.  Returns luv's process and the port.  It may not listen yet.
-- @param more lines of the configuration, in which FOLDER and PORT stand for
--   their values
function nginx.start(folder, more)
  local port = free_port()
  local path = folder .. "/nginx.conf"
  local file <close> = assert(io.open(path, "wb"))
  file:write((peer.configuration(folder, "root FOLDER;\n" .. more)
    :gsub("PORT", tostring(port))))
  file:flush()
  assert(peer.path, "nginx is not installed")
  local process = assert(luv.spawn(peer.path, { args = { "-p", folder, "-c",
    path } }, function() end))
  return process, port
end

return nginx
