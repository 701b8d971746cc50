/* SPDX-License-Identifier: MIT */
/*
 * notice.h - notices of cancellation, and which of them is due.
 *
 * A notice is a failed Future whose error is a CancelledError.  It is made once
 * for each cancellation, and serves all coroutines that are cancelled by it.
 *
 * User value LUNADO_TASK_SCOPE of a task begins a list: the innermost scope
 * (scope.h), which holds the scope around it, and so on.  The list ends with
 * the notice that cancels the whole coroutine, or with nil.  The notice that is
 * due is the outermost on the way to the first shield.  TASK_CANCELLED is set
 * exactly while a notice is due.
 */
#ifndef LUNADO_BINDING_COROUTINE_NOTICE_H
#define LUNADO_BINDING_COROUTINE_NOTICE_H

#include "binding/state/realm.h"

/* Pushes a new notice.  The value at `reason` becomes the error's field reason
 * and, if it is a string, its message.  The traceback begins with the active
 * functions from `level` on (-1: without functions).  [-0, +1, m] */
void lunado__notice_push(lua_State *L, lunado_realm *realm, int reason,
                         int level);

/* As lunado__notice_push, without a traceback, for callers that must not
 * raise.  `reason` is static.  If memory is short, pushes a notice whose error
 * is "not enough memory".  [-0, +1, -] */
void lunado__notice_push_protected(lua_State *L, lunado_realm *realm,
                                   const char *reason);

/* Pushes the notice that is due for the task at t and returns true; else pushes
 * nothing and returns false.  [-0, +(0|1), -] */
bool lunado__notice_push_due(lua_State *L, lunado_realm *realm, int t);

/* To be called when the scopes of the task at t, or their notices, have
 * changed: sets TASK_CANCELLED as the list tells.  [-0, +0, -] */
void lunado__notice_update(lua_State *L, lunado_realm *realm, int t);

/* Appends the notice at `notice` to the scopes of the task at t, unless the
 * list ends with a notice already.  No index may be relative.  [-0, +0, -] */
void lunado__notice_add(lua_State *L, lunado_realm *realm, int t, int notice);

/* Makes the class of notices ready, once per state.  [-0, +0, m] */
void lunado__notice_open(lua_State *L, lunado_realm *realm);

#endif
