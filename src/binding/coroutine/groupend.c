/* SPDX-License-Identifier: MIT */
/*
 * groupend.c - how a group ends: its block's end, or without one.
 */
#include "binding/coroutine/groupend.h"

#include "binding/coroutine/await.h"
#include "binding/coroutine/gc_canary.h"
#include "binding/coroutine/groupcancel.h"
#include "binding/coroutine/received.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/task.h"
#include "binding/future/future.h"
#include "binding/loop/ioloop.h"
#include "binding/state/log.h"

/* --- messages ------------------------------------------------------------- */

/* (group, what): pushes the message. */
static int make_message(lua_State *L) {
  lua_getiuservalue(L, 1, GROUP_PLACE);
  lua_pushfstring(L, "TaskGroup of %s %s", lua_tostring(L, 3),
                  (const char *)lua_touserdata(L, 2));
  return 1;
}

static void log_misuse(lua_State *L, lunado_realm *realm, int idx,
                       const char *what) {
  lua_pushcfunction(L, make_message);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, (void *)what);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK)
    lunado__log(L, realm, LUNADO_LOG_ERROR);
  else
    lunado__log_value(L, realm, "a TaskGroup was not closed: ");
}

/* --- the end of the block ------------------------------------------------- */

/* What the end of the block returns. */
enum {
  END_CLOSE, /* nothing: it is __close */
  END_TELL   /* whether it has waited */
};

/* The body has raised the error at 2, or its last wait was cancelled. */
static void end_body(lua_State *L, lunado_realm *realm) {
  bool own;
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  own = lunado__scope_is_own(L, 3, 2);
  lua_settop(L, 2);
  if (own) return;
  lua_pushvalue(L, 2);
  lunado__groupcancel_body_failed(L, realm, 1);
}

/* Raises the first error of the group if that is a child's, which is left on
 * top; else leaves nil there. */
static void raise_first(lua_State *L, lunado_realm *realm) {
  if (lua_getiuservalue(L, 1, GROUP_FIRST) == LUA_TNIL) return;
  lunado__received_pass(L, realm);
  lua_error(L);
}

#define CANNOT_WAIT \
  "cannot wait for its tasks inside a function that cannot be suspended"

/* Ends the group whose end cannot wait, because something on the stack of its
 * coroutine cannot be suspended.  An error that is under way is more important
 * than that. */
static int raise_at_once(lua_State *L, lunado_realm *realm) {
  bool waits = ((lunado_group *)lua_touserdata(L, 1))->count > 0;
  bool failed =
      !lua_isnil(L, 2) || lua_getiuservalue(L, 1, GROUP_FIRST) != LUA_TNIL;
  if (waits && !failed) return luaL_error(L, "a TaskGroup " CANNOT_WAIT);
  if (waits) log_misuse(L, realm, 1, CANNOT_WAIT);
  raise_first(L, realm);
  return 0;
}

/* Ends the group where its end cannot wait: its coroutine is closed, or
 * something on its stack cannot be suspended. */
static int end_at_once(lua_State *L, lunado_realm *realm) {
  lunado_group *self = lua_touserdata(L, 1);
  bool running;
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  lunado__scope_check_thread(L, 3);
  self->joining = true; /* so that it is not abandoned */
  running = lunado__scope_close(L, realm, 3);
  lua_settop(L, 2);
  if (running && !lua_isnil(L, 2)) end_body(L, realm);
  self->ended = true;
  lunado__groupcancel_close(L, realm, 1, "the group was closed");
  if (running) return raise_at_once(L, realm);
  lunado__groupcancel_log_first(L, realm, 1);
  return 0;
}

/* All children have ended. */
static int leave(lua_State *L, lunado_realm *realm, int end, bool waited) {
  lunado_group *self = lua_touserdata(L, 1);
  lua_settop(L, 2);
  self->ended = true;
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  (void)lunado__scope_close(L, realm, 3);
  raise_first(L, realm);
  if (end == END_CLOSE && waited && lua_isnil(L, 2))
    lunado__scope_raise_due(L, realm);
  lua_pushboolean(L, waited);
  return end == END_TELL;
}

/* An error was raised in place of the end of the wait. */
static int break_off(lua_State *L, lunado_realm *realm) {
  lunado_group *self = lua_touserdata(L, 1);
  self->ended = true;
  lunado__groupcancel_close(L, realm, 1, "the group was closed");
  lunado__groupcancel_log_first(L, realm, 1);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  (void)lunado__scope_close(L, realm, lua_gettop(L));
  lua_pop(L, 1);
  return lunado__await_result(L, realm, 0);
}

static int joined(lua_State *L, int status, lua_KContext end) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  (void)status;
  if (realm->coroutines.throwing) return break_off(L, realm);
  return leave(L, realm, (int)end, true);
}

/* (group, err): ends the block; err is the error that ended the body, or
 * nil. */
static int end_block(lua_State *L, int end) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_group *self = lunado__group_check(L, realm);
  bool inside;
  lua_settop(L, 2);
  if (self->ended) return 0;
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  inside = lunado__scope_is_inside(L, realm, 3);
  if (!inside) return end_at_once(L, realm);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) end_body(L, realm);
  if (self->count == 0) return leave(L, realm, end, false);
  self->joining = true;
  if (end == END_CLOSE) lua_toclose(L, 1); /* for coroutine.close */
  lua_getiuservalue(L, 1, GROUP_JOIN);
  return lunado__await(L, realm, 3, end, joined);
}

int lunado__groupend_close(lua_State *L) { return end_block(L, END_CLOSE); }

/* group_finish(group [, err]) → whether it had to wait. */
static int core_group_finish(lua_State *L) { return end_block(L, END_TELL); }

/* group_is_own(group, err) → whether err is the error with which the group has
 * cancelled the body. */
static int core_group_is_own(lua_State *L) {
  (void)lunado__group_check(L, lunado__realm_upvalue(L));
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  lua_pushboolean(L, lunado__scope_is_own(L, 3, 2));
  return 1;
}

/* --- groups that are not closed ------------------------------------------- */

void lunado__groupend_abandon(lua_State *L, lunado_realm *realm, int idx) {
  lunado_group *self = lua_touserdata(L, idx);
  int top = lua_gettop(L);
  if (self->ended || self->joining || !lunado__groupcancel_has_stack(L, realm))
    return;
  self->ended = true;
  log_misuse(L, realm, idx, "was not closed: use local group <close>");
  lunado__groupcancel_close(L, realm, idx, "the group was not closed");
  lunado__groupcancel_log_first(L, realm, idx);
  lua_settop(L, top);
}

/* True if the coroutine of the group at 1 waits in a loop that is closed: as
 * the coroutine's own, its end is no bug then.  The task is older than the
 * group, so its finalizer has not run yet. */
static bool is_loop_closed(lua_State *L) {
  const lunado_task *task;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, GROUP_SCOPE);
  lua_getiuservalue(L, 2, SCOPE_TASK);
  task = lua_touserdata(L, 3);
  lua_settop(L, 1);
  return task != NULL && task->flags & (TASK_WAITING | TASK_QUEUED) &&
         task->loop->closed;
}

/* Logs that the group at 1 was collected while it was open. */
static void report(lua_State *L, lunado_realm *realm) {
  const lunado_group *self = lua_touserdata(L, 1);
  lua_getiuservalue(L, 1, GROUP_PLACE);
  switch (lunado__gc_canary_cause(L, realm, self->sequence)) {
  case LUNADO_GC_COLLECTED:
    log_misuse(L, realm, 1, "was collected while it was open");
    break;
  case LUNADO_GC_UNCERTAIN:
    lua_pushfstring(L, "TaskGroup of %s was collected while it was open",
                    lua_tostring(L, 2));
    lunado__gc_canary_log(L, realm, LUNADO_GC_UNCERTAIN);
    break;
  case LUNADO_GC_CLOSING:
    break;
  }
}

int lunado__groupend_gc(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_group *self = lua_touserdata(L, 1);
  if (!self->open || self->ended) return 0;
  if (!is_loop_closed(L)) report(L, realm);
  lunado__groupcancel_log_first(L, realm, 1);
  return 0;
}

static const luaL_Reg functions[] = {{"group_finish", core_group_finish},
                                     {"group_is_own", core_group_is_own},
                                     {NULL, NULL}};

void lunado__groupend_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}
