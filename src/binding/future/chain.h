/* SPDX-License-Identifier: MIT */
/* chain.h - chain_future: one Future gets the outcome of another. */
#ifndef LUNADO_BINDING_FUTURE_CHAIN_H
#define LUNADO_BINDING_FUTURE_CHAIN_H

#include "binding/state/realm.h"

/* Makes the Future at `to` get the outcome of the Future at `from`, unless the
 * former is done before.  No index may be relative.  [-0, +0, m] */
void lunado__chain(lua_State *L, lunado_realm *realm, int from, int to);

/* If the waiter, whose owner is at `owner`, is one of lunado__chain's, pushes
 * the Future that gets the outcome, or nil if it was collected, and returns
 * true.  [-0, +(0|1), -] */
bool lunado__chain_target(lua_State *L, const lunado_waiter *waiter, int owner);

#endif
