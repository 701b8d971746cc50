-- SPDX-License-Identifier: MIT
-- nginx as the server of benchmarks, as the user who runs them.
local luv = require "luv"

local nginx = {}

local CONFIG <const> = [[
daemon off;
master_process off;
pid FOLDER/pid;
error_log FOLDER/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi;
  scgi_temp_path FOLDER/scgi;
  root FOLDER;
  MORE
}
]]

--- Returns a port that is free at the moment.
local function free_port()
  local probe = luv.new_tcp()
  assert(probe:bind("127.0.0.1", 0))
  local port = probe:getsockname().port
  probe:close()
  return port
end

--- Starts nginx on a free port, with the files of the folder; it writes there,
-- too.  Returns luv's process and the port.  It may not listen yet.
-- @param more lines of the configuration, in which FOLDER and PORT stand for
--   their values
function nginx.start(folder, more)
  local port = free_port()
  local path = folder .. "/nginx.conf"
  local text = CONFIG:gsub("MORE", more):gsub("FOLDER", folder)
    :gsub("PORT", tostring(port))
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
  file:flush()
  luv.os_setenv("PATH", luv.os_getenv "PATH" .. ":/usr/sbin:/sbin")
  local process = assert(luv.spawn("nginx", { args = { "-p", folder, "-c",
    path } }, function() end))
  return process, port
end

return nginx
