/* SPDX-License-Identifier: MIT */
/*
 * cancel.h - cancelling coroutines.
 */
#ifndef LUNADO_BINDING_COROUTINE_CANCEL_H
#define LUNADO_BINDING_COROUTINE_CANCEL_H

#include "binding/state/realm.h"

/* Cancels the coroutine of the task at t, which has not ended, with the notice
 * at `notice`, and withdraws its present wait.  Does nothing if the coroutine
 * was cancelled before.  No index may be relative.  [-0, +0, -] */
void lunado__cancel_task(lua_State *L, lunado_realm *realm, int t, int notice);

/* To be called when the task at t, for which a notice is due, has suspended
 * itself: as lunado__walk_task, and counts this.  [-0, +0, -] */
void lunado__cancel_again(lua_State *L, lunado_realm *realm, int t);

/* To be called when the coroutine of the task at t, which has TASK_SCOPED, has
 * ended; its Future is at t + 1.  Closes the scopes that are still open, and
 * forgets the notices.  [-0, +0, -] */
void lunado__cancel_end(lua_State *L, lunado_realm *realm, int t);

/* Cancels the coroutine whose outcome the Future at idx is; the value at
 * `reason` is the reason, and the traceback begins at `level`.  Returns false
 * if it is the Future of no coroutine, or of one that has ended.
 * [-0, +0, m] */
bool lunado__cancel_future(lua_State *L, lunado_realm *realm, int idx,
                           int reason, int level);

/* Logs the error of the Failure at `failure` after the text at the start of the
 * line, unless it is a CancelledError or the quiet_exceptions at `quiet` cover
 * it.  [-0, +0, m] */
void lunado__cancel_log(lua_State *L, lunado_realm *realm, const char *what,
                        int failure, int quiet);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__cancel_functions(lua_State *L);

#endif
