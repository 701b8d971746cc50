/* SPDX-License-Identifier: MIT */
/*
 * await.c - gen.await, and how C functions wait for a Future.
 */
#include "binding/coroutine/await.h"

#include <string.h>

#include "binding/coroutine/received.h"
#include "binding/coroutine/suspend.h"
#include "binding/coroutine/task.h"
#include "binding/future/future.h"
#include "binding/state/naming.h"

/* True for pcall and xpcall: C functions in which a coroutine can be
 * suspended. */
static bool is_protected_call(lua_State *L, int function) {
  const char *name;
  if (!lunado__naming_pushglobal(L, function)) return false;
  name = lua_tostring(L, -1);
  lua_pop(L, 1);
  return strcmp(name, "pcall") == 0 || strcmp(name, "xpcall") == 0;
}

/* Pushes the name of the C function that keeps L from yielding, or "C". */
static void push_boundary(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    int function = lua_gettop(L) + 1;
    lua_getinfo(L, "Snf", &ar);
    if (*ar.what == 'C' && !is_protected_call(L, function)) {
      if (lunado__naming_pushglobal(L, function)) return;
      lua_pushstring(L, ar.name != NULL ? ar.name : "C");
      return;
    }
    lua_settop(L, function - 1);
  }
  lua_pushliteral(L, "C");
}

void lunado__await_foreign(lua_State *L, const lunado_realm *realm) {
  if (lunado__task_is_running(L, realm)) return;
  lunado__getslot(L, realm, LUNADO_SLOT_FOREIGN);
  if (lua_isfunction(L, -1)) {
    lua_call(L, 0, 1);
    if (lua_isstring(L, -1)) luaL_error(L, "%s", lua_tostring(L, -1));
  }
  lua_pop(L, 1);
}

static int cannot_await(lua_State *L, lunado_realm *realm) {
  lunado__await_foreign(L, realm);
  if (realm->coroutines.current == NULL)
    return luaL_error(L, "cannot await outside of a coroutine: start the "
                         "function with gen.coroutine or lunado.run");
  if (!lunado__task_is_running(L, realm))
    return luaL_error(
        L, "cannot await inside a coroutine that lunado does not run, such as "
           "a coroutine.wrap generator: await in the function that calls it");
  push_boundary(L);
  return luaL_error(
      L,
      "cannot await inside %s, which cannot be suspended (it is a C "
      "function, a finalizer or a message handler): await before calling "
      "it",
      lua_tostring(L, -1));
}

static bool can_await(lua_State *L, const lunado_realm *realm) {
  return lunado__task_is_running(L, realm) && lua_isyieldable(L);
}

static void check_can_await(lua_State *L, lunado_realm *realm) {
  if (!can_await(L, realm)) cannot_await(L, realm);
}

int lunado__await(lua_State *L, lunado_realm *realm, int idx, lua_KContext ctx,
                  lua_KFunction k) {
  check_can_await(L, realm);
  lua_pushvalue(L, idx);
  realm->coroutines.awaiting = true;
  return lua_yieldk(L, 1, ctx, k);
}

int lunado__await_result(lua_State *L, lunado_realm *realm, int top) {
  if (realm->coroutines.throwing) {
    realm->coroutines.throwing = false;
    return lua_error(L);
  }
  return lua_gettop(L) - top - 1;
}

static int await_done(lua_State *L, int status, lua_KContext top) {
  (void)status;
  return lunado__await_result(L, lunado__realm_upvalue(L), (int)top);
}

int lunado__await_raise(lua_State *L, lunado_realm *realm, int idx) {
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  lunado__received_throw(L, realm);
  return lua_error(L);
}

/* Yields the arguments, which the runner converts as those of a plain yield. */
static int await_values(lua_State *L, lunado_realm *realm) {
  check_can_await(L, realm);
  realm->coroutines.awaiting = true;
  return lua_yieldk(L, lua_gettop(L), 0, await_done);
}

/* gen.await(x) → the results of x, as coroutine.yield(x) returns them, but
 * without a switch of threads if x is done.  Raises the error of x; or, if the
 * running function cannot wait, an error that says why. */
static int gen_await(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_future *future;
  if (lunado__suspend_push_done(L, realm, lua_gettop(L))) return 1;
  if (lua_isnoneornil(L, 1) && lua_gettop(L) <= 1) {
    lua_settop(L, 0);
    lunado__getslot(L, realm, LUNADO_SLOT_MOMENT);
  }
  future = lunado__tofuture(L, realm, 1);
  if (future == NULL || lua_gettop(L) > 1) return await_values(L, realm);
  if (lunado_future_pending(future) || (future->flags & LUNADO_IS_MOMENT))
    return lunado__await(L, realm, 1, lua_gettop(L), await_done);
  if (future->state == LUNADO_FAILED) return lunado__await_raise(L, realm, 1);
  return lunado__future_push_results(L, 1);
}

/* set_foreign(fn): fn() returns how the coroutine of another library that runs
 * has to wait for a Future; nil if none runs. */
static int core_set_foreign(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lunado__setslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_FOREIGN);
  return 0;
}

/* can_await() → whether the running function can wait for a pending Future. */
static int core_can_await(lua_State *L) {
  lua_pushboolean(L, can_await(L, lunado__realm_upvalue(L)));
  return 1;
}

static const luaL_Reg functions[] = {{"await", gen_await},
                                     {"can_await", core_can_await},
                                     {"set_foreign", core_set_foreign},
                                     {NULL, NULL}};

void lunado__await_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
