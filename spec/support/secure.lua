-- SPDX-License-Identifier: MIT
-- Both ends of a connection with TLS, and specs that run in coroutines.
local concurrent = require "lunado.concurrent"
local core = require "lunado.core"
local IOStream = require "lunado.iostream".IOStream
local tls = require "lunado.tls"
local certificates = require "spec.support.certificates"
local frame = require "spec.support.frame"
local peers = require "spec.support.peers"
local streams = require "spec.support.streams"

local await = coroutine.yield

local secure = {}

--- Makes the name localhost known, which few systems lack; returns a function
-- that undoes it.
local function know_localhost()
  local resolve = core.resolve
  function core.resolve(host, port, family)
    if host ~= "localhost" then return resolve(host, port, family) end
    local found = concurrent.Future()
    found:set_result { { addr = "127.0.0.1", port = math.tointeger(port),
      family = "inet" } }
    return found
  end
  return function() core.resolve = resolve end
end

--- Returns spec(name, fn), which declares a test by busted's `it`: it runs fn
-- as frame.run does, and then ends the programs that fn has started.
function secure.specs(it)
  local spec = frame.specs(it)
  return function(name, fn)
    spec(name, function()
      local forget = know_localhost()
      local ok, err = pcall(fn)
      forget()
      peers.stop()
      if not ok then error(err, 0) end
    end)
  end
end

--- Closes the streams, and waits until they are closed.
function secure.close(...)
  for _, stream in ipairs { ... } do await(stream:close()) end
end

--- Two plain streams that are connected: by a local socket, or by TCP.
function secure.plain(kind, options)
  local here, there = streams[kind or "tcp"](options)
  return here, IOStream(there, options)
end

--- Starts TLS on both: a client, which expects localhost, and a server. Returns
-- the Futures.
function secure.start(client, server, client_options, server_options)
  return client:start_tls(false, client_options or certificates.client(),
      "localhost"),
    server:start_tls(true, server_options or certificates.server())
end

--- A client and a server that are connected by TLS.
function secure.pair(client_options, server_options, kind)
  local client, server = secure.plain(kind)
  await { secure.start(client, server, client_options, server_options) }
  return client, server
end

--- Returns the StreamClosedError of a Future, which must fail with one, and the
-- SSLError in it.
function secure.error_of(future)
  local err = streams.closed_error(future)
  return err, require "lunado.util".isinstance(err.real_error, tls.SSLError)
    and err.real_error or error("no SSLError: " .. tostring(err))
end

return secure
