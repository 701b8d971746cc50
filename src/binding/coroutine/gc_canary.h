/* SPDX-License-Identifier: MIT */
/*
 * gc_canary.h - tells a finalizer whether its object was collected or the state
 * is being closed.
 */
#ifndef LUNADO_BINDING_COROUTINE_GC_CANARY_H
#define LUNADO_BINDING_COROUTINE_GC_CANARY_H

#include "binding/coroutine/task.h"
#include "binding/state/realm.h"

/* Makes the first canary.  [-0, +0, m] */
void lunado__gc_canary_open(lua_State *L, lunado_realm *realm);

/* Returns why the finalizer of the object with this `sequence` runs.
 * [-0, +0, m] */
lunado_gc_cause lunado__gc_canary_cause(lua_State *L, lunado_realm *realm,
                                        uint32_t sequence);

/* Pops the warning on top and logs it: at once if the object was collected; if
 * the cause is uncertain, when the next collection confirms that it was.
 * [-1, +0, m] */
void lunado__gc_canary_log(lua_State *L, lunado_realm *realm,
                           lunado_gc_cause cause);

#endif
