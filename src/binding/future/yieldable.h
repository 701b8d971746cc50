/* SPDX-License-Identifier: MIT */
/*
 * yieldable.h - from anything yieldable to a Future.
 *
 * Yieldable are: a Future; nil, for a turn of the loop; a list or dict of
 * yieldables; an object with __await; what a registered converter knows.
 */
#ifndef LUNADO_BINDING_FUTURE_YIELDABLE_H
#define LUNADO_BINDING_FUTURE_YIELDABLE_H

#include "binding/state/realm.h"

/* Pushes the functions of lunado.gen about yieldables into the table on
 * top. */
void lunado__yieldable_functions(lua_State *L);

/* Replaces the n values on top, which were yielded together, by one Future.
 * Raises BadYieldError, and what a converter raises.  [-n, +1, e] */
void lunado__yieldable_convert(lua_State *L, lunado_realm *realm, int n);

/* Replaces the value on top by a Future.  [-1, +1, e] */
void lunado__yieldable_one(lua_State *L, lunado_realm *realm);

/* The same for what stands in a table that is nested `depth` deep in others.
 * [-1, +1, e] */
void lunado__yieldable_nested(lua_State *L, lunado_realm *realm, int depth);

/* lunado__yieldable_convert of its arguments, as a Lua function without
 * upvalues. */
int lunado__yieldable_yield(lua_State *L);

#endif
