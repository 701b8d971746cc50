-- SPDX-License-Identifier: MIT
--- lunado.httputil: headers, URLs, dates and first lines of HTTP.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.httputil"] then return loaded["lunado.httputil"] end

local argument = require "lunado.argument"

local HTTPInputError = core.Exception:subclass("HTTPInputError")

--- Returns a text, from `start` or its beginning on, without the blanks around
-- it.  A peer may send many of them, so each is looked at once: a pattern such
-- as "^%s*(.-)%s*$" would look at them again for each one.
local function trim(text, start)
  local first = text:find("%S", start)
  return first and text:match("^.*%S", first) or ""
end

-- HTTPHeaders ---------------------------------------------------------------

-- Names in the form of "Content-Type".  Most programs use few different names,
-- but peers may send any number of them.
local MOST_NAMES <const> = 1000
local normal, count = {}, 0

local function normalize(name)
  local result = normal[name]
  if result then return result end
  result = name:gsub("[^-]+", function(word)
    return word:sub(1, 1):upper() .. word:sub(2):lower()
  end)
  if count >= MOST_NAMES then normal, count = {}, 0 end
  normal[name], count = result, count + 1
  return result
end

--- Headers: names without regard to case, each with one or more values, in the
-- order in which the names came.  `headers[name]` gives the values joined by
-- ","; setting it replaces them, and nil removes them.  `pairs` iterates over
-- names and joined values.  Tornado: HTTPHeaders.
--
-- Its one key is FIELDS, a table, which is no header's name.  The fields are a
-- list of the names, and for each name its value, or a list of several; under
-- LAST is the name of the line that parse_line read last.
local HTTPHeaders = { __name = "HTTPHeaders" }
local FIELDS <const>, LAST <const> = {}, {}

local methods = {}

local function check_self(self, name)
  if getmetatable(self) == HTTPHeaders then return end
  argument.unexpected(1, name, "HTTPHeaders", self, 3)
end

local function check_name(name, position, of)
  argument.check_type(name, "string", position, of, 3)
  return normalize(name)
end

--- Returns a value of a header as a string; or nil and what is wrong with it.
local function to_text(value)
  if type(value) == "string" then return value end
  if type(value) ~= "number" then
    return nil, "string expected, got " .. type(value)
  end
  if value - value ~= 0 then return nil, "a finite number expected" end
  return tostring(value)
end

--- Returns a value as a string.
local function check_value(value, position, of)
  local text, wrong = to_text(value)
  if text then return text end
  argument.bad(position, of, wrong, 3)
end

--- Adds the first value of a name, a string.  If memory runs out, nothing has
-- changed but that false is there for nil: the last step needs no memory.
local function add_name(fields, name, value)
  fields[name] = false
  fields[#fields + 1] = name
  fields[name] = value
end

--- Adds a value, a string, to those of the name.
local function append(self, name, value)
  name = normalize(name)
  local fields = self[FIELDS]
  local present = fields[name]
  if type(present) == "table" then
    present[#present + 1] = value
  elseif present then
    fields[name] = { present, value }
  else
    add_name(fields, name, value)
  end
end

local function remove(self, name)
  local fields = self[FIELDS]
  if not fields[name] then return end
  fields[name] = nil
  for i, other in ipairs(fields) do
    if other == name then return table.remove(fields, i) end
  end
end

--- Returns the values of the name, which is normalized, joined by ","; nil if
-- it has none.
local function join_values(self, name)
  local value = self[FIELDS][name]
  return type(value) == "table" and table.concat(value, ",") or value or nil
end

--- Returns a new list of the values of the name, which is normalized.
local function list_values(self, name)
  local value = self[FIELDS][name]
  if type(value) ~= "table" then return { value or nil } end
  return table.move(value, 1, #value, 1, {})
end

--- Adds a value; others of the same name stay.
function methods:add(name, value)
  check_self(self, "add")
  name = check_name(name, 1, "add")
  append(self, name, check_value(value, 2, "add"))
end

--- Returns the values joined by ",", or `default`.
function methods:get(name, default)
  check_self(self, "get")
  return join_values(self, check_name(name, 1, "get")) or default
end

--- Returns a new list of the values; it is empty if there is none.
function methods:get_list(name)
  check_self(self, "get_list")
  return list_values(self, check_name(name, 1, "get_list"))
end

--- Iterates over names and values; a name with several values comes several
-- times.
function methods:get_all()
  check_self(self, "get_all")
  local pairs_of = {}
  for _, name in ipairs(self[FIELDS]) do
    for _, value in ipairs(list_values(self, name)) do
      pairs_of[#pairs_of + 1] = { name, value }
    end
  end
  local i = 0
  return function()
    i = i + 1
    if pairs_of[i] then return pairs_of[i][1], pairs_of[i][2] end
  end
end

--- Appends what a folded line goes on with to the value that came last.
local function continue(self, line)
  local fields = self[FIELDS]
  local value = fields[fields[LAST]]
  if not value then
    error(HTTPInputError("first header line cannot start with whitespace"), 3)
  end
  line = " " .. trim(line)
  if type(value) == "table" then
    value[#value] = value[#value] .. line
  else
    fields[fields[LAST]] = value .. line
  end
end

--- Reads one line, whose end may be there or not.  A line that begins with a
-- blank continues the line before.  Raises HTTPInputError for another line
-- without a colon.
function methods:parse_line(line)
  check_self(self, "parse_line")
  argument.check_type(line, "string", 1, "parse_line", 2)
  if line:find "^[ \t]" then return continue(self, line) end
  local colon = line:find(":", 1, true)
  if not colon then
    error(HTTPInputError("no colon in header line"), 2)
  end
  local name = normalize(line:sub(1, colon - 1))
  append(self, name, trim(line, colon + 1))
  self[FIELDS][LAST] = name
end

local function new() return setmetatable({ [FIELDS] = {} }, HTTPHeaders) end

--- Returns the text with each line that continues another one at its end.  To
-- append such lines to a value one by one would copy it each time.
local function unfold(text)
  if not text:find("\n ", 1, true) and not text:find("\n\t", 1, true) then
    return text -- as nearly all do
  end
  return (text:gsub("\r?\n[ \t]+", " "))
end

--- Returns the headers that a text of lines contains.
local function parse(text)
  argument.check_type(text, "string", 1, "parse", 2)
  local headers = new()
  for line in unfold(text):gmatch "[^\n]+" do
    if line ~= "\r" then headers:parse_line(line) end
  end
  return headers
end

--- HTTPHeaders.parse(text), or headers.parse(text).
methods.parse = parse

--- Returns a copy that shares nothing.
function methods:copy()
  check_self(self, "copy")
  local result = new()
  local fields = result[FIELDS]
  for key, value in pairs(self[FIELDS]) do
    if key ~= LAST then
      fields[key] = type(value) == "table" and list_values(self, key) or value
    end
  end
  return result
end

--- Returns the value of the name; one that has none gets `value` first.
function methods:setdefault(name, value)
  check_self(self, "setdefault")
  name = check_name(name, 1, "setdefault")
  if not self[FIELDS][name] then
    append(self, name, check_value(value, 2, "setdefault"))
  end
  return self:get(name)
end

function HTTPHeaders:__index(name)
  local method = methods[name]
  if method then return method end
  if type(name) ~= "string" then return nil end
  return join_values(self, normalize(name))
end

function HTTPHeaders:__newindex(name, value)
  if type(name) ~= "string" then
    error(("a header's name is a string, not a %s"):format(type(name)), 2)
  end
  name = normalize(name)
  if value == nil then return remove(self, name) end
  local text, wrong = to_text(value)
  if wrong then
    error(("the value of a header: %s (%s)"):format(wrong, name), 2)
  end
  local fields = self[FIELDS]
  if not fields[name] then return add_name(fields, name, text) end
  fields[name] = text
end

function HTTPHeaders:__pairs()
  local names = table.move(self[FIELDS], 1, #self, 1, {})
  local i = 0
  return function()
    local value
    repeat
      i = i + 1
      value = names[i] and join_values(self, names[i])
    until value or not names[i]
    return names[i], value
  end
end

function HTTPHeaders:__len() return #self[FIELDS] end

--- One line for each value, "Name: value\n".
function HTTPHeaders:__tostring()
  local lines = {}
  for name, value in self:get_all() do
    lines[#lines + 1] = name .. ": " .. value .. "\n"
  end
  return table.concat(lines)
end

function HTTPHeaders:__eq(other)
  if getmetatable(other) ~= HTTPHeaders or #self ~= #other then return false end
  for _, name in ipairs(self[FIELDS]) do
    local ours, theirs = list_values(self, name), list_values(other, name)
    if #ours ~= #theirs then return false end
    for i, value in ipairs(ours) do
      if value ~= theirs[i] then return false end
    end
  end
  return true
end

--- Adds the values of `name`, a string or a list of strings.
local function add_field(headers, name, value)
  if type(name) ~= "string" then
    argument.bad(1, "HTTPHeaders", "a header's name is a string", 3)
  end
  if type(value) == "table" and not argument.is_list(value) then
    argument.bad(1, "HTTPHeaders", name .. ": a list of values expected", 3)
  end
  for _, each in ipairs(type(value) == "table" and value or { value }) do
    local text, wrong = to_text(each)
    if wrong then
      argument.bad(1, "HTTPHeaders", ("%s: %s"):format(name, wrong), 3)
    end
    append(headers, name, text)
  end
end

setmetatable(HTTPHeaders, {
  --- HTTPHeaders([fields]): `fields` is a table name → value or list of values,
  -- whose names are added in alphabetical order, or HTTPHeaders, which are
  -- copied.
  __call = function(_, fields)
    if fields == nil then return new() end
    argument.check_type(fields, "table", 1, "HTTPHeaders", 2)
    if getmetatable(fields) == HTTPHeaders then return fields:copy() end
    local headers, names = new(), {}
    for name in pairs(fields) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do add_field(headers, name, fields[name]) end
    return headers
  end,
  __index = methods,
})

-- URLs ----------------------------------------------------------------------

local function quote(text)
  text = tostring(text):gsub("[^A-Za-z0-9_.~ -]", function(char)
    return ("%%%02X"):format(char:byte())
  end)
  return (text:gsub(" ", "+"))
end

local function unquote(text)
  text = text:gsub("+", " ")
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- Adds the pairs of an existing query.
local function add_query(list, query)
  for part in query:gmatch "[^&]+" do
    local name, value = part:match "^([^=]*)=?(.*)$"
    list[#list + 1] = quote(unquote(name)) .. "=" .. quote(unquote(value))
  end
end

local PLAIN <const> = { string = true, number = true, boolean = true }

local function add_pair(list, name, value)
  if not PLAIN[type(name)] or not PLAIN[type(value)] then
    argument.bad(2, "url_concat", "names and values are strings", 4)
  end
  if value ~= value then
    argument.bad(2, "url_concat", ("%s: NaN is no value"):format(name), 4)
  end
  list[#list + 1] = quote(name) .. "=" .. quote(value)
end

--- Adds a list of { name, value }, or a table name → value, which is added in
-- the order of the names.
local function add_arguments(list, args)
  if args[1] ~= nil or next(args) == nil then
    if not argument.is_list(args) then
      argument.bad(2, "url_concat", "a list of { name, value } has no names, "
        .. "and no holes", 3)
    end
    for _, pair in ipairs(args) do
      if type(pair) ~= "table" then
        argument.bad(2, "url_concat", "a list contains { name, value }", 3)
      end
      add_pair(list, pair[1], pair[2])
    end
    return
  end
  local names = {}
  for name in pairs(args) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do add_pair(list, name, args[name]) end
end

--- Returns the URL with arguments added to its query, whether it has one or
-- not.  Tornado: url_concat.
-- @param args a table name → value, or a list of { name, value }; nil: none
local function url_concat(url, args)
  argument.check_type(url, "string", 1, "url_concat", 2)
  if args == nil then return url end
  argument.check_type(args, "table", 2, "url_concat", 2)
  local rest, fragment = url:match "^([^#]*)(.*)$"
  local base, query = rest:match "^([^?]*)%??(.*)$"
  local list = {}
  add_query(list, query)
  add_arguments(list, args)
  local joined = table.concat(list, "&")
  return base .. (joined ~= "" and "?" .. joined or "") .. fragment
end

--- Returns host and port of "host:port"; the port is nil if there is none.
-- Raises HTTPInputError for a number that is no port.  Tornado:
-- split_host_and_port.
local function split_host_and_port(netloc)
  argument.check_type(netloc, "string", 1, "split_host_and_port", 2)
  local host, port = netloc:match "^(.+):(%d+)$"
  if not host then return netloc, nil end
  local number = math.tointeger(tonumber(port))
  if number and number <= argument.MOST_PORT then return host, number end
  error(HTTPInputError(("a port is at most %d: %s"):format(argument.MOST_PORT,
    netloc)), 2)
end

-- Dates ---------------------------------------------------------------------

local DAYS <const> = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS <const> = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
  "Sep", "Oct", "Nov", "Dec" }

-- The years that have four digits, in seconds from 1970.
local EARLIEST <const>, LATEST <const> = -62167219200, 253402300799

--- Returns the days from 1 January 1970 to a day.
local function days_of(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400
    + (153 * (month - 3) + 2) // 5 + day - 719469
end

local function seconds_of(date)
  for _, field in ipairs { "year", "month", "day" } do
    if not math.tointeger(date[field]) then
      argument.bad(1, "format_timestamp", field .. ": integer expected", 3)
    end
  end
  for _, field in ipairs { "hour", "min", "sec" } do
    if date[field] ~= nil and not math.type(date[field]) then
      argument.bad(1, "format_timestamp", field .. ": number expected", 3)
    end
  end
  return days_of(date.year, date.month, date.day) * 86400
    + (date.hour or 0) * 3600 + (date.min or 0) * 60 + (date.sec or 0)
end

--- Returns year, month and day of the day that is so many days from 1 January
-- 1970.  os.date knows no days before it on Windows.
local function day_of(days)
  local shifted = days + 719468 -- from 1 March of the year 0
  local era, of_era = shifted // 146097, shifted % 146097
  local year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096)
    // 365
  local of_year = of_era - (365 * year + year // 4 - year // 100)
  local month = (5 * of_year + 2) // 153
  local day = of_year - (153 * month + 2) // 5 + 1
  if month >= 10 then return year + 400 * era + 1, month - 9, day end
  return year + 400 * era, month + 3, day
end

--- Returns a time in the form that HTTP uses: "Sun, 27 Jan 2013 18:43:20 GMT".
-- Tornado: format_timestamp.
-- @param time seconds since 1970, as of os.time(), or a table as of
-- os.date("!*t"), in UTC
local function format_timestamp(time)
  local seconds = type(time) == "table" and seconds_of(time) or time
  if type(seconds) ~= "number" then
    argument.unexpected(1, "format_timestamp", "number or table", time, 2)
  end
  local whole = math.tointeger(seconds // 1)
  if not whole or whole < EARLIEST or whole > LATEST then
    argument.bad(1, "format_timestamp", "a time expected", 2)
  end
  local days, rest = whole // 86400, whole % 86400
  local year, month, day = day_of(days)
  return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(
    DAYS[(days + 4) % 7 + 1], day, MONTHS[month], year, rest // 3600,
    rest // 60 % 60, rest % 60)
end

-- First lines and cookies ---------------------------------------------------

--- Returns the parts of "GET /foo HTTP/1.1": { method =, path =, version = }.
-- Raises HTTPInputError for another line.
local function parse_request_start_line(line)
  argument.check_type(line, "string", 1, "parse_request_start_line", 2)
  local method, path, version = line:match "^([^ ]*) ([^ ]*) ([^ ]*)$"
  if not method then
    error(HTTPInputError("Malformed HTTP request line"), 2)
  end
  if not version:find "^HTTP/1%.%d$" then
    error(HTTPInputError("Malformed HTTP version in HTTP Request-Line: "
      .. version), 2)
  end
  return { method = method, path = path, version = version }
end

--- Returns the parts of "HTTP/1.1 200 OK": { version =, code =, reason = }.
-- Raises HTTPInputError for another line.
local function parse_response_start_line(line)
  argument.check_type(line, "string", 1, "parse_response_start_line", 2)
  local version, code, reason =
    line:match "^(HTTP/%d%.?%d?) (%d%d%d) ?([^\r\n]*)"
  if not version then
    error(HTTPInputError("Error parsing response start line"), 2)
  end
  return { version = version, code = math.tointeger(tonumber(code)),
    reason = reason }
end

--- Undoes the quotes of a cookie's value.
local function unquote_cookie(value)
  local inner = value:match '^"(.*)"$'
  if not inner then return value end
  return (inner:gsub("\\([0-3][0-7][0-7])", function(digits)
    return string.char(tonumber(digits, 8))
  end):gsub("\\(.)", "%1"))
end

--- Returns the cookies of a Cookie header, as a table name → value.  Tornado:
-- parse_cookie.
local function parse_cookie(cookie)
  argument.check_type(cookie, "string", 1, "parse_cookie", 2)
  local cookies = {}
  for part in cookie:gmatch "[^;]+" do
    local name, value = part:match "^([^=]*)=(.*)$"
    if not name then name, value = "", part end
    name, value = trim(name), trim(value)
    if name ~= "" or value ~= "" then cookies[name] = unquote_cookie(value) end
  end
  return cookies
end

-- Reasons -------------------------------------------------------------------

--- The usual words for the codes of answers: code → reason.
local responses = {
  [100] = "Continue", [101] = "Switching Protocols", [102] = "Processing",
  [103] = "Early Hints",
  [200] = "OK", [201] = "Created", [202] = "Accepted",
  [203] = "Non-Authoritative Information", [204] = "No Content",
  [205] = "Reset Content", [206] = "Partial Content", [207] = "Multi-Status",
  [208] = "Already Reported", [226] = "IM Used",
  [300] = "Multiple Choices", [301] = "Moved Permanently", [302] = "Found",
  [303] = "See Other", [304] = "Not Modified", [305] = "Use Proxy",
  [307] = "Temporary Redirect", [308] = "Permanent Redirect",
  [400] = "Bad Request", [401] = "Unauthorized", [402] = "Payment Required",
  [403] = "Forbidden", [404] = "Not Found", [405] = "Method Not Allowed",
  [406] = "Not Acceptable", [407] = "Proxy Authentication Required",
  [408] = "Request Timeout", [409] = "Conflict", [410] = "Gone",
  [411] = "Length Required", [412] = "Precondition Failed",
  [413] = "Request Entity Too Large", [414] = "Request-URI Too Long",
  [415] = "Unsupported Media Type",
  [416] = "Requested Range Not Satisfiable", [417] = "Expectation Failed",
  [418] = "I'm a Teapot", [421] = "Misdirected Request",
  [422] = "Unprocessable Entity", [423] = "Locked",
  [424] = "Failed Dependency", [425] = "Too Early", [426] = "Upgrade Required",
  [428] = "Precondition Required", [429] = "Too Many Requests",
  [431] = "Request Header Fields Too Large",
  [451] = "Unavailable For Legal Reasons",
  [500] = "Internal Server Error", [501] = "Not Implemented",
  [502] = "Bad Gateway", [503] = "Service Unavailable",
  [504] = "Gateway Timeout", [505] = "HTTP Version Not Supported",
  [506] = "Variant Also Negotiates", [507] = "Insufficient Storage",
  [508] = "Loop Detected", [510] = "Not Extended",
  [511] = "Network Authentication Required",
}

local httputil = {
  HTTPHeaders = HTTPHeaders,
  HTTPInputError = HTTPInputError,
  format_timestamp = format_timestamp,
  parse_cookie = parse_cookie,
  parse_request_start_line = parse_request_start_line,
  parse_response_start_line = parse_response_start_line,
  responses = responses,
  split_host_and_port = split_host_and_port,
  url_concat = url_concat,
  _append = append,
  _to_text = to_text,
  _trim = trim,
}

loaded["lunado.httputil"] = httputil
return httputil
