/* SPDX-License-Identifier: MIT */
/* error.c - versions, tracebacks, done-callbacks and classes of errors. */
#include "host.h"

/* --- version ------------------------------------------------------------- */

static void the_versions_are_one(lua_State *L) {
  char text[40];
  check_int(LUNADO_VERSION_NUM, LUNADO_VERSION_MAJOR * 10000 +
                                    LUNADO_VERSION_MINOR * 100 +
                                    LUNADO_VERSION_PATCH);
  check_int(lunado_version(), LUNADO_VERSION_NUM);
  (void)snprintf(text, sizeof text, "%d.%d.%d", LUNADO_VERSION_MAJOR,
                 LUNADO_VERSION_MINOR, LUNADO_VERSION_PATCH);
  check(strcmp(text, LUNADO_VERSION) == 0);
  lua_pushliteral(L, "lunado " LUNADO_VERSION);
  lua_setglobal(L, "version");
  host_do(L, "assert(lunado._VERSION == version, version)");
}

/* --- tracebacks ---------------------------------------------------------- */

static const char failing[] = "local function inner()\n"
                              "  coroutine.yield(lunado.sleep(0))\n"
                              "  error(thrown, 0)\n"
                              "end\n"
                              "return function()\n"
                              "  lunado.await(lunado.coroutine(inner)())\n"
                              "end";

static void check_traceback(lua_State *L, int idx) {
  int top = lua_gettop(L);
  check_int(lunado_traceback(L, idx), 1);
  check_int(lua_gettop(L), top + 1);
  check_text(lua_tostring(L, -1), "stack traceback:");
  check_text(lua_tostring(L, -1), ":3: in function");
  check_text(lua_tostring(L, -1), "awaited by:");
  check_text(lua_tostring(L, -1), ":6: in function");
  lua_pop(L, 1);
}

static void check_none(lua_State *L, int idx) {
  int top = lua_gettop(L);
  check_int(lunado_traceback(L, idx), 0);
  check_int(lua_gettop(L), top);
}

static void a_failed_run_has_one(lua_State *L) {
  static const char *const errors[] = {"thrown = 'broken'", "thrown = {}",
                                       "thrown = 7"};
  for (int i = 0; i < 3; i++) {
    host_do(L, errors[i]);
    host_do(L, failing);
    check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
    check_traceback(L, -1);
    check_traceback(L, 1);
    lua_pushliteral(L, "another");
    check_none(L, -1);
    lua_settop(L, 0);
  }
}

static void a_later_run_forgets_it(lua_State *L) {
  host_do(L, "thrown = 'broken'");
  host_do(L, failing);
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  host_do(L, "return function() end");
  check_int(lunado_runsync(L, 0, 0), LUA_OK);
  check_none(L, 1);
}

static void a_failed_future_has_one(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  host_do(L, "thrown = 'broken'");
  host_do(L, failing);
  check_int(lunado_spawn(L, 0), 0);
  check_none(L, 1); /* pending */
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_traceback(L, 1);
  check_traceback(L, -1);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  check_int(log.count, 0); /* the error counts as seen */
}

static void all_else_has_none(lua_State *L) {
  check_none(L, 1);
  check_none(L, -1000);
  check_none(L, lua_upvalueindex(1));
  lua_pushnil(L);
  check_none(L, -1);
  lunado_newfuture(L);
  check_none(L, -1);
  check_int(lunado_setresult(L, -1, 0), 0);
  check_none(L, -1);
  lunado_newfuture(L);
  lua_pushliteral(L, "of a host");
  check_int(lunado_seterror(L, -2), 0);
  check_none(L, -1);
}

/* --- done-callbacks ------------------------------------------------------ */

static int calls;

/* Upvalue 1 is the expected result of lunado_result. */
static int on_done(lua_State *L) {
  int n;
  calls++;
  check_int(lua_gettop(L), 1);
  n = lunado_result(L, 1);
  check_int(n, lua_tointeger(L, lua_upvalueindex(1)));
  check_text(lua_tostring(L, 2), "outcome");
  return 0;
}

static void expect_outcome(lua_State *L, int idx, int n) {
  lua_pushinteger(L, n);
  lua_pushcclosure(L, on_done, 1);
  lunado_ondone(L, idx);
}

static void it_is_called_when_the_future_is_done(lua_State *L) {
  calls = 0;
  lunado_newfuture(L);
  lunado_newfuture(L);
  expect_outcome(L, 1, 1);
  expect_outcome(L, 1, 1);
  expect_outcome(L, -2, -1);
  check_int(lua_gettop(L), 2);
  check_int(calls, 0);
  lua_gc(L, LUA_GCCOLLECT);
  lua_pushliteral(L, "outcome");
  check_int(lunado_setresult(L, 1, 1), 0);
  check_int(calls, 2);
  lua_pushliteral(L, "outcome");
  check_int(lunado_seterror(L, 2), 0);
  check_int(calls, 3);
  expect_outcome(L, 1, 1); /* done already */
  check_int(calls, 4);
  check_int(lua_gettop(L), 2);
}

static int raise_it(lua_State *L) { return luaL_error(L, "callback broke"); }

static void what_it_raises_is_logged(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  lunado_newfuture(L);
  lua_pushcfunction(L, raise_it);
  lunado_ondone(L, 1);
  check_int(lunado_setresult(L, 1, 0), 0);
  check_text(log.last, "callback broke");
  lua_pushcfunction(L, raise_it);
  lunado_ondone(L, 1);
  check_int(log.count, 2);
  check_int(lua_gettop(L), 1);
}

static int add_to_nothing(lua_State *L) {
  lua_pushcfunction(L, raise_it);
  lunado_ondone(L, -1);
  return 0;
}

static int add_nothing(lua_State *L) {
  lunado_newfuture(L);
  lunado_ondone(L, -1);
  return 0;
}

static int add_no_function(lua_State *L) {
  lunado_newfuture(L);
  lua_pushinteger(L, 1);
  lunado_ondone(L, -2);
  return 0;
}

static void it_wants_a_future_and_a_function(lua_State *L) {
  host_check_raises(L, add_to_nothing, "future expected, got function");
  host_check_raises(L, add_nothing, "a function expected above the future");
  host_check_raises(L, add_no_function, "a function expected above the future");
}

/* --- classes ------------------------------------------------------------- */

static void errors_are_known_by_name(lua_State *L) {
  host_do(L, "local util = lunado.util\n"
             "return util.TimeoutError('late'), util.Exception('x'),\n"
             "  util.TimeoutError:subclass('VeryLate')('later'),\n"
             "  lunado.queues.QueueFull(), 'text', setmetatable({}, {})");
  check(lunado_iserror(L, 1, "TimeoutError"));
  check(lunado_iserror(L, 1, "Exception"));
  check(!lunado_iserror(L, 1, "VeryLate"));
  check(!lunado_iserror(L, 2, "TimeoutError"));
  check(lunado_iserror(L, 3, "TimeoutError"));
  check(lunado_iserror(L, 3, "VeryLate"));
  check(lunado_iserror(L, -3, "QueueFull"));
  check(!lunado_iserror(L, 5, "string"));
  check(!lunado_iserror(L, 6, "Exception"));
  check(!lunado_iserror(L, 99, "Exception"));
  check(!lunado_iserror(L, 1, NULL));
  check(lunado_pushclass(L, NULL) == 0);
  check_int(lua_gettop(L), 6);
}

static void the_run_that_was_late(lua_State *L) {
  host_do(L, "return function() coroutine.yield(lunado.sleep(60)) end");
  check_int(lunado_runsync(L, 0, 0.001), LUA_ERRRUN);
  check(lunado_iserror(L, -1, "TimeoutError"));
}

static int raise_timeout(lua_State *L) {
  lunado_pusherror(L, "TimeoutError", "no answer");
  return lua_error(L);
}

static int raise_unknown(lua_State *L) {
  lunado_pusherror(L, "NoSuchError", "");
  return 0;
}

static void a_host_makes_them(lua_State *L) {
  lua_register(L, "raise_timeout", raise_timeout);
  host_do(L, "local ok, err = pcall(raise_timeout)\n"
             "assert(lunado.util.isinstance(err, lunado.util.TimeoutError))\n"
             "assert(tostring(err) == 'TimeoutError: no answer')");
  host_check_raises(L, raise_unknown,
                    "no class of errors called 'NoSuchError'");
}

static void classes_by_name(lua_State *L) {
  static const char *const names[] = {"Exception",         "TimeoutError",
                                      "InvalidStateError", "BadYieldError",
                                      "QueueEmpty",        "KeyReuseError"};
  host_do(L, "require 'lunado.queues'");
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    check_int(lunado_pushclass(L, names[i]), 1);
    check_int(lua_gettop(L), 1);
    check_int(lua_getfield(L, 1, "__name"), LUA_TSTRING);
    check(strcmp(lua_tostring(L, -1), names[i]) == 0);
    lua_settop(L, 0);
  }
  check_int(lunado_pushclass(L, "Queue"), 0);
  check_int(lunado_pushclass(L, ""), 0);
  check_int(lua_gettop(L), 0);
}

static const host_test tests[] = {
    test(the_versions_are_one),     test(a_failed_run_has_one),
    test(a_later_run_forgets_it),   test(a_failed_future_has_one),
    test(all_else_has_none),        test(it_is_called_when_the_future_is_done),
    test(what_it_raises_is_logged), test(it_wants_a_future_and_a_function),
    test(errors_are_known_by_name), test(the_run_that_was_late),
    test(a_host_makes_them),        test(classes_by_name),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
