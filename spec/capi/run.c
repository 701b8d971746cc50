/* SPDX-License-Identifier: MIT */
/* run.c - lunado_spawn and lunado_runsync: status codes, results, errors. */
#include "host.h"

/* Pushes the function that the chunk returns. */
static void push(lua_State *L, const char *chunk) {
  int top = lua_gettop(L);
  host_do(L, chunk);
  lua_settop(L, top + 1);
}

/* --- spawn ---------------------------------------------------------------- */

static void spawn_runs_to_the_first_wait(lua_State *L) {
  push(L, "return function(a, b)\n"
          "  reached = a + b\n"
          "  coroutine.yield()\n"
          "  return 'done', a, b\n"
          "end");
  lua_pushinteger(L, 1);
  lua_pushinteger(L, 2);
  check_int(lunado_spawn(L, 2), 0);
  check_int(lua_gettop(L), 1);
  check_int(lunado_result(L, 1), -2);
  lua_getglobal(L, "reached");
  check_int(lua_tointeger(L, -1), 3);
  lua_pop(L, 1);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  check_int(lunado_result(L, 1), 3);
  check_text(lua_tostring(L, 2), "done");
}

static void errors_of_a_spawned_function_fail_its_future(lua_State *L) {
  push(L, "return function() error({}) end");
  check_int(lunado_spawn(L, 0), 0);
  check_int(lunado_result(L, 1), -1);
  check_int(lua_type(L, 2), LUA_TTABLE);
  lua_settop(L, 0);
  lua_pushnil(L);
  check_int(lunado_spawn(L, 0), 0);
  check_int(lunado_result(L, 1), -1);
  check_text(lua_tostring(L, 2), "attempt to call a nil value");
}

static int c_coroutine(lua_State *L) {
  lua_pushinteger(L, lua_tointeger(L, 1) * 2);
  return 1;
}

static void c_functions_can_be_spawned(lua_State *L) {
  lua_pushcfunction(L, c_coroutine);
  lua_pushinteger(L, 21);
  check_int(lunado_spawn(L, 1), 0);
  check_int(lunado_result(L, 1), 1);
  check_int(lua_tointeger(L, 2), 42);
}

static void a_spawned_coroutine_needs_no_holder(lua_State *L) {
  push(L, "return function()\n"
          "  coroutine.yield(lunado.sleep(0.001)) ended = true\n"
          "end");
  check_int(lunado_spawn(L, 0), 0);
  lua_settop(L, 0);
  lua_gc(L, LUA_GCCOLLECT);
  uv_run(lunado_getloop(L), UV_RUN_DEFAULT);
  lua_getglobal(L, "ended");
  check(lua_toboolean(L, -1));
}

/* --- runsync -------------------------------------------------------------- */

static void runsync_returns_the_results(lua_State *L) {
  lua_pushliteral(L, "below");
  push(L, "return function(...)\n"
          "  coroutine.yield(lunado.sleep(0.001))\n"
          "  return ...\n"
          "end");
  lua_pushinteger(L, 1);
  lua_pushnil(L);
  lua_pushboolean(L, 0);
  check_int(lunado_runsync(L, 3, 0), LUA_OK);
  check_int(lua_gettop(L), 4);
  check_text(lua_tostring(L, 1), "below");
  check_int(lua_tointeger(L, 2), 1);
  check_int(lua_type(L, 3), LUA_TNIL);
  check_int(lua_type(L, 4), LUA_TBOOLEAN);
}

static void runsync_awaits_a_future_that_is_returned(lua_State *L) {
  push(L, "return function()\n"
          "  local f = lunado.Future()\n"
          "  lunado.IOLoop.current():add_callback(f.set_result, f, 7)\n"
          "  return f\n"
          "end");
  check_int(lunado_runsync(L, 0, -1), LUA_OK);
  check_int(lua_gettop(L), 1);
  check_int(lua_tointeger(L, 1), 7);
}

static void runsync_gives_the_error_unchanged(lua_State *L) {
  push(L, "err = {} return function() coroutine.yield() error(err) end");
  lua_pushinteger(L, 1);
  check_int(lunado_runsync(L, 1, 0), LUA_ERRRUN);
  check_int(lua_gettop(L), 1);
  lua_getglobal(L, "err");
  check(lua_rawequal(L, 1, 2));
  lua_settop(L, 0);
  push(L, "return function() error('text', 0) end");
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(lua_tostring(L, -1), "text");
  lua_settop(L, 0);
  lua_pushnil(L);
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(lua_tostring(L, -1), "attempt to call a nil value");
}

static void runsync_has_a_timeout(lua_State *L) {
  push(L, "return function() coroutine.yield(lunado.sleep(1000)) end");
  check_int(lunado_runsync(L, 0, 0.01), LUA_ERRRUN);
  lua_setglobal(L, "err");
  host_do(L, "local util = lunado.util\n"
             "assert(util.isinstance(err, util.TimeoutError))");
}

static void runsync_sees_that_it_would_never_end(lua_State *L) {
  push(L, "return function() coroutine.yield(lunado.Future()) end");
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(luaL_tolstring(L, -1, NULL), "would never end");
}

static void runsync_tells_of_a_stop(lua_State *L) {
  push(L, "return function()\n"
          "  lunado.IOLoop.current():stop()\n"
          "  coroutine.yield(lunado.sleep(1000))\n"
          "end");
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(luaL_tolstring(L, -1, NULL), "stopped");
  lua_settop(L, 0);
  push(L, "return function()\n"
          "  lunado.IOLoop.current():close()\n"
          "  coroutine.yield()\n"
          "end");
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(luaL_tolstring(L, -1, NULL), "closed");
}

static int run_nested(lua_State *L) {
  push(L, "return function() end");
  check_int(lunado_runsync(L, 0, 0), LUA_ERRRUN);
  check_text(lua_tostring(L, -1), "already running");
  return 0;
}

static void runsync_does_not_nest(lua_State *L) {
  lua_pushcfunction(L, run_nested);
  check_int(lunado_runsync(L, 0, 0), LUA_OK);
  check_int(lua_gettop(L), 0);
}

static int fail_from_now(lua_State *L) {
  (void)L;
  host_fail_at(1, 1000000);
  return 0;
}

static void a_coroutine_may_run_out_of_memory(lua_State *L) {
  lua_register(L, "fail", fail_from_now);
  push(L, "return function()\n"
          "  coroutine.yield()\n"
          "  fail()\n"
          "  return ('x'):rep(100000)\n"
          "end");
  check_int(lunado_runsync(L, 0, 0), LUA_ERRMEM);
  host_fail_at(0, 0);
  check_int(lua_gettop(L), 1);
  check_text(lua_tostring(L, 1), "not enough memory");
  lua_settop(L, 0);
  push(L, "return function() return 'again' end");
  check_int(lunado_runsync(L, 0, 0), LUA_OK);
}

static void runsync_runs_from_a_thread_too(lua_State *L) {
  lua_State *thread = lua_newthread(L);
  push(thread, "return function()\n"
               "  coroutine.yield(lunado.sleep(0.001))\n"
               "  return 1\n"
               "end");
  check_int(lunado_runsync(thread, 0, 0), LUA_OK);
  check_int(lua_tointeger(thread, -1), 1);
}

static const host_test tests[] = {
    test(spawn_runs_to_the_first_wait),
    test(errors_of_a_spawned_function_fail_its_future),
    test(c_functions_can_be_spawned),
    test(a_spawned_coroutine_needs_no_holder),
    test(runsync_returns_the_results),
    test(runsync_awaits_a_future_that_is_returned),
    test(runsync_gives_the_error_unchanged),
    test(runsync_has_a_timeout),
    test(runsync_sees_that_it_would_never_end),
    test(runsync_tells_of_a_stop),
    test(runsync_does_not_nest),
    test(a_coroutine_may_run_out_of_memory),
    test(runsync_runs_from_a_thread_too),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
