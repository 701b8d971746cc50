/* SPDX-License-Identifier: MIT */
/* runsync.h - running the loop until one function has ended: run_sync and
 * lunado.run. */
#ifndef LUNADO_BINDING_LOOP_RUNSYNC_H
#define LUNADO_BINDING_LOOP_RUNSYNC_H

#include "binding/state/realm.h"

/* Runs the function below nargs arguments as a coroutine, and the loop, which
 * must be idle, until the coroutine has ended.  If the function returns a
 * Future, waits for that too. `timeout` is in seconds; 0 or less means none.
 * Replaces the function and its arguments by the results and returns LUA_OK, or
 * by a Failure and returns LUA_ERRRUN.  [-(nargs+1), +?, m] */
int lunado__runsync(lua_State *L, lunado_ioloop *loop, int nargs,
                    double timeout);

/* Adds IOLoop's run_sync to the table on top. */
void lunado__runsync_methods(lua_State *L);

/* Adds lunado.run to the table on top. */
void lunado__runsync_functions(lua_State *L);

#endif
