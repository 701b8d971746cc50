/* SPDX-License-Identifier: MIT */
/*
 * member.c - the members of a group, and what happens when a child ends.
 *
 * The end of a child needs no memory: everything that is recorded then is an
 * object that was made when the child was spawned, or the group opened.
 *
 * Invariants:
 *   - group->count is the number of members that wait for their Futures; these
 *     are in the table of members, and their Futures hold them;
 *   - an epoch counts the waiting members that were spawned in it; those for
 *     which a wait() asks end before its Future is settled.
 */
#include "binding/coroutine/member.h"

#include "binding/coroutine/groupcancel.h"
#include "binding/error/failure.h"
#include "binding/future/future.h"
#include "binding/future/owner.h"
#include "binding/future/settle.h"

/* --- the set of members --------------------------------------------------- */

lunado_member *lunado__member_push(lua_State *L, int idx) {
  lunado_member *self = lua_newuserdatauv(L, sizeof *self, MEMBER_VALUES);
  self->waiter.list = NULL;
  self->number = 0;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, MEMBER_GROUP);
  return self;
}

void lunado__member_add(lua_State *L, int idx, int m) {
  lua_getiuservalue(L, idx, GROUP_MEMBERS);
  lua_pushvalue(L, m);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void lunado__member_remove(lua_State *L, int idx, int m) {
  lua_getiuservalue(L, idx, GROUP_MEMBERS);
  lua_pushvalue(L, m);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void lunado__member_push_epoch(lua_State *L) {
  lunado_epoch *self = lua_newuserdatauv(L, sizeof *self, EPOCH_VALUES);
  self->left = 0;
}

/* --- the end of a child --------------------------------------------------- */

/* True if the failed Future on top, whose Failure is at `failure`, is that of a
 * child that was cancelled: it has ended quietly. */
static bool ended_quietly(lua_State *L, lunado_realm *realm, int future,
                          int failure) {
  const lunado_future *self = lua_touserdata(L, future);
  return self->flags & LUNADO_WAS_CANCELLED &&
         lunado__failure_is_cancelled(L, realm, failure);
}

void lunado__member_take_outcome(lua_State *L, lunado_realm *realm, int idx,
                                 int m) {
  int future = lua_gettop(L) + 1, failure = future + 1;
  lua_getiuservalue(L, m, MEMBER_FUTURE);
  if (((lunado_future *)lua_touserdata(L, future))->state == LUNADO_FAILED) {
    lua_getiuservalue(L, future, LUNADO_FUTURE_VALUE);
    if (!ended_quietly(L, realm, future, failure))
      lunado__groupcancel_child_failed(L, realm, idx, m);
  }
  lua_settop(L, future - 1);
}

void lunado__member_settle(lua_State *L, lunado_realm *realm) {
  lunado_future *future = lua_touserdata(L, -1);
  if (lunado_future_pending(future)) {
    future->count = 0;
    lua_pushnil(L);
    lunado__settle(L, realm, lua_gettop(L) - 1, LUNADO_DONE);
  }
  lua_pop(L, 1);
}

/* Ends the epochs all of whose members have ended. */
static void end_epochs(lua_State *L, lunado_realm *realm, int idx) {
  int oldest = lua_gettop(L) + 1;
  for (;;) {
    lua_getiuservalue(L, idx, GROUP_OLDEST);
    if (((lunado_epoch *)lua_touserdata(L, oldest))->left > 0 ||
        lua_getiuservalue(L, oldest, EPOCH_FUTURE) == LUA_TNIL)
      break;
    lua_getiuservalue(L, oldest, EPOCH_NEXT);
    lua_setiuservalue(L, idx, GROUP_OLDEST);
    lunado__member_settle(L, realm);
    lua_settop(L, oldest - 1);
  }
  lua_settop(L, oldest - 1);
}

/* Ends the wait of the block's end if this was the last child. */
static void end_join(lua_State *L, lunado_realm *realm, int idx) {
  lunado_group *self = lua_touserdata(L, idx);
  if (self->count > 0 || !self->joining) return;
  self->ended = true;
  lua_getiuservalue(L, idx, GROUP_JOIN);
  lunado__member_settle(L, realm);
}

static void on_child(lunado_settler *settler, lunado_waiter *waiter,
                     lunado_future *future) {
  lunado_realm *realm = lunado__settle_realm(settler);
  lua_State *L = realm->futures.frame->L;
  int m = lua_gettop(L) + 1, idx = m + 1;
  (void)future;
  lunado__owner_push(realm, waiter);
  lua_getiuservalue(L, m, MEMBER_GROUP);
  lunado__member_remove(L, idx, m);
  lua_getiuservalue(L, m, MEMBER_EPOCH);
  ((lunado_epoch *)lua_touserdata(L, -1))->left--;
  lua_settop(L, idx);
  ((lunado_group *)lua_touserdata(L, idx))->count--;
  lunado__member_take_outcome(L, realm, idx, m);
  end_epochs(L, realm, idx);
  end_join(L, realm, idx);
  lua_settop(L, m - 1);
}

bool lunado__member_owns(const lunado_waiter *waiter) {
  return waiter->cb == on_child;
}

/* --- waiting for a child -------------------------------------------------- */

void lunado__member_wait(lua_State *L, lunado_group *self) {
  lunado_member *m = lua_touserdata(L, 2);
  if (!lunado__owner_wait(L, 3, 2, &m->waiter, on_child)) return;
  lua_getiuservalue(L, 1, GROUP_EPOCH);
  ((lunado_epoch *)lua_touserdata(L, -1))->left++;
  lua_setiuservalue(L, 2, MEMBER_EPOCH);
  self->count++;
  m->number = self->spawned;
}
