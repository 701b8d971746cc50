/* SPDX-License-Identifier: MIT */
/* sleep.h - gen.sleep: Futures that a timer settles. */
#ifndef LUNADO_BINDING_FUTURE_SLEEP_H
#define LUNADO_BINDING_FUTURE_SLEEP_H

#include "binding/state/realm.h"

/* Adds gen.sleep to the table on top. */
void lunado__sleep_functions(lua_State *L);

/* Stops the timer of the sleep at idx if it is running; the loop then releases
 * the Future.  [-0, +0, -] */
void lunado__sleep_stop(lua_State *L, int idx);

/* The timer of a Future of kind LUNADO_KIND_SLEEP. */
const lunado_timer *lunado__sleep_timer(const lunado_future *future);

#endif
