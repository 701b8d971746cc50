-- SPDX-License-Identifier: MIT
--- lunado.httpclient: fetches pages by libcurl.
--
-- The transfers are in C, in lunado/curl.so, and what they belong to is a Fetch
-- of lunado.httpfetch.  The client has the queue of fetches that wait for a
-- place among the `max_clients` that run.
--
-- Who holds whom: lunado/curl.so holds the fetches that it transfers; the
-- client holds those in its queue, and each fetch holds its client.  So a fetch
-- goes on to its end, whoever has forgotten it.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.httpclient"] then return loaded["lunado.httpclient"] end

local argument = require "lunado.argument"
local httpfetch = require "lunado.httpfetch"
local httprequest = require "lunado.httprequest"
local stack_context = require "lunado.stack_context"

local IOLoop, HTTPRequest = core.IOLoop, httprequest.HTTPRequest

-- The C module ---------------------------------------------------------------

local MISSING <const> = "lunado.httpclient needs lunado/curl.so, which is "
  .. "built where libcurl's development files are found (Debian: "
  .. "libcurl4-openssl-dev)"

local HIDDEN <const> = "lunado/curl.so cannot find the functions of lunado.h, "
  .. "which this program does not export: link it with the shared liblunado, "
  .. "or with -rdynamic"

--- Makes the symbols of lunado/core.so global, unless a program contains
-- lunado.  `require` has loaded it with local ones, and loadlib opens a library
-- once for each name; so it gets another name of the same file.
local function export_core()
  if package.preload["lunado.core"] then return end
  local path = package.searchpath("lunado.core", package.cpath)
  if not path then return end
  package.loadlib(path:find "^/" and "/." .. path or "./" .. path, "*")
end

--- Loads lunado.curl.  The functions of lunado.h that it calls are those of
-- lunado/core.so, or those of the program that contains lunado.
local function load_curl()
  export_core()
  if not package.preload["lunado.curl"]
    and not package.searchpath("lunado.curl", package.cpath) then
    error(MISSING, 0)
  end
  local ok, result = pcall(require, "lunado.curl")
  if not ok then
    local text = tostring(result)
    if text:find("undefined symbol", 1, true) and text:find "lunado_" then
      text = HIDDEN .. "\n" .. text
    end
    error(text, 0)
  end
  if not result.is_future(core.Future()) then error(HIDDEN, 0) end
  return result
end

local curl = load_curl()

-- The client ----------------------------------------------------------------

local by_weak_key = { __mode = "k" }

--- Loop → the client of all who have not asked for one of their own.
local clients = setmetatable({}, by_weak_key)

local MAX_CLIENTS <const> = 10
local USER_AGENT <const> = "lunado"

local AsyncHTTPClient = { __name = "AsyncHTTPClient" }
AsyncHTTPClient.__index = AsyncHTTPClient

function AsyncHTTPClient:__tostring()
  local state = self:_is_closed() and "closed"
    or ("%d active, %d queued"):format(self._active, self._queued)
  return ("AsyncHTTPClient: %p (%s)"):format(self, state)
end

function AsyncHTTPClient:_remove_timer(fetch) -- luacheck: ignore self
  local timer = fetch.timer
  fetch.timer = false
  pcall(self._loop.remove_timeout, self._loop, timer) -- it may be closed
end

--- Takes the fetch out of the queue.
function AsyncHTTPClient:_unqueue(fetch)
  if fetch.timer then self:_remove_timer(fetch) end
  if not fetch.number then return end
  self._queue[fetch.number] = nil
  fetch.number = false
  self._queued = self._queued - 1
end

--- The fetch has waited in the queue for as long as it may.
local function on_waited(fetch)
  fetch.timer = false
  fetch:go_on(fetch.fail_599, "Timeout in request queue")
end

--- Puts the fetch into the queue.  If memory runs out, it is there and counted,
-- or neither.
function AsyncHTTPClient:_enqueue(fetch)
  local number = self._last + 1
  self._queue[number] = fetch
  self._last, fetch.number, self._queued = number, number, self._queued + 1
  local wait = math.min(fetch.all.connect_timeout == 0 and math.huge
    or fetch.all.connect_timeout, fetch.deadline - fetch.started)
  if wait < math.huge then
    fetch.timer = self._loop:call_at(fetch.started + wait, on_waited, fetch)
  end
end

--- Returns the first fetch of the queue, and takes it out; nil: it is empty.
function AsyncHTTPClient:_dequeue()
  while self._first <= self._last do
    local fetch = self._queue[self._first]
    if fetch then
      self:_unqueue(fetch)
      return fetch
    end
    self._first = self._first + 1
  end
end

--- Whether nothing can be fetched any more.
function AsyncHTTPClient:_is_closed()
  return self._closed or self._curl:closed()
end

--- Starts fetches of the queue while there is room.  An error of one is its
-- own.
function AsyncHTTPClient:_fill()
  while not self:_is_closed() and self._active < self.max_clients do
    local fetch = self:_dequeue()
    if not fetch then return end
    local called, ok, failure = pcall(core.try, fetch.start, fetch)
    if not called then
      fetch:fail_for_memory()
    elseif not ok then
      fetch:fail(failure)
    end
  end
end

--- The fetch is over: its place is free.
function AsyncHTTPClient:_release(fetch)
  self:_unqueue(fetch)
  self._fetches[fetch] = nil
  if fetch.counted then
    fetch.counted = false
    self._active = self._active - 1
  end
  self:_fill()
end

--- Raises at the line of fetch's caller if nothing can be fetched any more.
local function check_open(self)
  if not self:_is_closed() then return end
  local why = self._closed and "" or ": its IOLoop is closed"
  error("fetch() called on closed AsyncHTTPClient" .. why, 3)
end

--- Returns what is wrong with a number of fetches at once, or nil.
local function wrong_most(most)
  local number = math.type(most) and math.tointeger(most)
  if number and number >= 1 then return nil end
  return "max_clients: a positive number expected"
end

--- Returns what is wrong with the defaults of a client, or nil.
local function wrong_defaults(defaults)
  if type(defaults) ~= "table" then
    return ("defaults: table expected, got %s"):format(type(defaults))
  end
  if defaults.url ~= nil then
    return "defaults: " .. argument.unknown("field", "url")
  end
  local wrong = httprequest.wrong_field(defaults)
  return wrong and "defaults: " .. wrong
end

--- Checks what may be changed of a client; raises at the line of fetch's
-- caller.
local function check_client(self)
  local wrong = wrong_most(self.max_clients) or wrong_defaults(self.defaults)
  if wrong then error("AsyncHTTPClient: " .. wrong, 3) end
end

--- Checks fetch's options, at the line of its caller.
local function check_options(options, of_request)
  if options == nil then return end
  argument.check_type(options, "table", 2, "fetch", 4)
  local raises = options.raise_error
  if raises ~= nil and type(raises) ~= "boolean" then
    argument.bad(2, "fetch", ("raise_error: boolean expected, got %s")
      :format(type(raises)), 4)
  end
  local wrong = httprequest.wrong_field(options, "raise_error")
  for name in next, of_request and options or {} do
    if name ~= "raise_error" then
      wrong = wrong or ("the request is an HTTPRequest, which has the field "
        .. "'%s' itself"):format(name)
    end
  end
  if wrong then argument.bad(2, "fetch", wrong, 4) end
end

--- Returns the request as an HTTPRequest, and all its fields; raises at the
-- line of fetch's caller if one is wrong.
local function check_request(client, request, options)
  local given = getmetatable(request) == HTTPRequest
  if not given and type(request) ~= "string" then
    argument.unexpected(1, "fetch", "string or HTTPRequest", request, 3)
  end
  local wrong = httprequest.wrong_field(given and request or { url = request })
  if wrong then argument.bad(1, "fetch", wrong, 3) end
  check_options(options, given)
  if not given then
    request = httprequest.new(request, options)
  end
  local all, contrary = httprequest.resolve(request, client.defaults)
  if not all then argument.bad(given and 1 or 2, "fetch", contrary, 3) end
  return request, all
end

local CALLBACKS <const> = { "streaming_callback", "header_callback",
  "body_producer" }

--- Makes the callbacks run in the stack contexts that are current now.
local function wrap_callbacks(all)
  for _, name in ipairs(CALLBACKS) do
    if all[name] ~= nil then all[name] = stack_context.wrap(all[name]) end
  end
end

--- Returns a Future of an HTTPResponse.  It fails with an HTTPError for an
-- answer that has another code than 200 to 299, unless the option raise_error
-- is false; and for what is no answer, with the code 599.
-- @param request a URL, or an HTTPRequest
-- @param options `raise_error`; for a URL, also the fields of HTTPRequest
function AsyncHTTPClient:fetch(request, options)
  argument.check_self(self, "_curl", "AsyncHTTPClient", "fetch", 2)
  check_open(self)
  check_client(self)
  local all
  request, all = check_request(self, request, options)
  check_open(self) -- a metamethod may have closed it
  wrap_callbacks(all)
  local now, timeout = self._loop:time(), all.request_timeout
  local fetch = httpfetch.new({ client = self, request = request, all = all,
    future = core.Future(), started = now,
    deadline = timeout == 0 and math.huge or now + timeout,
    raise_error = not options or options.raise_error ~= false })
  core.set_canceller(fetch.future, fetch)
  self._fetches[fetch] = true
  local ok, failure
  if self._active < self.max_clients and self._queued == 0 then
    ok, failure = core.try(fetch.start, fetch)
  else
    ok, failure = core.try(self._enqueue, self, fetch)
  end
  if not ok then fetch:fail(failure) end
  return fetch.future
end

--- Ends all fetches, which fail, and closes all connections.  Closing it again
-- is harmless.
function AsyncHTTPClient:close()
  argument.check_self(self, "_curl", "AsyncHTTPClient", "close", 2)
  if self._closed then return end
  self._closed = true
  if clients[self._loop] == self then clients[self._loop] = nil end
  local fetches = {}
  for fetch in pairs(self._fetches) do fetches[#fetches + 1] = fetch end
  table.sort(fetches, function(a, b) return a.started < b.started end)
  for _, fetch in ipairs(fetches) do
    fetch:fail_599 "the AsyncHTTPClient was closed"
  end
  self._curl:close()
end

AsyncHTTPClient.__close = AsyncHTTPClient.close

-- Making clients ------------------------------------------------------------

local OPTIONS <const> = { force_instance = true, max_clients = true,
  defaults = true }

--- Returns what is wrong with the options of a client, or nil.
local function wrong_option(options)
  local wrong = options.max_clients ~= nil and wrong_most(options.max_clients)
  if wrong then return wrong end
  local own = options.force_instance
  if own ~= nil and type(own) ~= "boolean" then
    return ("force_instance: boolean expected, got %s"):format(type(own))
  end
  return options.defaults ~= nil and wrong_defaults(options.defaults) or nil
end

local function new_client(loop, options)
  local defaults = { user_agent = USER_AGENT }
  for name, value in next, options.defaults or {} do defaults[name] = value end
  local most = math.tointeger(options.max_clients or MAX_CLIENTS)
  return setmetatable({
    max_clients = most, defaults = defaults,
    _curl = curl.client(httpfetch.on_events, math.max(most, MAX_CLIENTS)),
    _loop = loop,
    _queue = {}, _first = 1, _last = 0, _queued = 0, _active = 0,
    _fetches = setmetatable({}, by_weak_key), _closed = false,
  }, AsyncHTTPClient)
end

setmetatable(AsyncHTTPClient, {
  --- Returns the client of the current loop, which is made on first use.
  -- @param options `force_instance`: a new client; `max_clients`: how many
  -- fetches at once; `defaults`: fields of HTTPRequest
  __call = function(_, options)
    if options ~= nil then
      argument.check_type(options, "table", 1, "AsyncHTTPClient", 2)
    end
    local wrong
    options, wrong = argument.copy_options(options or {}, OPTIONS)
    wrong = wrong or wrong_option(options)
    if wrong then argument.bad(1, "AsyncHTTPClient", wrong, 2) end
    local loop = IOLoop.current()
    local client = not options.force_instance and clients[loop]
    if not client then
      client = new_client(loop, options)
      if not options.force_instance then clients[loop] = client end
    elseif options.defaults ~= nil or options.max_clients ~= nil
      and options.max_clients ~= client.max_clients then
      argument.bad(1, "AsyncHTTPClient", "the loop has a client already, with "
        .. "other options: use force_instance", 2)
    end
    return client
  end,
})

local httpclient = {
  AsyncHTTPClient = AsyncHTTPClient,
  HTTPError = httprequest.HTTPError,
  HTTPRequest = HTTPRequest,
  HTTPResponse = httprequest.HTTPResponse,
}

loaded["lunado.httpclient"] = httpclient
return httpclient
