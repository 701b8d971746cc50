/* SPDX-License-Identifier: MIT */
/* handler.h - IOLoop's handlers of file descriptors. */
#ifndef LUNADO_BINDING_LOOP_HANDLER_H
#define LUNADO_BINDING_LOOP_HANDLER_H

#include "binding/state/realm.h"

/* Adds IOLoop's methods for descriptors, and the constants READ, WRITE, ERROR
 * and NONE, to the table on top. */
void lunado__handler_methods(lua_State *L);

/* Adds the function check_descriptor to the table on top, lunado.core. */
void lunado__handler_functions(lua_State *L);

/* Closes every descriptor that the loop watches.  A descriptor that was given
 * as an object is closed by the object's close().  [-0, +0, m] */
void lunado__handler_close_all(lua_State *L, lunado_ioloop *loop);

/* Clears the loop's handlers after the loop, and its watchers with it, was
 * closed.  [-0, +0, -] */
void lunado__handler_forget_all(lua_State *L, lunado_ioloop *loop);

#endif
