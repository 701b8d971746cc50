/* SPDX-License-Identifier: MIT */
/*
 * luv_memory.c - luv in a state in which any allocation may fail.
 *
 * luv pushes the arguments of a callback without protection, so an error jumps
 * out of libuv.  A require that fails leaves luv half open.  Whichever
 * allocation fails, the same code must succeed afterwards in the same state,
 * and the state must close.  Memory that luv then leaks is ignored.
 */
#include "places.h"

static bool logged;

static void on_log(void *ud, const char *level, const char *message) {
  (void)ud, (void)level;
  logged = logged || places_tell_of_memory(message);
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
  host_keep_luv();
  lua_pushcfunction(L, open_host);
  check_int(lua_pcall(L, 0, 0, 0), LUA_OK);
  host_do(L, chunk);
  return L;
}

static const char *chunk; /* the chunk that run_chunk runs */

static int run_chunk(lua_State *L) {
  if (luaL_loadstring(L, chunk) != LUA_OK) return lua_error(L);
  lua_call(L, 0, 0);
  return 0;
}

/* Runs the chunk with the n-th allocation and the `more` next ones failing. */
static void run_without_memory(lua_State *L, places *tried, int more) {
  int status;
  logged = false;
  lua_pushcfunction(L, run_chunk);
  places_fail(tried, chunk, more);
  status = lua_pcall(L, 0, 0, 0);
  places_end(tried);
  if (status != LUA_OK && status != LUA_ERRMEM && !logged &&
      !places_explain_error(L))
    host_fail(__FILE__, __LINE__, "for want of memory", " at %lld: %s",
              tried->n, luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

static void run_with_memory(lua_State *L, const char *what, long long n) {
  if (luaL_dostring(L, what) != LUA_OK)
    host_fail(__FILE__, __LINE__, "usable again", " after %lld: %s", n,
              luaL_tolstring(L, -1, NULL));
}

/* Uses all parts; must succeed afterwards. */
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

/* For each n opens a new state, runs `before`, runs `what` without memory, runs
 * `use`, and closes the state. */
static void with_each_of(const char *before, const char *what, int between,
                         int more) {
  places tried;
  places_begin(&tried, between);
  while (places_next(&tried)) {
    lua_State *L = open_state(before);
    chunk = what;
    run_without_memory(L, &tried, more);
    run_with_memory(L, use, tried.n);
    lua_close(L);
  }
  printf("  %d of %lld places\n", tried.tried, tried.total);
}

static void with_each(const char *before, const char *what, int between) {
  with_each_of(before, what, between, PLACES_ONE);
  with_each_of(before, what, between, PLACES_ALL);
}

enum { BETWEEN = 60 };

static const char loop_made[] = "lunado.IOLoop.current()";
static const char all_there[] =
    "lunado.IOLoop.current()\n"
    "uv, luv, await = lunado.uv, require 'luv', coroutine.yield";

/* True, and says so, if luv is 1.50 or later: it crashes after an allocation of
 * its own has failed, because it knows a handle before the handle's data is
 * set, or before libuv knows it.  1.50 has the function, where libuv is as new,
 * and 1.52 the table. */
static bool luv_crashes(void) {
  lua_State *L = open_state(all_there);
  bool newer = lua_getfield(L, LUA_REGISTRYINDEX, "LUV_HANDLES") == LUA_TTABLE;
  (void)lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  (void)lua_getfield(L, -1, "luv");
  newer = newer || lua_getfield(L, -1, "thread_detach") != LUA_TNIL;
  lua_close(L);
  if (newer) printf("  not tried: luv 1.50 crashes for want of memory\n");
  return newer;
}

static void first_require_of_luv(lua_State *L) {
  (void)L;
  if (luv_crashes()) return;
  with_each(loop_made, "require 'luv'", BETWEEN);
}

static void luv_before_the_loop(lua_State *L) {
  (void)L;
  with_each("require 'luv'", "lunado.IOLoop.current()", BETWEEN);
}

static void first_require_of_lunado_uv(lua_State *L) {
  (void)L;
  with_each(loop_made, "require 'lunado.uv'", BETWEEN);
}

/* First uses of the functions of lunado.uv. */
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
    "  local sent = uv.write(a, ('x'):rep(20000))\n"
    "  await { lunado.with_timeout({ seconds = 0.2 }, got),\n"
    "    lunado.with_timeout({ seconds = 0.2 }, sent) }\n"
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
  if (luv_crashes()) return;
  for (int i = 0; groups[i] != NULL; i++) {
    printf(" group %d\n", i);
    (void)fflush(stdout);
    with_each(all_there, groups[i], BETWEEN);
  }
}

static const host_test tests[] = {
    test_alone(first_require_of_luv),
    test_alone(luv_before_the_loop),
    test_alone(first_require_of_lunado_uv),
    test_alone(first_uses),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
