/* SPDX-License-Identifier: MIT */
/* link.h - functions to be called when a Future is done. */
#ifndef LUNADO_BINDING_FUTURE_LINK_H
#define LUNADO_BINDING_FUTURE_LINK_H

#include "binding/state/realm.h"

/* True for the waiter of add_done_callback. */
bool lunado__link_is_done_callback(const lunado_waiter *waiter);

/* Has function(future) called on the loop's next turn after the Future at idx
 * is done (loop NULL: at once when it is done, with errors logged).  The
 * function is on top.  [-1, +0, m] */
void lunado__link_on_done(lua_State *L, lunado_realm *realm, int idx,
                          lunado_ioloop *loop);

/* Has the error of the Future at idx, should it fail, reported as one of the
 * callback at `callback`, which returned it.  [-0, +0, m] */
void lunado__link_discard(lua_State *L, lunado_realm *realm,
                          lunado_ioloop *loop, int idx, int callback);

/* Appends to the list at `list` the pending Futures that get the outcome of the
 * pending one at idx, or may: by lunado__chain and WaitIterators.
 * [-0, +0, m] */
void lunado__link_push_dependents(lua_State *L, lunado_realm *realm, int idx,
                                  int list);

#endif
