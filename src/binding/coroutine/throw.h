/* SPDX-License-Identifier: MIT */
/*
 * throw.h - raising an error where a coroutine has yielded.
 *
 * An error is first prepared for the yield: it is pushed onto the task's
 * thread.  It is raised at the yield when the task is resumed with this one
 * value.
 */
#ifndef LUNADO_BINDING_COROUTINE_THROW_H
#define LUNADO_BINDING_COROUTINE_THROW_H

#include "binding/state/realm.h"

/* Calls function(), which raises an error, and prepares the error for the yield
 * of the task at t.  Returns how many values to resume the task with, or
 * RESUMED_OUTSIDE.  [-0, +0, -] */
int lunado__throw_raised(lua_State *L, lunado_realm *realm, int t,
                         lua_CFunction function);

/* Called when the task was resumed and its coroutine is suspended again or has
 * ended.  Clears the realm's `awaiting` and `throwing`.  If `awaiting` was set,
 * the task gets TASK_AWAITING.  If an error was prepared but not raised, the
 * thread gets its debug hook back. */
void lunado__throw_resumed(lunado_realm *realm, lunado_task *task);

/* To be called before a thread is reset that could not be resumed: an error
 * that was prepared must not be raised in one of its __close. */
void lunado__throw_unhook(lua_State *thread);

/* Prepares the error on top of the task's thread for the task's yield. */
void lunado__throw_value(lunado_realm *realm, lunado_task *task);

/* Replaces the Failure on top of the thread of the task at t by its error,
 * which it prepares for the task's yield.  The Failure counts as observed.
 * [-0, +0, -] */
void lunado__throw_failure(lua_State *L, lunado_realm *realm, int t,
                           lunado_task *task);

/* Calls `function` with the nargs arguments on top, in protected mode.  Returns
 * true, with the results on top; or false, with the error prepared for the
 * yield of the task at t.  If functions of the user's, such as __await, have
 * raised the error, its traceback begins with them.  If the task's thread no
 * longer yields, for example because it was closed, the error is dropped.
 * [-nargs, +?, -] */
bool lunado__throw_protected(lua_State *L, lunado_realm *realm, int t,
                             lua_CFunction function, int nargs);

/* Returns how a task that was not suspended goes on after
 * lunado__throw_protected has failed: 1, to resume the task with the error on
 * its thread; or RESUMED_OUTSIDE, if the thread no longer yields. */
int lunado__throw_count(const lunado_task *task);

/* Adds throw to the table on top.  [-0, +0, m] */
void lunado__throw_functions(lua_State *L);

#endif
