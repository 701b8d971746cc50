/* SPDX-License-Identifier: MIT */
/* protect.h - protected calls. */
#ifndef LUNADO_BINDING_ERROR_PROTECT_H
#define LUNADO_BINDING_ERROR_PROTECT_H

#include "binding/state/realm.h"

/* Sees that callbacks can be called from the function that runs on L, whatever
 * memory is left by then, and that they find so many places on the stack.
 * False for want of memory.  [-0, +0, -] */
bool lunado__protect_reserve(lua_State *L, int places);

/* Calls a function of C that takes `data`.  False if it raised; the Failure is
 * on top.  [-0, +(0|1), -] */
bool lunado__protect_call(lua_State *L, lunado_realm *realm,
                          lua_CFunction function, void *data);

/* Calls the C function below nargs arguments, for no results, while neither
 * finalizers nor debug hooks run.  False if it raised, which is forgotten.
 * [-(nargs+1), +0, -] */
bool lunado__protect_alone(lua_State *L, int nargs);

#endif
