/* SPDX-License-Identifier: MIT */
/* throw.h - raising an error where a coroutine has yielded. */
#ifndef LUNADO_BINDING_COROUTINE_THROW_H
#define LUNADO_BINDING_COROUTINE_THROW_H

#include "binding/state/realm.h"

/* Calls function(), and prepares the task at t to be resumed with the error
 * that it raises: the error is raised at the task's yield.  Returns how many
 * values to resume the task with, or RESUMED_OUTSIDE.  [-0, +0, -] */
int lunado__throw_raised(lua_State *L, lunado_realm *realm, int t,
                         lua_CFunction function);

/* Clears the realm's `awaiting` and `throwing` once the task's coroutine, which
 * was just resumed, is suspended or has ended.  If `awaiting` was set, the task
 * gets TASK_AWAITING. */
void lunado__throw_resumed(lunado_realm *realm, lunado_task *task);

/* Prepares the task to be resumed with the error on top of its thread: the
 * error is raised at the task's yield. */
void lunado__throw_value(lunado_realm *realm, lunado_task *task);

/* Replaces the Failure on top of the thread of the task at t by its error, and
 * prepares the task to be resumed with the error.  The Failure counts as
 * observed.  [-0, +0, -] */
void lunado__throw_failure(lua_State *L, int t, lunado_task *task);

/* Calls `function` with the nargs arguments on top, in protected mode.  Returns
 * true, with the results on top; or false, and the task at t is prepared to be
 * resumed with the error.  If functions of the user's, such as __await, have
 * raised the error, its traceback begins with them.  If the task's thread no
 * longer yields, because it was closed for example, the error is dropped.
 * [-nargs, +?, -] */
bool lunado__throw_protected(lua_State *L, lunado_realm *realm, int t,
                             lua_CFunction function, int nargs);

/* Returns how a task that was not suspended goes on after
 * lunado__throw_protected has failed: 1, to resume it with the error on its
 * thread; or RESUMED_OUTSIDE, if the thread no longer yields. */
int lunado__throw_pending(const lunado_task *task);

#endif
