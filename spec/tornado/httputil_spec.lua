-- SPDX-License-Identifier: MIT
-- Tornado's httputil_test, by the names of its functions.
local httputil = require "lunado.httputil"

local HTTPHeaders, url_concat = httputil.HTTPHeaders, httputil.url_concat

local function pairs_of(headers)
  local list = {}
  for name, value in headers:get_all() do list[#list + 1] = { name, value } end
  table.sort(list, function(a, b)
    return a[1] .. "\0" .. a[2] < b[1] .. "\0" .. b[2]
  end)
  return list
end

describe("TestUrlConcat", function()
  local CASES <const> = {
    test_url_concat_no_query_params = { "https://localhost/path",
      { { "y", "y" }, { "z", "z" } }, "https://localhost/path?y=y&z=z" },
    test_url_concat_encode_args = { "https://localhost/path",
      { { "y", "/y" }, { "z", "z" } }, "https://localhost/path?y=%2Fy&z=z" },
    test_url_concat_trailing_q = { "https://localhost/path?",
      { { "y", "y" }, { "z", "z" } }, "https://localhost/path?y=y&z=z" },
    test_url_concat_q_with_no_trailing_amp = { "https://localhost/path?x",
      { { "y", "y" }, { "z", "z" } }, "https://localhost/path?x=&y=y&z=z" },
    test_url_concat_trailing_amp = { "https://localhost/path?x&",
      { { "y", "y" }, { "z", "z" } }, "https://localhost/path?x=&y=y&z=z" },
    test_url_concat_mult_params = { "https://localhost/path?a=1&b=2",
      { { "y", "y" }, { "z", "z" } },
      "https://localhost/path?a=1&b=2&y=y&z=z" },
    test_url_concat_no_params = { "https://localhost/path?r=1&t=2", {},
      "https://localhost/path?r=1&t=2" },
    test_url_concat_none_params = { "https://localhost/path?r=1&t=2", nil,
      "https://localhost/path?r=1&t=2" },
    test_url_concat_with_frag = { "https://localhost/path#tab",
      { { "y", "y" } }, "https://localhost/path?y=y#tab" },
    test_url_concat_multi_same_params = { "https://localhost/path",
      { { "y", "y1" }, { "y", "y2" } }, "https://localhost/path?y=y1&y=y2" },
    test_url_concat_multi_same_query_params = {
      "https://localhost/path?r=1&r=2", { { "y", "y" } },
      "https://localhost/path?r=1&r=2&y=y" },
    test_url_concat_dict_params = { "https://localhost/path", { y = "y" },
      "https://localhost/path?y=y" },
  }
  for name, case in pairs(CASES) do
    it(name, function()
      assert.equal(case[3], url_concat(case[1], case[2]))
    end)
  end
end)

describe("HTTPHeadersTest", function()
  it("test_multi_line", function()
    local headers = HTTPHeaders.parse((([[
Foo: bar
 baz
Asdf: qwer
	zxcv
Foo: even
     more
     lines
]]):gsub("\n", "\r\n")))
    assert.equal("qwer zxcv", headers.asdf)
    assert.same({ "qwer zxcv" }, headers:get_list "asdf")
    assert.equal("bar baz,even more lines", headers.Foo)
    assert.same({ "bar baz", "even more lines" }, headers:get_list "foo")
    assert.same({ { "Asdf", "qwer zxcv" }, { "Foo", "bar baz" },
      { "Foo", "even more lines" } }, pairs_of(headers))
  end)

  it("test_unicode_newlines", function()
    for _, newline in ipairs { "\27", "\28", "\29", "\30", "\u{85}", "\u{2028}",
      "\u{2029}", "\x85" } do
      local headers = HTTPHeaders.parse("Cookie: foo=" .. newline .. "bar")
      assert.same({ { "Cookie", "foo=" .. newline .. "bar" } },
        pairs_of(headers))
    end
  end)

  it("test_optional_cr", function()
    local headers =
      HTTPHeaders.parse "CRLF: crlf\r\nLF: lf\nCR: cr\rMore: more\r\n"
    assert.same({ { "Cr", "cr\rMore: more" }, { "Crlf", "crlf" },
      { "Lf", "lf" } }, pairs_of(headers))
  end)

  it("test_copy", function()
    local all = { { "A", "1" }, { "A", "2" }, { "B", "c" } }
    local first = HTTPHeaders()
    for _, pair in ipairs(all) do first:add(pair[1], pair[2]) end
    for _, copy in ipairs { first:copy(), HTTPHeaders(first) } do
      assert.same(all, pairs_of(copy))
      assert.is_false(rawequal(copy, first))
      assert.is_false(rawequal(copy:get_list "A", first:get_list "A"))
    end
  end)

  it("test_setdefault", function()
    local headers = HTTPHeaders()
    headers.foo = "bar"
    assert.equal("bar", headers:setdefault("foo", "baz"))
    assert.equal("bar", headers.foo)
    assert.equal("xyzzy", headers:setdefault("quux", "xyzzy"))
    assert.equal("xyzzy", headers.quux)
    assert.same({ { "Foo", "bar" }, { "Quux", "xyzzy" } }, pairs_of(headers))
  end)

  it("test_string", function()
    local headers = HTTPHeaders()
    for _, value in ipairs { "1", "2", "3" } do headers:add("Foo", value) end
    assert.equal(headers, HTTPHeaders.parse(tostring(headers)))
  end)
end)

describe("FormatTimestampTest", function()
  local TIMESTAMP <const> = 1359312200.503611
  local EXPECTED <const> = "Sun, 27 Jan 2013 18:43:20 GMT"

  it("test_unix_time_float", function()
    assert.equal(EXPECTED, httputil.format_timestamp(TIMESTAMP))
  end)

  it("test_unix_time_int", function()
    assert.equal(EXPECTED, httputil.format_timestamp(TIMESTAMP // 1))
  end)

  it("test_struct_time", function()
    assert.equal(EXPECTED,
      httputil.format_timestamp(os.date("!*t", 1359312200)))
  end)
end)

describe("ParseRequestStartLineTest", function()
  it("test_parse_request_start_line", function()
    local line = httputil.parse_request_start_line "GET /foo HTTP/1.1"
    assert.equal("GET", line.method)
    assert.equal("/foo", line.path)
    assert.equal("HTTP/1.1", line.version)
  end)
end)

describe("ParseCookieTest", function()
  local parse_cookie = httputil.parse_cookie

  it("test_python_cookies", function()
    assert.same({ chips = "ahoy", vienna = "finger" },
      parse_cookie "chips=ahoy; vienna=finger")
    assert.same({ keebler = '"E=mc2', L = [[\"Loves\"]], fudge = [[\012]],
      [""] = '"' }, parse_cookie [[keebler="E=mc2; L=\"Loves\"; fudge=\012;"]])
    assert.same({ keebler = "E=mc2" }, parse_cookie "keebler=E=mc2")
    assert.same({ ["key:term"] = "value:term" },
      parse_cookie "key:term=value:term")
    assert.same({ a = "b", c = "[", d = "r", f = "h" },
      parse_cookie "a=b; c=[; d=r; f=h")
  end)

  it("test_cookie_edgecases", function()
    assert.same({ a = "b", Domain = "example.com" },
      parse_cookie "a=b; Domain=example.com")
    assert.same({ a = "c", h = "i" }, parse_cookie "a=b; h=i; a=c")
  end)

  it("test_invalid_cookies", function()
    assert.equal("unnamed", parse_cookie "abc=def; unnamed; x=en" [""])
    assert.same({ a = "b", [""] = '"', c = "d" }, parse_cookie 'a=b; "; c=d')
    assert.same({ ["a b c"] = "d e = f", gh = "i" },
      parse_cookie "a b c=d e = f; gh=i")
    assert.same({ ["a   b,c<>@:/[]?{}"] = 'd  "  =e,f g' },
      parse_cookie 'a   b,c<>@:/[]?{}=d  "  =e,f g')
    assert.same({ saint = "André Bessette" },
      parse_cookie "saint=André Bessette")
    assert.same({ [""] = "b", c = "" },
      parse_cookie "  =  b  ;  ;  =  ;   c  =  ;  ")
  end)
end)
