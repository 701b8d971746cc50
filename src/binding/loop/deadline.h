/* SPDX-License-Identifier: MIT */
/* deadline.h - deadlines as arguments from Lua. */
#ifndef LUNADO_BINDING_LOOP_DEADLINE_H
#define LUNADO_BINDING_LOOP_DEADLINE_H

#include "binding/state/realm.h"

/* Returns argument `arg` as a deadline in the loop's time.  A number is an
 * absolute time in seconds.  A table is relative to now: the sum of its fields
 * seconds, milliseconds, microseconds, minutes, hours, days and weeks
 * (util.timedelta makes one).  Raises for other values.  [-0, +0, e] */
double lunado__deadline_check(lua_State *L, lunado_ioloop *loop, int arg);

#endif
