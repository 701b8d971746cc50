/* SPDX-License-Identifier: MIT */
/*
 * memory.c - every allocation of a script fails once.
 *
 *   memory memory.lua [test]
 *
 * The script uses every part of the core and of the binding.  It is run with
 * the first allocation failing, the second, and so on; each time it must
 * end, with success or a memory error.  Then the same script must succeed in
 * the same state, and closing the state must free all memory.
 */
#include <unistd.h>

#include "places.h"

static const char *script;
static int ends[2];
static bool post_failed; /* the failed allocation was the test's, not
                            lunado's */

/* --- what the script calls ----------------------------------------------- */

/* The value that was handed over is not lost if an allocation fails. */
static int deliver_kept(lua_State *L) {
  int *kept = lua_touserdata(L, 1);
  int value = *kept;
  host_free(kept);
  lua_pushfstring(L, "kept %d", value);
  return 1;
}

static void settle(void *promise) {
  int *kept = host_resize(NULL, sizeof *kept);
  *kept = 7;
  check_int(lunado_promise_settle(promise, deliver_kept, kept), 0);
}

/* promise() -> a Future that a thread settles */
static int use_promise(lua_State *L) {
  uv_thread_t thread;
  lunado_promise *promise;
  lunado_newfuture(L);
  promise = lunado_newpromise(L, -1);
  check_int(uv_thread_create(&thread, settle, promise), 0);
  check_int(uv_thread_join(&thread), 0);
  return 1;
}

static int settle_posted(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &post_failed);
  lua_pushliteral(L, "posted");
  (void)lunado_setresult(L, 1, 1);
  return 0;
}

static void on_post(void *arg) {
  lua_State *L = arg;
  lua_pushcfunction(L, settle_posted);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) return;
  lua_pop(L, 1);
  post_failed = true;
  uv_stop(lunado_getloop(L));
}

/* post() -> a Future that a post settles */
static int use_post(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  lunado_newfuture(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &post_failed);
  check_int(lunado_post(lunado_looponly(L), on_post, lua_tothread(L, -2)), 0);
  return 1;
}

static int waited(lua_State *L, int status, lua_KContext top) {
  (void)status;
  return lua_gettop(L) - (int)top;
}

/* wait(future) -> its results */
static int use_wait(lua_State *L) {
  return lunado_awaitk(L, 1, lua_gettop(L), waited);
}

/* fail() -> a Future that has failed */
static int use_fail(lua_State *L) {
  lunado_newfuture(L);
  lua_pushliteral(L, "of a host");
  check_int(lunado_seterror(L, -2), 0);
  return 1;
}

/* spawn(fn, ...) -> its Future */
static int use_spawn(lua_State *L) {
  (void)lunado_spawn(L, lua_gettop(L) - 1);
  return 1;
}

/* outcome(future) -> the result of lunado_result */
static int use_result(lua_State *L) {
  check(lunado_isfuture(L, 1) == 1);
  lua_pushinteger(L, lunado_result(L, 1));
  return 1;
}

/* run(seconds, fn, ...) -> the number of its results */
static int use_run(lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  int status = lunado_runsync(L, lua_gettop(L) - 2, seconds);
  if (status != LUA_OK) return lua_error(L);
  lua_pushinteger(L, lua_gettop(L) - 1);
  return 1;
}

/* spoil(): calls a function with a value missing */
static int use_wrongly(lua_State *L) {
  lunado_newfuture(L);
  return lunado_setresult(L, -1, 1);
}

static const luaL_Reg functions[] = {
    {"promise", use_promise}, {"post", use_post},     {"wait", use_wait},
    {"fail", use_fail},       {"spawn", use_spawn},   {"outcome", use_result},
    {"run", use_run},         {"spoil", use_wrongly}, {NULL, NULL}};

/* --- one run -------------------------------------------------------------- */

/* Loads and runs the script. */
static int run_script(lua_State *L) {
  if (luaL_loadfile(L, script) != LUA_OK) return lua_error(L);
  luaL_newlib(L, functions);
  lua_pushinteger(L, ends[0]);
  lua_setfield(L, -2, "fd");
  lua_call(L, 1, 0);
  return 0;
}

/* True if an error of a callback was logged: the script may then fail because
 * the callback did not finish. */
static bool logged;

static void on_log(void *ud, const char *level, const char *message) {
  (void)ud, (void)level;
  logged = logged || places_tell_of_memory(message);
}

static bool is_want_of_memory(lua_State *L, int status) {
  return status == LUA_ERRMEM || post_failed || logged ||
         places_explain_error(L);
}

/* Runs the function with the n-th allocation and the `more` next ones
 * failing. */
static void run_without_memory(lua_State *L, lua_CFunction function,
                               places *tried, int more) {
  int status;
  post_failed = logged = false;
  lua_pushcfunction(L, function);
  places_fail(tried, "the script", more);
  status = lua_pcall(L, 0, 0, 0);
  places_end(tried);
  if (status != LUA_OK && !is_want_of_memory(L, status))
    host_fail(__FILE__, __LINE__, "for want of memory", " at %lld: %s",
              tried->n, luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
}

static void run_with_memory(lua_State *L, lua_CFunction function) {
  lua_pushcfunction(L, function);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK)
    host_fail(__FILE__, __LINE__, "usable again", ": %s",
              luaL_tolstring(L, -1, NULL));
}

/* --- tests ---------------------------------------------------------------- */

enum { BETWEEN_OF_OPENING = 500, BETWEEN_OF_RUNNING = 600 };

static int open_lunado(lua_State *L) {
  luaL_requiref(L, "lunado", luaopen_lunado, 1);
  lunado_setlog(L, on_log, NULL);
  return 0;
}

static void tell(const places *tried) {
  printf("%d of %lld places\n", tried->tried, tried->total);
  check(tried->total > 300);
}

static void while_it_opens(int more) {
  places tried;
  places_begin(&tried, BETWEEN_OF_OPENING);
  while (places_next(&tried)) {
    lua_State *L = host_new();
    luaL_openlibs(L);
    run_without_memory(L, open_lunado, &tried, more);
    run_with_memory(L, open_lunado);
    host_do(L, "assert(lunado.run(lunado.sleep, 0) == nil)");
    host_close(L);
  }
  tell(&tried);
}

static void opening(lua_State *L) {
  (void)L;
  while_it_opens(PLACES_ONE);
}

static void opening_without_any(lua_State *L) {
  (void)L;
  while_it_opens(PLACES_ALL);
}

static void while_it_runs(int more) {
  places tried;
  places_begin(&tried, BETWEEN_OF_RUNNING);
  while (places_next(&tried)) {
    lua_State *L = host_open();
    lunado_setlog(L, on_log, NULL);
    run_without_memory(L, run_script, &tried, more);
    run_with_memory(L, run_script);
    host_close(L);
  }
  tell(&tried);
}

static void running(lua_State *L) {
  (void)L;
  while_it_runs(PLACES_ONE);
}

static void running_without_any(lua_State *L) {
  (void)L;
  while_it_runs(PLACES_ALL);
}

static const host_test tests[] = {
    test_alone(opening), test_alone(opening_without_any), test_alone(running),
    test_alone(running_without_any)};

int main(int argc, char **argv) {
  if (argc < 2) return EXIT_FAILURE;
  script = argv[1];
  check_int(pipe(ends), 0);
  check_int(write(ends[1], "x", 1), 1);
  return run_tests(argc - 1, argv + 1, tests);
}
