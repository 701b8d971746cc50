/* SPDX-License-Identifier: MIT */
/*
 * anchor.h - what a loop holds: a list of the registry's, in which each value
 * has a place.
 */
#ifndef LUNADO_BINDING_LOOP_ANCHOR_H
#define LUNADO_BINDING_LOOP_ANCHOR_H

#include "binding/state/realm.h"

/* Has the loop hold the value on top; returns its place.  Raises where the loop
 * is closed, which the finalizers may have done that making the value ran.
 * [-0, +0, v] */
uint32_t lunado__anchor_add(lua_State *L, lunado_ioloop *loop);

/* Pushes the value at a place.  [-0, +1, -] */
void lunado__anchor_push(lua_State *L, lunado_ioloop *loop, uint32_t anchor);

/* Lets the value at a place go.  [-0, +0, -] */
void lunado__anchor_drop(lua_State *L, lunado_ioloop *loop, uint32_t anchor);

/* Pushes the value at a place, which lets it go.  [-0, +1, -] */
void lunado__anchor_take(lua_State *L, lunado_ioloop *loop, uint32_t anchor);

/* Starts a timer of the object on top of the stack, which the loop then
 * holds; *anchor is the place.  Raises where it cannot, and then nothing has
 * changed.  [-0, +0, m] */
void lunado__anchor_starttimer(lua_State *L, lunado_ioloop *loop,
                               lunado_timer *timer, double when,
                               uint32_t *anchor);

/* Stops a timer, if it runs, and lets its object go.  [-0, +0, -] */
void lunado__anchor_stoptimer(lua_State *L, lunado_ioloop *loop,
                              lunado_timer *timer, uint32_t anchor);

#endif
