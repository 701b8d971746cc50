/* SPDX-License-Identifier: MIT */
/* deadline.h - deadlines as Lua gives them. */
#ifndef LUNADO_BINDING_LOOP_DEADLINE_H
#define LUNADO_BINDING_LOOP_DEADLINE_H

#include "binding/state/realm.h"

/* Argument `arg` as a deadline on the loop's time: a number is absolute, a
 * table of seconds, milliseconds, minutes, hours and days (util.timedelta
 * makes one) relative.  [-0, +0, e] */
double lunado__deadline_check(lua_State *L, lunado_ioloop *loop, int arg);

#endif
