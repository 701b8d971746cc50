/* SPDX-License-Identifier: MIT */
/* sweep.h - removing coroutines that were closed while they waited for a
 * Future. */
#ifndef LUNADO_BINDING_FUTURE_SWEEP_H
#define LUNADO_BINDING_FUTURE_SWEEP_H

#include "binding/state/realm.h"

/* To be called before a waiter is added to the pending Future at idx, which has
 * waiters: true if these should be swept now.  [-0, +0, m] */
bool lunado__sweep_due(lua_State *L, int idx, const lunado_future *future);

/* Removes the closed coroutines among the waiters of the pending Future at idx,
 * and of Futures that wait for it.  Their tasks are made ready and end with an
 * error, as they would once the Future is settled.  A finalizer may settle the
 * Future meanwhile.  [-0, +0, m] */
void lunado__sweep(lua_State *L, lunado_realm *realm, int idx);

#endif
