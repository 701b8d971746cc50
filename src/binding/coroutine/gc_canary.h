/* SPDX-License-Identifier: MIT */
/* gc_canary.h - coroutines that are collected while they wait. */
#ifndef LUNADO_BINDING_COROUTINE_GC_CANARY_H
#define LUNADO_BINDING_COROUTINE_GC_CANARY_H

#include "binding/coroutine/task.h"
#include "binding/state/realm.h"

void lunado__gc_canary_open(lua_State *L, lunado_realm *realm);

/* Why the finalizer runs of an object with this `sequence`.  [-0, +0, m] */
lunado_gc_cause lunado__gc_canary_cause(lua_State *L, lunado_realm *realm,
                                        uint32_t sequence);

/* Logs the warning on top, now or when the cause is certain, and pops it.
 * [-1, +0, m] */
void lunado__gc_canary_log(lua_State *L, lunado_realm *realm,
                           lunado_gc_cause cause);

#endif
