/* SPDX-License-Identifier: MIT */
/*
 * yieldable.h - converting yieldables to Futures.
 *
 * Yieldables are: a Future; nil, which waits for a turn of the loop; a list or
 * dict of yieldables; an object with __await; a value for which a converter is
 * registered.
 */
#ifndef LUNADO_BINDING_FUTURE_YIELDABLE_H
#define LUNADO_BINDING_FUTURE_YIELDABLE_H

#include "binding/state/realm.h"

/* Adds maybe_future and convert_yielded to the table on top, lunado.gen. */
void lunado__yieldable_functions(lua_State *L);

/* Replaces the n values on top, which were yielded together, by one Future.
 * Raises BadYieldError, and errors of converters.  [-n, +1, e] */
void lunado__yieldable_convert(lua_State *L, lunado_realm *realm, int n);

/* Replaces the yieldable on top by a Future.  [-1, +1, e] */
void lunado__yieldable_one(lua_State *L, lunado_realm *realm);

/* As lunado__yieldable_one, for a value of a table nested `depth` deep in other
 * tables.  [-1, +1, e] */
void lunado__yieldable_nested(lua_State *L, lunado_realm *realm, int depth);

/* lunado__yieldable_convert as a Lua function without upvalues: converts its
 * arguments. */
int lunado__yieldable_yield(lua_State *L);

#endif
