/* SPDX-License-Identifier: MIT */
/*
 * cancel.c - cancelling coroutines.
 */
#include "binding/coroutine/cancel.h"

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/task.h"
#include "binding/coroutine/waitcycle.h"
#include "binding/coroutine/walk.h"
#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/state/argument.h"
#include "binding/state/class.h"
#include "binding/state/log.h"

void lunado__cancel_task(lua_State *L, lunado_realm *realm, int t, int notice) {
  lunado__notice_add(L, realm, t, notice);
  lunado__walk_task(L, realm, t);
}

/* --- the level ------------------------------------------------------------ */

/* After so many suspensions that a cancellation has ended, a warning names the
 * coroutine. */
enum { SWALLOWED_MOST = 100 };

/* (task): logs the warning. */
static int warn(lua_State *L) {
  lua_pushliteral(L, "Coroutine goes on at ");
  lunado__task_pushplace(L, lua_touserdata(L, 1));
  lua_pushfstring(L,
                  " although it was cancelled: its CancelledError was caught "
                  "%d times",
                  SWALLOWED_MOST);
  lua_concat(L, 3);
  lunado__log(L, lunado__realm_find(L), LUNADO_LOG_WARNING);
  return 0;
}

void lunado__cancel_again(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  if (lunado__task_is_preempted(task)) return;
  if (task->swallowed <= SWALLOWED_MOST &&
      task->swallowed++ == SWALLOWED_MOST) {
    lua_pushcfunction(L, warn);
    lua_pushvalue(L, t);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  lunado__walk_task(L, realm, t);
}

/* --- the end -------------------------------------------------------------- */

void lunado__cancel_end(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  task->flags &= ~(uint32_t)(TASK_SCOPED | TASK_CANCELLED);
  lua_getiuservalue(L, t, LUNADO_TASK_SCOPE);
  lua_pushnil(L);
  lua_setiuservalue(L, t, LUNADO_TASK_SCOPE);
  lunado__scope_abandon(L, realm);
  if (!lua_isnil(L, -1)) task->future->flags |= LUNADO_WAS_CANCELLED;
  lua_pop(L, 1);
}

/* --- cancelling by Future ------------------------------------------------- */

/* The task is looked up again after the notice was made, because a finalizer
 * may have run. */
bool lunado__cancel_future(lua_State *L, lunado_realm *realm, int idx,
                           int reason, int level) {
  int top = lua_gettop(L);
  bool found = lunado__coroutine_push_task(L, idx) != NULL;
  lua_settop(L, top);
  if (!found) return false;
  lunado__notice_push(L, realm, reason, level);
  found = lunado__coroutine_push_task(L, idx) != NULL;
  if (found) lunado__cancel_task(L, realm, top + 2, top + 1);
  lua_settop(L, top);
  return found;
}

/* --- functions ------------------------------------------------------------ */

/* cancel(future [, reason]) → true.  Cancels the coroutine whose outcome the
 * Future is.  Returns false if it is no coroutine's, or the coroutine has
 * ended. */
static int tasks_cancel(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)lunado__checkfuture(L, realm, 1);
  lua_settop(L, 2);
  lua_pushboolean(L, lunado__cancel_future(L, realm, 1, 2, 1));
  return 1;
}

/* Argument `arg` as a notice. */
static void check_notice(lua_State *L, lunado_realm *realm, int arg) {
  const lunado_future *future = lunado__checkfuture(L, realm, arg);
  luaL_argcheck(L, future->state == LUNADO_FAILED, arg, "not a notice");
}

/* notice([reason [, level]]) → a notice whose traceback begins `level`
 * functions above the caller; 0 by default. */
static int core_notice(lua_State *L) {
  lua_Integer level = luaL_optinteger(L, 2, 0);
  lua_settop(L, 1);
  lunado__notice_push(L, lunado__realm_upvalue(L), 1, (int)level + 1);
  return 1;
}

/* give_up(future, notice, task) → true.  Gives up the pending Future as if the
 * last that waited for it had been cancelled: it will be done, at once or
 * later, and the task's coroutine is going to wait for it.  Returns false, and
 * changes nothing, if it is done, cannot be given up or has a waiter. */
static int core_give_up(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_future *future = lunado__checkfuture(L, realm, 1);
  bool taken = false;
  check_notice(L, realm, 2);
  luaL_argexpected(L, lunado__toclass(L, 3, realm->types.task), 3, "task");
  lua_settop(L, 3);
  if (lunado_future_pending(future) && future->waiters == NULL) {
    lunado__waitcycle_tie(L, 1, 3);
    taken =
        lunado_future_pending(future) && lunado__walk_future(L, realm, 1, 2);
    if (!taken) lunado__waitcycle_untie(L, 1);
  }
  lua_pushboolean(L, taken);
  return 1;
}

/* current_task() → the task of the running coroutine. */
static int core_current_task(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (!lunado__task_is_running(L, realm))
    return luaL_error(L, "not in a coroutine of lunado");
  lua_pushvalue(realm->coroutines.runner, realm->coroutines.runner_index);
  lua_xmove(realm->coroutines.runner, L, 1);
  return 1;
}

void lunado__cancel_log(lua_State *L, lunado_realm *realm, const char *what,
                        int failure, int quiet) {
  int top = lua_gettop(L);
  lunado__failure_observe(L, failure);
  if (!lunado__failure_is_cancelled(L, realm, failure) &&
      !lunado__quiet_covers(L, top + 1, quiet)) {
    lunado__failure_mark_logged(L, realm, failure);
    lua_pushstring(L, what);
    lunado__failure_text(L, failure);
    lua_concat(L, 2);
    lunado__log(L, realm, LUNADO_LOG_ERROR);
  }
  lua_settop(L, top);
}

/* log_loser(failure): logs the error of a loser of a race. */
static int core_log_loser(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  if (lunado__failure_at(L, realm, 1) == NULL) luaL_typeerror(L, 1, "Failure");
  lua_settop(L, 2);
  lunado__cancel_log(L, realm, "Error in a loser of a race: ", 1, 2);
  return 0;
}

/* request_future() → a pending Future of kind LUNADO_KIND_REQUEST. */
static int core_request_future(lua_State *L) {
  lunado_request_future *self =
      lunado__future_new(L, lunado__realm_upvalue(L), LUNADO_KIND_REQUEST,
                         sizeof *self, LUNADO_FUTURE_REQUEST);
  self->give_up = NULL;
  return 1;
}

/* set_request(future, request): so that it can be given up. */
static int core_set_request(lua_State *L) {
  const lunado_future *future =
      lunado__checkfuture(L, lunado__realm_upvalue(L), 1);
  luaL_argcheck(L, future->kind == LUNADO_KIND_REQUEST, 1, "not a request's");
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, LUNADO_FUTURE_REQUEST);
  return 0;
}

/* on_cancel_request(fn): fn(future, request) gives up a request. */
static int core_on_cancel_request(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lunado__setslot(L, lunado__realm_upvalue(L), LUNADO_SLOT_CANCEL_REQUEST);
  return 0;
}

static const luaL_Reg functions[] = {
    {"request_future", core_request_future},
    {"set_request", core_set_request},
    {"on_cancel_request", core_on_cancel_request},
    {"cancel", tasks_cancel},
    {"notice", core_notice},
    {"give_up", core_give_up},
    {"current_task", core_current_task},
    {"log_loser", core_log_loser},
    {NULL, NULL}};

void lunado__cancel_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
