/* SPDX-License-Identifier: MIT */
/*
 * groupcancel.c - cancelling a group, on demand or because of an error.
 *
 * Invariant: the notice is set before a child is cancelled, and then no child
 * is spawned: so the table of members does not grow while it is traversed.
 */
#include "binding/coroutine/groupcancel.h"

#include "binding/coroutine/cancel.h"
#include "binding/coroutine/member.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/walk.h"
#include "binding/error/exception.h"
#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/state/class.h"
#include "binding/state/log.h"
#include "binding/state/text.h"

/* --- cancelling ----------------------------------------------------------- */

bool lunado__groupcancel_has_stack(lua_State *L, lunado_realm *realm) {
  if (lua_checkstack(L, LUA_MINSTACK)) return true;
  lunado__log_text(L, realm,
                   "tasks of a group were not cancelled: not enough memory");
  return false;
}

void lunado__groupcancel_set_notice(lua_State *L, int idx) {
  lunado_group *self = lua_touserdata(L, idx);
  if (self->cancelled) {
    lua_pop(L, 1);
    return;
  }
  self->cancelled = true;
  lua_setiuservalue(L, idx, GROUP_NOTICE);
}

/* As lunado__groupcancel_set_notice, with a new notice. */
static void set_new_notice(lua_State *L, lunado_realm *realm, int idx,
                           const char *reason) {
  if (((lunado_group *)lua_touserdata(L, idx))->cancelled) return;
  lunado__notice_push_protected(L, realm, reason);
  lunado__groupcancel_set_notice(L, idx);
}

void lunado__groupcancel_body(lua_State *L, lunado_realm *realm, int idx) {
  int scope = lua_gettop(L) + 1;
  lua_getiuservalue(L, idx, GROUP_SCOPE);
  lua_getiuservalue(L, idx, GROUP_NOTICE);
  lunado__scope_cancel(L, realm, scope);
  lua_settop(L, scope - 1);
}

/* Cancels the body and the children, because an error ends the group. */
static void fail(lua_State *L, lunado_realm *realm, int idx,
                 const char *reason) {
  if (!lunado__groupcancel_has_stack(L, realm)) return;
  set_new_notice(L, realm, idx, reason);
  lunado__groupcancel_body(L, realm, idx);
  lunado__walk_group(L, realm, idx);
}

/* --- errors --------------------------------------------------------------- */

/* Appends the member at m, whose error is on top, to the errors of the group at
 * idx, and pops the error.  Returns whether it is the first. */
static bool add_error(lua_State *L, int idx, int m) {
  bool first;
  lua_setiuservalue(L, m, MEMBER_ERROR);
  first = lua_getiuservalue(L, idx, GROUP_LAST_ERROR) == LUA_TNIL;
  lua_pushvalue(L, m);
  if (first)
    lua_setiuservalue(L, idx, GROUP_ERROR);
  else
    lua_setiuservalue(L, -2, MEMBER_NEXT_ERROR);
  lua_pop(L, 1);
  lua_pushvalue(L, m);
  lua_setiuservalue(L, idx, GROUP_LAST_ERROR);
  return first;
}

/* (Failure, quiet_exceptions): logs the error of a child. */
static int log_child(lua_State *L) {
  lunado__cancel_log(L, lunado__realm_find(L), "Error in a TaskGroup: ", 1, 2);
  return 0;
}

/* (error, quiet_exceptions): logs the error of the body. */
static int log_body(lua_State *L) {
  lunado_realm *realm = lunado__realm_find(L);
  if (lunado__exception_is(L, realm, 1, LUNADO_E_CANCELLED) ||
      lunado__quiet_covers(L, 1, 2))
    return 0;
  lua_pushliteral(L, "Error in the body of a TaskGroup: ");
  lunado__text_push(L, 1);
  lua_concat(L, 2);
  lunado__log(L, realm, LUNADO_LOG_ERROR);
  return 0;
}

/* Calls one of these with the value on top, and pops it. */
static void log_later(lua_State *L, lunado_realm *realm, int idx,
                      lua_CFunction function) {
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushcfunction(L, function);
  lua_insert(L, -2);
  lua_getiuservalue(L, idx, GROUP_QUIET);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK)
    lunado__log_value(L, realm,
                      "Error in a TaskGroup; its text cannot be "
                      "made: ");
}

void lunado__groupcancel_child_failed(lua_State *L, lunado_realm *realm,
                                      int idx, int m) {
  bool ended = ((lunado_group *)lua_touserdata(L, idx))->ended;
  lunado__failure_observe(L, -1);
  if (!add_error(L, idx, m) || ended) {
    log_later(L, realm, idx, log_child);
    return;
  }
  lua_setiuservalue(L, idx, GROUP_FIRST);
  fail(L, realm, idx, "another task of the group has failed");
}

void lunado__groupcancel_log_first(lua_State *L, lunado_realm *realm, int idx) {
  if (lua_getiuservalue(L, idx, GROUP_FIRST) == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  log_later(L, realm, idx, log_child);
  lua_pushnil(L);
  lua_setiuservalue(L, idx, GROUP_FIRST);
}

void lunado__groupcancel_body_failed(lua_State *L, lunado_realm *realm,
                                     int idx) {
  int err = lua_gettop(L);
  lua_getiuservalue(L, idx, GROUP_BODY);
  lua_pushvalue(L, err);
  if (!add_error(L, idx, err + 1)) {
    lua_pushvalue(L, err);
    log_later(L, realm, idx, log_body);
  }
  fail(L, realm, idx, "the body of the group has failed");
  lua_settop(L, err - 1);
}

void lunado__groupcancel_close(lua_State *L, lunado_realm *realm, int idx,
                               const char *reason) {
  set_new_notice(L, realm, idx, reason);
  lunado__walk_group(L, realm, idx);
}
