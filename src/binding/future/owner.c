/* SPDX-License-Identifier: MIT */
/* owner.c - the owners of a Future's waiters, which the Future holds. */
#include "binding/future/owner.h"

#include "binding/error/protect.h"
#include "binding/future/dependent.h"
#include "binding/future/multi.h"
#include "binding/future/sweep.h"
#include "binding/future/ticket.h"
#include "core/multi.h"
#include "core/waititer.h"

/* Gives the Future at idx, which has a waiter, a table of owners.  Does nothing
 * if a finalizer that ran meanwhile has settled the Future or has given it such
 * a table. */
static void make_owner_table(lua_State *L, int idx, lunado_future *future) {
  lua_createtable(L, 0, 2);
  if (future->waiters == NULL ||
      lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) == LUA_TTABLE)
    return;
  lua_rawsetp(L, -2, future->waiters);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
}

bool lunado__owner_hold_behind(lua_State *L, int idx, lunado_future *future,
                               int owner, lunado_waiter *waiter) {
  int top = lua_gettop(L);
  bool first = future->waiters == NULL;
  if (future->kind == LUNADO_KIND_TICKET && lunado__ticket_is_idle(future))
    return lunado__ticket_hold(L, idx, future, owner, waiter);
  if (!first && lunado__sweep_due(L, idx, future)) {
    lunado__sweep(L, lunado__realm_find(L), idx);
    if (!lunado_future_pending(future)) return false;
    first = future->waiters == NULL;
    if (first && !(future->flags & LUNADO_IS_DEPENDENT))
      return lunado__owner_hold(L, idx, future, owner, waiter);
  }
  if (lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE) != LUA_TTABLE) {
    make_owner_table(L, idx, future);
    lua_settop(L, top);
    return lunado_future_pending(future) &&
           lunado__owner_hold(L, idx, future, owner, waiter);
  }
  lua_pushvalue(L, owner);
  lua_rawsetp(L, -2, waiter);
  lua_pop(L, 1);
  if (first) lunado__dependent_hold(L, idx, true);
  return true;
}

bool lunado__owner_wait(lua_State *L, int idx, int owner, lunado_waiter *waiter,
                        lunado_done_cb cb) {
  lunado_future *future = lua_touserdata(L, idx);
  if (!lunado_future_pending(future) ||
      !lunado__owner_hold(L, idx, future, owner, waiter))
    return false;
  lunado_future_wait(future, waiter, cb);
  return true;
}

/* The number of waiters, at most `max`. */
static uint32_t count_waiters(const lunado_future *future, uint32_t max) {
  const lunado_waiter *waiter = future->waiters;
  uint32_t n = 0;
  if (waiter == NULL) return 0;
  do {
    n++;
    waiter = waiter->next;
  } while (n < max && waiter != future->waiters);
  return n;
}

/* (future): replaces its table of owners by one that is only as large as
 * needed. */
static int renew_owners(lua_State *L) {
  lunado_future *future = lua_touserdata(L, 1);
  const lunado_waiter *waiter = future->waiters;
  uint32_t n = count_waiters(future, UINT32_MAX);
  lua_createtable(L, 0, (int)n + 1);
  lua_getiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  lunado__dependent_move(L, 3, 2);
  for (; n > 0; n--, waiter = waiter->next) {
    lua_rawgetp(L, 3, waiter);
    lua_rawsetp(L, 2, waiter);
  }
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, LUNADO_FUTURE_VALUE);
  future->count = 0;
  return 0;
}

/* A Lua table never shrinks by itself.  So while a Future is pending,
 * future->count counts the owners that were removed from its table; from this
 * many on the table may be replaced. */
enum { SHRINK_MIN = 64 };

/* Replaces the table of owners if it is mostly empty.  The waiters are counted
 * only four times while `removed` doubles, so that the amortized cost per
 * removed waiter is constant. */
static void renew_if_empty(lua_State *L, int idx, lunado_future *future) {
  uint32_t removed = ++future->count, last_bit = removed & (0u - removed);
  if (removed < SHRINK_MIN || removed / last_bit >= 8 ||
      count_waiters(future, removed / 2) == removed / 2 ||
      !lua_checkstack(L, 8))
    return;
  lua_pushcfunction(L, renew_owners);
  lua_pushvalue(L, idx);
  (void)lunado__protect_alone(L, 1);
}

/* Releases the owner of a waiter that was removed from the Future at idx; the
 * Future has a table of owners. */
static void drop_owner(lua_State *L, int idx, lunado_future *future,
                       const lunado_waiter *waiter) {
  const lunado_waiter *remaining = future->waiters;
  lua_getiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (remaining != NULL && remaining->next == remaining &&
      !(future->flags & LUNADO_IS_DEPENDENT)) {
    lua_rawgetp(L, -1, remaining);
    lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
    future->count = 0;
  } else {
    lua_pushnil(L);
    lua_rawsetp(L, -2, waiter);
    renew_if_empty(L, idx, future);
  }
  lua_pop(L, 1);
}

/* Releases the owner of the only waiter, which was removed from the Future at
 * idx. */
static void drop_last_owner(lua_State *L, int idx, lunado_future *future,
                            const lunado_waiter *waiter) {
  if (future->flags & LUNADO_IS_DEPENDENT) {
    drop_owner(L, idx, future, waiter);
    lunado__dependent_hold(L, idx, false);
    return;
  }
  lua_pushnil(L);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  if (future->flags & LUNADO_IS_PRIVATE) lunado__multi_dissolve(L, idx);
  if (future->kind == LUNADO_KIND_TICKET)
    lunado__ticket_withdraw(L, idx, future);
}

/* A table of up to this many deferred owners is never replaced. */
enum { DEFERRED_KEPT = 256 };

/* (realm): replaces the table of deferred owners, which is empty, by a new
 * one. */
static int renew_deferred(lua_State *L) {
  lunado_realm *realm = lua_touserdata(L, 1);
  lua_newtable(L);
  lunado__setslot(L, realm, LUNADO_SLOT_DEFERRED);
  realm->futures.deferred_most = 0;
  return 0;
}

/* Counts a deferred owner that was removed.  Replaces a large table once it is
 * empty, because a Lua table never shrinks by itself. */
static void count_undeferred(lua_State *L, lunado_realm *realm) {
  if (--realm->futures.deferred > 0 ||
      realm->futures.deferred_most <= DEFERRED_KEPT || !lua_checkstack(L, 4))
    return;
  lua_pushcfunction(L, renew_deferred);
  lua_pushlightuserdata(L, realm);
  (void)lunado__protect_alone(L, 1);
}

/* Releases the owner of a waiter that was deferred. */
static void drop_deferred_owner(lua_State *L, const lunado_waiter *waiter) {
  lunado_realm *realm = lunado__realm_find(L);
  if (realm->futures.deferred == 0) return;
  lunado__getslot(L, realm, LUNADO_SLOT_DEFERRED);
  if (lua_rawgetp(L, -1, waiter) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawsetp(L, -3, waiter);
    count_undeferred(L, realm);
  }
  lua_pop(L, 2);
}

void lunado__owner_forget(lua_State *L, int idx, lunado_waiter *waiter) {
  lunado_future *future = lua_touserdata(L, idx);
  bool linked = waiter->list == &future->waiters;
  if (waiter->list == NULL) return;
  lunado_waiter_forget(waiter);
  if (!linked) {
    drop_deferred_owner(L, waiter);
  } else if (!lunado_future_pending(future)) {
    return; /* the settling function holds the owners */
  } else if (future->waiters != NULL) {
    drop_owner(L, idx, future, waiter);
  } else {
    drop_last_owner(L, idx, future, waiter);
  }
}

/* If the waiter was deferred, moves its owner from the table of deferred owners
 * to the stack and returns true; else pushes nothing and returns false. */
static bool push_deferred_owner(lua_State *L, lunado_realm *realm,
                                lunado_waiter *waiter) {
  lunado__getslot(L, realm, LUNADO_SLOT_DEFERRED);
  if (lua_rawgetp(L, -1, waiter) == LUA_TNIL) {
    lua_pop(L, 2);
    return false;
  }
  lua_pushnil(L);
  lua_rawsetp(L, -3, waiter);
  lua_remove(L, -2);
  count_undeferred(L, realm);
  return true;
}

void lunado__owner_push(lunado_realm *realm, lunado_waiter *waiter) {
  lua_State *L = realm->futures.frame->L;
  int owners = realm->futures.frame->owners;
  if (realm->futures.deferred > 0 && push_deferred_owner(L, realm, waiter))
    return;
  if (lua_type(L, owners) != LUA_TTABLE)
    lua_pushvalue(L, owners);
  else
    lua_rawgetp(L, owners, waiter);
}
