/* SPDX-License-Identifier: MIT */
/* timeout.h - deadlines as Lua gives them, and what waits for them. */
#ifndef LUNADO_BINDING_LOOP_TIMEOUT_H
#define LUNADO_BINDING_LOOP_TIMEOUT_H

#include "binding/state/binding.h"

/* Argument `arg` as a deadline on the loop's time: a number is absolute, a
 * table of seconds, milliseconds, minutes, hours and days (util.timedelta
 * makes one) relative.  [-0, +0, e] */
double lunado__deadline_check(lua_State *L, lunado_ioloop *loop, int arg);

/* Starts a timer of the object on top of the stack, which the loop then
 * holds; *anchor is the place.  Raises where it cannot, and then nothing has
 * changed.  [-0, +0, m] */
void lunado__anchor_starttimer(lua_State *L, lunado_ioloop *loop,
                               lunado_timer *timer, double when,
                               uint32_t *anchor);

/* Stops a timer, if it runs, and lets its object go.  [-0, +0, -] */
void lunado__anchor_stoptimer(lua_State *L, lunado_ioloop *loop,
                              lunado_timer *timer, uint32_t anchor);

/* Stops the timeout of the loop that has the handle; false where there is none.
 * *when is its deadline.  [-0, +0, -] */
bool lunado__timeout_take(lua_State *L, lunado_ioloop *loop, lua_Integer handle,
                          double *when);

/* Makes the loop's timeouts, of which there are none. */
void lunado__timeout_init(lunado_ioloop *loop);

/* Adds the methods of IOLoop about timeouts to the table on top. */
void lunado__timeout_methods(lua_State *L);

/* Adds gen.sleep to the table on top. */
void lunado__sleep_functions(lua_State *L);

/* Adds gen.with_timeout to the table on top. */
void lunado__with_timeout_functions(lua_State *L);

/* Stops the timer of the sleep at idx.  [-0, +0, -] */
void lunado__sleep_stop(lua_State *L, int idx);

/* The with_timeout at idx, which is settled, lets its timer go, and what it
 * waits for.  idx is not relative.  [-0, +0, -] */
void lunado__with_timeout_stop(lua_State *L, lunado_realm *realm, int idx);

/* The timer of a Future of kind LUNADO_KIND_SLEEP. */
const lunado_timer *lunado__sleep_timer(const lunado_future *future);

/* The timer of a Future of kind LUNADO_KIND_TIMEOUT. */
const lunado_timer *lunado__with_timeout_timer(const lunado_future *future);

/* Pushes what the Future at idx, which is pending and of kind
 * LUNADO_KIND_TIMEOUT, waits for.  [-0, +1, -] */
void lunado__with_timeout_child(lua_State *L, int idx);

#endif
