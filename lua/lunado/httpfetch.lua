-- SPDX-License-Identifier: MIT
--- lunado.httpfetch: one fetch of lunado.httpclient, from its place in the
-- client's queue to its outcome.
--
-- lunado/curl.so calls on_events when there is news of a transfer.  All calls
-- of the user's code are made from there or from functions of the loop, never
-- from within libcurl.  After each of them the fetch may be over.
local core = require "lunado.core"
local loaded = core.loaded
if loaded["lunado.httpfetch"] then return loaded["lunado.httpfetch"] end

local argument = require "lunado.argument"
local httprequest = require "lunado.httprequest"
local httputil = require "lunado.httputil"

local Future, is_future = core.Future, core.is_future
local HTTPHeaders, append = httputil.HTTPHeaders, httputil._append
local HTTPError, HTTPResponse = httprequest.HTTPError, httprequest.HTTPResponse

-- libcurl's numbers of errors about files of certificates.
local CERTIFICATE_ERRORS <const> = { [58] = "client_cert", [77] = "ca_certs",
  [82] = "ca_certs" }

-- Fetches -------------------------------------------------------------------

--- A Fetch is one call of client:fetch.  Its fields:
-- `client`, `future`, `request` (the user's);
-- `all`: the request's fields and the defaults for those that it has not;
-- `started`, `deadline`: times of the loop, with the queue and without end;
-- `begun`: when it left the queue; nil: it has not;
-- `counted`: whether it is one of the client's running ones;
-- `number`: of its place in the queue; `timer`: of its time there, later of a
-- callback's that it waits for;
-- `transfer`: lunado.curl's, while it runs;
-- `redirects`: how many were followed; `redirected`: their seconds;
-- `reason`, `headers`, `body`: of the answer so far;
-- `held`: a Future for which the streaming_callback has asked to wait;
-- `ended`: { error, follows } of a transfer that ended meanwhile;
-- `producer`: the Future of body_producer's coroutine; `sent`: bytes from it;
-- `drained`: the Future of write;
-- `over`: whether it has its outcome, or its Future needs none;
-- `closed`: whether it has given up all that it had.
local Fetch = { redirects = 0, redirected = 0 }
Fetch.__index = Fetch

local PORTS <const> = { http = "80", https = "443" }

--- Returns scheme, host and port of a URL, as one string.
local function origin_of(url)
  local scheme, authority = httprequest.split_url(url)
  if not scheme then return url end
  local host = authority:match "([^@]*)$":lower()
  local name, port = host:match "^(.*):(%d*)$"
  if not name or name:find "^%[[^%]]*$" then name, port = host, "" end
  return scheme .. "://" .. name .. ":"
    .. (port ~= "" and port or PORTS[scheme] or "")
end

--- Moves the credentials of the URL into the fields of the request, unless it
-- has others.
local function take_credentials(all)
  local bare, username, password = httprequest.divide_url(all.url)
  all.url = bare
  if not username or all.auth_username ~= nil then return end
  all.auth_username = username
  if all.auth_password == nil then all.auth_password = password end
end

--- Returns milliseconds for libcurl, at least 1; nil: never.
local MOST_MS <const> = 2147483647
local function milliseconds(time)
  if time == 0 or time >= MOST_MS / 1000 then return nil end
  return math.max(1, math.ceil(time * 1000))
end

local PLAIN_LINES <const> = { "Expect:" }

--- Returns the lines of the headers in the form of libcurl, which adds headers
-- of its own: "X:" keeps X from being sent, "X;" sends it without a value.
local function lines_of(all)
  local headers = all.headers
  if #headers == 0 and not all.length then return PLAIN_LINES end
  local lines = {}
  for name, value in headers:get_all() do
    value = httputil._trim(value)
    lines[#lines + 1] = value == "" and name .. ";" or name .. ": " .. value
  end
  if all.expect_100_continue and all.length then
    lines[#lines + 1] = "Expect: 100-continue"
  elseif headers.Expect == nil then
    lines[#lines + 1] = "Expect:"
  end
  if all.length and all.method ~= "POST" and headers["Content-Type"] == nil then
    lines[#lines + 1] = "Content-Type:"
  end
  return lines
end

--- Returns the milliseconds that are left of the request_timeout; nil: no end.
function Fetch:left()
  if self.deadline == math.huge then return nil end
  return milliseconds(math.max(0.001, self.deadline - self.client._loop:time()))
end

--- Starts a transfer of what `all` says.
function Fetch:transfer_now()
  local all = self.all
  take_credentials(all)
  self.transfer = self.client._curl:start(self, all, lines_of(all),
    milliseconds(all.connect_timeout), self:left())
end

--- Leaves the queue.  Raises if the transfer cannot be started.
function Fetch:start()
  local client = self.client
  self.begun = client._loop:time()
  self:transfer_now()
  client._active, self.counted = client._active + 1, true
  if self.all.body_producer then self:produce() end
end

--- A Fetch is the canceller of its Future.
function Fetch:__call()
  if not self.closed then self:close() end
end

--- What lunado.waitgraph says about its Future.
function Fetch:__describe()
  return ("fetch of %s%s"):format(httprequest.divide_url(self.all.url),
    self.begun and "" or ", in the queue")
end

-- Ends ----------------------------------------------------------------------

--- Gives up what the fetch has, and lets the next one begin.  If memory runs
-- out on the way, it is called again: the transfer, whose news the loop brings,
-- is stopped last.
function Fetch:close()
  self.over = true
  self.held, self.drained = nil, nil
  self.client:_release(self)
  local producer = self.producer
  if is_future(producer) and not producer:done() then core.cancel(producer) end
  core.set_canceller(self.future, nil) -- it would hold the fetch
  if self.transfer then self.transfer:stop() end
  self.transfer, self.closed = nil, true
end

--- Gives the Future its outcome by settle(future, value), unless it has one,
-- and closes the fetch.
function Fetch:finish(settle, value)
  if self.closed then return end
  if not self.over and not self.future:done() then
    settle(self.future, value)
  end
  self:close()
end

--- Ends with an error, or with a Failure of it.
function Fetch:fail(err) self:finish(core.fail, err) end

--- Ends with an error that is no answer.
function Fetch:fail_599(message) self:fail(HTTPError(599, message)) end

function Fetch:fail_for_memory() self:finish(core.fail_for_memory) end

--- Whether there is nothing left to do: the fetch is over, or its loop is
-- closed, and with it the transfer.
function Fetch:is_over() return self.over or self.client._curl:closed() end

--- A callback has raised an error: it ends the fetch, or is reported if the
-- callback has ended it before.
function Fetch:fail_by(callback, failure)
  if not self:is_over() then return self:fail(failure) end
  local future = Future()
  core.fail(future, failure)
  core.discard(future, callback)
end

--- Calls a method when there is news.  An error of it ends the fetch.
function Fetch:go_on(method, ...)
  if self:is_over() then return end
  local ok, failure = core.try(method, self, ...)
  if not ok then self:fail(failure) end
end

--- The same in a callback of a Future or of the loop.  If there is not even
-- memory to end the fetch, lunado/curl.so says so later.
function Fetch:called_back(method, ...)
  local ok, err = pcall(self.go_on, self, method, ...)
  if ok then return end
  if not self.transfer then error(err, 0) end
  self.transfer:starve()
end

--- Adds to the times of the transfer those before it.
function Fetch:complete_times(times)
  times.queue = self.begun - self.started
  times.redirect = self.redirected
  times.total = times.total + self.redirected
  return times
end

function Fetch:succeed(url, times)
  local streams = self.all.streaming_callback ~= nil
  local response = HTTPResponse(self.request, self.code, {
    reason = self.reason, headers = self.headers or HTTPHeaders(),
    body = streams and "" or self.body or "", effective_url = url,
    request_time = self.client._loop:time() - self.begun,
    time_info = self:complete_times(times),
  })
  if response.error ~= nil and self.raise_error then
    return self:fail(response.error)
  end
  self:finish(self.future.set_result, response)
end

-- Redirects -----------------------------------------------------------------

-- Headers that are about a body, and headers that are for one host only.
local OF_BODY <const> = { "Content-Type", "Content-Encoding",
  "Content-Language", "Content-Location", "Content-Length",
  "Transfer-Encoding" }
local OF_HOST <const> = { "Authorization", "Cookie", "Cookie2", "Host",
  "Proxy-Authorization", "Www-Authenticate" }

local function drop(headers, names)
  for _, name in ipairs(names) do headers[name] = nil end
end

--- Changes the request to GET, as browsers and libcurl do after 303, and after
-- 301 and 302 for POST.
local function forget_body(all)
  all.method, all.body, all.body_producer, all.length = "GET", nil, nil, nil
  drop(all.headers, OF_BODY)
end

local function forget_credentials(all)
  all.auth_username, all.auth_password, all.auth_mode = nil, nil, nil
  all.client_key, all.client_cert = nil, nil
  drop(all.headers, OF_HOST)
end

--- Asks again where the answer says.
function Fetch:follow(url, times)
  local all, code = self.all, self.code
  if self.redirects >= all.max_redirects then
    return self:fail_599(("Maximum (%d) redirects followed")
      :format(all.max_redirects))
  end
  if not url then return self:fail_599 "a redirect without a URL" end
  local wrong = select(4, httprequest.divide_url(url))
  if wrong then return self:fail_599("a redirect to a wrong URL: " .. wrong) end
  if code == 303 and all.method ~= "HEAD" and all.method ~= "GET"
    or (code == 301 or code == 302) and all.method == "POST" then
    forget_body(all)
    local producer = self.producer
    self.producer, self.drained = nil, nil
    if is_future(producer) then core.cancel(producer) end
  elseif self.producer then
    return self:fail_599 "a redirect asks for the body of body_producer again"
  end
  if origin_of(url) ~= origin_of(all.url) then forget_credentials(all) end
  all.url = url
  self.redirects = self.redirects + 1
  self.redirected = self.redirected + times.total
  self.headers, self.body, self.reason = nil, nil, nil
  local transfer = self.transfer
  self:transfer_now() -- if it raises, the old one still has its news
  transfer:stop()
end

-- News of the transfer -------------------------------------------------------

--- Takes what the lines of the answer say.
function Fetch:read_head(head)
  if head.code then self.code, self.reason = head.code, head.reason end
  local headers = self.headers or HTTPHeaders()
  self.headers = headers
  for i = 1, #head, 2 do append(headers, head[i], head[i + 1]) end
end

--- The lines of the answer have come, or trailers behind its body.
function Fetch:on_head(head, is_last)
  local callback = is_last and self.all.header_callback
  self:read_head(head)
  if not callback then return end
  for line in head.text:gmatch "[^\n]*\n" do
    local ok, result = core.try(callback, line)
    if not ok then return self:fail_by(callback, result) end
    if self:is_over() then return end
    if is_future(result) then core.discard(result, callback) end
  end
end

--- Calls the streaming_callback with a piece of the body.
function Fetch:on_chunk(chunk)
  local callback = self.all.streaming_callback
  local ok, result = core.try(callback, chunk)
  if not ok then return self:fail_by(callback, result) end
  if self:is_over() or not is_future(result) then return end
  self.held = result
  self.transfer:hold(true)
  result:add_done_callback(function(future)
    self:called_back(self.on_released, future)
  end)
end

--- What the streaming_callback has asked to wait for is done.
function Fetch:on_released(future)
  if future ~= self.held then return end
  core.result(future) -- raises its error
  self.held = nil
  if self.timer then self.client:_remove_timer(self) end
  if self.ended then return self:on_done(table.unpack(self.ended, 1, 2)) end
  self.transfer:hold(false)
end

--- The transfer has ended, but its fetch waits for the streaming_callback, for
-- as long as the request may take.
function Fetch:wait_for_callback()
  if self.deadline == math.huge or self.timer then return end
  self.timer = self.client._loop:call_at(self.deadline, function()
    self.timer = false
    self:called_back(self.fail_599,
      ("Operation timed out after %d milliseconds")
        :format(self.all.request_timeout * 1000 // 1))
  end)
end

--- Names the files in an error about certificates, which libcurl does not.
function Fetch:explain(err, code)
  local field = CERTIFICATE_ERRORS[code]
  local path = field and (self.all[field] or self.all.client_key)
  if not path or err:find(path, 1, true) then return err end
  return ("%s (%s: %s)"):format(err, field, path)
end

function Fetch:on_done(err, follows, code)
  if err then return self:fail_599(self:explain(err, code)) end
  if self.held then
    self.ended = { false, follows }
    return self:wait_for_callback()
  end
  local url, redirect_url, times = self.transfer:info()
  if follows then return self:follow(redirect_url, times) end
  self:succeed(url, times)
end

--- Takes the news of the transfer.
function Fetch:on_news(transfer)
  local head, data, drained, done, err, code, follows = transfer:take()
  if head then self:on_head(head, not follows) end
  if data and self.all.streaming_callback then
    if not self:is_over() then self:on_chunk(data) end
  elseif data then
    self.body = data
  end
  if drained and not self:is_over() then self:on_drained() end
  if self:is_over() then return end
  if done then return self:on_done(err, follows, code) end
  if data then transfer:resume() end
end

-- lunado.curl's function: `fetch` has news of `transfer`.  If an earlier call
-- ran out of memory, it has failed.
local function on_events(fetch, transfer, failed)
  if failed then return fetch:fail_for_memory() end
  if fetch.over then return fetch:close() end
  if fetch.transfer == transfer then fetch:go_on(fetch.on_news, transfer) end
end

-- Bodies that are sent in pieces ----------------------------------------------

--- Runs body_producer, a function or coroutine function, to the end of what it
-- returns.
local run_producer = core.coroutine(function(producer, write)
  local result = producer(write)
  if is_future(result) then core.await(result) end
end)

function Fetch:write(data)
  if type(data) ~= "string" then
    argument.unexpected(1, "write", "string", data, 3)
  end
  if self:is_over() or not self.producer or not self.transfer then
    error(core.StreamClosedError("the fetch has ended"), 3)
  end
  local length = self.all.length
  if length >= 0 and self.sent + #data > length then
    error(("more than the %d bytes of Content-Length"):format(length), 3)
  end
  self.drained = self.drained or Future()
  local drained = self.drained
  self.transfer:send(data)
  self.sent = self.sent + #data
  if data == "" then
    drained = Future()
    drained:set_result()
  end
  return drained
end

--- libcurl has taken all that was written.
function Fetch:on_drained()
  local drained = self.drained
  self.drained = nil
  if drained and not drained:done() then drained:set_result() end
end

--- The producer has ended.
function Fetch:on_produced(future)
  if future ~= self.producer then return end
  core.result(future) -- raises its error
  local length = self.all.length
  if length >= 0 and self.sent < length then
    error(("body_producer has ended after %d of the %d bytes of "
      .. "Content-Length"):format(self.sent, length), 0)
  end
  if self.transfer then self.transfer:finish() end
end

--- The producer of a fetch that is over has ended.  It was told so, by write or
-- by a cancellation; an error of its own is reported.
function Fetch:end_late(callback, future)
  local ok, failure = core.try(core.result, future)
  if ok then return end
  local err = future:exception()
  if core.isinstance(err, core.StreamClosedError)
    or core.isinstance(err, core.CancelledError) then
    return
  end
  self:fail_by(callback, failure)
end

function Fetch:produce()
  self.sent = 0
  self.producer = true -- write is called within the call
  local callback = self.all.body_producer
  local producer = run_producer(callback, function(data)
    return self:write(data)
  end)
  if self:is_over() then
    if not producer:done() then core.cancel(producer) end
  else
    self.producer = producer
  end
  producer:add_done_callback(function(future)
    if self:is_over() then return self:end_late(callback, future) end
    self:called_back(self.on_produced, future)
  end)
end

local httpfetch = {
  --- new(fields) → a Fetch.  Its places of `number`, `timer` and `counted` are
  -- there from the beginning: to set them later takes no memory.
  new = function(fields)
    fields.number, fields.timer, fields.counted = false, false, false
    return setmetatable(fields, Fetch)
  end,
  on_events = on_events,
}

loaded["lunado.httpfetch"] = httpfetch
return httpfetch
