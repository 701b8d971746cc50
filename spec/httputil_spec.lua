-- SPDX-License-Identifier: MIT
-- lunado.httputil: headers, URLs, dates and first lines.
local httputil = require "lunado.httputil"
local isinstance = require "lunado.util".isinstance
local bad = require "spec.support.bad"

local HTTPHeaders, HTTPInputError =
  httputil.HTTPHeaders, httputil.HTTPInputError

local function list_of(headers)
  local list = {}
  for name, value in headers:get_all() do list[#list + 1] = name .. "=" .. value
  end
  return table.concat(list, " ")
end

local function input_error(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(isinstance(err, HTTPInputError), tostring(err))
end

describe("HTTPHeaders", function()
  it("have names in any case", function()
    local h = HTTPHeaders { ["content-TYPE"] = "text/html" }
    assert.equal("text/html", h["Content-Type"])
    assert.equal("text/html", h["CONTENT-type"])
    assert.equal("Content-Type=text/html", list_of(h))
    assert.is_nil(h["Content-Length"])
    assert.equal("none", h:get("content-length", "none"))
  end)

  it("have several values of a name, in order", function()
    local h = HTTPHeaders()
    h:add("Set-Cookie", "A=B")
    h:add("X", "1")
    h:add("set-cookie", "C=D")
    assert.equal("A=B,C=D", h["set-cookie"])
    assert.same({ "A=B", "C=D" }, h:get_list "Set-Cookie")
    assert.same({}, h:get_list "None")
    assert.equal("Set-Cookie=A=B Set-Cookie=C=D X=1", list_of(h))
    assert.equal(2, #h)
    assert.equal("Set-Cookie: A=B\nSet-Cookie: C=D\nX: 1\n", tostring(h))
    assert.equal(h, HTTPHeaders.parse(tostring(h)))
    h:get_list "X" [1] = "changed"
    assert.equal("1", h.X)
  end)

  it("are set, replaced and removed", function()
    local h = HTTPHeaders { A = { "1", "2" }, B = 3 }
    h.a = "4"
    assert.same({ "4" }, h:get_list "A")
    h.C = 5
    assert.equal("5", h.c)
    h.b = nil
    h.none = nil
    assert.equal("A=4 C=5", list_of(h))
    assert.equal("4", h:setdefault("a", "x"))
    assert.equal("x", h:setdefault("d", "x"))
    assert.is_false(pcall(function() h.A = true end))
    assert.is_false(pcall(function() h[1] = "x" end))
    assert.is_nil(h[true])
  end)

  it("are iterated by pairs, and may change meanwhile", function()
    local h = HTTPHeaders { A = { "1", "2" }, B = "3" }
    local seen = {}
    for name, value in pairs(h) do
      seen[#seen + 1] = name .. "=" .. value
      h.B = nil
    end
    assert.same({ "A=1,2" }, seen)
    assert.is_nil(next(seen, 1))
  end)

  it("are copied and compared", function()
    local h = HTTPHeaders { A = { "1", "2" } }
    local other, third = h:copy(), HTTPHeaders(h)
    assert.equal(h, other)
    other:add("A", "3")
    assert.not_equal(h, other)
    assert.equal(h, third)
    assert.equal("1,2", h.A)
    assert.not_equal(HTTPHeaders { A = "" }, HTTPHeaders { B = "" })
    assert.not_equal(HTTPHeaders { A = "1\n2" }, HTTPHeaders { A = { 1, 2 } })
  end)

  it("are read from lines, folded ones too", function()
    local h = HTTPHeaders.parse("A: 1\r\nB : 2\nA:3\r\n\t folded  \r\n"
      .. "Empty:\r\n\r\n")
    assert.equal("1,3 folded", h.A)
    assert.equal("", h.Empty)
    assert.equal("2", h["B "])
    h:parse_line "A: 4\r\n"
    assert.same({ "1", "3 folded", "4" }, h:get_list "A")
    input_error(HTTPHeaders.parse, " folded")
    input_error(HTTPHeaders.parse, "no colon")
  end)

  it("are read in time linear in their length", function()
    local blanks = (" "):rep(100000)
    local start = os.clock()
    local h = HTTPHeaders.parse("A:" .. blanks .. "1" .. blanks .. "2" .. blanks
      .. "\r\nB:" .. blanks .. "\r\nC: 1" .. ("\r\n "):rep(100000) .. "2")
    assert.equal(100002, #h.A)
    assert.equal("", h.B)
    assert.equal("1", h.C:sub(1, 1))
    assert.equal("1" .. blanks .. "2", httputil.parse_cookie("a= 1" .. blanks
      .. "2" .. blanks .. ";b").a)
    assert.is_true(os.clock() - start < 5)
  end)

  it("take many names", function()
    local h = HTTPHeaders()
    for i = 1, 3000 do h:add("X-" .. i, tostring(i)) end
    assert.equal("2999", h["x-2999"])
    assert.equal(3000, #h)
  end)

  it("check arguments", function()
    bad(function() local h = HTTPHeaders(1) return h end, 1, "HTTPHeaders",
      "table", "number")
    bad(function() local h = HTTPHeaders { A = true } return h end, 1,
      "HTTPHeaders", "A: string")
    bad(function() HTTPHeaders():add(1, "x") end, 1, "add", "string", "number")
    bad(function() HTTPHeaders():add("A", {}) end, 2, "add", "string", "table")
    bad(function() local x = HTTPHeaders():get() return x end, 1, "get")
    bad(function() local x = HTTPHeaders.parse(1) return x end, 1, "parse")
    bad(function() HTTPHeaders.add({}, "A", "b") end, 1, "add", "HTTPHeaders")
    for _, wrong in ipairs { 0 / 0, math.huge, -math.huge } do
      bad(function() HTTPHeaders():add("A", wrong) end, 2, "add", "finite")
      bad(function() HTTPHeaders():setdefault("A", wrong) end, 2, "setdefault",
        "finite")
      bad(function() local h = HTTPHeaders { A = wrong } return h end, 1,
        "HTTPHeaders", "^A: a finite number")
      local headers = HTTPHeaders()
      local ok, err = pcall(function() headers.A = wrong end)
      assert.is_false(ok)
      assert.truthy(err:find "_spec.lua:%d+: .*: a finite number .*%(A%)$", err)
      assert.is_nil(headers.A)
    end
    for _, wrong in ipairs { { x = "b" }, { "a", x = "b" }, { [2] = "b" } } do
      bad(function() local h = HTTPHeaders { A = wrong } return h end, 1,
        "HTTPHeaders", "^A: a list of values")
    end
  end)
end)

describe("url_concat", function()
  local url_concat = httputil.url_concat

  it("adds to a query, in order", function()
    assert.equal("http://x/?b=1&c=2", url_concat("http://x/", { c = 2, b = 1 }))
    assert.equal("http://x/?a=1&a=2",
      url_concat("http://x/?a=1", { { "a", "2" } }))
    assert.equal("http://x/?a=%2F&b=c+d%26",
      url_concat("http://x/?a=/", { b = "c d&" }))
    assert.equal("http://x/?a=true#top",
      url_concat("http://x/#top", { a = true }))
    assert.equal("http://x/", url_concat("http://x/", {}))
    assert.equal("http://x/", url_concat "http://x/")
    assert.equal("http://x/?a=%00%C3%A9", url_concat("http://x/",
      { a = "\0é" }))
  end)

  it("checks arguments", function()
    bad(function() local u = url_concat(1) return u end, 1, "url_concat")
    bad(function() local u = url_concat("x", "y") return u end, 2, "url_concat")
    bad(function() local u = url_concat("x", { "y" }) return u end, 2,
      "url_concat")
    bad(function() local u = url_concat("x", { a = {} }) return u end, 2,
      "url_concat")
    bad(function() local u = url_concat("x", { a = 0 / 0 }) return u end, 2,
      "url_concat", "^a: NaN")
    local pair = { "a", "b" }
    for _, wrong in ipairs { { pair, c = "d" }, { pair, nil, pair },
      { pair, [0] = pair } } do
      bad(function() local u = url_concat("x", wrong) return u end, 2,
        "url_concat", "has no names, and no holes")
    end
  end)
end)

describe("format_timestamp", function()
  local format = httputil.format_timestamp

  it("formats times of any kind", function()
    assert.equal("Thu, 01 Jan 1970 00:00:00 GMT", format(0))
    assert.equal("Wed, 31 Dec 1969 23:59:59 GMT", format(-1))
    assert.equal("Sun, 27 Jan 2013 18:43:20 GMT", format(1359312200.9))
    assert.equal("Sat, 01 Jan 0000 00:00:00 GMT", format(-62167219200))
    assert.equal("Tue, 29 Feb 1600 12:00:00 GMT",
      format { year = 1600, month = 2, day = 29, hour = 12 })
    assert.equal("Fri, 31 Dec 9999 23:59:59 GMT", format(253402300799))
    for _, time in ipairs { 0, 951782400, 951868800, 1709164800, 4102444799 } do
      assert.equal(format(time), format(os.date("!*t", time)))
    end
  end)

  it("checks its argument", function()
    bad(function() local x = format "x" return x end, 1, "format_timestamp",
      "number or table", "string")
    bad(function() local x = format(0 / 0) return x end, 1, "format_timestamp")
    bad(function() local x = format(math.huge) return x end, 1,
      "format_timestamp")
    bad(function() local x = format {} return x end, 1, "format_timestamp")
    for _, time in ipairs { -62167219201, 253402300800 } do
      bad(function() local x = format(time) return x end, 1, "format_timestamp",
        "a time expected")
    end
    bad(function()
      local x = format { year = 2020, month = 1, day = 1, min = "x" }
      return x
    end, 1, "format_timestamp", "^min: number expected")
  end)
end)

describe("first lines", function()
  it("are parsed", function()
    assert.same({ method = "GET", path = "/foo", version = "HTTP/1.1" },
      httputil.parse_request_start_line "GET /foo HTTP/1.1")
    assert.same({ version = "HTTP/1.1", code = 200, reason = "OK" },
      httputil.parse_response_start_line "HTTP/1.1 200 OK\r\n")
    assert.same({ version = "HTTP/2", code = 404, reason = "" },
      httputil.parse_response_start_line "HTTP/2 404")
  end)

  it("may be wrong", function()
    input_error(httputil.parse_request_start_line, "GET /foo")
    input_error(httputil.parse_request_start_line, "GET /foo HTTP/2.0")
    input_error(httputil.parse_request_start_line, "GET /a b HTTP/1.1")
    input_error(httputil.parse_response_start_line, "HTTP/1.1 2 OK")
    input_error(httputil.parse_response_start_line, "SSH-2.0")
  end)
end)

it("split_host_and_port gives both", function()
  local split = httputil.split_host_and_port
  assert.same({ "x", 80 }, { split "x:80" })
  assert.same({ "x" }, { split "x" })
  assert.same({ "[::1]", 8080 }, { split "[::1]:8080" })
  assert.same({ "x", 65535 }, { split "x:0065535" })
  for _, port in ipairs { "65536", ("9"):rep(19), ("9"):rep(400) } do
    input_error(split, "x:" .. port)
  end
end)

it("parse_cookie undoes quotes", function()
  local cookies = httputil.parse_cookie [[a=b; c="d\"e\054"; ; f]]
  assert.same({ a = "b", c = 'd"e,', [""] = "f" }, cookies)
end)

it("responses has the reasons", function()
  assert.equal("Not Found", httputil.responses[404])
end)
