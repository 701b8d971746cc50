/* SPDX-License-Identifier: MIT */
/*
 * catch.c - how lunado's own Lua modules catch errors, hand them on and raise
 * them again.  The traceback keeps the place where the error was first raised.
 */
#include "binding/coroutine/catch.h"

#include "binding/coroutine/received.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"

/* fail(future, err): settles the Future with an error, or with a Failure that
 * `try` returned.  Other code may have settled the Future already: then no
 * caller can retrieve this error from it, and the error is logged as never
 * retrieved. */
static int core_fail(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado__checkfuture(L, realm, 1);
  lua_settop(L, 2);
  if (lunado__failure_at(L, realm, 2) == NULL)
    (void)lunado__received_handed(L, realm, 2, 1);
  else
    lunado__failure_hand_on(lua_touserdata(L, 2));
  lunado__settle_failed(L, realm, 1);
  return 0;
}

/* Returns the results of `try`.  The message handler is at index 1. */
static int tried(lua_State *L, int status, lua_KContext ctx) {
  bool ok = status == LUA_OK || status == LUA_YIELD;
  (void)ctx;
  if (!ok) lunado__failure_take(L, lunado__realm_upvalue(L));
  lua_pushboolean(L, ok);
  lua_replace(L, 1);
  return lua_gettop(L);
}

/* try(fn, ...) → true and the results of fn(...); or false and a Failure, which
 * counts as observed. */
static int core_try(lua_State *L) {
  const lunado_realm *realm = lunado__realm_upvalue(L);
  int nargs = lua_gettop(L) - 1;
  luaL_checkany(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, realm->errors.handler);
  lua_insert(L, 1);
  return tried(L, lua_pcallk(L, nargs, LUA_MULTRET, 1, 0, tried), 0);
}

static void check_failure(lua_State *L, lunado_realm *realm, int arg) {
  if (lunado__failure_at(L, realm, arg) == NULL)
    luaL_typeerror(L, arg, "Failure");
}

/* Raises the error of the Failure on top again.  `try`, or the base of a
 * coroutine, catches it as the same Failure. */
static int raise_on(lua_State *L, lunado_realm *realm) {
  lunado__received_pass(L, realm);
  return lua_error(L);
}

/* raise(failure): raises the error of the Failure again. */
static int core_raise(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  check_failure(L, realm, 1);
  lua_settop(L, 1);
  return raise_on(L, realm);
}

/* result(future): like future:result(), but for calls in lunado's own code:
 * when it raises the Future's error, the traceback does not show the call. */
static int core_result(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  if (future->state == LUNADO_DONE) return lunado__future_push_results(L, 1);
  if (future->state == LUNADO_PENDING)
    return luaL_error(L, "the Future has no result yet");
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  return raise_on(L, realm);
}

/* exc_info(failure) → the error and its traceback.  If the caller raises the
 * error again, the new Failure has this one as its inner Failure. */
static int core_exc_info(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  check_failure(L, realm, 1);
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  lunado__received_throw(L, realm);
  lunado__failure_traceback(L, 1);
  return 2;
}

/* raised_during(failure, first): records that the error of `failure` was raised
 * while the error of `first` was handled.  Does nothing if it is the same
 * error, or if `failure` is the shared Failure for "not enough memory". */
static int core_raised_during(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  check_failure(L, realm, 1);
  check_failure(L, realm, 2);
  lua_settop(L, 2);
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, i);
    lunado__failure_origin(L);
  }
  lunado__failure_nomemory(L, realm);
  if (!lua_rawequal(L, 3, 4) && !lua_rawequal(L, 3, 5))
    lunado__failure_raised_during(L, 3, 2);
  return 0;
}

static const luaL_Reg functions[] = {{"fail", core_fail},
                                     {"try", core_try},
                                     {"raise", core_raise},
                                     {"result", core_result},
                                     {"exc_info", core_exc_info},
                                     {"raised_during", core_raised_during},
                                     {NULL, NULL}};

void lunado__catch_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
