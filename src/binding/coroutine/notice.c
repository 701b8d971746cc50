/* SPDX-License-Identifier: MIT */
/*
 * notice.c - notices of cancellation, and which of them is due.
 */
#include "binding/coroutine/notice.h"

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/task.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"

/* --- notices -------------------------------------------------------------- */

/* Pushes a CancelledError with the reason at `reason`. */
static void push_error(lua_State *L, lunado_realm *realm, int reason) {
  lua_createtable(L, 0, 2);
  lua_pushvalue(L, reason);
  lua_setfield(L, -2, "reason");
  if (lua_type(L, reason) == LUA_TSTRING) {
    lua_pushvalue(L, reason);
    lua_setfield(L, -2, "message");
  }
  lunado__exception_pushclass(L, realm, LUNADO_E_CANCELLED);
  lua_setmetatable(L, -2);
}

/* Replaces the Failure on top by a Future that has failed with it. */
static void wrap_failure(lua_State *L, lunado_realm *realm) {
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
  lua_insert(L, -2);
  lunado__settle_failed(L, realm, lua_gettop(L) - 1);
}

void lunado__notice_push(lua_State *L, lunado_realm *realm, int reason,
                         int level) {
  reason = lua_absindex(L, reason);
  luaL_checkstack(L, 16, NULL);
  push_error(L, realm, reason);
  (void)lunado__failure_new(L, realm, lua_gettop(L), level);
  lua_remove(L, -2);
  wrap_failure(L, realm);
}

/* (reason, a static string) → a notice without a traceback */
static int make_notice(lua_State *L) {
  lua_pushstring(L, lua_touserdata(L, 1));
  lunado__notice_push(L, lunado__realm_find(L), 2, -1);
  return 1;
}

void lunado__notice_push_protected(lua_State *L, lunado_realm *realm,
                                   const char *reason) {
  lua_pushcfunction(L, make_notice);
  lua_pushlightuserdata(L, (void *)reason);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lunado__getslot(L, realm, LUNADO_SLOT_LAST_NOTICE);
}

/* --- what is due ---------------------------------------------------------- */

/* Walks the list of scopes of the task at t up to the first shield, and pushes
 * the last notice that it finds, or nil. */
static void push_outermost(lua_State *L, lunado_realm *realm, int t) {
  int found = lua_gettop(L) + 1, at = found + 1;
  const lunado_scope *scope;
  lua_pushnil(L);
  lua_getiuservalue(L, t, LUNADO_TASK_SCOPE);
  while ((scope = lunado__scope_at(L, realm, at)) != NULL) {
    if (scope->kind == LUNADO_SCOPE_SHIELD) break;
    lua_getiuservalue(L, at, SCOPE_OUTER);
    if (scope->cancelled) {
      lua_getiuservalue(L, at, SCOPE_NOTICE);
      lua_replace(L, found);
    }
    lua_replace(L, at);
  }
  if (scope == NULL && !lua_isnil(L, at)) /* the whole coroutine's */
    lua_replace(L, found);
  lua_settop(L, found);
}

bool lunado__notice_push_due(lua_State *L, lunado_realm *realm, int t) {
  push_outermost(L, realm, t);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

/* Sets TASK_CANCELLED. */
static void mark(lunado_task *task) {
  if (task->flags & TASK_CANCELLED) return;
  task->flags |= TASK_CANCELLED;
  task->swallowed = 0;
}

void lunado__notice_update(lua_State *L, lunado_realm *realm, int t) {
  lunado_task *task = lua_touserdata(L, t);
  bool due = lunado__notice_push_due(L, realm, t);
  if (!due) {
    task->flags &= ~(uint32_t)TASK_CANCELLED;
    return;
  }
  lua_pop(L, 1);
  mark(task);
}

/* lunado__notice_add for a task without scopes, and without a notice. */
static void add_alone(lua_State *L, lunado_task *task, int t, int notice) {
  task->flags |= TASK_SCOPED;
  lua_pushvalue(L, notice);
  lua_setiuservalue(L, t, LUNADO_TASK_SCOPE);
  mark(task);
}

void lunado__notice_add(lua_State *L, lunado_realm *realm, int t, int notice) {
  lunado_task *task = lua_touserdata(L, t);
  int top = lua_gettop(L), at = top + 1, value = LUNADO_TASK_SCOPE;
  if (!(task->flags & TASK_SCOPED)) {
    add_alone(L, task, t, notice);
    return;
  }
  lua_pushvalue(L, t);
  while (lua_getiuservalue(L, at, value),
         lunado__scope_at(L, realm, -1) != NULL) {
    lua_replace(L, at);
    value = SCOPE_OUTER;
  }
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, notice);
    lua_setiuservalue(L, at, value);
  }
  lua_settop(L, top);
  lunado__notice_update(L, realm, t);
}

/* --- opening -------------------------------------------------------------- */

void lunado__notice_open(lua_State *L, lunado_realm *realm) {
  lunado__failure_nomemory(L, realm);
  wrap_failure(L, realm);
  lunado__setslot(L, realm, LUNADO_SLOT_LAST_NOTICE);
}
