/* SPDX-License-Identifier: MIT */
/*
 * naming.h - functions and places in messages, as the user wrote them.
 *
 * A message names the user's line, not the line inside lunado that the user's
 * function called or waits in.  lunado recognizes its own Lua functions by
 * their chunk: each of its modules stores itself in core.loaded, and thereby
 * reports its source, wherever the module was installed or embedded.
 */
#ifndef LUNADO_BINDING_STATE_NAMING_H
#define LUNADO_BINDING_STATE_NAMING_H

#include "binding/state/realm.h"

/* Sets the metatable of the table on top, core.loaded, which records the
 * sources of the modules.  [-0, +0, m] */
void lunado__naming_open(lua_State *L, lunado_realm *realm);

/* Adds describe, where, is_own, on_behalf and set_behind to the table on
 * top. */
void lunado__naming_functions(lua_State *L);

/* True if the function of the activation record belongs to one of lunado's own
 * Lua modules.  lua_getinfo has filled in "S".  [-0, +0, m] */
bool lunado__naming_is_own(lua_State *L, const lunado_realm *realm,
                           const lua_Debug *ar);

/* Pushes "file:line" of the thread's innermost active Lua function that belongs
 * to the user.  If all of its functions belong to lunado, pushes the place of
 * the innermost one; if no Lua function is active, "?".  [-0, +1, m] */
void lunado__naming_pushplace(lua_State *L, const lunado_realm *realm,
                              lua_State *thread);

/* Pushes the name of the callback at idx for messages:
 *   refresh (crawler.lua:12)      a function with a name, which is a global, a
 *                                 field of a loaded module, or a method of a
 *                                 class that is one of these
 *   function <crawler.lua:12>     a function without a name
 *   Job (crawler.lua:12)          a callable object: its __tostring or __name,
 *                                 and where its __call is defined
 *   Future:set_result             a C function
 * A coroutine function, an engine, and a function that was wrapped in contexts
 * are named after the user's function inside.  [-0, +1, m] */
void lunado__naming_push(lua_State *L, int idx);

/* Replaces the function at idx by the callable that it was created for, if
 * on_behalf created it; otherwise leaves the value unchanged.  [-0, +0, -] */
void lunado__naming_unwrap(lua_State *L, int idx);

/* Pushes the name under which package.loaded has the function at idx (not a
 * relative index), such as "string.rep".  Of several names it is the shortest,
 * and of equally short ones the first in byte order.  If there is no name,
 * pushes nothing and returns false.  [-0, +(0|1), m] */
bool lunado__naming_pushglobal(lua_State *L, int idx);

/* Returns the number of the last level of L's stack, on which `level` exists.
 * [-0, +0, -] */
int lunado__naming_lastlevel(lua_State *L, int level);

#endif
