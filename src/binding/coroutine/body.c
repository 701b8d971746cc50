/* SPDX-License-Identifier: MIT */
/*
 * body.c - the function at the base of every coroutine.
 *
 * It calls the user's function as pcall does.  So the to-be-closed variables
 * are closed inside the coroutine, where their __close may yield, even if an
 * error ends the function.  A single result is returned as it is.  Several
 * results are packed into one value (lunado__future_pack).  If there are no
 * results, nothing is returned; if the function fails, its Failure.
 */
#include "binding/coroutine/body.h"

#include <limits.h>

#include "binding/coroutine/received.h"
#include "binding/coroutine/task.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/state/naming.h"

/* The stack of the function at the base. */
enum {
  BASE_FAILURE = 1, /* the Failure of the error that is under way, or the
                       realm */
  BASE_HANDLER,
  BASE_FUNCTION /* the user's; its arguments follow */
};

/* Returns the number of values in the Return object at idx, which scripts may
 * have changed. */
static int return_count(lua_State *L, int idx) {
  lua_Integer n;
  lua_pushliteral(L, "n");
  lua_rawget(L, idx);
  n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (n < 0) return 0;
  return n < INT_MAX ? (int)n : INT_MAX - 1;
}

/* Pushes the values of the Return object on top, and returns their number. */
static int unpack_return(lua_State *L) {
  int object = lua_gettop(L);
  int n = return_count(L, object);
  luaL_checkstack(L, n + 1, "too many results");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, object, i);
  return n;
}

/* Pushes the Failure that the handler made of the error on top, and returns
 * true, if there is one. */
static bool push_failure(lua_State *L) {
  lua_pushvalue(L, BASE_FAILURE);
  if (lunado__failure_is_of(L, -1, -2)) return true;
  lua_pop(L, 1);
  return false;
}

/* The realm, for a coroutine that has failed. */
static lunado_realm *find_realm(lua_State *L) {
  void *found = lua_touserdata(L, BASE_FAILURE);
  if (lua_islightuserdata(L, BASE_FAILURE)) return found;
  return ((lunado_failure *)found)->realm;
}

/* Returns from the body with the n results on top; n is not 1.  If other code
 * has resumed the coroutine, that code gets them unpacked, and the runner will
 * find the coroutine dead. */
static int return_packed(lua_State *L, int n) {
  const lunado_realm *realm;
  luaL_checkstack(L, 2, "too many results");
  realm = lunado__realm_find(L);
  if (!lunado__task_is_running(L, realm)) return n;
  realm->coroutines.current->results = (uint32_t)n;
  if (n == 0) return 0;
  lunado__future_pack(L, n);
  return 1;
}

static int body_failed(lua_State *L) {
  lunado_realm *realm = find_realm(L);
  int n;
  if (!lunado__task_is_running(L, realm)) return lua_error(L);
  if (!lunado__exception_is(L, realm, -1, LUNADO_E_RETURN)) {
    realm->coroutines.current->flags |=
        push_failure(L) ? TASK_FAILED | TASK_FAILURE : TASK_FAILED;
    return 1;
  }
  n = unpack_return(L);
  return n == 1 ? 1 : return_packed(L, n);
}

static int body_done(lua_State *L, int status, lua_KContext ctx) {
  int n = lua_gettop(L) - BASE_HANDLER;
  (void)ctx;
  if (status != LUA_OK && status != LUA_YIELD) return body_failed(L);
  return n == 1 ? 1 : return_packed(L, n);
}

int lunado__body_run(lua_State *L) {
  int nargs = lua_gettop(L) - BASE_FUNCTION;
  int status = lua_pcallk(L, nargs, LUA_MULTRET, BASE_HANDLER, 0, body_done);
  return body_done(L, status, 0);
}

/* Pops the Failure on top, and keeps it on the stack of the coroutine's base.
 * That allocates nothing.  A Failure that is passing was made elsewhere. */
static void keep_failure(lua_State *L) {
  const lunado_failure *failure = lua_touserdata(L, -1);
  lua_Debug base;
  int last = failure->passing ? lunado__naming_lastlevel(L, 0) : failure->last;
  if (!lua_getstack(L, last, &base) || !lua_setlocal(L, &base, BASE_FAILURE))
    lua_pop(L, 1);
}

/* The error itself stays unchanged, because the __close of to-be-closed
 * variables receives it. */
int lunado__body_handler(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  if (!lunado__task_is_running(L, realm)) return 1;
  if (lunado__exception_is(L, realm, 1, LUNADO_E_RETURN)) return 1;
  (void)lunado__received_raised(L, realm, 1, 1);
  keep_failure(L);
  return 1;
}
