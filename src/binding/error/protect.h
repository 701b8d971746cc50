/* SPDX-License-Identifier: MIT */
/* protect.h - protected calls. */
#ifndef LUNADO_BINDING_ERROR_PROTECT_H
#define LUNADO_BINDING_ERROR_PROTECT_H

#include "binding/state/realm.h"

/* Ensures that the function that runs on L can call callbacks later, even if
 * memory has run out then, and that these have `slots` free slots on the
 * stack.  Returns false if memory is too short now.  [-0, +0, -] */
bool lunado__protect_reserve(lua_State *L, int slots);

/* Calls the C function with `data`.  If it raises, returns false with the
 * Failure on top.  [-0, +(0|1), -] */
bool lunado__protect_call(lua_State *L, lunado_realm *realm,
                          lua_CFunction function, void *data);

/* Like lunado__protect_call, for the function below nargs arguments on top.
 * [-(nargs+1), +(0|1), -] */
bool lunado__protect_pushed(lua_State *L, lunado_realm *realm, int nargs);

/* Calls the C function below nargs arguments, without results.  The function
 * makes no object, and calls no other function through Lua: then neither
 * finalizers nor debug hooks run during the call.  If there is no stack for it,
 * or it raises, discards the error and returns false.
 * [-(nargs+1), +0, -] */
bool lunado__protect_unseen(lua_State *L, int nargs);

/* The same for a function that makes objects.  Afterwards Lua collects garbage
 * at once, whether or not that is due: so this is for what is rare. */
bool lunado__protect_alone(lua_State *L, int nargs);

#endif
