/* SPDX-License-Identifier: MIT */
/* waititer.h - gen.WaitIterator. */
#ifndef LUNADO_BINDING_FUTURE_WAITITER_H
#define LUNADO_BINDING_FUTURE_WAITITER_H

#include "binding/state/realm.h"

/* Adds WaitIterator to the table on top.  [-0, +0, m] */
void lunado__waititer_functions(lua_State *L);

/* True for a waiter of a WaitIterator, the owner of which is at `owner`; pushes
 * the pending Future that next() has given, nil: none.  [-0, +(0|1), -] */
bool lunado__waititer_next(lua_State *L, const lunado_waiter *waiter,
                           int owner);

#endif
