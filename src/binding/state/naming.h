/* SPDX-License-Identifier: MIT */
/*
 * naming.h - functions and places in messages, as the user has written them.
 *
 * A message names the user's line, and not the one inside lunado at which the
 * user's function waits or has called.  lunado's own Lua functions are known by
 * the chunk that they come from: each of its modules enters itself in
 * core.loaded, and so tells its source, wherever it was installed or embedded.
 */
#ifndef LUNADO_BINDING_STATE_NAMING_H
#define LUNADO_BINDING_STATE_NAMING_H

#include "binding/state/realm.h"

/* Gives the table of loaded modules, on top, the metatable that notes their
 * sources.  [-0, +0, m] */
void lunado__naming_open(lua_State *L, lunado_realm *realm);

/* Adds describe, is_own, on_behalf and set_behind to the table on top. */
void lunado__naming_functions(lua_State *L);

/* True if the function of the record, for which lua_getinfo has filled in "S",
 * is one of lunado's own Lua modules.  [-0, +0, m] */
bool lunado__naming_is_own(lua_State *L, const lunado_realm *realm,
                           const lua_Debug *ar);

/* Pushes "file:line" of the innermost active Lua function of the thread that is
 * the user's; where all are lunado's own, of the innermost; "?" where there is
 * none.  [-0, +1, m] */
void lunado__naming_pushplace(lua_State *L, const lunado_realm *realm,
                              lua_State *thread);

/* Pushes what the callback at idx is called in messages:
 *   refresh (crawler.lua:12)      a function with a name, which is a global, a
 *                                 field of a loaded module, or a method of a
 *                                 class that is one of these
 *   function <crawler.lua:12>     one without
 *   Job (crawler.lua:12)          a callable object: its __tostring or __name,
 *                                 and where its __call is defined
 *   Future:set_result             a function of C
 * A coroutine function, an engine, and a function that was wrapped in contexts
 * is called as the user's function in it.  [-0, +1, m] */
void lunado__naming_push(lua_State *L, int idx);

/* Replaces a closure that on_behalf has made, at idx, by the callable that it
 * was made for; leaves all else alone.  [-0, +0, -] */
void lunado__naming_unwrap(lua_State *L, int idx);

/* Pushes the name under which package.loaded knows the function at idx (not
 * relative to the top), such as "string.rep"; of several the shortest, of those
 * the first in the order of bytes.  Pushes nothing and returns false where it
 * knows none.  [-0, +(0|1), m] */
bool lunado__naming_pushglobal(lua_State *L, int idx);

/* The number of the last level of the stack of L, at least `level`.
 * [-0, +0, -] */
int lunado__naming_lastlevel(lua_State *L, int level);

#endif
