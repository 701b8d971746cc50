/* SPDX-License-Identifier: MIT */
/* methods.h - IOLoop's methods, and the functions of lunado.ioloop. */
#ifndef LUNADO_BINDING_LOOP_METHODS_H
#define LUNADO_BINDING_LOOP_METHODS_H

#include "binding/state/realm.h"

/* Gives the metatable of loops, on top, their methods and metamethods, but for
 * __gc.  [-0, +0, m] */
void lunado__methods_add(lua_State *L);

/* Pushes the functions of lunado.ioloop into the table on top. */
void lunado__methods_functions(lua_State *L);

/* True if the value at idx is the handle_callback_exception that loops have
 * from the start.  [-0, +0, -] */
bool lunado__methods_is_default_handler(lua_State *L, int idx);

#endif
