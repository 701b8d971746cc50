/* SPDX-License-Identifier: MIT */
/* inspect.h - who is suspended where, and what for: for lunado.debug. */
#ifndef LUNADO_BINDING_DEBUG_INSPECT_H
#define LUNADO_BINDING_DEBUG_INSPECT_H

#include "binding/state/binding.h"

/* Adds the functions for lunado.debug to the table on top. */
void lunado__inspect_functions(lua_State *L);

/* Notes in SLOT_TRACKED when the task at t, which has a loop, was suspended
 * first.  To be called while realm->tracking.  Runs no finalizer.
 * [-0, +0, m] */
void lunado__task_track(lua_State *L, const lunado_realm *realm, int t);

#endif
