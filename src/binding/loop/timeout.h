/* SPDX-License-Identifier: MIT */
/* timeout.h - deadlines as Lua gives them, and what waits for them. */
#ifndef LUNADO_BINDING_LOOP_TIMEOUT_H
#define LUNADO_BINDING_LOOP_TIMEOUT_H

#include "binding/state/realm.h"

/* Stops the timeout of the loop that has the handle; false where there is none.
 * *when is its deadline.  [-0, +0, -] */
bool lunado__timeout_take(lua_State *L, lunado_ioloop *loop, lua_Integer handle,
                          double *when);

/* Makes the loop's timeouts, of which there are none. */
void lunado__timeout_init(lunado_ioloop *loop);

/* Adds the methods of IOLoop about timeouts to the table on top. */
void lunado__timeout_methods(lua_State *L);

#endif
