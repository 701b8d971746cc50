/* SPDX-License-Identifier: MIT */
/*
 * cancel.h - cancelling coroutines, and giving up what they wait for.
 *
 * A notice is a failed Future whose error is a CancelledError.  It is made once
 * for each cancellation, and serves all coroutines that are cancelled by it.
 *
 * User value LUNADO_TASK_SCOPE of a task begins a list: the innermost scope
 * (scope.h), which holds the scope around it, and so on.  The list ends with
 * the notice that cancels the whole coroutine, or with nil.  The notice that is
 * due is the outermost on the way to the first shield.  TASK_CANCELLED is set
 * exactly while a notice is due.
 *
 * Each suspension of such a task ends in a later turn with the error of its
 * notice, unless the task waits for a Future that can be given up: then the
 * outcome of that Future ends the suspension.
 */
#ifndef LUNADO_BINDING_COROUTINE_CANCEL_H
#define LUNADO_BINDING_COROUTINE_CANCEL_H

#include "binding/state/realm.h"

/* Pushes a new notice.  The value at `reason` becomes the error's field reason
 * and, if it is a string, its message.  The traceback begins with the active
 * functions from `level` on (-1: without functions).  [-0, +1, m] */
void lunado__cancel_notice(lua_State *L, lunado_realm *realm, int reason,
                           int level);

/* As lunado__cancel_notice, without a traceback, for callers that must not
 * raise.  `reason` is static.  If memory is short, pushes a notice whose error
 * is "not enough memory".  [-0, +1, -] */
void lunado__cancel_notice_protected(lua_State *L, lunado_realm *realm,
                                     const char *reason);

/* Cancels the coroutine of the task at t, which has not ended, with the notice
 * at `notice`, and withdraws its present wait.  Does nothing if the coroutine
 * was cancelled before.  No index may be relative.  [-0, +0, -] */
void lunado__cancel_task(lua_State *L, lunado_realm *realm, int t, int notice);

/* To be called when the scopes of the task at t, or their notices, have
 * changed: sets TASK_CANCELLED as the list tells.  [-0, +0, -] */
void lunado__cancel_update(lua_State *L, lunado_realm *realm, int t);

/* Withdraws the present wait of the task at t, if a notice is due and the task
 * is suspended.  [-0, +0, -] */
void lunado__cancel_walk(lua_State *L, lunado_realm *realm, int t);

/* To be called when the task at t, for which a notice is due, has suspended
 * itself: as lunado__cancel_walk, and counts this.  [-0, +0, -] */
void lunado__cancel_again(lua_State *L, lunado_realm *realm, int t);

/* To be called when the coroutine of the task at t, which has TASK_SCOPED, has
 * ended; its Future is at t + 1.  Closes the scopes that are still open, and
 * forgets the notices.  [-0, +0, -] */
void lunado__cancel_end(lua_State *L, lunado_realm *realm, int t);

/* Pushes the notice that is due for the task at t and returns true; else pushes
 * nothing and returns false.  [-0, +(0|1), -] */
bool lunado__cancel_push_due(lua_State *L, lunado_realm *realm, int t);

/* Makes the function on top the canceller of the Future at idx, and pops it.
 * Nil removes the canceller.  [-1, +0, m] */
void lunado__cancel_setcanceller(lua_State *L, lunado_realm *realm, int idx);

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

/* Makes the class of notices ready, once per state.  [-0, +0, m] */
void lunado__cancel_open(lua_State *L, lunado_realm *realm);

/* Adds the functions for lunado.tasks to the table on top. */
void lunado__cancel_functions(lua_State *L);

#endif
