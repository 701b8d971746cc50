/* SPDX-License-Identifier: MIT */
/* owner.h - the owners of a Future's waiters, which the Future holds. */
#ifndef LUNADO_BINDING_FUTURE_OWNER_H
#define LUNADO_BINDING_FUTURE_OWNER_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* Links a waiter, which is in the userdata at `owner`, to the Future at idx,
 * and makes the Future hold the owner.  Returns false and changes nothing if
 * the Future is done; a finalizer that runs in this call may have settled it.
 * [-0, +0, m] */
bool lunado__owner_wait(lua_State *L, int idx, int owner, lunado_waiter *waiter,
                        lunado_done_cb cb);

/* The part of lunado__owner_hold for a Future that has waiters already, or is a
 * dependent. */
bool lunado__owner_hold_behind(lua_State *L, int idx, lunado_future *future,
                               int owner, lunado_waiter *waiter);

/* Makes the pending Future at idx hold the owner of a waiter, but does not link
 * the waiter; the caller must link it next.  No index may be relative.  Returns
 * false if the Future was settled meanwhile.  [-0, +0, m] */
static inline bool lunado__owner_hold(lua_State *L, int idx,
                                      lunado_future *future, int owner,
                                      lunado_waiter *waiter) {
  if (future->waiters != NULL || future->flags & LUNADO_IS_DEPENDENT)
    return lunado__owner_hold_behind(L, idx, future, owner, waiter);
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  return true;
}

/* Removes a waiter from the Future at idx, which also releases its owner.  If a
 * private multi loses its last waiter, it stops waiting for its children.
 * O(1), except for shrinking a table that a peak of waiters has left large.
 * [-0, +0, -] */
void lunado__owner_forget(lua_State *L, int idx, lunado_waiter *waiter);

/* For a lunado_done_cb: pushes the waiter's owner onto the stack of
 * realm->futures.frame->L.  [-0, +1, -] */
void lunado__owner_push(lunado_realm *realm, lunado_waiter *waiter);

#endif
