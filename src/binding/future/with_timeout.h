/* SPDX-License-Identifier: MIT */
/* with_timeout.h - gen.with_timeout. */
#ifndef LUNADO_BINDING_FUTURE_WITH_TIMEOUT_H
#define LUNADO_BINDING_FUTURE_WITH_TIMEOUT_H

#include "binding/state/realm.h"

/* Adds gen.with_timeout to the table on top. */
void lunado__with_timeout_functions(lua_State *L);

/* The with_timeout at idx, which is settled, lets its timer go, and what it
 * waits for.  idx is not relative.  [-0, +0, -] */
void lunado__with_timeout_stop(lua_State *L, lunado_realm *realm, int idx);

/* The timer of a Future of kind LUNADO_KIND_TIMEOUT. */
const lunado_timer *lunado__with_timeout_timer(const lunado_future *future);

/* Pushes what the Future at idx, which is pending and of kind
 * LUNADO_KIND_TIMEOUT, waits for.  [-0, +1, -] */
void lunado__with_timeout_child(lua_State *L, int idx);

#endif
