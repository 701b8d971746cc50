/* SPDX-License-Identifier: MIT */
/*
 * received.h - the Failures whose errors the running code was given: at a
 * yield, by result(), exception() and their like.
 *
 * The task remembers the Failures that its coroutine was given: one for each
 * error, the last one.  When there are too many it forgets all but the newest.
 * Outside of coroutines the realm remembers the last Failure, until the
 * callback returns, and no longer than the Failure is held elsewhere.  When an
 * error that is remembered is raised once more, or set on another Future, the
 * new Failure takes the remembered one as its inner one.  So the traceback
 * begins where the error was first raised.  A string is also the same behind a
 * position, as error(message) makes it.
 */
#ifndef LUNADO_BINDING_COROUTINE_RECEIVED_H
#define LUNADO_BINDING_COROUTINE_RECEIVED_H

#include "binding/coroutine/coroutine.h"
#include "binding/coroutine/task.h"
#include "binding/state/realm.h"

/* Replaces the Failure on top, which is about to be raised, by its error, and
 * remembers it for where the error is caught.  [-1, +1, -] */
void lunado__received_throw(lua_State *L, lunado_realm *realm);

/* The same, where lunado's own code raises the error again on its way, and
 * where that is tells the user nothing.  [-1, +1, -] */
void lunado__received_pass(lua_State *L, lunado_realm *realm);

/* The same for the Failure on top of the thread of the task at t, which is
 * about to be resumed with its error.  [-0, +0, -] */
void lunado__received_throw_at(lua_State *L, int t, lunado_task *task);

void lunado__received_open(lua_State *L, lunado_realm *realm);

/* Forgets what was remembered outside of coroutines.  [-0, +0, -] */
void lunado__received_forget(lua_State *L, lunado_realm *realm);

/* Pushes the Failure of the error at `err`, which is being raised on L: the one
 * that lunado's own code is raising again, else a new one with the functions
 * from `level` on.  It counts as observed.  [-0, +1, m] */
lunado_failure *lunado__received_raised(lua_State *L, lunado_realm *realm,
                                        int err, int level);

/* Pushes a Failure of the error at `err`, which is not raised but handed to a
 * Future, with the active functions from `level` on.  If the running code was
 * given the same error before, its Failure becomes the inner one.  However
 * often an error is handed on, the chain stays short, and its end is where the
 * error was first raised.  [-0, +1, m] */
lunado_failure *lunado__received_handed(lua_State *L, lunado_realm *realm,
                                        int err, int level);

#endif
