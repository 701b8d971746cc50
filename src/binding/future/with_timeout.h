/* SPDX-License-Identifier: MIT */
/* with_timeout.h - gen.with_timeout: a Future with a deadline. */
#ifndef LUNADO_BINDING_FUTURE_WITH_TIMEOUT_H
#define LUNADO_BINDING_FUTURE_WITH_TIMEOUT_H

#include "binding/state/realm.h"

/* Adds gen.with_timeout to the table on top. */
void lunado__with_timeout_functions(lua_State *L);

/* To be called when other code has settled the with_timeout at idx: stops its
 * timer and stops waiting for its child.  The index must not be relative.
 * [-0, +0, -] */
void lunado__with_timeout_stop(lua_State *L, lunado_realm *realm, int idx);

/* The timer of a Future of kind LUNADO_KIND_TIMEOUT. */
const lunado_timer *lunado__with_timeout_timer(const lunado_future *future);

/* Pushes the child for which the pending Future at idx, of kind
 * LUNADO_KIND_TIMEOUT, waits.  [-0, +1, -] */
void lunado__with_timeout_child(lua_State *L, int idx);

#endif
