-- SPDX-License-Identifier: MIT
--- lunado.tls: TLS on streams, by OpenSSL.
--
-- The part in C is lunado/tls.so, which is built where OpenSSL is found.  A
-- connection of its is the filter of a stream (src/core/filter.h).
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.tls"] then return loaded["lunado.tls"] end

local argument = require "lunado.argument"

-- The part in C -------------------------------------------------------------

local MISSING = "lunado.tls needs lunado/tls.so, which is built where OpenSSL "
  .. "is found (Debian: libssl-dev)"

--- Returns the path of the part in C; or nil and where it was searched.  A rock
-- has it as lunado/openssl.so, because LuaRocks gives the name of this module
-- to one rock only.
local function find_library()
  local path, searched = package.searchpath("lunado.tls", package.cpath)
  if path then return path end
  local of_rock = package.searchpath("lunado.openssl", package.cpath)
  return of_rock, searched
end

--- Returns the function that opens the part in C, and where it was found.
local function find_opener()
  local preload = package.preload["lunado.tls.c"]
  if preload then return preload, "package.preload" end
  local path, searched = find_library()
  if not path then error(MISSING .. ":" .. searched, 0) end
  local opener, err = package.loadlib(path, "luaopen_lunado_tls")
  if not opener then error(("%s: %s"):format(MISSING, err), 0) end
  return opener, path
end

local function load_library()
  local opener, path = find_opener()
  local library = opener("lunado.tls", path)
  if library.filter_interface ~= core.filter_interface then
    error(("lunado.tls: %s is of another version of lunado"):format(path), 0)
  end
  return library
end

local library = load_library()

-- Errors --------------------------------------------------------------------

--- The error of a handshake, a connection or an option.  Fields: `reason`, in
-- OpenSSL's words; `library` and `code` of OpenSSL's, where it has reported the
-- error; `verify_code` and `verify_message`, where a certificate was refused;
-- `host`, the name that was expected; `file`, the file that cannot be used.
local SSLError = core.Exception:subclass("SSLError")

--- Makes an SSLError of a table of the part in C.
-- @param about what it is about: the fields `host`, `file`, `option`
local function new_error(fields, about)
  local text = fields.reason
  if fields.verify_message then
    text = ("%s: %s"):format(text, fields.verify_message)
  end
  if about.file then
    text = ("%s %q: %s"):format(about.option, about.file, text)
  elseif about.option then
    text = ("%s: %s"):format(about.option, text)
  elseif about.host and fields.verify_message then
    text = ("%s (host %q)"):format(text, about.host)
  end
  local err = SSLError(text)
  for name, value in pairs(fields) do err[name] = value end
  err.host, err.file = about.host, about.file
  return err
end

-- Options -------------------------------------------------------------------

local REQS = { required = true, optional = true, none = true }
local VERSIONS = { TLSv1 = true, ["TLSv1.1"] = true, ["TLSv1.2"] = true,
  ["TLSv1.3"] = true }
local FILES = { "certfile", "keyfile", "ca_certs" }
local KNOWN = { certfile = true, keyfile = true, ca_certs = true,
  cert_reqs = true, ciphers = true, alpn = true, min_version = true }

--- Returns the list of protocols as OpenSSL wants it, each behind its length;
-- or nil and what is wrong.
local function encode_alpn(list)
  local length = type(list) == "table" and argument.length_of(list) or 0
  if length == 0 then return nil, "a list of protocols expected" end
  local parts = {}
  for i = 1, length do
    local name = list[i]
    if type(name) ~= "string" or #name == 0 or #name > 255 then
      return nil, "strings of 1 to 255 bytes expected"
    end
    parts[i] = string.pack("s1", name)
  end
  local text = table.concat(parts)
  if #text > 65535 then return nil, "the list is too long" end
  return text
end

--- Divides a list of ciphers into those of up to TLS 1.2, and the suites of TLS
-- 1.3, whose names begin with TLS_; nil for none.
local function divide_ciphers(list)
  local ciphers, suites = {}, {}
  for name in list:gmatch("[^:]+") do
    table.insert(name:find("^TLS_") and suites or ciphers, name)
  end
  return ciphers[1] and table.concat(ciphers, ":"),
    suites[1] and table.concat(suites, ":")
end

local function wrong_strings(options)
  for _, name in ipairs { "certfile", "keyfile", "ca_certs", "ciphers" } do
    local value = options[name]
    if value ~= nil and type(value) ~= "string" then
      return ("%s: string expected, got %s"):format(name, type(value))
    end
    if value and (value == "" or value:find("\0", 1, true)) then
      return name .. ": the string is empty or contains zeros"
    end
  end
end

local function wrong_choice(options)
  if options.cert_reqs ~= nil and not REQS[options.cert_reqs] then
    return "cert_reqs: 'required', 'optional' or 'none' expected"
  end
  if options.min_version ~= nil and not VERSIONS[options.min_version] then
    return "min_version: 'TLSv1', 'TLSv1.1', 'TLSv1.2' or 'TLSv1.3' expected"
  end
end

--- What is wrong with what the options say of certificates, or nil.
local function wrong_certificates(server_side, options)
  if options.keyfile and not options.certfile then
    return "keyfile: there is no certfile"
  end
  if not server_side then return nil end
  if not options.certfile then return "certfile: a server needs one" end
  if (options.cert_reqs or "none") ~= "none" and not options.ca_certs then
    return "ca_certs: a server that asks for certificates needs it"
  end
end

local function wrong_option(server_side, options)
  return wrong_strings(options) or wrong_choice(options)
    or wrong_certificates(server_side, options)
end

--- Returns the options as the part in C wants them; or nil and what is wrong.
local function prepare(server_side, given)
  local options, wrong = argument.copy_options(given, KNOWN)
  wrong = wrong or wrong_option(server_side, options)
  if wrong then return nil, wrong end
  local reqs = options.cert_reqs or (server_side and "none" or "required")
  local result = { certfile = options.certfile, keyfile = options.keyfile,
    ca_certs = options.ca_certs, cert_reqs = reqs,
    min_version = options.min_version or "TLSv1.2" }
  if options.alpn ~= nil then
    result.alpn, wrong = encode_alpn(options.alpn)
    if wrong then return nil, "alpn: " .. wrong end
  end
  if options.ciphers then
    result.ciphers, result.ciphersuites = divide_ciphers(options.ciphers)
    if not result.ciphers and not result.ciphersuites then
      return nil, "ciphers: the list is empty"
    end
  end
  return result
end

-- Contexts ------------------------------------------------------------------

--- OpenSSL passes over a file that this variable names and cannot be read.
local function check_environment(options)
  local path = os.getenv("SSL_CERT_FILE")
  if options.ca_certs or options.cert_reqs == "none" or not path
    or path == "" then
    return
  end
  local file, err = io.open(path)
  if file then
    file:close()
    return
  end
  error(new_error({ reason = err:gsub("^.*: ", "") },
    { option = "SSL_CERT_FILE", file = path }), 0)
end

--- Makes a context of prepared options; raises an SSLError.
local function make_context(server_side, options)
  if not server_side then check_environment(options) end
  local context, fields, option = library.new_context(server_side, options)
  if context then return context end
  local file = option == "keyfile" and (options.keyfile or options.certfile)
    or (option == "certfile" or option == "ca_certs") and options[option]
    or nil
  error(new_error(fields, { option = option, file = file }), 0)
end

-- The contexts of clients whose options name no file, by the text of the
-- options: the certificates of the system are read once, and sessions last.
local shared, shared_count = {}, 0
local MOST_SHARED <const> = 16

local function shared_context(options)
  local key = ("%s %s %s %s %s"):format(options.cert_reqs,
    options.min_version, options.ciphers, options.ciphersuites, options.alpn)
  if shared[key] then return shared[key] end
  local context = make_context(false, options)
  if shared_count == MOST_SHARED then shared, shared_count = {}, 0 end
  shared[key], shared_count = context, shared_count + 1
  return context
end

local function names_file(options)
  for _, name in ipairs(FILES) do
    if options[name] then return true end
  end
  return false
end

--- Returns the context that the options are, or that is made of them; or nil
-- and what is wrong with them.  Raises an SSLError if a file or a cipher cannot
-- be used.
local function to_context(server_side, options)
  if library.is_context(options) then
    if library.Context.server_side(options) == server_side then
      return options
    end
    return nil, server_side and "the context is for clients"
      or "the context is for servers"
  end
  if options == nil then options = {} end
  if type(options) ~= "table" then
    return nil, ("table or context expected, got %s"):format(type(options))
  end
  local prepared, wrong = prepare(server_side, options)
  if not prepared then return nil, wrong end
  if server_side or names_file(prepared) then
    return make_context(server_side, prepared)
  end
  return shared_context(prepared)
end

--- Returns a context: what many connections share.  Reads the files that the
-- options name, while the program waits.  Tornado: ssl_options_to_context.
-- @param server_side whether it is for servers; may be left out: it is for
--   clients then
-- @param ssl_options certfile, keyfile, ca_certs: names of files in PEM form;
--   cert_reqs: "required", "optional" or "none"; ciphers; alpn: a list;
--   min_version
local function create_default_context(server_side, ssl_options)
  local position = 2
  if type(server_side) == "table" and ssl_options == nil then
    server_side, ssl_options, position = false, server_side, 1
  end
  if server_side ~= nil then
    argument.check_type(server_side, "boolean", 1, "create_default_context", 2)
  end
  if ssl_options ~= nil then
    argument.check_type(ssl_options, "table", position,
      "create_default_context", 2)
  end
  local prepared, wrong = prepare(server_side or false, ssl_options or {})
  if not prepared then
    argument.bad(position, "create_default_context", wrong, 2)
  end
  local context = make_context(server_side or false, prepared)
  return context
end

-- Connections ---------------------------------------------------------------

local Connection = library.Connection

-- Connection -> the host that it expects.
local hosts = setmetatable({}, { __mode = "k" })

--- The stream calls it when the handshake has ended well.
function Connection:started(stream)
  rawset(stream, "alpn_protocol", self:alpn())
end

--- The stream calls it for the error that has ended the connection.
function Connection:failure()
  local fields = self:error()
  return fields and new_error(fields, { host = hosts[self] })
end

--- Whether the text is an IP address.
local function is_ip(text)
  return text:find(":", 1, true) ~= nil
    or text:find("^%d+%.%d+%.%d+%.%d+$") ~= nil
end

--- Returns the host as certificates have it: without the dot at its end, or the
-- zone of an address; or nil and what is wrong with it.
local function to_host(name)
  if type(name) ~= "string" then
    return nil, ("string expected, got %s"):format(type(name))
  end
  if is_ip(name) then
    local address = name:gsub("%%.*$", "")
    if library.is_address(address) then return address end
    return nil, "not an IP address"
  end
  local host = name:gsub("%.$", "")
  if host:find "^[%w_-][%w_.-]*$" then return host end
  return nil, "not the name of a host"
end

--- The name of the stream's server for sessions: they are kept for each port.
local function session_key(stream, host)
  local is_tcp = not stream:closed() and stream:_kind() == "tcp"
  local peer = is_tcp and stream.handle:getpeername()
  return ("%s %s"):format(host:lower(), peer and peer.port)
end

local function new_connection(stream, context, host)
  local connection, fields
  if host then
    connection, fields = library.new_connection(context, host, is_ip(host),
      session_key(stream, host))
  else
    connection, fields = library.new_connection(context)
  end
  if not connection then error(new_error(fields, { host = host }), 0) end
  hosts[connection] = host
  return connection
end

--- Starts TLS on the stream; returns a Future, or nil and why it cannot.
local function start(stream, context, host)
  local connection = new_connection(stream, context, host)
  local target = host and ("TLS handshake with %q failed"):format(host)
    or "TLS handshake failed"
  return stream:_start_filter(connection:filter(), connection, target)
end

--- The implementation of IOStream:start_tls.  Errors of arguments are raised
-- `level` levels up.
local function start_tls(stream, server_side, ssl_options, server_hostname,
  level)
  argument.check_type(server_side, "boolean", 1, "start_tls", level)
  local context, wrong = to_context(server_side, ssl_options)
  if not context then argument.bad(2, "start_tls", wrong, level) end
  local host
  if server_hostname ~= nil then
    host, wrong = to_host(server_hostname)
    if wrong then argument.bad(3, "start_tls", wrong, level) end
    if server_side then
      argument.bad(3, "start_tls", "a server expects no host", level)
    end
  elseif not server_side and library.Context.verifies(context) then
    argument.bad(3, "start_tls", "the name of the server is needed, unless "
      .. "cert_reqs is 'none'", level)
  end
  local future, why = start(stream, context, host)
  if not future then error("cannot start TLS: " .. why, level) end
  return future
end

--- The implementation of IOStream:peer_certificate.
local function peer_certificate(stream, level)
  local connection = stream:_filter()
  if not connection then return nil end
  local certificate = connection:certificate()
  if certificate == nil then error("the stream is closed", level) end
  return certificate or nil
end

--- Returns { version =, cipher =, session_reused =, server_name = } of the
-- stream; nil if it has no TLS, or is closed.
local function connection_info(stream)
  argument.check_self(stream, 1, "IOStream", "connection_info", 2)
  argument.check_self(stream, "_filter", "IOStream", "connection_info", 2)
  local connection = stream:_filter()
  return connection and connection:info()
end

local tls = {
  SSLError = SSLError,
  create_default_context = create_default_context,
  connection_info = connection_info,
  library_version = library.library,
  _to_context = to_context,
  _to_host = to_host,
  _start = start,
  _start_tls = start_tls,
  _peer_certificate = peer_certificate,
}

loaded["lunado.tls"] = tls
return tls
