/* SPDX-License-Identifier: MIT */
/* callback.h - protected calls into Lua from a C callback: call, add the
 * traceback, report the error. */
#ifndef LUNADO_BINDING_LOOP_CALLBACK_H
#define LUNADO_BINDING_LOOP_CALLBACK_H

#include "binding/state/realm.h"

/* Message handler.  Leaves the error as it is and puts its Failure into
 * LUNADO_SLOT_RAISED: a new Failure, or the one that lunado's own code is
 * raising again. */
int lunado__callback_handler(lua_State *L);

/* Calls the function below nargs arguments.  Passes an error to the loop's
 * handle_callback_exception, or logs it if loop is NULL.  If the function
 * returns a Future, an error of that Future is treated alike.  Raises nothing.
 * [-(nargs+1), +0, -] */
void lunado__callback(lua_State *L, lunado_realm *realm, lunado_ioloop *loop,
                      int nargs);

/* As lunado__callback for the callable on top, without arguments, inside a
 * callback whose duration is being measured already.  [-1, +0, m] */
void lunado__callback_inner(lua_State *L, lunado_realm *realm,
                            lunado_ioloop *loop);

/* For a callback that returned normally: below is the callback, on top the
 * value it returned.  If that is a Future, its error will be reported.
 * [-(0|2), +0, -] */
void lunado__callback_returned(lua_State *L, lunado_realm *realm,
                               lunado_ioloop *loop);

/* Logs the error at idx + 1, raised by the callback at idx (or described by the
 * text at idx), with the traceback at idx + 2 (a text, or nil).  [-0, +0, m] */
void lunado__callback_log_exception(lua_State *L, lunado_realm *realm, int idx);

/* Passes the Failure on top, raised by the callback below it, to the loop's
 * handle_callback_exception.  [-2, +0, -] */
void lunado__callback_report(lua_State *L, lunado_realm *realm,
                             lunado_ioloop *loop);

/* Logs the Failure on top, raised by a function called with
 * lunado__protect_call; the log names `what` as its source.  Logs nothing if
 * `begun` is false, that is, if memory did not suffice to start the call,
 * unless the Failure is an interrupt.  [-1, +0, -] */
void lunado__callback_report_guarded(lua_State *L, lunado_realm *realm,
                                     bool begun, const char *what);

/* Puts the message handler into the registry, once per state.  [-0, +0, m] */
void lunado__callback_open(lua_State *L, lunado_realm *realm);

#endif
