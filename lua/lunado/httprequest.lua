-- SPDX-License-Identifier: MIT
--- lunado.httprequest: what lunado.httpclient is asked for, and what it
-- answers: HTTPRequest, HTTPResponse, HTTPError.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.httprequest"] then return loaded["lunado.httprequest"] end

local argument = require "lunado.argument"
local httputil = require "lunado.httputil"

local HTTPHeaders, responses = httputil.HTTPHeaders, httputil.responses

-- HTTPError -----------------------------------------------------------------

--- An answer with another code than 200 to 299, or, with the code 599, no
-- answer at all.  Its fields: `code`, `message`, `response`.
local HTTPError = core.Exception:subclass("HTTPError")

getmetatable(HTTPError).__call = function(class, code, message, response)
  return setmetatable({ code = code, response = response,
    message = message or responses[code] or "Unknown" }, class)
end

function HTTPError:__tostring()
  return ("HTTP %s: %s"):format(self.code, self.message)
end

-- HTTPResponse --------------------------------------------------------------

--- An answer.  Its fields: `request code reason headers body effective_url
-- request_time time_info error`.  Tornado: HTTPResponse.
local HTTPResponse = { __name = "HTTPResponse" }
HTTPResponse.__index = HTTPResponse

--- Raises the error of an answer that has one.
function HTTPResponse:rethrow()
  argument.check_self(self, "code", "HTTPResponse", "rethrow", 2)
  if self.error ~= nil then error(self.error, 0) end
end

function HTTPResponse:__tostring()
  return ("HTTPResponse: code=%s, reason=%s, effective_url=%s"):format(
    self.code, self.reason, self.effective_url)
end

--- HTTPResponse(request, code [, fields])
setmetatable(HTTPResponse, {
  __call = function(class, request, code, fields)
    local self = setmetatable(fields or {}, class)
    self.request, self.code = request, code
    if not self.reason or self.reason == "" then
      self.reason = responses[code] or "Unknown"
    end
    self.headers = self.headers or HTTPHeaders()
    self.effective_url = self.effective_url or request.url
    self.time_info = self.time_info or {}
    if self.error == nil and (code < 200 or code > 299) then
      self.error = HTTPError(code, self.reason, self)
    end
    return self
  end,
})

-- Fields of requests --------------------------------------------------------

-- A check returns what is wrong with a value that is not nil, or nil.

local function of_type(name)
  return function(value)
    if type(value) ~= name then
      return ("%s expected, got %s"):format(name, type(value))
    end
  end
end

local boolean = of_type "boolean"

--- Strings for libcurl, which would cut them off at a zero.
local function text(value)
  if type(value) ~= "string" then return of_type "string" (value) end
  if value:find("\0", 1, true) then return "string contains zeros" end
end

--- Strings that become a line, or part of one.
local function line(value)
  if type(value) ~= "string" then return of_type "string" (value) end
  if value:find "[\r\n\0]" then return "string contains CR, LF or NUL" end
end

local function callable(value)
  if not core.is_callable(value) then return of_type "function" (value) end
end

local function seconds(value)
  if type(value) ~= "number" then return of_type "number" (value) end
  if value ~= value then return "a time cannot be NaN" end
  if value < 0 then return "must not be negative" end
end

local function count(value)
  local number = math.type(value) and math.tointeger(value)
  if not math.type(value) then return of_type "number" (value) end
  if not number then return "number has no integer representation" end
  if number < 0 then return "must not be negative" end
end

--- libcurl takes the port 0 for one that it chooses.
local function port(value)
  if count(value) then return count(value) end
  if value < 1 then return "a port is at least 1" end
  if value > argument.MOST_PORT then
    return ("a port is at most %d"):format(argument.MOST_PORT)
  end
end

local PROXIES <const> = { http = true, https = true, socks4 = true,
  socks4a = true, socks5 = true, socks5h = true }

--- libcurl takes an empty name for no proxy, and what is more than a host for
-- parts of a URL, of which it uses some and drops others.
local function proxy(value)
  local wrong = line(value)
  if wrong then return wrong end
  local scheme, host = value:match "^(%a[%w+.-]*)://(.*)$"
  if scheme and not PROXIES[scheme:lower()] then
    return ("unsupported kind of proxy '%s'"):format(scheme)
  end
  host = host or value
  if host == "" then return "the string is empty" end
  if not host:find "^[^][/?#@:%s]+$"
    and not host:find "^%[[^][/?#@%s]+%]$" then
    return "a host expected, an IPv6 address in brackets"
  end
end

local function decode(part)
  return (part:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- Returns the scheme of a URL in small letters, its authority, and the rest;
-- nil if it has no scheme.
local function split_url(value)
  local scheme, authority, rest = value:match "^(%a[%w+.-]*)://([^/?#]*)(.*)$"
  if not scheme then return nil end
  return scheme:lower(), authority, rest
end

--- Returns a URL without its credentials, and these, decoded: user name and
-- password, nil if it has none; and what is wrong with them, or nil.
local function divide_url(value)
  if not value:find("@", 1, true) then return value end
  local scheme, authority, rest = split_url(value)
  local info, host = (authority or ""):match "^(.*)@([^@]*)$"
  if not info then return value end
  local username, password = info:match "^([^:]*):?(.*)$"
  username, password = decode(username), decode(password)
  return scheme .. "://" .. host .. rest, username, password,
    line(username .. password)
end

local function url(value)
  local wrong = line(value) or select(4, divide_url(value))
  if wrong then return wrong end
  local scheme = split_url(value)
  if not scheme then return "URL expected, http://… or https://…" end
  if scheme ~= "http" and scheme ~= "https" then
    return ("unsupported URL scheme '%s'"):format(scheme)
  end
end

--- The characters of methods and of names of headers.
local TOKEN <const> = "^[%w!#$%%&'*+.^_`|~-]+$"

local function method(value)
  if type(value) ~= "string" then return of_type "string" (value) end
  if not value:find(TOKEN) then return "a method is one word" end
end

local function check_header(name, value)
  if type(name) ~= "string" then return "a header's name is a string" end
  if not name:find(TOKEN) then
    return ("%q is not a header's name"):format(name)
  end
  local given, wrong = httputil._to_text(value)
  if wrong then return ("%s: %s"):format(name, wrong) end
  if given:find "[\r\n\0]" then
    return name .. ": string contains CR, LF or NUL"
  end
end

local function headers(value)
  if type(value) ~= "table" then return of_type "table" (value) end
  if getmetatable(value) == HTTPHeaders then
    for name, each in value:get_all() do
      local wrong = check_header(name, each)
      if wrong then return wrong end
    end
    return nil
  end
  for name, each in pairs(value) do
    if type(each) == "table" and not argument.is_list(each) then
      return ("%s: a list of values expected"):format(tostring(name))
    end
    for _, one in ipairs(type(each) == "table" and each or { each }) do
      local wrong = check_header(name, one)
      if wrong then return wrong end
    end
  end
end

local function auth_mode(value)
  if value ~= "basic" and value ~= "digest" then
    return "'basic' or 'digest' expected"
  end
end

local function date(value)
  if type(value) ~= "number" and type(value) ~= "table" then
    return ("number or table expected, got %s"):format(type(value))
  end
  local ok, err = pcall(httputil.format_timestamp, value)
  if not ok then return tostring(err):match "%((.*)%)$" or tostring(err) end
end

-- The fields that a request may have.
local CHECKS <const> = {
  url = url, method = method, headers = headers, body = of_type "string",
  body_producer = callable, auth_username = line, auth_password = line,
  auth_mode = auth_mode, connect_timeout = seconds, request_timeout = seconds,
  if_modified_since = date, follow_redirects = boolean, max_redirects = count,
  user_agent = line, decompress_response = boolean, network_interface = text,
  streaming_callback = callable, header_callback = callable, proxy_host = proxy,
  proxy_port = port, proxy_username = line, proxy_password = line,
  allow_nonstandard_methods = boolean, validate_cert = boolean,
  ca_certs = text, client_key = text, client_cert = text,
  expect_100_continue = boolean, max_body_size = count,
  max_header_size = count,
}

--- Returns what is wrong with a table of fields, or nil.  `extra` is the name
-- of one more field that may be there.
local function wrong_field(fields, extra)
  for name, value in next, fields do
    local check = CHECKS[name]
    if check then
      local wrong = check(value)
      if wrong then return ("%s: %s"):format(name, wrong) end
    elseif name ~= extra then
      return argument.unknown("field", name)
    end
  end
end

-- HTTPRequest ---------------------------------------------------------------

--- A request.  Its fields may be read and set; the names are those of CHECKS.
-- Tornado: HTTPRequest.
local HTTPRequest = { __name = "HTTPRequest" }
HTTPRequest.__index = HTTPRequest
HTTPRequest.method = "GET" -- of requests that have none of their own

function HTTPRequest:__newindex(name, value)
  if not CHECKS[name] then
    error(("a request has no field '%s'"):format(tostring(name)), 2)
  end
  rawset(self, name, value)
end

function HTTPRequest:__tostring()
  return ("HTTPRequest: %s %s"):format(self.method, self.url)
end

--- Makes a request of a checked URL and checked fields; nil: of no others.
local function new(address, fields)
  local self = { url = address }
  for name, value in next, fields or {} do
    if CHECKS[name] and name ~= "url" then self[name] = value end
  end
  self.headers = HTTPHeaders(self.headers)
  if self.if_modified_since ~= nil then
    self.headers["If-Modified-Since"] =
      httputil.format_timestamp(self.if_modified_since)
  end
  return setmetatable(self, HTTPRequest)
end

setmetatable(HTTPRequest, {
  --- HTTPRequest(url [, fields])
  __call = function(_, address, fields)
    local wrong = url(address)
    if wrong then argument.bad(1, "HTTPRequest", wrong, 2) end
    if fields ~= nil then
      argument.check_type(fields, "table", 2, "HTTPRequest", 2)
      wrong = wrong_field(fields)
      if wrong then argument.bad(2, "HTTPRequest", wrong, 2) end
    end
    return new(address, fields)
  end,
})

-- Requests and defaults together --------------------------------------------

--- Returns what a request has where neither it nor its client says otherwise,
-- in a new table.  max_body_size is a limit of collected bodies only.
local function new_fields()
  return {
    method = "GET", connect_timeout = 20, request_timeout = 20,
    follow_redirects = true, max_redirects = 5, decompress_response = true,
    allow_nonstandard_methods = false, validate_cert = true,
    expect_100_continue = false, max_header_size = 1024 * 1024,
  }
end
local MOST_BODY <const> = 100 * 1024 * 1024

local METHODS <const> = { GET = true, HEAD = true, POST = true, PUT = true,
  DELETE = true, PATCH = true, OPTIONS = true }
local WITH_BODY <const> = { POST = true, PUT = true, PATCH = true }
local NEVER_BODY <const> = { GET = true, HEAD = true }

--- Returns what is wrong with the method and the body together, or nil.
local function wrong_body(all)
  local present = all.body ~= nil or all.body_producer ~= nil
  local name = all.method
  if all.body ~= nil and all.body_producer ~= nil then
    return "body and body_producer exclude each other"
  end
  if NEVER_BODY[name] and present then
    return ("body: must be nil for method %s"):format(name)
  end
  if all.allow_nonstandard_methods then return nil end
  if not METHODS[name] then return argument.unknown("method", name) end
  local expected = WITH_BODY[name] or false
  if expected ~= present then
    return ("body: must %sbe nil for method %s (unless "
      .. "allow_nonstandard_methods is true)"):format(
      expected and "not " or "", name)
  end
end

--- Returns what is wrong with fields that mean nothing without others, or nil.
local function wrong_company(all)
  if (all.proxy_host == nil) ~= (all.proxy_port == nil) then
    return "proxy_host and proxy_port belong together"
  elseif all.proxy_username ~= nil and all.proxy_host == nil then
    return "proxy_username: there is no proxy_host"
  elseif all.proxy_password ~= nil and all.proxy_username == nil then
    return "proxy_password: there is no proxy_username"
  elseif all.client_key ~= nil and all.client_cert == nil then
    return "client_key: there is no client_cert"
  elseif all.auth_password ~= nil and all.auth_username == nil
    and not select(2, divide_url(all.url)) then
    return "auth_password: there is no auth_username"
  end
end

--- Returns the length that the headers give to the body, or nil and what is
-- wrong with it.
local function length_of(all)
  local value = all.headers["Content-Length"]
  if value == nil then return all.body and #all.body or -1 end
  local length = value:find "^%d+$" and math.tointeger(tonumber(value))
  if not length or all.body and length ~= #all.body then
    return nil, "headers: the Content-Length is not that of the body"
  end
  return length
end

--- Returns the headers of a request, and the defaults for those that it does
-- not have.
local function all_headers(request, defaults)
  local all = HTTPHeaders(request.headers)
  if defaults.headers == nil then return all end
  local others = HTTPHeaders(defaults.headers)
  for name in pairs(others) do
    if all[name] == nil then
      for _, value in ipairs(others:get_list(name)) do all:add(name, value) end
    end
  end
  return all
end

--- Returns what is wrong with the headers of a request without a body, or nil:
-- a server would wait for the body that they announce.
local function wrong_announcement(announced)
  local length = announced["Content-Length"]
  if length ~= nil and not length:find "^0+$"
    or announced["Transfer-Encoding"] ~= nil then
    return "headers: Content-Length and Transfer-Encoding need a body"
  end
end

--- Returns a table of all fields of a request, and the defaults for those that
-- it does not have; or nil and what is wrong.  `length` is that of its body, if
-- it has one; -1: unknown.
local function resolve(request, defaults)
  local all = new_fields()
  for name, value in next, defaults do all[name] = value end
  for name, value in next, request do all[name] = value end
  all.headers = all_headers(request, defaults)
  if all.if_modified_since ~= nil then
    all.headers["If-Modified-Since"] =
      httputil.format_timestamp(all.if_modified_since)
  end
  local wrong = wrong_body(all)
  if wrong then return nil, wrong end
  wrong = wrong_company(all)
  if wrong then return nil, wrong end
  if WITH_BODY[all.method] and not all.body and not all.body_producer then
    all.body = ""
  end
  if all.body or all.body_producer then
    all.length, wrong = length_of(all)
    if wrong then return nil, wrong end
    all.headers["Content-Length"] = nil
  else
    wrong = wrong_announcement(all.headers)
    if wrong then return nil, wrong end
  end
  if all.max_body_size == nil and not all.streaming_callback then
    all.max_body_size = MOST_BODY
  end
  return all
end

local httprequest = {
  HTTPError = HTTPError,
  HTTPRequest = HTTPRequest,
  HTTPResponse = HTTPResponse,
  divide_url = divide_url,
  new = new,
  resolve = resolve,
  split_url = split_url,
  wrong_field = wrong_field,
}

loaded["lunado.httprequest"] = httprequest
return httprequest
