/* SPDX-License-Identifier: MIT */
/* waititer.h - gen.WaitIterator: Futures in the order in which they are
 * done. */
#ifndef LUNADO_BINDING_FUTURE_WAITITER_H
#define LUNADO_BINDING_FUTURE_WAITITER_H

#include "binding/state/realm.h"

/* Adds WaitIterator to the table on top.  [-0, +0, m] */
void lunado__waititer_functions(lua_State *L);

/* If the waiter, whose owner is at `owner`, is one of a WaitIterator's, pushes
 * the pending Future that next() has returned, or nil, and returns true.
 * [-0, +(0|1), -] */
bool lunado__waititer_next(lua_State *L, const lunado_waiter *waiter,
                           int owner);

#endif
