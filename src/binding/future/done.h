/* SPDX-License-Identifier: MIT */
/* done.h - functions that are called when a Future is done. */
#ifndef LUNADO_BINDING_FUTURE_DONE_H
#define LUNADO_BINDING_FUTURE_DONE_H

#include "binding/future/future.h"
#include "binding/state/realm.h"

/* True for a waiter of add_done_callback. */
bool lunado__done_is_callback(const lunado_waiter *waiter);

/* Calls function(future), the function on top, on the loop's next turn after
 * the Future at idx is done.  If loop is NULL, calls it as soon as the Future
 * is done and logs its errors.  [-1, +0, m] */
void lunado__done_call(lua_State *L, lunado_realm *realm, int idx,
                       lunado_ioloop *loop);

/* For a Future at idx that the callback at `callback` has returned: if the
 * Future fails, reports its error as an error of the callback.  [-0, +0, m] */
void lunado__done_discard(lua_State *L, lunado_realm *realm,
                          lunado_ioloop *loop, int idx, int callback);

/* The same for the Future of a coroutine that was started just now, to which
 * nothing else refers: it needs no memory while it is pending.  [-0, +0, -] */
void lunado__done_discard_coroutine(lua_State *L, lunado_realm *realm,
                                    lunado_ioloop *loop, int idx, int callback);

/* True for the Future of such a coroutine that has not ended yet. */
static inline bool lunado__done_is_discarded(const lunado_future *future) {
  return future->flags & LUNADO_IS_DISCARDED && lunado_future_pending(future) &&
         future->waiters == NULL;
}

/* Fails that Future, which is at idx, with the Failure on top, and reports the
 * error.  [-1, +0, -] */
void lunado__done_fail_discarded(lua_State *L, lunado_realm *realm, int idx);

#endif
