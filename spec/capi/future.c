/* SPDX-License-Identifier: MIT */
/* future.c - Futures that a host makes, settles and reads; and misuse. */
#include <limits.h>

#include "host.h"

/* --- producer ------------------------------------------------------------ */

static void a_new_future_is_pending(lua_State *L) {
  lunado_newfuture(L);
  check_int(lua_gettop(L), 1);
  check_int(lunado_isfuture(L, 1), 1);
  check_int(lunado_isfuture(L, -1), 1);
  check_int(lunado_result(L, 1), -2);
  check_int(lua_gettop(L), 1);
}

static void a_result_has_any_number_of_values(lua_State *L) {
  for (int n = 0; n <= 60; n++) {
    lunado_newfuture(L);
    luaL_checkstack(L, n, NULL);
    for (int i = 0; i < n; i++) lua_pushinteger(L, i);
    check_int(lunado_setresult(L, 1, n), 0);
    check_int(lua_gettop(L), 1);
    check_int(lunado_result(L, 1), n);
    check_int(lua_gettop(L), 1 + n);
    for (int i = 0; i < n; i++) check_int(lua_tointeger(L, 2 + i), i);
    lua_settop(L, 0);
  }
}

static void nil_and_false_are_values(lua_State *L) {
  lunado_newfuture(L);
  lua_pushboolean(L, 0);
  lua_pushnil(L);
  check_int(lunado_setresult(L, -3, 2), 0);
  check_int(lunado_result(L, -1), 2);
  check_int(lua_type(L, 2), LUA_TBOOLEAN);
  check_int(lua_type(L, 3), LUA_TNIL);
}

static void an_error_is_any_value(lua_State *L) {
  lunado_newfuture(L);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  check_int(lunado_seterror(L, 1), 0);
  check_int(lua_gettop(L), 2);
  check_int(lunado_result(L, 1), -1);
  check(lua_rawequal(L, 2, 3));
  lua_settop(L, 0);
  lunado_newfuture(L);
  lua_pushnil(L);
  check_int(lunado_seterror(L, 1), 0);
  check_int(lunado_result(L, 1), -1);
  check_text(lua_tostring(L, -1), "<no error object>");
}

static void a_second_settling_changes_nothing(lua_State *L) {
  lunado_newfuture(L);
  lua_pushliteral(L, "first");
  check_int(lunado_setresult(L, 1, 1), 0);
  lua_pushliteral(L, "a");
  lua_pushliteral(L, "b");
  check_int(lunado_setresult(L, 1, 2), UV_EALREADY);
  check_int(lua_gettop(L), 1);
  lua_pushliteral(L, "error");
  check_int(lunado_seterror(L, 1), UV_EALREADY);
  check_int(lua_gettop(L), 1);
  check_int(lunado_result(L, 1), 1);
  check_text(lua_tostring(L, 2), "first");
}

static void scripts_see_the_same_futures(lua_State *L) {
  lunado_newfuture(L);
  lua_setglobal(L, "f");
  host_do(L, "f:add_done_callback(function(g) seen = g:result() end)");
  lua_getglobal(L, "f");
  lua_pushinteger(L, 42);
  check_int(lunado_setresult(L, 1, 1), 0);
  host_do(L, "assert(seen == 42 and f:done()); return lunado.Future()");
  check_int(lunado_isfuture(L, -1), 1);
}

static int fail_one(lua_State *l) {
  lunado_newfuture(l);
  lua_pushliteral(l, "oh");
  check_int(lunado_seterror(l, -2), 0);
  return 1;
}

static void the_traceback_begins_where_the_host_was_called(lua_State *L) {
  lua_pushcfunction(L, fail_one);
  lua_setglobal(L, "fail_one");
  host_do(L, "local function outer()\n  local f = fail_one()\n  return f\nend\n"
             "return select(2, outer():exc_info())");
  check_text(lua_tostring(L, -1), "function 'fail_one'");
  check_text(lua_tostring(L, -1), ":2: in local 'outer'");
}

static void an_error_that_nobody_saw_is_logged(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  (void)fail_one(L);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  check_int(log.count, 1);
  check_text(log.last, "error: Future exception was never retrieved: oh");
  (void)fail_one(L);
  check_int(lunado_result(L, 1), -1);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  check_int(log.count, 1);
  lunado_setlog(L, NULL, NULL);
}

/* --- misuse -------------------------------------------------------------- */

static const int wrong_indices[] = {0,
                                    1,
                                    2,
                                    3,
                                    4,
                                    -1,
                                    -2,
                                    -3,
                                    -4,
                                    1000000,
                                    -1000000,
                                    LUA_REGISTRYINDEX + 1,
                                    LUA_REGISTRYINDEX,
                                    LUA_REGISTRYINDEX - 1,
                                    LUA_REGISTRYINDEX - 255,
                                    LUA_REGISTRYINDEX - 300,
                                    INT_MAX,
                                    INT_MIN};

static int wrong;

/* Pushes two values, neither of them a Future. */
static void fill(lua_State *l) {
  lua_settop(l, 0);
  lua_pushliteral(l, "no future");
  lua_pushnil(l);
}

static int call_setresult(lua_State *l) {
  fill(l);
  return lunado_setresult(l, wrong, 0);
}

static int call_seterror(lua_State *l) {
  fill(l);
  return lunado_seterror(l, wrong);
}

static int call_result(lua_State *l) {
  fill(l);
  return lunado_result(l, wrong);
}

static int never(lua_State *l, int status, lua_KContext ctx) {
  (void)l, (void)status, (void)ctx;
  host_fail(__FILE__, __LINE__, "a continuation", " was called");
}

static int call_awaitk(lua_State *l) {
  fill(l);
  return lunado_awaitk(l, wrong, 0, never);
}

static int call_newpromise(lua_State *l) {
  fill(l);
  (void)lunado_newpromise(l, wrong);
  return 0;
}

static void an_error_that_comes_too_late_is_logged(lua_State *L) {
  host_log log = {0};
  lunado_setlog(L, host_on_log, &log);
  lunado_newfuture(L);
  check_int(lunado_setresult(L, 1, 0), 0);
  lua_pushliteral(L, "too late");
  check_int(lunado_seterror(L, 1), UV_EALREADY);
  check_int(lua_gettop(L), 1);
  lua_gc(L, LUA_GCCOLLECT);
  check_text(log.last, "never retrieved: too late");
  lunado_setlog(L, NULL, NULL);
}

static void wrong_indices_are_errors(lua_State *L) {
  for (size_t i = 0; i < sizeof wrong_indices / sizeof wrong_indices[0]; i++) {
    wrong = wrong_indices[i];
    check_int(lunado_isfuture(L, wrong), 0);
    host_check_raises(L, call_setresult, "future");
    host_check_raises(L, call_seterror, "future");
    host_check_raises(L, call_result, "future");
    host_check_raises(L, call_awaitk, "future");
    host_check_raises(L, call_newpromise, "future");
  }
}

static int set_argument(lua_State *l) {
  lua_settop(l, 2);
  lua_pushinteger(l, lunado_setresult(l, 1, 1));
  return 1;
}

static void the_message_is_that_of_a_wrong_argument(lua_State *L) {
  lua_pushcfunction(L, set_argument);
  lua_setglobal(L, "set_argument");
  host_do(L, "return select(2, pcall(function() set_argument(nil, 1) end))");
  check_text(lua_tostring(L, -1), "bad argument #1 to 'set_argument' (future "
                                  "expected, got nil)");
}

static int too_many_values(lua_State *l) {
  lunado_newfuture(l);
  lua_pushnil(l);
  return lunado_setresult(l, 1, 2);
}

static int fewer_than_none(lua_State *l) {
  lunado_newfuture(l);
  return lunado_setresult(l, 1, -1);
}

static int no_error(lua_State *l) {
  lunado_newfuture(l);
  return lunado_seterror(l, 1);
}

static int spawn_nothing(lua_State *l) { return lunado_spawn(l, 0); }

static int spawn_too_much(lua_State *l) {
  lua_pushcfunction(l, spawn_nothing);
  return lunado_spawn(l, 1);
}

static int run_less_than_nothing(lua_State *l) {
  lua_pushcfunction(l, spawn_nothing);
  return lunado_runsync(l, -1, 0);
}

static void wrong_counts_are_errors(lua_State *L) {
  host_check_raises(L, too_many_values, "2 values expected above the future");
  host_check_raises(L, fewer_than_none, "-1 values expected");
  host_check_raises(L, no_error, "1 values expected above the future, got 0");
  host_check_raises(L, spawn_nothing, "no function below 0 arguments");
  host_check_raises(L, spawn_too_much, "no function below 1 arguments");
  host_check_raises(L, run_less_than_nothing, "no function below -1 arg");
}

static void a_state_without_lunado_has_no_futures(lua_State *other) {
  other = host_new();
  lua_pushnil(other);
  check_int(lunado_isfuture(other, 1), 0);
  host_close(other);
}

/* Futures work in a state in which luaopen_lunado was not called. */
static void the_functions_open_what_they_need(lua_State *other) {
  other = host_new();
  luaL_openlibs(other);
  lunado_newfuture(other);
  lua_pushinteger(other, 1);
  check_int(lunado_setresult(other, 1, 1), 0);
  check_int(lunado_result(other, 1), 1);
  host_close(other);
}

/* --- all ------------------------------------------------------------------ */

static const host_test tests[] = {
    test(a_new_future_is_pending),
    test(a_result_has_any_number_of_values),
    test(nil_and_false_are_values),
    test(an_error_is_any_value),
    test(a_second_settling_changes_nothing),
    test(scripts_see_the_same_futures),
    test(the_traceback_begins_where_the_host_was_called),
    test(an_error_that_nobody_saw_is_logged),
    test(an_error_that_comes_too_late_is_logged),
    test(wrong_indices_are_errors),
    test(the_message_is_that_of_a_wrong_argument),
    test(wrong_counts_are_errors),
    test_alone(a_state_without_lunado_has_no_futures),
    test_alone(the_functions_open_what_they_need),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
