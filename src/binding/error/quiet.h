/* SPDX-License-Identifier: MIT */
/* quiet.h - quiet_exceptions: which errors are not logged. */
#ifndef LUNADO_BINDING_ERROR_QUIET_H
#define LUNADO_BINDING_ERROR_QUIET_H

#include "binding/state/realm.h"

/* True if quiet_exceptions at `quiet` (nil: none) covers the error at `err`.
 * Where they raise an error, that is logged, and the other is not covered: it
 * is rather told than lost.  [-0, +0, m] */
bool lunado__quiet_covers(lua_State *L, int err, int quiet);

/* Raises "bad argument …" unless argument `arg` can be quiet_exceptions.
 * [-0, +0, v] */
void lunado__quiet_check(lua_State *L, int arg);

#endif
