-- SPDX-License-Identifier: MIT
-- The examples: run as a user runs them, and their HTTP client in detail.
local IOLoop = require "lunado.ioloop".IOLoop
local luv = require "luv"
local uv = require "lunado.uv"
local child = require "spec.support.child"
local loops = require "spec.support.loops"
local lunado = require "lunado"
local util = require "lunado.util"

package.path = "./examples/?.lua;" .. package.path

-- Runs examples/<name>.lua with arguments.
local function example(name, ...)
  local script = ("local command = arg[-1]\narg = { [-1] = command, "
    .. "[0] = 'examples/%s.lua', "):format(name)
  for _, argument in ipairs { ... } do
    script = script .. ("%q, "):format(argument)
  end
  return child(script .. "}\ndofile(arg[0])\n", 30)
end

-- Starts examples/<name>.lua with arguments, in the interpreter that runs this;
-- returns the process and the pipe of its output.
local function spawn(name, ...)
  local interpreter = 0
  while arg[interpreter - 1] do interpreter = interpreter - 1 end
  local output = uv.new_pipe(false)
  local process = uv.spawn("env", {
    args = { "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath,
      arg[interpreter], "examples/" .. name .. ".lua", ... },
    stdio = { nil, output, 2 },
  })
  return process, output
end

local function run(fn)
  return IOLoop.instance():run_sync(fn, loops.PATIENCE)
end

local function has(text, pattern)
  assert.is_truthy(text:find(pattern), pattern .. " is not in:\n" .. text)
end

before_each(function() IOLoop.clear_current() end)

describe("fetch.lua", function()
  it("shows every way in which a page can end", function()
    local result, out
    for seconds = 1, 30 do -- for each page; a busy machine may need more
      result = example("fetch", "-t", ("%.1f"):format(1.5 * seconds))
      out = result.out
      if out:find "\n12 of 12" then break end
    end
    assert.equal("", result.err)
    has(out, "\n/whole/LICENSE +200 +%d+ +%d+%.%d\n")
    has(out, "\n/chunked/%S+ +200 +%d+ +%d+%.%d\n")
    has(out, "\n/slow/%S+ +200 +%d+ +%d+%.%d\n")
    has(out, "\n/whole/no/such/file +404 ")
    has(out, "\n/never +%- +0 +%d+%.%d +TimeoutError: Timeout\n")
    has(out, "\n/cut/%S+ +200 +%d+ +%S+ +cut off %d+ bytes before the end\n")
    has(out, "\n%(a closed port%) +%- +0 +%S+ +ECONNREFUSED\n")
    has(out, "\n12 of 12 pages ended as the server meant it\n$")
    assert.equal(0, result.code)
  end)

  it("draws a timeline of the pages", function()
    local out = example("fetch", "-j", "2", "-t", "0.3").out
    has(out, "\n/never +| *%.*%-+x *|\n")
    has(out, "\n/slow/%S+ +| *%.%.+%-+#*x? *|")
  end)

  it("writes no control characters to a file", function()
    assert.is_nil(example("fetch", "-t", "0.3").out:find("[^\n%g ]"))
  end)

  it("reports by its exit status that a page failed", function()
    local result = example("fetch", "http://127.0.0.1:1/", "https://x.invalid",
      "nonsense")
    assert.equal(1, result.code)
    has(result.out, "\n127.0.0.1:1/ +%- +0 +%S+ +ECONNREFUSED\n")
    has(result.out, "\nhttps://x.invalid .*https is not spoken here")
    has(result.out, "\nnonsense .*not a URL\n")
    has(result.out, "\n0 of 3 pages came\n$")
  end)

  it("ends at an interrupt", function()
    run(function()
      local process, output = spawn("fetch", "-t", "30")
      uv.read_start(output, function() -- it has begun
        uv.read_stop(output)
        process:kill("sigint")
      end)
      assert.equal(130, (coroutine.yield(process:wait())))
      coroutine.yield(uv.close(output))
    end)
  end)

  it("refuses wrong arguments", function()
    for _, wrong in ipairs { "-x", "-j", "-t" } do
      local result = example("fetch", wrong)
      assert.equal(2, result.code)
      assert.equal("", result.out)
      has(result.err, "^usage: ")
    end
    assert.equal(2, example("fetch", "-j", "0").code)
    assert.equal(2, example("fetch", "-t", "nan").code)
  end)
end)

describe("terminal.bytes", function()
  local terminal = require "support.terminal"

  it("shows sizes, and rates that are no whole numbers", function()
    assert.equal("0 B", terminal.bytes(0))
    assert.equal("17 B", terminal.bytes(17.25))
    assert.equal("1.3 kB", terminal.bytes(1260))
    assert.equal("2000.0 TB", terminal.bytes(2e15))
  end)
end)

describe("the client of fetch.lua", function()
  local http = require "support.http"

  -- Fetches from a server that sends the pieces, one for each turn, and ends.
  local function fetch(pieces)
    return run(function()
      local server = uv.new_tcp()
      uv.tcp_bind(server, "127.0.0.1", 0)
      uv.listen(server, 1, function()
        local client = uv.new_tcp()
        uv.accept(server, client)
        uv.tcp_nodelay(client, true)
        uv.read_start(client, function() end)
        local function send(i)
          if not pieces[i] then return uv.close(client) end
          luv.write(client, pieces[i], function() send(i + 1) end)
        end
        send(1)
      end)
      local port = uv.tcp_getsockname(server).port
      local got = table.pack(pcall(coroutine.yield,
        http.fetch(("http://127.0.0.1:%d/"):format(port), loops.PATIENCE)))
      coroutine.yield(uv.close(server))
      return table.unpack(got, 1, got.n)
    end)
  end

  local function body(...)
    local ok, answer = fetch { ... }
    assert.is_true(ok, answer)
    return answer.body
  end

  local function fails(pattern, ...)
    local ok, err = fetch { ... }
    assert.is_false(ok)
    has(tostring(err), pattern)
  end

  local function one_by_one(text)
    local pieces = {}
    for piece in text:gmatch(".") do pieces[#pieces + 1] = piece end
    return table.unpack(pieces)
  end

  local OK = "HTTP/1.1 200 OK\r\n"
  local CHUNKED = OK .. "Transfer-Encoding: chunked\r\n\r\n"

  it("reads bodies by length, in chunks and to the end", function()
    assert.equal("body", body(OK .. "Content-Length: 4\r\n\r\nbody"))
    assert.equal("body", body(CHUNKED .. "2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"))
    assert.equal("body", body(OK .. "\r\nbo", "dy"))
    assert.equal("", body(OK .. "Content-Length: 0\r\n\r\n"))
    assert.equal("", body("HTTP/1.1 204 No Content\r\n\r\n"))
    assert.equal("no more", body(OK .. "Content-Length: 7\r\n\r\nno more, no"))
  end)

  it("reads them in pieces of any size", function()
    assert.equal("body", body(one_by_one(OK .. "content-length:4\r\n\r\nbody")))
    assert.equal("body", body(one_by_one(CHUNKED
      .. "2\r\nbo\r\n2\r\ndy\r\n0\r\nA-Trailer: x\r\n\r\n")))
  end)

  it("skips interim answers", function()
    assert.equal("x", body("HTTP/1.1 100 Continue\r\n\r\n"
      .. OK .. "Content-Length: 1\r\n\r\nx"))
  end)

  it("tells the status and the headers", function()
    local ok, answer = fetch { "HTTP/1.1 418 I'm a teapot\r\nX-A: 1\r\n"
      .. "x-a:2\r\nContent-Length: 0\r\n\r\n" }
    assert.is_true(ok)
    assert.equal(418, answer.status)
    assert.equal("I'm a teapot", answer.reason)
    assert.equal("1, 2", answer.headers["x-a"])
  end)

  it("reports missing bytes", function()
    fails("closed before an answer came")
    fails("closed before an answer came", "HTTP/1.1 200 OK\r\nConte")
    fails("cut off 1 byte before", OK .. "Content-Length: 5\r\n\r\nbody")
    fails("cut off 3 bytes before", CHUNKED .. "5\r\nbo")
    fails("cut off before the last chunk", CHUNKED .. "2\r\nbo\r\n")
  end)

  it("refuses what is not HTTP", function()
    fails("not HTTP", "SSH-2.0\r\n\r\n")
    fails("Content%-Length", OK .. "Content-Length: -1\r\n\r\n")
    fails("Content%-Length", OK .. "Content-Length: 1\r\n"
      .. "Content-Length: 2\r\n\r\nxx")
    fails("size of a chunk", CHUNKED .. "zz\r\nxx\r\n")
    fails("size of a chunk", CHUNKED .. "FFFFFFFFFFFFFFFF\r\nxx\r\n")
    fails("chunk without its end", CHUNKED .. "2\r\nboxx\r\n")
    fails("too long", OK .. ("x"):rep(70000))
  end)

  -- Calls fn(url, accepted), where accepted is a Future of the connection that
  -- the server has accepted and will not answer.
  local function with_silent_server(fn)
    run(function()
      local accepted = lunado.Future()
      local server = lunado.tcpserver.TCPServer {
        handle_stream = function(_, stream) accepted:set_result(stream) end,
      }
      local port = server:listen(0, "127.0.0.1")
      fn(("http://127.0.0.1:%d/"):format(port), accepted)
      server:stop()
    end)
  end

  local REQUEST = "^GET / HTTP/1%.1\r\n.*\r\n\r\n$"

  -- How many coroutines wait in the client.
  local function waiting()
    local count = 0
    for _, task in ipairs(lunado.debug.tasks()) do
      if task.where:find "http%.lua" then count = count + 1 end
    end
    return count
  end

  it("closes the connection at the timeout, and leaves nothing", function()
    local got
    for power = 0, 8 do -- a busy machine may need more to send the request
      with_silent_server(function(url, accepted)
        local page = http.fetch(url, 0.05 * 2 ^ power)
        local ok, err = pcall(coroutine.yield, page)
        assert.equal(0, waiting())
        assert.is_false(ok)
        assert.is_true(util.isinstance(err, util.TimeoutError))
        got = accepted:done()
          and coroutine.yield(accepted:result():read_until_close())
      end)
      if got and got ~= "" then break end
    end
    has(got, REQUEST)
  end)

  it("closes the connection when it is cancelled", function()
    with_silent_server(function(url, accepted)
      local future = http.fetch(url, loops.PATIENCE)
      local stream = coroutine.yield(accepted)
      assert.is_true(lunado.tasks.cancel(future))
      local ok, err = pcall(coroutine.yield, future)
      assert.is_false(ok)
      assert.is_true(util.isinstance(err, lunado.tasks.CancelledError))
      assert.equal(0, waiting())
      coroutine.yield(stream:read_until_close())
    end)
  end)

  it("parses URLs", function()
    local function parts(url)
      local parsed = assert(http.parse_url(url))
      return { parsed.host, parsed.port, parsed.target }
    end
    assert.same({ "a.b", 80, "/" }, parts "http://a.b")
    assert.same({ "a.b", 8080, "/c?d" }, parts "HTTP://a.b:8080/c?d#e")
    assert.same({ "a.b", 80, "/?d" }, parts "http://a.b?d")
    assert.same({ "::1", 81, "/" }, parts "http://[::1]:81/")
    for _, wrong in ipairs { "a.b", "ftp://a.b", "http://", "http://a:b/",
      "http://a:0/", "http://a:65536/", "http://a/b c", "http://u@a/" } do
      assert.is_nil((http.parse_url(wrong)), wrong)
    end
  end)
end)

describe("chat.lua", function()
  local TCPClient = require "lunado.tcpclient".TCPClient
  local IOStream = require "lunado.iostream".IOStream

  -- Runs fn(port) while a chat runs, and ends that like a user.
  local function with_chat(fn)
    run(function()
      local process, output = spawn("chat", "0")
      local shown <close> = IOStream(output)
      fn(tonumber(coroutine.yield(shown:read_line())), shown)
      process:kill("sigint")
      assert.equal(130, (coroutine.yield(process:wait())))
    end)
  end

  local function enter(port, name)
    local guest = coroutine.yield(TCPClient():connect("127.0.0.1", port))
    assert.equal("Your name?", coroutine.yield(guest:read_line()))
    guest:write(name .. "\n")
    return guest
  end

  local function hears(guest, text)
    assert.equal(text, coroutine.yield(guest:read_line()))
  end

  it("sends each line to all other guests", function()
    with_chat(function(port)
      local ann = enter(port, "Ann")
      ann:write("is anybody there?\n")
      local bob = enter(port, "Bob\r")
      hears(ann, "* Bob is here")
      bob:write("hello,\r\nAnn\7\n")
      hears(ann, "Bob: hello,")
      hears(ann, "Bob: Ann?")
      ann:write("oh\n")
      hears(bob, "Ann: oh")
      bob:close()
      hears(ann, "* Bob has gone")
      ann:close()
    end)
  end)

  it("disconnects a guest who sends too long a line", function()
    with_chat(function(port, shown)
      local ann, bob = enter(port, "Ann"), enter(port, "Bob")
      hears(ann, "* Bob is here")
      bob:write(("x"):rep(2000))
      hears(ann, "* Bob has gone")
      hears(shown, "Bob: UnsatisfiableReadError: delimiter \"\\n\" not found "
        .. "within 1024 bytes")
      ann:close()
      bob:close()
    end)
  end)

  it("disconnects a guest who does not read", function()
    with_chat(function(port)
      local ann, bob = enter(port, "Ann"), enter(port, "Bob")
      hears(ann, "* Bob is here")
      local lines = (("x"):rep(1000) .. "\n"):rep(1000)
      local talk = require("lunado.gen").coroutine(function()
        while not ann.deaf do coroutine.yield(ann:write(lines)) end
      end)()
      hears(ann, "* Bob has gone")
      ann.deaf = true
      bob:close()
      coroutine.yield(talk)
      ann:close()
    end)
  end)

  it("refuses wrong arguments", function()
    for _, wrong in ipairs { { "x" }, { "-a" }, { "1", "2" }, { "65536" } } do
      local result = example("chat", table.unpack(wrong))
      assert.equal(2, result.code)
      has(result.err, "^usage: ")
    end
  end)
end)

describe("echo_workers.lua", function()
  local IOStream = require "lunado.iostream".IOStream
  local TCPClient = require "lunado.tcpclient".TCPClient

  it("serves on one port with several workers, until it is ended", function()
    run(function()
      local parent, output = spawn("echo_workers", "-n", "2", "0")
      local _ <close> = setmetatable({}, { __close = function()
        parent:kill "sigkill" -- its workers end with it
      end })
      local ready, seen = IOStream(output), {}
      local port
      for _ = 1, 2 do
        local line = coroutine.yield(ready:read_line())
        local number, of = line:match "^worker (%d) serves port (%d+)$"
        assert.is_true(port == nil or port == math.tointeger(of))
        seen[number], port = true, math.tointeger(of)
      end
      assert.same({ ["0"] = true, ["1"] = true }, seen)
      local stream = coroutine.yield(TCPClient():connect("127.0.0.1", port))
      coroutine.yield(stream:write "one\ntwo\n")
      local number, text =
        coroutine.yield(stream:read_line()):match "^(%d): (.*)$"
      assert.is_true(seen[number])
      assert.equal("one", text)
      assert.equal(number .. ": two", coroutine.yield(stream:read_line()))
      stream:close()
      parent:kill "sigterm"
      assert.equal(0, (coroutine.yield(parent:wait())))
      assert.equal("", coroutine.yield(ready:read_until_close()))
    end)
  end)

  it("refuses wrong arguments", function()
    for _, wrong in ipairs { { "x" }, { "-n" }, { "-n", "0" }, { "1", "2" } } do
      local result = example("echo_workers", table.unpack(wrong))
      assert.equal(2, result.code)
      has(result.err, "^usage: ")
    end
  end)
end)

describe("hash_tree.lua", function()
  local folder

  local function write(name, text)
    local file = assert(io.open(folder .. "/" .. name, "wb"))
    file:write(text)
    file:close()
  end

  before_each(function()
    folder = assert(luv.fs_mkdtemp(luv.os_tmpdir() .. "/lunado-XXXXXX"))
    assert(luv.fs_mkdir(folder .. "/sub", 448))
    write("check", "123456789")
    write("empty", "")
    write("sub/large", ("x"):rep(200000))
    assert(luv.fs_symlink("nowhere", folder .. "/link"))
  end)
  after_each(function()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  local TREE = "^cbf43926 +9  check\n00000000 +0  empty\n%x+ +200000  "
    .. "sub/large\n\n%x+  3 files in 2 folders, 200.0 kB in %d+%.%d%d s\n"
    .. "1 symbolic links or special files passed over\n"

  it("prints sizes and checksums", function()
    local result = example("hash_tree", folder)
    assert.equal("", result.err)
    has(result.out, TREE .. "$")
    assert.equal(0, result.code)
    assert.equal(result.out:gsub("in %S+ s", ""),
      example("hash_tree", "-j", "1", folder .. "/").out:gsub("in %S+ s", ""))
  end)

  it("takes a file as well", function()
    has(example("hash_tree", folder .. "/check").out, "^cbf43926  9  check\n")
  end)

  it("goes on when something cannot be read", function()
    -- A path that is too long for the system: nobody may read that.
    local name = ("d"):rep(200)
    assert(os.execute(("cd '%s' && i=0 && while [ $i -lt 25 ]; do "
      .. "mkdir %s && cd -P %s && i=$((i + 1)); done"):format(folder, name,
      name)))
    local result = example("hash_tree", folder)
    assert.equal(1, result.code)
    has(result.err, "^hash_tree: ENAMETOOLONG: ")
    has(result.out, "^cbf43926 +9  check\n.*\n1 could not be read\n$")
  end)

  it("reports a folder that is not there", function()
    local result = example("hash_tree", folder .. "/none")
    assert.equal(1, result.code)
    has(result.err, "^hash_tree: ENOENT: no such file or directory: ")
  end)

  it("refuses wrong arguments", function()
    for _, wrong in ipairs { {}, { "a", "b" }, { "-x", "a" }, { "-j" },
      { "-j", "0", "a" } } do
      local result = example("hash_tree", table.unpack(wrong))
      assert.equal(2, result.code)
      has(result.err, "^usage: ")
    end
  end)
end)

describe("download.lua", function()
  local missing = not package.searchpath("lunado.curl", package.cpath)
  local await = coroutine.yield

  --- Runs the example with a server's pages of 300 kB; "no" is missing.
  local function download(paths, files)
    return run(function()
      local server = lunado.tcpserver.TCPServer()
      function server:handle_stream(stream) -- luacheck: ignore self
        local head = await(stream:read_until "\r\n\r\n")
        if head:find "^GET /no " then
          await(stream:write "HTTP/1.0 404 None\r\n\r\n")
        else
          await(stream:write("HTTP/1.0 200 OK\r\n\r\n" .. ("x"):rep(300000)))
        end
        stream:close()
      end
      local port = server:listen(0, "127.0.0.1")
      local arguments = { "-j", "2" }
      for i, path in ipairs(paths) do
        table.insert(arguments, ("http://127.0.0.1:%d/%s"):format(port, path))
        table.insert(arguments, files[i])
      end
      local process, output = spawn("download", table.unpack(arguments))
      local stream <close> = lunado.iostream.IOStream(output)
      local text = await(stream:read_until_close())
      local code = await(process:wait())
      server:stop()
      return code, text
    end)
  end

  it("writes pages into files", function()
    if missing then return pending "no lunado/curl.so" end
    local files = { os.tmpname(), os.tmpname(), os.tmpname() }
    local code, text = download({ "one", "no", "two" }, files)
    assert.equal(1, code)
    local _, lines = text:gsub("200  300000 bytes", "%0")
    assert.equal(2, lines, text)
    has(text, "HTTP 404: None  http://127.0.0.1:%d+/no\n")
    assert.equal(300000, luv.fs_stat(files[1]).size)
    assert.is_nil((luv.fs_stat(files[2])))
    os.remove(files[1])
    os.remove(files[3])
  end)

  it("refuses wrong arguments", function()
    if missing then return pending "no lunado/curl.so" end
    for _, wrong in ipairs { {}, { "http://x/" }, { "-j", "0", "a", "b" } } do
      local result = example("download", table.unpack(wrong))
      assert.equal(2, result.code)
      has(result.err, "^usage: ")
    end
  end)
end)
