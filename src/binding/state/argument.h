/* SPDX-License-Identifier: MIT */
/* argument.h - checks of arguments. */
#ifndef LUNADO_BINDING_STATE_ARGUMENT_H
#define LUNADO_BINDING_STATE_ARGUMENT_H

#include "binding/state/realm.h"

/* Raises "bad argument …" unless argument `arg` can be called.  [-0, +0, v] */
void lunado__checkcallable(lua_State *L, int arg);

/* True if the value at idx can be called.  Lua modules use this test, too, as
 * core.is_callable.  [-0, +0, m] */
bool lunado__argument_iscallable(lua_State *L, int idx);

/* Adds is_callable to the table on top. */
void lunado__argument_functions(lua_State *L);

/* Returns argument `arg`, a time in seconds: a number that is not NaN.
 * [-0, +0, v] */
double lunado__checkseconds(lua_State *L, int arg);

#endif
