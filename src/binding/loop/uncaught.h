/* SPDX-License-Identifier: MIT */
/* uncaught.h - errors that no Lua code will catch. */
#ifndef LUNADO_BINDING_LOOP_UNCAUGHT_H
#define LUNADO_BINDING_LOOP_UNCAUGHT_H

#include "binding/state/realm.h"

/* Raises the error of the Failure on top.  If no pcall on the stack will catch
 * it, the traceback of the coroutines is shown as well: appended to a string
 * error, or written to stderr first if the error is an object.  [-1, +0, e] */
int lunado__uncaught_raise(lua_State *L, lunado_realm *realm);

/* Declares that the code which runs this state catches every error itself, as a
 * worker does, which sends errors to the submitter of the job.  [-0, +0, m] */
void lunado__uncaught_none(lua_State *L);

#endif
