/* SPDX-License-Identifier: MIT */
/* sweep.h - coroutines that were closed while they waited for a Future. */
#ifndef LUNADO_BINDING_FUTURE_SWEEP_H
#define LUNADO_BINDING_FUTURE_SWEEP_H

#include "binding/state/realm.h"

/* One more is to wait for the pending Future at idx, which has waiters.  True
 * where those are to be looked at.  [-0, +0, m] */
bool lunado__sweep_due(lua_State *L, int idx, const lunado_future *future);

/* Ends the waits for the pending Future at idx, and for others that wait for
 * it, of coroutines that were closed: they are made ready, and end with an
 * error, as they would once the Future is settled.  Finalizers may settle it
 * meanwhile.
 * [-0, +0, m] */
void lunado__sweep(lua_State *L, lunado_realm *realm, int idx);

#endif
