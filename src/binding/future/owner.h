/* SPDX-License-Identifier: MIT */
/* owner.h - who holds the waiters of a Future. */
#ifndef LUNADO_BINDING_FUTURE_OWNER_H
#define LUNADO_BINDING_FUTURE_OWNER_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* Links a waiter of the object at `owner` to the Future at idx, and has the
 * Future hold the owner.  Returns false, and has changed nothing, where it is
 * not pending, or not any more: a finalizer may have settled it meanwhile.
 * [-0, +0, m] */
bool lunado__owner_wait(lua_State *L, int idx, int owner, lunado_waiter *waiter,
                        lunado_done_cb cb);

/* lunado__owner_hold where the Future has waiters already, or is a dependent.
 */
bool lunado__owner_hold_behind(lua_State *L, int idx, lunado_future *future,
                               int owner, lunado_waiter *waiter);

/* Only has the pending Future at idx hold the owner of a waiter, which the
 * caller links next; no index is relative.  Returns false where it is not
 * pending any more.  [-0, +0, m] */
static inline bool lunado__owner_hold(lua_State *L, int idx,
                                      lunado_future *future, int owner,
                                      lunado_waiter *waiter) {
  if (future->waiters != NULL || future->flags & LUNADO_IS_DEPENDENT)
    return lunado__owner_hold_behind(L, idx, future, owner, waiter);
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, idx, LUNADO_FUTURE_VALUE);
  return true;
}

/* Takes a waiter back from the Future at idx, which then holds nothing of it.
 * A private multi without waiters leaves its children, too.
 * O(1), but for what a peak of waiters has left.  [-0, +0, -] */
void lunado__owner_forget(lua_State *L, int idx, lunado_waiter *waiter);

/* In a lunado_done_cb: pushes the waiter's owner onto the stack of
 * realm->futures.frame->L.  [-0, +1, -] */
void lunado__owner_push(lunado_realm *realm, lunado_waiter *waiter);

#endif
