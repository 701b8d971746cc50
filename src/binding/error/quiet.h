/* SPDX-License-Identifier: MIT */
/* quiet.h - quiet_exceptions: the errors that are not logged. */
#ifndef LUNADO_BINDING_ERROR_QUIET_H
#define LUNADO_BINDING_ERROR_QUIET_H

#include "binding/state/realm.h"

/* True if the quiet_exceptions at `quiet` (nil: none) cover the error at `err`.
 * If a rule raises an error itself, that error is logged, and the error at
 * `err` counts as not covered, so that it is not lost.  [-0, +0, m] */
bool lunado__quiet_covers(lua_State *L, int err, int quiet);

/* Raises "bad argument …" unless argument `arg` is valid as quiet_exceptions.
 * [-0, +0, v] */
void lunado__quiet_check(lua_State *L, int arg);

#endif
