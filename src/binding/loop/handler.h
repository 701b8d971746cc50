/* SPDX-License-Identifier: MIT */
/* handler.h - IOLoop's handlers of descriptors. */
#ifndef LUNADO_BINDING_LOOP_HANDLER_H
#define LUNADO_BINDING_LOOP_HANDLER_H

#include "binding/state/realm.h"

/* Adds the methods of IOLoop about descriptors, and the constants READ, WRITE,
 * ERROR and NONE, to the table on top. */
void lunado__handler_methods(lua_State *L);

/* Adds the function about descriptors to the table on top, lunado.core. */
void lunado__handler_functions(lua_State *L);

/* Closes every descriptor that the loop watches, objects by their close().
 * [-0, +0, m] */
void lunado__handler_close_all(lua_State *L, lunado_ioloop *loop);

/* The loop was closed, and its watchers with it.  [-0, +0, -] */
void lunado__handler_forget_all(lua_State *L, lunado_ioloop *loop);

#endif
