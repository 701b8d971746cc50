/* SPDX-License-Identifier: MIT */
/*
 * body.c - the function at the base of every coroutine.
 *
 * It calls the user's function as pcall does, so that to-be-closed variables
 * are closed inside the coroutine, and may yield, whatever ends it; and
 * returns one value: the results in the form of a Future's, or a Failure.
 */
#include "binding/coroutine.h"
#include "binding/failure.h"
#include "binding/future.h"
#include "binding/task.h"

/* Replaces the Return object on top by its values. */
static int unpack_return(lua_State *L) {
  int object = lua_gettop(L);
  int n;
  lua_getfield(L, object, "n");
  n = (int)luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  luaL_checkstack(L, n + 1, "too many results");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, object, i);
  return n;
}

/* Replaces the error on top by the Failure that the handler made of it. */
static void take_failure(lua_State *L, lunado_realm *realm,
                         lunado_coroutine *task) {
  lunado__getslot(L, realm, LUNADO_SLOT_FAILURES);
  lua_rawgetp(L, -1, task);
  lua_pushnil(L);
  lua_rawsetp(L, -3, task);
  lua_remove(L, -2);
  if (!lunado__failure_is_of(L, -1, -2)) lua_pop(L, 1);
}

/* Tells SLOT_FINISH that the coroutine of the task, which is L, is over. */
static void tell_finish(lua_State *L, lunado_realm *realm,
                        lunado_coroutine *task, bool succeeded) {
  task->flags &= ~(uint32_t)TASK_WATCHED;
  luaL_checkstack(L, 5, NULL);
  lunado__getslot(L, realm, LUNADO_SLOT_FINISH);
  (void)lua_pushthread(L);
  lua_pushboolean(L, succeeded);
  lua_call(L, 2, 0);
}

static int body_done(lua_State *L, int status, lua_KContext ctx) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  lunado_coroutine *task = realm->current;
  int n;
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) {
    n = lua_gettop(L) - 1;
  } else if (lunado__isinstance(L, realm, -1, LUNADO_E_RETURN)) {
    n = unpack_return(L);
  } else {
    if (task->flags & TASK_WATCHED) tell_finish(L, realm, task, false);
    task->flags |= TASK_FAILED;
    take_failure(L, realm, task);
    return 1;
  }
  if (task->flags & TASK_WATCHED)
    tell_finish(L, realm, task, (task->flags & TASK_THROWN) == 0);
  lunado__pack(L, n);
  task->count = (uint32_t)n;
  return 1;
}

int lunado__coroutine_body(lua_State *L) {
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_done);
  return body_done(L, status, 0);
}

/* Notes where the error was raised.  The error itself goes on unchanged, for
 * the handlers of to-be-closed variables see it. */
int lunado__body_handler(lua_State *L) {
  lunado_realm *realm = lunado__upvalue_realm(L);
  if (lunado__isinstance(L, realm, 1, LUNADO_E_RETURN)) return 1;
  lunado__failure_new(L, realm, 1, 1)->observed = true;
  lunado__failure_set_inner(L, realm, 1);
  lunado__getslot(L, realm, LUNADO_SLOT_FAILURES);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, realm->current);
  lua_settop(L, 1);
  return 1;
}
