/* SPDX-License-Identifier: MIT */
/*
 * loader.h - finding luv: its module, its loader, its exported functions.
 */
#ifndef LUNADO_BINDING_LUV_LOADER_H
#define LUNADO_BINDING_LUV_LOADER_H

#include "binding/state/realm.h"

/* How luv calls back: calls the function below nargs arguments, and returns
 * how many results it left, or less than 0 for an error, which is dealt with
 * by then. */
typedef int lunado_luv_runner(lua_State *L, int nargs, int nresults, int flags);

/* What the object file that holds luv offers. */
typedef struct {
  void (*set_loop)(lua_State *L, uv_loop_t *uv); /* before luv is opened */
  lunado_luv_runner *runner; /* the one luv uses unless its host has another */
  bool same_uv;              /* it calls the very libuv that lunado calls */
  const char *uv_version;    /* of the libuv it calls; "?": unknown */
} lunado_luv_object;

/* Looks into the object file that the function of C is from.  False where it
 * cannot be told or is not luv's. */
bool lunado__loader_inspect(lua_CFunction function, lunado_luv_object *object);

/* Raises that luv cannot share a loop with lunado, and what helps.
 * [-0, +0, v] */
int lunado__loader_refuse(lua_State *L, const lunado_luv_object *object);

/* True if the value at idx is luv's module table.  [-0, +0, -] */
bool lunado__loader_ismodule(lua_State *L, int idx);

/* Pushes luv's module table and returns the name by which package.loaded has
 * it; where it has none, pushes nothing and returns NULL.  [-0, +1, m] */
const char *lunado__loader_pushmodule(lua_State *L);

/* --- hooks ---------------------------------------------------------------- */

/* Has package.preload[name], where it is free, see to it that luv is opened on
 * the default loop; NULL: for each name that luv may be required by.
 * [-0, +0, m] */
void lunado__loader_hook(lua_State *L, const char *name);

/* Takes what is left of that back.  [-0, +0, -] */
void lunado__loader_unhook(lua_State *L);

#endif
