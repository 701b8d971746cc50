/* SPDX-License-Identifier: MIT */
/* methods.h - IOLoop's methods, and the functions of lunado.ioloop. */
#ifndef LUNADO_BINDING_LOOP_METHODS_H
#define LUNADO_BINDING_LOOP_METHODS_H

#include "binding/state/realm.h"

/* Adds methods, and all metamethods except __gc, to the metatable of loops,
 * which is on top.  [-0, +0, m] */
void lunado__methods_add(lua_State *L);

/* Adds the functions of lunado.ioloop to the table on top. */
void lunado__methods_functions(lua_State *L);

/* True if the value at idx is the default handle_callback_exception.
 * [-0, +0, -] */
bool lunado__methods_is_default_handler(lua_State *L, int idx);

#endif
