/* SPDX-License-Identifier: MIT */
/* timeout.h - timeouts of a loop: call_later, call_at, add_timeout,
 * remove_timeout. */
#ifndef LUNADO_BINDING_LOOP_TIMEOUT_H
#define LUNADO_BINDING_LOOP_TIMEOUT_H

#include "binding/state/realm.h"

/* Stops the loop's timeout with the handle and sets *when to its deadline.
 * Returns false if the loop has no such timeout.  [-0, +0, -] */
bool lunado__timeout_take(lua_State *L, lunado_ioloop *loop, lua_Integer handle,
                          double *when);

/* Initializes the loop's timeouts; there are none yet. */
void lunado__timeout_init(lunado_ioloop *loop);

/* Adds IOLoop's methods for timeouts to the table on top. */
void lunado__timeout_methods(lua_State *L);

#endif
