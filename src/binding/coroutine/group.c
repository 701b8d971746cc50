/* SPDX-License-Identifier: MIT */
/*
 * group.c - TaskGroups: opening them, spawning, and their methods.
 */
#include "binding/coroutine/group.h"

#include "binding/coroutine/cancel.h"
#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/groupcancel.h"
#include "binding/coroutine/groupend.h"
#include "binding/coroutine/member.h"
#include "binding/coroutine/notice.h"
#include "binding/coroutine/scope.h"
#include "binding/coroutine/walk.h"
#include "binding/error/failure.h"
#include "binding/error/quiet.h"
#include "binding/future/future.h"
#include "binding/future/settle.h"
#include "binding/state/argument.h"
#include "binding/state/class.h"
#include "binding/state/naming.h"

lunado_group *lunado__group_check(lua_State *L, const lunado_realm *realm) {
  lunado_group *self = lunado__toclass(L, 1, realm->types.group);
  if (self == NULL) luaL_typeerror(L, 1, "TaskGroup");
  return self;
}

/* --- spawning ------------------------------------------------------------- */

/* Pushes the Future of a function that was not called, since the group is
 * cancelled. */
static int refuse(lua_State *L, lunado_realm *realm) {
  lua_settop(L, 1);
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
  lua_getiuservalue(L, 1, GROUP_NOTICE);
  lunado__settle_copy(L, realm, 3, 2);
  lua_settop(L, 2);
  return 1;
}

/* group:spawn(fn, ...) → the Future of fn(...), called as a coroutine of the
 * group.  In a cancelled group fn is not called, and the Future has failed. */
static int group_spawn(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_group *self = lunado__group_check(L, realm);
  lunado__checkcallable(L, 2);
  if (self->ended) return luaL_error(L, "the TaskGroup has ended");
  if (self->cancelled) return refuse(L, realm);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  (void)lunado__member_push(L, 1);
  lunado__member_add(L, 1, lua_gettop(L));
  lua_insert(L, 2);
  lunado__coroutine_spawn_any(L, realm, lua_gettop(L) - 3);
  self->spawned++;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 2, MEMBER_FUTURE);
  if (lunado_future_pending(lua_touserdata(L, 3))) lunado__member_wait(L, self);
  if (!lunado_future_pending(lua_touserdata(L, 3))) {
    lunado__member_remove(L, 1, 2);
    lunado__member_take_outcome(L, realm, 1, 2);
  } else if (self->cancelled) {
    lua_getiuservalue(L, 1, GROUP_NOTICE);
    if (lua_getiuservalue(L, 3, LUNADO_FUTURE_TASK) != LUA_TNIL)
      lunado__cancel_task(L, realm, 5, 4);
  }
  lua_settop(L, 3);
  return 1;
}

/* --- methods -------------------------------------------------------------- */

/* group:cancel([reason]): cancels the children; in tasks.group, the body as
 * well. */
static int group_cancel(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  lunado_group *self = lunado__group_check(L, realm);
  lua_settop(L, 2);
  if (self->ended) return 0;
  if (!self->cancelled) {
    lunado__notice_push(L, realm, 2, 1);
    lunado__groupcancel_set_notice(L, 1);
  }
  if (self->owns_body) lunado__groupcancel_body(L, realm, 1);
  lunado__walk_group(L, realm, 1);
  return 0;
}

/* group:wait() → a Future that is done when all children have ended that were
 * spawned before this call. */
static int group_wait(lua_State *L) {
  lunado_realm *realm = lunado__realm_upvalue(L);
  const lunado_group *self = lunado__group_check(L, realm);
  lua_settop(L, 1);
  (void)lunado__future_new(L, realm, LUNADO_KIND_PLAIN, sizeof(lunado_future),
                           1);
  lunado__member_push_epoch(L);
  if (self->count == 0) {
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lunado__member_settle(L, realm);
    return 1;
  }
  lua_getiuservalue(L, 1, GROUP_EPOCH);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 4, EPOCH_FUTURE);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, EPOCH_NEXT);
  lua_settop(L, 3);
  lua_setiuservalue(L, 1, GROUP_EPOCH);
  return 1;
}

/* group:errors() → a list of the errors of the body and the children, in
 * order. */
static int group_errors(lua_State *L) {
  (void)lunado__group_check(L, lunado__realm_upvalue(L));
  lua_settop(L, 1);
  lua_newtable(L);
  lua_getiuservalue(L, 1, GROUP_ERROR);
  for (lua_Integer i = 1; !lua_isnil(L, 3); i++) {
    lua_getiuservalue(L, 3, MEMBER_ERROR);
    if (lunado__failure_at(L, lunado__realm_upvalue(L), -1) != NULL)
      lua_getiuservalue(L, -1, LUNADO_FAILURE_ERROR);
    lua_rawseti(L, 2, i);
    lua_getiuservalue(L, 3, MEMBER_NEXT_ERROR);
    lua_replace(L, 3);
    lua_settop(L, 3);
  }
  lua_settop(L, 2);
  return 1;
}

static int group__tostring(lua_State *L) {
  const lunado_group *self = lunado__group_check(L, lunado__realm_upvalue(L));
  if (self->ended)
    lua_pushfstring(L, "TaskGroup: %p (ended)", self);
  else
    lua_pushfstring(L, "TaskGroup: %p (%I running)", self, self->count);
  return 1;
}

/* --- opening -------------------------------------------------------------- */

/* Pushes a new group without a scope. */
static lunado_group *push_group(lua_State *L, lunado_realm *realm, int quiet) {
  lunado_group *self = lua_newuserdatauv(L, sizeof *self, GROUP_VALUES);
  int idx = lua_gettop(L);
  *self = (lunado_group){.sequence = ++realm->collector.sequence};
  lunado__getslot(L, realm, LUNADO_SLOT_GROUP);
  lua_setmetatable(L, idx);
  lua_newtable(L);
  lua_setiuservalue(L, idx, GROUP_MEMBERS);
  ((lunado_future *)lunado__future_new(L, realm, LUNADO_KIND_PLAIN,
                                       sizeof(lunado_future), 1))
      ->flags |= LUNADO_IS_KEPT;
  lua_setiuservalue(L, idx, GROUP_JOIN);
  (void)lunado__member_push(L, idx);
  lua_setiuservalue(L, idx, GROUP_BODY);
  lunado__member_push_epoch(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, idx, GROUP_OLDEST);
  lua_setiuservalue(L, idx, GROUP_EPOCH);
  lua_pushvalue(L, quiet);
  lua_setiuservalue(L, idx, GROUP_QUIET);
  return self;
}

/* Returns an open group with the quiet_exceptions on top. */
static lunado_group *open_group(lua_State *L, lunado_realm *realm) {
  int quiet = lua_gettop(L), idx = quiet + 1;
  lunado_group *self = push_group(L, realm, quiet);
  lunado__naming_pushplace(L, realm, L);
  lua_setiuservalue(L, idx, GROUP_PLACE);
  lunado__scope_push_group(L, realm, idx);
  lua_setiuservalue(L, idx, GROUP_SCOPE);
  self->open = true;
  return self;
}

/* TaskGroup([opts]) → an open group.  opts.quiet_exceptions are the errors that
 * are not logged when they come later than another. */
static int tasks_task_group(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_pushnil(L);
  } else {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "quiet_exceptions");
    lua_insert(L, 1);
    lunado__quiet_check(L, 1);
    lua_settop(L, 1);
  }
  (void)open_group(L, lunado__realm_upvalue(L));
  return 1;
}

/* body_group() → an open group that owns its body. */
static int core_body_group(lua_State *L) {
  lua_settop(L, 0);
  lua_pushnil(L);
  open_group(L, lunado__realm_upvalue(L))->owns_body = true;
  return 1;
}

static const luaL_Reg methods[] = {{"cancel", group_cancel},
                                   {"errors", group_errors},
                                   {"spawn", group_spawn},
                                   {"wait", group_wait},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", lunado__groupend_close},
                                       {"__gc", lunado__groupend_gc},
                                       {"__tostring", group__tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"TaskGroup", tasks_task_group},
                                     {"body_group", core_body_group},
                                     {NULL, NULL}};

void lunado__group_functions(lua_State *L) {
  lunado__setfunctions(L, functions);
}

void lunado__group_open(lua_State *L, lunado_realm *realm) {
  realm->types.group = lunado__class_new_in_slot(
      L, realm, LUNADO_SLOT_GROUP, "TaskGroup", methods, metamethods);
}
