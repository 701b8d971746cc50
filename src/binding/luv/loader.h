/* SPDX-License-Identifier: MIT */
/*
 * loader.h - finding luv: its module, its loader, its exported functions.
 */
#ifndef LUNADO_BINDING_LUV_LOADER_H
#define LUNADO_BINDING_LUV_LOADER_H

#include "binding/state/realm.h"

/* The function through which luv runs its callbacks.  It calls the Lua function
 * below the nargs arguments.  Returns the number of results on the stack, or a
 * negative number after an error, which has been handled already. */
typedef int lunado_luv_runner(lua_State *L, int nargs, int nresults, int flags);

/* What the object file that contains luv exports. */
typedef struct {
  void (*set_loop)(lua_State *L, uv_loop_t *uv); /* must be called before luv is
                                                    opened */
  lunado_luv_runner *runner;                     /* luv's default runner */
  bool same_uv;           /* luv and lunado call the same libuv */
  const char *uv_version; /* version of luv's libuv; "?": unknown */
} lunado_luv_object;

/* Inspects the object file that contains the C function.  Returns false if the
 * file is unknown or is not luv's. */
bool lunado__loader_inspect(lua_CFunction function, lunado_luv_object *object);

/* Raises an error which says that luv cannot share a loop with lunado, and how
 * to install a luv that can.
 * [-0, +0, v] */
int lunado__loader_refuse(lua_State *L, const lunado_luv_object *object);

/* True if the value at idx is luv's module table.  [-0, +0, -] */
bool lunado__loader_ismodule(lua_State *L, int idx);

/* Pushes luv's module table and returns its name in package.loaded.  If
 * package.loaded does not have luv, pushes nothing and returns NULL.
 * [-0, +1, m] */
const char *lunado__loader_pushmodule(lua_State *L);

/* --- package.preload ------------------------------------------------------ */

/* Sets package.preload[name], if it is free, to a loader that opens luv on the
 * default loop.  NULL: does so for each name by which luv is required.
 * [-0, +0, m] */
void lunado__loader_install(lua_State *L, const char *name);

/* Removes the loaders that are still in package.preload.  [-0, +0, -] */
void lunado__loader_remove(lua_State *L);

#endif
