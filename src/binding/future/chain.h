/* SPDX-License-Identifier: MIT */
/* chain.h - chain_future: one Future gets the outcome of another. */
#ifndef LUNADO_BINDING_FUTURE_CHAIN_H
#define LUNADO_BINDING_FUTURE_CHAIN_H

#include "binding/state/realm.h"

/* chain_future: b at `to` gets the outcome of a at `from`; no index is
 * relative.
 * [-0, +0, m] */
void lunado__chain(lua_State *L, lunado_realm *realm, int from, int to);

/* True for a waiter of lunado__chain, whose owner is at `owner`; pushes what
 * gets the outcome, nil where that is gone.  [-0, +(0|1), -] */
bool lunado__chain_target(lua_State *L, const lunado_waiter *waiter, int owner);

#endif
