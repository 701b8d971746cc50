/* SPDX-License-Identifier: MIT */
/*
 * anchor.h - the values that a loop holds: a list in the registry, in which
 * each value has an index, its anchor.
 */
#ifndef LUNADO_BINDING_LOOP_ANCHOR_H
#define LUNADO_BINDING_LOOP_ANCHOR_H

#include "binding/state/realm.h"

/* Makes the loop hold the value on top; returns its anchor.  Raises if the loop
 * is closed: a finalizer that ran while the value was made may have closed it.
 * [-0, +0, v] */
uint32_t lunado__anchor_add(lua_State *L, lunado_ioloop *loop);

/* Gives an anchor the value on top, which is popped; false holds nothing.
 * [-1, +0, -] */
void lunado__anchor_set(lua_State *L, const lunado_ioloop *loop,
                        uint32_t anchor);

/* Pushes the value of an anchor.  [-0, +1, -] */
void lunado__anchor_push(lua_State *L, lunado_ioloop *loop, uint32_t anchor);

/* Releases the value of an anchor.  [-0, +0, -] */
void lunado__anchor_drop(lua_State *L, lunado_ioloop *loop, uint32_t anchor);

/* Pushes the value of an anchor and releases the anchor.  [-0, +1, -] */
void lunado__anchor_take(lua_State *L, lunado_ioloop *loop, uint32_t anchor);

/* Starts the timer of the object on top of the stack.  The loop holds the
 * object from then on; *anchor is set to its anchor.  Raises if the timer
 * cannot be started, and has then changed nothing.  [-0, +0, m] */
void lunado__anchor_starttimer(lua_State *L, lunado_ioloop *loop,
                               lunado_timer *timer, double when,
                               uint32_t *anchor);

/* Stops the timer if it is running, and releases its object.  [-0, +0, -] */
void lunado__anchor_stoptimer(lua_State *L, lunado_ioloop *loop,
                              lunado_timer *timer, uint32_t anchor);

#endif
