/* SPDX-License-Identifier: MIT */
/* callback.h - from a callback of C into Lua: protect, trace, report. */
#ifndef LUNADO_BINDING_LOOP_CALLBACK_H
#define LUNADO_BINDING_LOOP_CALLBACK_H

#include "binding/state/realm.h"

/* Message handler that leaves the error alone and its Failure in
 * LUNADO_SLOT_RAISED: a new one, or the one that lunado's own code is raising
 * again. */
int lunado__callback_handler(lua_State *L);

/* Calls the function below nargs arguments.  An error is brought to the
 * loop's handle_callback_exception (loop may be NULL: is logged); a Future
 * that it returns has its error treated likewise.  Nothing is raised.
 * [-(nargs+1), +0, -] */
void lunado__callback(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                      int nargs);

/* The same for the callable on top, within a callback that is measured itself.
 * [-1, +0, m] */
void lunado__callback_inner(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop);

/* The callback below has returned the value on top, and not raised: has the
 * error of a Future reported.  [-(0|2), +0, -] */
void lunado__callback_returned(lua_State *L, lunado_realm *realm,
                               lunado_ioloop *loop);

/* Logs the error at idx + 1, of the callback at idx (or a text), with the
 * traceback at idx + 2, a text or nil.  [-0, +0, m] */
void lunado__callback_log_exception(lua_State *L, lunado_realm *realm, int idx);

/* Brings the Failure on top, of the callback below it, to the loop's
 * handle_callback_exception.  [-2, +0, -] */
void lunado__callback_report(lua_State *L, lunado_realm *realm,
                             lunado_ioloop *loop);

/* Logs the Failure on top, of a function called by lunado__protect_call, as one
 * of `what`; nothing where there was no memory even for beginning.
 * [-1, +0, -] */
void lunado__callback_report_guarded(lua_State *L, lunado_realm *realm,
                                     bool begun, const char *what);

void lunado__callback_open(lua_State *L, lunado_realm *realm);

#endif
