/* SPDX-License-Identifier: MIT */
/*
 * luv_memory.c - luv in a state without memory at any place.
 *
 * luv pushes what it has for a callback unprotected: an error then jumps out of
 * libuv. And a require that fails has opened half of it. Whichever allocation
 * fails, the same has to succeed afterwards in the same state, and the state
 * has to end. What luv leaves unfreed then is luv's.
 */
#include "host.h"

static bool logged;

static bool tells_of_memory(const char *text) {
  return strstr(text, "not enough memory") != NULL ||
         strstr(text, "stack overflow") != NULL ||
         strstr(text, "too many results to unpack") != NULL;
}

static void on_log(void *ud, const char *level, const char *message) {
  (void)ud, (void)level;
  logged = logged || tells_of_memory(message);
}

static int open_host(lua_State *L) {
  (void)host_open_libs(L);
  lunado_setlog(L, on_log, NULL);
  lua_getglobal(L, "package");
  lua_pushliteral(L, LUA_CPATH_DEFAULT);
  lua_setfield(L, -2, "cpath");
  return 0;
}

static lua_State *open_state(const char *chunk) {
  lua_State *L = host_new();
  lua_pushcfunction(L, open_host);
  check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
  host_do(L, chunk);
  return L;
}

static const char *chunk; /* what is run */

static int run_chunk(lua_State *L) {
  if (luaL_loadstring(L, chunk) != LUA_OK) return lua_error(L);
  lua_call(L, 0, 0);
  return 0;
}

/* With the n-th allocation failing, and `more` behind it; false when there was
 * no n-th. */
static bool run_without_memory(lua_State *L, long long n, long long more) {
  int status;
  logged = false;
  lua_pushcfunction(L, run_chunk);
  host_fail_at(n, more);
  status = lua_pcall(L, 0, 0, 0);
  atomic_store(&host_fail_from, 0);
  if (status != LUA_OK && status != LUA_ERRMEM && !logged &&
      !tells_of_memory(luaL_tolstring(L, -1, NULL)))
    host_fail(__FILE__, __LINE__, "for want of memory", " at %lld: %s", n,
              luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
  return atomic_load(&host_asked) >= n;
}

static void run_with_memory(lua_State *L, const char *what, long long n) {
  if (luaL_dostring(L, what) != LUA_OK)
    host_fail(__FILE__, __LINE__, "usable again", " after %lld: %s", n,
              luaL_tolstring(L, -1, NULL));
}

/* A use of all: it has to succeed in the end. */
static const char use[] =
    "local uv, luv = require 'lunado.uv', require 'luv'\n"
    "local await = coroutine.yield\n"
    "assert(lunado.IOLoop.instance() == lunado.IOLoop.current())\n"
    "local fired\n"
    "local timer = luv.new_timer()\n"
    "timer:start(0, 0, function() timer:close() fired = true end)\n"
    "lunado.run(function()\n"
    "  assert(await(uv.fs_stat '/').type == 'directory')\n"
    "  await { uv.fs_stat '/', uv.getaddrinfo('127.0.0.1', nil, {\n"
    "    numerichost = true }), lunado.sleep(0) }\n"
    "  while not fired do await(lunado.sleep(0)) end\n"
    "end)\n"
    "luv.walk(function(h) if not h:is_closing() then h:close() end end)\n"
    "luv.run()\n"
    "lunado.run(function()\n"
    "  await { lunado.sleep(0), lunado.concurrent.dummy_executor:submit(\n"
    "    function() end) }\n"
    "end)\n";

/* In a new state for each n: `before`, then `what` without memory, then `use`,
 * then the end. */
static void with_each(const char *before, const char *what, long long step,
                      long long more) {
  long long n = 1;
  for (bool any = true; any; n += step * host_haste()) {
    lua_State *L = open_state(before);
    chunk = what;
    any = run_without_memory(L, n, more);
    run_with_memory(L, use, n);
    lua_close(L);
  }
  printf("  %lld places\n", n - 1);
}

enum { ONE = 1, ALL = 1000000000 };

static const char loop_made[] = "lunado.IOLoop.current()";
static const char all_there[] =
    "lunado.IOLoop.current()\n"
    "uv, luv, await = lunado.uv, require 'luv', coroutine.yield";

static void first_require_of_luv(lua_State *L) {
  (void)L;
  with_each(loop_made, "require 'luv'", 3, ONE);
  with_each(loop_made, "require 'luv'", 3, ALL);
}

static void luv_before_the_loop(lua_State *L) {
  (void)L;
  with_each("require 'luv'", "lunado.IOLoop.current()", 1, ONE);
  with_each("require 'luv'", "lunado.IOLoop.current()", 1, ALL);
}

static void first_require_of_lunado_uv(lua_State *L) {
  (void)L;
  with_each(loop_made, "require 'lunado.uv'", 17, ONE);
  with_each(loop_made, "require 'lunado.uv'", 17, ALL);
}

/* First uses of what lunado.uv has. */
static const char *const groups[] = {
    "lunado.run(function() await(uv.fs_stat '/') end)",
    "lunado.run(function()\n"
    "  local fd = await(uv.fs_open('/dev/null', 'r'))\n"
    "  await(uv.fs_read(fd, 100)) await(uv.fs_close(fd))\n"
    "  local d = await(uv.fs_opendir('/', 3))\n"
    "  await(uv.fs_readdir(d)) await(uv.fs_closedir(d))\n"
    "end)",
    "lunado.run(function() await(uv.fs_scandir '/') end)",
    "lunado.run(function()\n"
    "  await { uv.fs_stat '/', uv.fs_stat '/tmp', uv.fs_stat '/dev',\n"
    "    uv.fs_stat '/usr', lunado.sleep(0.001) }\n"
    "end)",
    "lunado.run(function()\n"
    "  await(uv.getaddrinfo('127.0.0.1', nil, { numerichost = true }))\n"
    "end)",
    "lunado.run(function() await(uv.random(10)) end)",
    "lunado.run(function()\n"
    "  local fds = luv.socketpair()\n"
    "  local a, b = uv.new_tcp(), uv.new_tcp()\n"
    "  uv.tcp_open(a, fds[1]) uv.tcp_open(b, fds[2])\n"
    "  local got = lunado.Future()\n"
    "  uv.read_start(b, function(_, data) got:set_result(data) end)\n"
    "  uv.write(a, 'x')\n"
    "  await { lunado.with_timeout({ seconds = 0.2 }, got),\n"
    "    uv.write(a, ('x'):rep(20000)) }\n"
    "  await(uv.close(a)) await(uv.close(b))\n"
    "end)",
    "lunado.run(function()\n"
    "  local tcp = uv.new_tcp()\n"
    "  pcall(await, uv.tcp_connect(tcp, '127.0.0.1', 1))\n"
    "  await(uv.close(tcp))\n"
    "end)",
    "lunado.run(function() await(uv.spawn('true'):wait()) end)",
    "lunado.run(function()\n"
    "  await(uv.queue_work(function(a) return a end, 1))\n"
    "end)",
    "local a\n"
    "a = luv.new_async(function() a:close() end)\n"
    "a:send('text', 2)\n"
    "luv.run()",
    NULL};

static void first_uses(lua_State *L) {
  (void)L;
  for (int i = 0; groups[i] != NULL; i++) {
    printf(" group %d\n", i);
    (void)fflush(stdout);
    with_each(all_there, groups[i], 1, ONE);
    with_each(all_there, groups[i], 1, ALL);
  }
}

static const host_test tests[] = {
    test_alone(first_require_of_luv),
    test_alone(luv_before_the_loop),
    test_alone(first_require_of_lunado_uv),
    test_alone(first_uses),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
