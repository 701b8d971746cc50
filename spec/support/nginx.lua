-- SPDX-License-Identifier: MIT
-- nginx as a peer: http, https with the certificates of specs, HTTP/2, gzip.
-- It runs in a temporary folder, as the user, on ports that it finds free.
local luv = require "luv"
local certificates = require "spec.support.certificates"
local free_port = require "spec.support.freeport"

local nginx = {}

local function path_of(program)
  for folder in ((os.getenv "PATH" or "") .. ":/usr/sbin:/sbin")
    :gmatch "[^:]+" do
    local path = folder .. "/" .. program
    if luv.fs_access(path, "X") then return path end
  end
end

--- Where the program is; nil: it is not installed.
nginx.path = path_of "nginx"

--- Whether nginx or openssl is not installed.
nginx.missing = not nginx.path or not path_of "openssl"

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function run(command)
  assert(os.execute(command .. " >/dev/null 2>&1 </dev/null"), command)
end

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
  MORE
}
]]

--- Returns the text of a configuration that keeps everything in the folder.
-- @param more lines of its part `http`, in which FOLDER stands for the folder
function nginx.configuration(folder, more)
  return (CONFIG:gsub("MORE", more):gsub("FOLDER", folder))
end

local SERVERS <const> = [[
  client_max_body_size 100m;
  keepalive_requests 1000000;
  default_type text/plain;
  if_modified_since before;
  gzip on;
  gzip_min_length 1;
  gzip_types text/plain;
  root FOLDER/root;
  server {
    listen 127.0.0.1:PLAIN;
    location /protocol { return 200 $server_protocol; }
    location /to-https { return 302 https://localhost:SECURE/protocol; }
  }
  server {
    listen 127.0.0.1:SECURE ssl http2;
    ssl_certificate CERTIFICATES/server.crt;
    ssl_certificate_key CERTIFICATES/server.key;
    ssl_client_certificate CERTIFICATES/ca.crt;
    ssl_verify_client optional;
    location /protocol { return 200 $server_protocol; }
    location /client { return 200 $ssl_client_verify; }
  }
]]

local function is_listening(port)
  local answered
  local probe = luv.new_tcp()
  probe:connect("127.0.0.1", port, function(err) answered = err or true end)
  while not answered do luv.run "once" end
  probe:close()
  return answered == true
end

local function start_once(folder)
  local self = { folder = folder, port = free_port(), secure = free_port() }
  local servers = SERVERS:gsub("%u%u+", { PLAIN = self.port,
    SECURE = self.secure, CERTIFICATES = certificates.path "." })
  write(folder .. "/nginx.conf", nginx.configuration(folder, servers))
  local handle, pid = luv.spawn(nginx.path, {
    args = { "-p", folder, "-c", folder .. "/nginx.conf" },
    stdio = { nil, nil, nil },
  }, function() self.ended = true end)
  assert(handle, pid)
  self.handle = handle
  while not self.ended do
    luv.sleep(10)
    luv.run "nowait"
    if is_listening(self.port) and is_listening(self.secure) then
      return self
    end
  end
  handle:close()
end

--- Starts nginx, outside of a run of the loop; returns { folder =, port =,
--- secure =, url =, https =, ca = }: ca is the authority that signed its
--- certificate, and that it trusts.
function nginx.start()
  local folder = assert(luv.fs_mkdtemp(luv.os_tmpdir() .. "/lunado_XXXXXX"))
  run(("mkdir '%s/root'"):format(folder))
  for _ = 1, 10 do -- other processes may take the ports meanwhile
    local self = start_once(folder)
    if self then
      self.url = "http://127.0.0.1:" .. self.port
      self.https = "https://localhost:" .. self.secure
      self.ca = certificates.path "ca.crt"
      return self
    end
  end
  error "nginx does not start"
end

function nginx.stop(self)
  self.handle:kill "sigterm"
  while not self.ended do luv.run "once" end
  self.handle:close()
  luv.run "nowait"
  run(("rm -rf '%s'"):format(self.folder))
end

--- Writes a file that nginx serves.
function nginx.put(self, name, text)
  write(self.folder .. "/root/" .. name, text)
end

return nginx
